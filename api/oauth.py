"""The token endpoint's form and answers: OAuth 2.0, RFC 6749, sections 2.3.1, 4.3, 4.4 and 5.

Errors have both shapes at once: the members of RFC 6749 (`error`, `error_description`), which its clients read, and
those of a problem (RFC 9457), which all other errors here have. The media type is RFC 6749's, application/json.
"""

import binascii
import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from api.accounts import Account
from api.answers import JSON, Answer
from api.errors import Problem
from api.roles import READ, SCOPES, WRITE

FORM = b"application/x-www-form-urlencoded"
MOST_FIELDS = 20
NOT_KEPT = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
"""RFC 6749, 5.1: of every answer that may hold a token or a secret."""

Error = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unsupported_grant_type",
    "temporarily_unavailable",
]

TITLES: dict[Error, tuple[int, str]] = {
    "invalid_request": (400, "The request is not a token request"),
    "invalid_client": (401, "The client is not known by this secret"),
    "invalid_grant": (400, "Name and password do not belong together"),
    "invalid_scope": (400, "The scope cannot be had"),
    "unsupported_grant_type": (400, "The grant type is not one of those there are"),
    "temporarily_unavailable": (429, "Too many attempts failed"),
}
"""The errors of RFC 6749, 5.2, and one for an attempt that comes too early."""


class TokenAnswer(msgspec.Struct, frozen=True):
    """RFC 6749, 5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int  # seconds
    scope: str


class Refused(Exception):
    """No token is given out."""

    def __init__(
        self, error: Error, description: str, headers: Sequence[tuple[bytes, bytes]] = (), **more: Any
    ) -> None:
        super().__init__(description)
        self.error, self.description, self.headers, self.more = error, description, headers, more

    def answer(self, request_id: str) -> Answer:
        problem = Problem(
            self.error.replace("_", "-"),
            self.description,
            status_and_title=TITLES[self.error],
            error=self.error,
            error_description=self.description,
            **self.more,
        )
        return Answer(problem.status, (JSON, *NOT_KEPT, *self.headers), problem.answer(request_id).body)


def invalid_client(*, by_header: bool) -> Refused:
    """RFC 6749, 5.2: who tried by the header is told the scheme."""
    headers = [(b"www-authenticate", b'Basic realm="orderlog"')] if by_header else []
    return Refused("invalid_client", "Client and secret do not belong together, or the client is not active.", headers)


def too_early(seconds: float) -> Refused:
    wait = max(1, math.ceil(seconds))
    return Refused(
        "temporarily_unavailable",
        f"Too many attempts failed; the next one may be made in {wait} s.",
        [(b"retry-after", b"%d" % wait)],
    )


def form(body: bytes, content_type: bytes | None) -> dict[str, str]:
    """The fields of the body; those that are empty are left out (RFC 6749, 3.2). Raises `Refused`."""
    if (content_type or b"").partition(b";")[0].strip().lower() != FORM:
        raise Refused("invalid_request", f"Send a form, with the header Content-Type: {FORM.decode()}.")
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise Refused("invalid_request", f"The body is not a form in UTF-8 of {MOST_FIELDS} fields at most.") from None
    fields = {name: value for name, value in pairs if value}
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refused("invalid_request", "A field is there more than once.")
    return fields


def needed(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise Refused("invalid_request", f"The field {name} is missing.")
    return fields[name]


def client_credentials(fields: Mapping[str, str], authorization: bytes | None) -> tuple[str, str, bool] | None:
    """Name and secret of the client, and whether the header had them; None where the request has none (2.3.1).

    Raises `Refused`.
    """
    if authorization is None or authorization[:6].lower() != b"basic ":
        if "client_secret" not in fields:
            return None
        return needed(fields, "client_id"), fields["client_secret"], False
    if "client_secret" in fields:
        raise Refused("invalid_request", "Client and secret are there twice; use the header or the form.")
    try:
        name, colon, secret = b64decode(authorization[6:].strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise invalid_client(by_header=True) from None
    if not colon:
        raise invalid_client(by_header=True)
    return unquote_plus(name), unquote_plus(secret), True


def granted(fields: Mapping[str, str], account: Account) -> list[str]:
    """The scopes of the token: those that are asked for, or all that the account has. Raises `Refused`."""
    has = {*account.scopes, READ} if WRITE in account.scopes else {*account.scopes}  # who may write may read
    asked = {one for one in fields.get("scope", "").split(" ") if one}
    if refused := asked - has:
        unknown = sorted(refused - {*SCOPES})
        why = f"there are {' and '.join(SCOPES)}" if unknown else f"this account has {' '.join(sorted(has))}"
        raise Refused("invalid_scope", f"The scope {' '.join(sorted(refused))[:200]} cannot be had: {why}.")
    return sorted(asked or has)
