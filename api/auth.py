"""Who calls: bearer tokens (JWT, RFC 8725), issued and verified with the installation's key."""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from uuid import uuid4

import jwt
import msgspec

from api.errors import Problem

Role = Literal["customer", "staff", "analyst", "admin"]
ROLES: frozenset[str] = frozenset(get_args(Role))

ALGORITHM = "HS256"
"""Fixed on our side: what a token says about its own algorithm is never believed."""

LONGEST_TOKEN = 8_192
LONGEST_SUBJECT = 200
_SCHEME = b"bearer "
_NOT_QUOTABLE = re.compile(r"[^ !#-\[\]-~]")  # what a quoted string of a header cannot hold as it is


class Caller(msgspec.Struct, frozen=True):
    """Who calls, and what they may."""

    subject: str
    roles: frozenset[str]
    expires: float  # seconds since 1970

    is_staff: bool  # acts for any customer, and may set prices
    reads_all: bool
    customer_id: str | None  # whose orders the caller is confined to; None for staff, and for who has none

    @property
    def may_write(self) -> bool:
        return self.is_staff or self.customer_id is not None


def caller(subject: str, roles: Iterable[str], expires: float) -> Caller:
    """A caller of these roles; roles that orderlog does not know give nothing."""
    known = ROLES.intersection(roles)
    is_staff = bool(known & {"staff", "admin"})
    return Caller(
        subject,
        known,
        expires,
        is_staff,
        reads_all=is_staff or "analyst" in known,
        customer_id=subject if "customer" in known and not is_staff else None,
    )


class Tokens:
    """Issues and verifies the installation's tokens; remembers verified ones, at most so many, until they expire."""

    def __init__(self, secret: bytes, *, issuer: str, audience: str, remember: int = 10_000) -> None:
        self._secret, self._issuer, self._audience = secret, issuer, audience
        self._remember = remember
        self._verified: dict[bytes, Caller] = {}

    def issue(self, subject: str, roles: Iterable[Role], lifetime: timedelta = timedelta(hours=1)) -> str:
        """A token for a subject; a customer's subject is its customer id."""
        now = datetime.now(UTC)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "roles": sorted(roles),
            "iat": now,
            "exp": now + lifetime,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def verify(self, authorization: bytes | None) -> Caller:
        """The caller behind the value of an Authorization header. Raises a `Problem` of status 401."""
        if authorization is None:
            raise _missing("Send the header Authorization: Bearer <token>; `orderlog token` prints one.")
        known = self._verified.get(authorization)
        if known is not None and known.expires > time.time():
            return known
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise _missing("The Authorization header is of another kind than Bearer.")
        verified = self.verify_token(authorization[len(_SCHEME) :].strip())
        if len(self._verified) >= self._remember:
            self._verified.pop(next(iter(self._verified)))
        self._verified[authorization] = verified
        return verified

    def verify_token(self, token: str | bytes) -> Caller:
        """The caller behind a token. Raises a `Problem` of status 401."""
        if len(token) > LONGEST_TOKEN:
            raise _invalid(f"it is longer than {LONGEST_TOKEN} bytes")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                # A clock that is behind the issuer's is no reason to refuse: exp bounds the token's life.
                options={"require": ["exp", "iss", "aud", "sub"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise _problem("token-expired", "The token has expired; get a new one.") from None
        except jwt.InvalidTokenError as error:
            raise _invalid(str(error)) from None
        except (ValueError, OverflowError, TypeError, RecursionError):  # what JSON can do to the library's checks
            raise _invalid("it is malformed") from None
        return _caller_of(claims)


def _caller_of(claims: dict[str, Any]) -> Caller:
    subject, roles = claims["sub"], claims.get("roles", [])
    if not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise _invalid(f"its sub must have 1 to {LONGEST_SUBJECT} characters, all of them printable")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise _invalid("its roles must be a list of strings")
    return caller(subject, roles, float(claims["exp"]))


def _missing(detail: str) -> Problem:
    # RFC 6750: a request without a token is told the scheme, and no error
    return Problem("token-missing", detail, headers=[(b"www-authenticate", b'Bearer realm="orderlog"')])


def _invalid(why: str) -> Problem:
    return _problem("token-invalid", f"The token was not accepted: {why}.")


def _problem(code: str, detail: str) -> Problem:
    described = _NOT_QUOTABLE.sub("'", detail).encode("ascii")
    challenge = b'Bearer realm="orderlog", error="invalid_token", error_description="%s"' % described
    return Problem(code, detail, headers=[(b"www-authenticate", challenge)])
