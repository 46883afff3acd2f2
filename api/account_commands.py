"""What the command line does with accounts: users and machine clients, for whoever holds the installation."""

import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import uvloop
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ValidationError

from api.accounts import (
    Account,
    AccountExists,
    Accounts,
    ClientChange,
    Kind,
    NewClient,
    NewUser,
    NoSuchAccount,
    UserChange,
)
from api.errors import places
from api.key_commands import own_issuer
from api.passwords import Passwords
from api.roles import SCOPES
from api.settings import Settings
from api.starting import CannotStart, identity_database

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

BY = "orderlog"
"""Who changed an account, where it was this command line."""

PAGE = 200


def add_user(name: str, roles: list[str], customer: str | None) -> Account:
    """The password is asked for, or is the first line of standard input."""
    settings = own_issuer()
    given = {"name": name, "roles": roles, "customer_id": customer}
    new = _valid(NewUser, given | {"password": _password()})
    return _with_accounts(settings, lambda accounts: accounts.add_user(new, BY))


def set_password(name: str) -> None:
    settings = own_issuer()
    change = _valid(UserChange, {"password": _password()})
    _with_accounts(settings, lambda accounts: accounts.change("user", name, change, BY))


def add_client(name: str, roles: list[str], customer: str | None, scopes: list[str] | None) -> str:
    """The client's secret, which nobody can read again."""
    settings = own_issuer()
    given = {"name": name, "roles": roles, "customer_id": customer, "scopes": scopes or [*SCOPES]}
    new = _valid(NewClient, given)
    return _with_accounts(settings, lambda accounts: accounts.add_client(new, BY))[1]


def new_secret(name: str) -> str:
    return _with_accounts(own_issuer(), lambda accounts: accounts.new_secret(name, BY))[1]


def set_active(kind: Kind, name: str, *, active: bool) -> None:
    change = (UserChange if kind == "user" else ClientChange)(active=active)
    _with_accounts(own_issuer(), lambda accounts: accounts.change(kind, name, change, BY))


def listed(kind: Kind) -> list[Account]:
    """All of them, by name."""

    async def all_of(accounts: Accounts) -> list[Account]:
        found: list[Account] = []
        while page := await accounts.page(kind, PAGE, found[-1].name if found else ""):
            found += page
        return found

    return _with_accounts(own_issuer(), all_of)


def _password() -> str:
    """Typed twice at a terminal; never an argument, which other users of the machine could read."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise CannotStart("the two passwords are not the same; run it again")
    return password


def _valid(model: type[M], given: dict[str, Any]) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = [f"{place.pointer.removeprefix('/') or 'the account'}: {place.detail}" for place in places(error)]
        raise CannotStart("; ".join(wrong)) from None


def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        passwords = Passwords()
        try:
            async with AsyncConnectionPool(url, min_size=1, max_size=1, open=False) as pool:
                return await work(Accounts(pool, passwords))
        finally:
            passwords.close()

    try:
        with identity_database(settings) as url:
            return uvloop.run(run(url))
    except (AccountExists, NoSuchAccount, ValueError) as error:
        raise CannotStart(str(error)) from None
