"""The built-in issuer over HTTP: tokens for passwords and secrets, and the accounts, which admins keep."""

import math
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ValidationError

from api import oauth
from api.accounts import (
    Account,
    AccountExists,
    ClientChange,
    Kind,
    NewClient,
    NewUser,
    NoSuchAccount,
    Password,
    UserChange,
)
from api.answers import JSON, Answer, Headers
from api.auth import Caller, must_write
from api.errors import Place, Problem, invalid, places
from api.oauth import NOT_KEPT, Refused, TokenAnswer
from api.parts import Identity, Parts
from api.requests import Gone, json_object, read_body, single
from api.shapes import encode
from api.sign_in import NotAccepted, TooEarly
from api.tokens import LIFETIME
from api.views import Bearer, Given, Wanted

M = TypeVar("M", bound=BaseModel)

router = APIRouter()


# What is said and answered -----------------------------------------------------------------------------------


class UserView(msgspec.Struct, frozen=True):
    """A person's account."""

    name: str
    roles: list[str]
    customer_id: str | None
    active: bool
    created_at: datetime
    updated_at: datetime
    updated_by: str


class ClientView(UserView, frozen=True, kw_only=True):
    """A machine's account; the secret is shown when it is made, and never again."""

    scopes: list[str]
    client_secret: str | msgspec.UnsetType = msgspec.UNSET


class UserPage(msgspec.Struct, frozen=True):
    items: list[UserView]
    next_cursor: str | None = None


class ClientPage(msgspec.Struct, frozen=True):
    items: list[ClientView]
    next_cursor: str | None = None


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


class Operation(msgspec.Struct, frozen=True):
    """What the framework does not know of a route."""

    answer: type[msgspec.Struct]
    said: type[BaseModel] | None = None
    success: int = 200
    problems: tuple[int, ...] = (400, 401, 403, 404, 413, 415, 422, 503)


OPERATIONS: dict[str, Operation] = {
    "token": Operation(TokenAnswer, TokenRequest, problems=(503,)),
    "password": Operation(UserView, PasswordChange, problems=(400, 401, 403, 404, 413, 415, 422, 429, 503)),
    "users": Operation(UserPage, problems=(400, 401, 403, 404, 422, 503)),
    "user": Operation(UserView, problems=(401, 403, 404, 422, 503)),
    "add_user": Operation(UserView, NewUser, 201, (400, 401, 403, 404, 409, 413, 415, 422, 503)),
    "change_user": Operation(UserView, UserChange),
    "clients": Operation(ClientPage, problems=(400, 401, 403, 404, 422, 503)),
    "client": Operation(ClientView, problems=(401, 403, 404, 422, 503)),
    "add_client": Operation(ClientView, NewClient, 201, (400, 401, 403, 404, 409, 413, 415, 422, 503)),
    "change_client": Operation(ClientView, ClientChange),
    "new_secret": Operation(ClientView, problems=(401, 403, 404, 422, 503)),
}
"""Name of a route to what it takes and answers, for the OpenAPI document."""


# Who may -----------------------------------------------------------------------------------------------------


async def issuer(parts: Given) -> Identity:
    if parts.identity is None:
        raise Problem("not-found", "Tokens and accounts are another issuer's here; ask that one.")
    return parts.identity


Issuer = Annotated[Identity, Depends(issuer)]


async def admin(caller: Bearer) -> Caller:
    if not caller.is_admin:
        raise Problem("forbidden", "Only admins may see and change accounts.")
    return caller


async def changing_admin(caller: Annotated[Caller, Depends(admin)]) -> Caller:
    must_write(caller)
    return caller


ADMIN = Depends(admin)
ChangingAdmin = Annotated[Caller, Depends(changing_admin)]
Named = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


# Tokens ------------------------------------------------------------------------------------------------------


@router.post("/v1/auth/token", summary="A token for a password or a client's secret", tags=["auth"])
async def token(request: Request, parts: Given) -> Response:
    """OAuth 2.0 (RFC 6749): the grants `password` and `client_credentials`. Errors are of its form and problems too."""
    try:
        given = await _token(request, await issuer(parts))
    except Refused as refused:
        return _sent(refused.answer(request.scope["request_id"]))
    return _json(given)


async def _token(request: Request, identity: Identity) -> TokenAnswer:
    headers = single(request.headers.raw)
    fields = oauth.form(await _body(request), headers.get(b"content-type"))
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
    change = await _said(request, PasswordChange)
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
    return _json(_user_view(changed))


# Users -------------------------------------------------------------------------------------------------------


@router.get("/v1/auth/users", summary="The users, by name", tags=["auth"], dependencies=[ADMIN])
async def users(wanted: Annotated[Wanted, Query()], parts: Given, identity: Issuer) -> Response:
    found, more = await _page("user", wanted, parts, identity)
    return _json(UserPage([_user_view(one) for one in found], more))


@router.get("/v1/auth/users/{name}", summary="A user", tags=["auth"], dependencies=[ADMIN])
async def user(name: Named, identity: Issuer) -> Response:
    return _json(_user_view(await _found("user", name, identity)))


