"""Who calls: bearer tokens (JWT) and what is believed of them, by RFC 8725."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jwt
import msgspec

from api.errors import Problem
from api.roles import READ, ROLES, WRITE

LONGEST_TOKEN = 8_192
LONGEST_SUBJECT = 200
LONGEST_KID = 200
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
    read_only: bool = False  # by the token's scope

    key: str = ""  # the kid of the key that the token was verified with
    account: str | None = None  # whose password or secret the token was given out for; None for `orderlog token`
    generation: int = 0  # of the account, when the token was given out

    @property
    def may_write(self) -> bool:
        return not self.read_only and (self.is_staff or self.customer_id is not None)

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


def caller(subject: str, roles: Iterable[str], expires: float, **more: Any) -> Caller:
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
        **more,
    )


class Key(msgspec.Struct, frozen=True):
    """One key, for one algorithm: what a token says about its own algorithm is never believed."""

    kid: str
    algorithm: str
    material: Any  # the bytes of a shared secret, or a public key
    accepted_until: float = float("inf")  # seconds since 1970


class Keys(Protocol):
    """The keys of one issuer."""

    types: frozenset[str | None]
    """The `typ` that its tokens may have, in lower case; None: they may have none."""

    async def find(self, kid: str | None) -> Key | None:
        """The key of this name. Raises a `Problem` of status 503 when that cannot be known now."""

    def accepts(self, kid: str) -> bool:
        """Whether a token that was verified with this key is still to be believed."""


class Verifier:
    """Verifies the tokens of one issuer; remembers verified ones, at most so many, until they expire."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, leeway: float = 0, remember: int = 10_000) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._leeway = leeway  # seconds by which the issuer's clock may be off
        self._remember = remember
        self._verified: dict[bytes, Caller] = {}
        self._generations: Mapping[str, int] = {}

    async def verify(self, authorization: bytes | None) -> Caller:
        """The caller behind the value of an Authorization header. Raises a `Problem`, of status 401 for a bad token."""
        if authorization is None:
            raise _missing("Send the header Authorization: Bearer <token>; POST /v1/auth/token gives one.")
        known = self._verified.get(authorization)
        if known is not None and known.expires > time.time():
            return known
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise _missing("The Authorization header is of another kind than Bearer.")
        verified = await self.verify_token(authorization[len(_SCHEME) :].strip())
        if len(self._verified) >= self._remember:
            self._verified.pop(next(iter(self._verified)))
        self._verified[authorization] = verified
        return verified

    async def verify_token(self, token: str | bytes) -> Caller:
        """The caller behind a token. Raises a `Problem`, of status 401 for a bad token."""
        if len(token) > LONGEST_TOKEN:
            raise _invalid(f"it is longer than {LONGEST_TOKEN} bytes")
        try:
            key = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                # A clock that is behind the issuer's is no reason to refuse: exp bounds the token's life.
                options={"require": ["exp", "iss", "aud", "sub"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise _problem("token-expired", "The token has expired; get a new one.") from None
        except jwt.InvalidTokenError as error:
            raise _invalid(str(error)) from None
        except (ValueError, OverflowError, TypeError, RecursionError):  # what JSON can do to the library's checks
            raise _invalid("it is malformed") from None
        verified = self._caller_of(claims, key)
        if not self.is_good(verified):
            raise _problem("token-revoked", "The token was revoked; get a new one.")
        return verified

    def is_good(self, verified: Caller) -> bool:
        """Whether a caller's token, verified some time ago, has neither expired nor been revoked since."""
        return (
            verified.expires > time.time() - self._leeway
            and self._keys.accepts(verified.key)
            and (verified.account is None or verified.generation >= self._generations.get(verified.account, 0))
        )

    def revoke(self, generations: Mapping[str, int]) -> None:
        """Believe tokens of these accounts only from these generations on; look at every token anew."""
        self._generations = generations
        self.forget()

    def forget(self) -> None:
        """Verify every token anew: the keys have changed."""
        self._verified.clear()

    async def _key(self, header: dict[str, Any]) -> Key:
        """The key of a token with this header; what else it says about keys (jku, x5u, jwk, x5c) is not looked at."""
        kid, kind = header.get("kid"), header.get("typ")
        if "crit" in header:
            raise _invalid("its crit asks for what is not understood here")
        if (kind.lower().removeprefix("application/") if isinstance(kind, str) else kind) not in self._keys.types:
            raise _invalid("its typ is not that of an access token")
        if kid is not None and len(kid) > LONGEST_KID:
            raise _invalid(f"its kid is longer than {LONGEST_KID} characters")
        key = await self._keys.find(kid)
        if key is None:
            raise _invalid("its kid names no key that is accepted here")
        if header.get("alg") != key.algorithm:
            raise _invalid("its alg is not that of its key")
        return key

    def _caller_of(self, claims: dict[str, Any], key: Key) -> Caller:
        subject, roles, scope = claims["sub"], claims.get("roles", []), claims.get("scope", "")
        if not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
            raise _invalid(f"its sub must have 1 to {LONGEST_SUBJECT} characters, all of them printable")
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise _invalid("its roles must be a list of strings")
        if not isinstance(scope, str):
            raise _invalid("its scope must be a string")
        scopes = scope.split(" ")
        expires = min(float(claims["exp"]), key.accepted_until)
        return caller(subject, roles, expires, key=key.kid, read_only=READ in scopes and WRITE not in scopes)


def _missing(detail: str) -> Problem:
    # RFC 6750: a request without a token is told the scheme, and no error
    return Problem("token-missing", detail, headers=[(b"www-authenticate", b'Bearer realm="orderlog"')])


def _invalid(why: str) -> Problem:
    return _problem("token-invalid", f"The token was not accepted: {why}.")


def _problem(code: str, detail: str) -> Problem:
    described = _NOT_QUOTABLE.sub("'", detail).encode("ascii")
    challenge = b'Bearer realm="orderlog", error="invalid_token", error_description="%s"' % described
    return Problem(code, detail, headers=[(b"www-authenticate", challenge)])


def must_write(who: Caller) -> None:
    """Raises a `Problem` for a token whose scope is to read."""
    if who.read_only:
        challenge = b'Bearer realm="orderlog", error="insufficient_scope", scope="%s"' % WRITE.encode()
        raise Problem(
            "insufficient-scope",
            f"The token may be used for reading only; get one with the scope {WRITE}.",
            headers=[(b"www-authenticate", challenge)],
        )
