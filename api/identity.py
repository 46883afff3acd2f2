"""The built-in issuer over HTTP: tokens for passwords and secrets, and one's own password."""

import math
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api import account_routes, oauth
from api.account_routes import UserView, user_view
from api.accounts import Account, Password, UserChange
from api.auth import must_write
from api.documented import ANY
from api.errors import Place, Problem
from api.issuing import CHANGES, Issuer, Operation, body, issuer, kept_by_nobody, said, sent
from api.oauth import Refused, TokenAnswer
from api.parts import Identity, Parts
from api.requests import single
from api.sign_in import NotAccepted, TooEarly
from api.tokens import LIFETIME
from api.views import Bearer, Given

router = APIRouter()
router.include_router(account_routes.router)


class PasswordChange(BaseModel):
    """One's own."""

    current_password: str
    new_password: Password


class TokenRequest(BaseModel):
    """A form (RFC 6749). `password` needs username and password; `client_credentials` a client's secret, here or in
    the header `Authorization: Basic`."""

    grant_type: Literal["password", "client_credentials"]
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None


OPERATIONS: dict[str, Operation] = {
    "token": Operation(
        TokenAnswer, TokenRequest, problems=(*ANY, "bad-header", "not-found", "too-large", "unavailable")
    ),
    "password": Operation(UserView, PasswordChange, problems=(*CHANGES, "too-many-attempts")),
    **account_routes.OPERATIONS,
}
"""Name of a route to what it takes and answers, for the OpenAPI document."""


# Tokens ------------------------------------------------------------------------------------------------------


@router.post("/v1/auth/token", summary="A token for a password or a client's secret", tags=["auth"])
async def token(request: Request, parts: Given) -> Response:
    """OAuth 2.0 (RFC 6749): the grants `password` and `client_credentials`. Errors are of its form and problems too."""
    try:
        _count(request, parts)
        given = await _token(request, await issuer(parts))
    except Refused as refused:
        return sent(refused.answer(request.scope["request_id"]))
    return kept_by_nobody(given)


def _count(request: Request, parts: Parts) -> None:
    """Who has no token yet is known by its address only. Raises `Refused`."""
    if parts.limits is not None and request.client is not None:
        try:
            parts.limits.take(f"\0{request.client.host}", request.scope["told"])
        except Problem as problem:
            raise Refused("temporarily_unavailable", problem.detail, problem.headers) from None


async def _token(request: Request, identity: Identity) -> TokenAnswer:
    headers = single(request.headers.raw)
    fields = oauth.form(await body(request), headers.get(b"content-type"))
    presented = oauth.client_credentials(fields, headers.get(b"authorization"))
    client = await _client(identity, *presented) if presented is not None else None
    match oauth.needed(fields, "grant_type"):
        case "password":
            account = await _user(identity, fields, request.client.host if request.client else "")
        case "client_credentials" if client is not None:
            account = client
        case "client_credentials":
            raise oauth.invalid_client(by_header=True)
        case _:
            raise Refused("unsupported_grant_type", "The grant types are password and client_credentials.")
    scopes = oauth.granted(fields, account)
    issued = identity.tokens.issue(
        account.subject,
        account.roles,
        LIFETIME,
        scopes=scopes,
        account=account.name,
        generation=account.generation,
        client_id=client.name if client else "orderlog",
    )
    return TokenAnswer(issued, "Bearer", int(LIFETIME.total_seconds()), " ".join(scopes))


async def _client(identity: Identity, name: str, secret: str, by_header: bool) -> Account:  # noqa: FBT001  as it came
    try:
        return await identity.sign_in.client(name, secret)
    except NotAccepted:
        raise oauth.invalid_client(by_header=by_header) from None


async def _user(identity: Identity, fields: dict[str, str], address: str) -> Account:
    name, password = oauth.needed(fields, "username"), oauth.needed(fields, "password")
    try:
        return await identity.sign_in.user(name, password, address)
    except NotAccepted:
        detail = "Name and password do not belong together, or the account is not active."
        raise Refused("invalid_grant", detail) from None
    except TooEarly as early:
        raise oauth.too_early(early.seconds) from None


@router.post("/v1/auth/password", summary="Change one's own password", tags=["auth"])
async def password(request: Request, caller: Bearer, identity: Issuer) -> Response:
    """Tokens given out before end within a minute, that of this request too."""
    must_write(caller)
    change = await said(request, PasswordChange)
    mine = await identity.accounts.find("user", caller.account) if caller.account is not None else None
    if mine is None:
        raise Problem("forbidden", "The token was not given out for a password, so there is none to change.")
    try:
        await identity.sign_in.user(mine.name, change.current_password, request.client.host if request.client else "")
    except NotAccepted:
        place = Place("/current_password", "is not the current password")
        raise Problem("forbidden", "The current password is another one.", errors=[place]) from None
    except TooEarly as early:
        wait = b"%d" % max(1, math.ceil(early.seconds))
        raise Problem("too-many-attempts", f"{early}.".capitalize(), headers=[(b"retry-after", wait)]) from None
    changed = await identity.accounts.change("user", mine.name, UserChange(password=change.new_password), mine.name)
    return kept_by_nobody(user_view(changed))