@router.post("/v1/auth/users", summary="A new user", tags=["auth"])
async def add_user(request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """The name makes a repeated request harmless: it is answered with 409."""
    new = await _said(request, NewUser)
    try:
        added = await identity.accounts.add_user(new, by.subject)
    except AccountExists as exists:
        raise _exists(exists) from None
    return _json(_user_view(added), 201, f"/v1/auth/users/{added.name}")


@router.patch("/v1/auth/users/{name}", summary="Change a user, or deactivate it", tags=["auth"])
async def change_user(name: Named, request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Members that are left out stay as they are. Tokens given out before end within a minute."""
    return _json(_user_view(await _change("user", name, await _said(request, UserChange), by, identity)))


# Clients -----------------------------------------------------------------------------------------------------


@router.get("/v1/auth/clients", summary="The machine clients, by name", tags=["auth"], dependencies=[ADMIN])
async def clients(wanted: Annotated[Wanted, Query()], parts: Given, identity: Issuer) -> Response:
    found, more = await _page("client", wanted, parts, identity)
    return _json(ClientPage([_client_view(one) for one in found], more))


@router.get("/v1/auth/clients/{name}", summary="A machine client", tags=["auth"], dependencies=[ADMIN])
async def client(name: Named, identity: Issuer) -> Response:
    return _json(_client_view(await _found("client", name, identity)))


@router.post("/v1/auth/clients", summary="A new machine client", tags=["auth"])
async def add_client(request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Its secret is in this answer only."""
    new = await _said(request, NewClient)
    try:
        added, secret = await identity.accounts.add_client(new, by.subject)
    except AccountExists as exists:
        raise _exists(exists) from None
    return _json(_client_view(added, secret), 201, f"/v1/auth/clients/{added.name}")


@router.patch("/v1/auth/clients/{name}", summary="Change a machine client, or deactivate it", tags=["auth"])
async def change_client(name: Named, request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Members that are left out stay as they are. Tokens given out before end within a minute."""
    return _json(_client_view(await _change("client", name, await _said(request, ClientChange), by, identity)))


@router.post("/v1/auth/clients/{name}/secret", summary="Another secret for a machine client", tags=["auth"])
async def new_secret(name: Named, by: ChangingAdmin, identity: Issuer) -> Response:
    """The one before is good no longer, and tokens given out for it end within a minute."""
    try:
        changed, secret = await identity.accounts.new_secret(name, by.subject)
    except NoSuchAccount as missing:
        raise _missing(missing) from None
    return _json(_client_view(changed, secret))


# What they share ---------------------------------------------------------------------------------------------


async def _page(kind: Kind, wanted: Wanted, parts: Parts, identity: Identity) -> tuple[list[Account], str | None]:
    listing = ("accounts", kind)
    after = parts.cursors.read(wanted.cursor, listing, str) if wanted.cursor else ""
    found = await identity.accounts.page(kind, wanted.limit + 1, after)
    items = found[: wanted.limit]
    return items, parts.cursors.after(listing, items[-1].name) if len(found) > len(items) else None


async def _found(kind: Kind, name: str, identity: Identity) -> Account:
    account = await identity.accounts.find(kind, name)
    if account is None:
        raise _missing(NoSuchAccount(f"there is no {kind} {name}"))
    return account


async def _change(kind: Kind, name: str, change: UserChange | ClientChange, by: Caller, identity: Identity) -> Account:
    try:
        return await identity.accounts.change(kind, name, change, by.subject)
    except NoSuchAccount as missing:
        raise _missing(missing) from None
    except ValueError as error:
        raise invalid([Place("/customer_id", str(error))]) from None


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request.receive, single(request.headers.raw))
    except Gone:
        return b""  # whatever it is answered, nobody reads it


async def _said(request: Request, model: type[M]) -> M:
    """What the body says. Raises a `Problem` that names every place that is wrong."""
    fields = json_object(await _body(request), single(request.headers.raw).get(b"content-type"))
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid(places(error)) from None


def _exists(error: AccountExists) -> Problem:
    return Problem("account-exists", f"{error}; names are unique among users and clients.".capitalize())


def _missing(error: NoSuchAccount) -> Problem:
    return Problem("not-found", f"{error}.".capitalize())


def _user_view(one: Account) -> UserView:
    return UserView(one.name, [*one.roles], one.customer_id, one.active, one.made_at, one.changed_at, one.changed_by)


def _client_view(one: Account, secret: str | None = None) -> ClientView:
    user = msgspec.structs.asdict(_user_view(one))
    return ClientView(**user, scopes=one.scopes, client_secret=secret if secret is not None else msgspec.UNSET)


def _json(content: msgspec.Struct, status: int = 200, location: str | None = None) -> Response:
    headers: Headers = (JSON, *NOT_KEPT)
    if location is not None:
        headers = (*headers, (b"location", location.encode()))
    return _sent(Answer(status, headers, encode(content)))


def _sent(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    return response
