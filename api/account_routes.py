"""The accounts of the built-in issuer over HTTP: users and machine clients, which admins keep."""

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.accounts import (
    Account,
    AccountExists,
    ClientChange,
    Kind,
    NewClient,
    NewUser,
    NoSuchAccount,
    UserChange,
)
from api.auth import Caller, must_write
from api.errors import Place, Problem, invalid
from api.issuing import CHANGES, LOOKS, Issuer, Operation, kept_by_nobody, said
from api.listing import Wanted
from api.parts import Identity, Parts
from api.views import Bearer, Given

router = APIRouter()


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


OPERATIONS: dict[str, Operation] = {
    "users": Operation(UserPage, problems=(*LOOKS, "bad-cursor")),
    "user": Operation(UserView, problems=LOOKS),
    "add_user": Operation(UserView, NewUser, 201, (*CHANGES, "account-exists")),
    "change_user": Operation(UserView, UserChange),
    "clients": Operation(ClientPage, problems=(*LOOKS, "bad-cursor")),
    "client": Operation(ClientView, problems=LOOKS),
    "add_client": Operation(ClientView, NewClient, 201, (*CHANGES, "account-exists")),
    "change_client": Operation(ClientView, ClientChange),
    "new_secret": Operation(ClientView, problems=(*LOOKS, "insufficient-scope")),
}
"""Name of a route to what it takes and answers, for the OpenAPI document."""


# Who may -----------------------------------------------------------------------------------------------------


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


# Users -------------------------------------------------------------------------------------------------------


@router.get("/v1/auth/users", summary="The users, by name", tags=["auth"], dependencies=[ADMIN])
async def users(wanted: Annotated[Wanted, Query()], parts: Given, identity: Issuer) -> Response:
    """Those that are not active too. Admins only."""
    found, more = await _page("user", wanted, parts, identity)
    return kept_by_nobody(UserPage([user_view(one) for one in found], more))


@router.get("/v1/auth/users/{name}", summary="A user", tags=["auth"], dependencies=[ADMIN])
async def user(name: Named, identity: Issuer) -> Response:
    """Admins only."""
    return kept_by_nobody(user_view(await _found("user", name, identity)))


@router.post("/v1/auth/users", summary="A new user", tags=["auth"])
async def add_user(request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """The name makes a repeated request harmless: it is answered with 409."""
    new = await said(request, NewUser)
    try:
        added = await identity.accounts.add_user(new, by.subject)
    except AccountExists as exists:
        raise _exists(exists) from None
    return kept_by_nobody(user_view(added), 201, f"/v1/auth/users/{added.name}")


@router.patch("/v1/auth/users/{name}", summary="Change a user, or deactivate it", tags=["auth"])
async def change_user(name: Named, request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Members that are left out stay as they are. Tokens given out before end within a minute."""
    return kept_by_nobody(user_view(await _change("user", name, await said(request, UserChange), by, identity)))


# Clients -----------------------------------------------------------------------------------------------------


@router.get("/v1/auth/clients", summary="The machine clients, by name", tags=["auth"], dependencies=[ADMIN])
async def clients(wanted: Annotated[Wanted, Query()], parts: Given, identity: Issuer) -> Response:
    """Those that are not active too. Admins only."""
    found, more = await _page("client", wanted, parts, identity)
    return kept_by_nobody(ClientPage([_client_view(one) for one in found], more))


@router.get("/v1/auth/clients/{name}", summary="A machine client", tags=["auth"], dependencies=[ADMIN])
async def client(name: Named, identity: Issuer) -> Response:
    """Without its secret, which nobody can read again. Admins only."""
    return kept_by_nobody(_client_view(await _found("client", name, identity)))


@router.post("/v1/auth/clients", summary="A new machine client", tags=["auth"])
async def add_client(request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Its secret is in this answer only."""
    new = await said(request, NewClient)
    try:
        added, secret = await identity.accounts.add_client(new, by.subject)
    except AccountExists as exists:
        raise _exists(exists) from None
    return kept_by_nobody(_client_view(added, secret), 201, f"/v1/auth/clients/{added.name}")


@router.patch("/v1/auth/clients/{name}", summary="Change a machine client, or deactivate it", tags=["auth"])
async def change_client(name: Named, request: Request, by: ChangingAdmin, identity: Issuer) -> Response:
    """Members that are left out stay as they are. Tokens given out before end within a minute."""
    return kept_by_nobody(_client_view(await _change("client", name, await said(request, ClientChange), by, identity)))


@router.post("/v1/auth/clients/{name}/secret", summary="Another secret for a machine client", tags=["auth"])
async def new_secret(name: Named, by: ChangingAdmin, identity: Issuer) -> Response:
    """The one before is good no longer, and tokens given out for it end within a minute."""
    try:
        changed, secret = await identity.accounts.new_secret(name, by.subject)
    except NoSuchAccount as missing:
        raise _missing(missing) from None
    return kept_by_nobody(_client_view(changed, secret))


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


def _exists(error: AccountExists) -> Problem:
    return Problem("account-exists", f"{error}; names are unique among users and clients.".capitalize())


def _missing(error: NoSuchAccount) -> Problem:
    return Problem("not-found", f"{error}.".capitalize())


def user_view(one: Account) -> UserView:
    return UserView(one.name, [*one.roles], one.customer_id, one.active, one.made_at, one.changed_at, one.changed_by)


def _client_view(one: Account, secret: str | None = None) -> ClientView:
    user = msgspec.structs.asdict(user_view(one))
    return ClientView(**user, scopes=one.scopes, client_secret=secret if secret is not None else msgspec.UNSET)
