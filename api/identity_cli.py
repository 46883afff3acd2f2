"""The command line of the built-in issuer: accounts, keys, and tokens for whoever holds the installation."""

import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar, cast, get_args

import psycopg
import typer
import uvloop
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from api import keys, logs, wiring
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
from api.auth import SCOPES, Role
from api.errors import places
from api.keys import SigningKey, read_keys
from api.passwords import Passwords
from api.settings import Settings, load_settings, secret_key
from api.tokens import LIFETIME
from api.wiring import CannotStart

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

BY = "orderlog"
"""Who changed an account, where it was this command line."""

PAGE = 200
SOME_ROLE = f"One of {', '.join(get_args(Role))}; give several one by one."
CUSTOMER = "Whose orders: with the role customer."

console = Console()


def add_to(app: typer.Typer) -> None:
    app.command()(token)
    app.add_typer(_user, name="user", help="Users: people who get tokens for a password.")
    app.add_typer(_client, name="client", help="Machine clients, which get tokens for a secret.")
    app.add_typer(_keys, name="keys", help="The keys that sign tokens.")


_user = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_client = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


# Tokens ------------------------------------------------------------------------------------------------------


def token(
    role: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Role))}.")],
    customer: Annotated[str | None, typer.Option(metavar="ID", help="Whose orders: for the role customer.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is good for, such as 30m, 1h or 7d.")] = "1h",
) -> None:
    """Print a bearer token, signed with the installation's key."""
    if role not in get_args(Role):
        raise CannotStart(f"{role!r} is not a role; there are {', '.join(get_args(Role))}")
    if (role == "customer") != (customer is not None):
        raise CannotStart("a customer's token names the customer: --role customer --customer ID; no other one does")
    lifetime = _duration("--ttl", ttl)
    settings = _settings()
    tokens = wiring.token_maker(settings, secret_key(settings))
    with wiring.database(settings) as url:
        tokens.ring.hold(uvloop.run(_connected(url, read_keys)))
    typer.echo(tokens.issue(customer or role, [cast(Role, role)], lifetime))


# Users and clients -------------------------------------------------------------------------------------------


@_user.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="What the user signs in with, such as an email address.")],
    role: Annotated[list[str], typer.Option(help=SOME_ROLE)],
    customer: Annotated[str | None, typer.Option(metavar="ID", help=CUSTOMER)] = None,
) -> None:
    """Add a user. The password is asked for, or is the first line of standard input."""
    settings = _own_issuer()
    given = {"name": name, "roles": role, "customer_id": customer}
    new = _valid(NewUser, given | {"password": _password()})
    added = _with_accounts(settings, lambda accounts: accounts.add_user(new, BY))
    console.print(f"{added.name} may sign in: {', '.join(added.roles)}.", highlight=False)


@_user.command("password")
def user_password(name: Annotated[str, typer.Argument()]) -> None:
    """Give a user another password. The tokens given out before end within a minute."""
    settings = _own_issuer()
    change = _valid(UserChange, {"password": _password()})
    _with_accounts(settings, lambda accounts: accounts.change("user", name, change, BY))
    console.print(f"{name} has another password.", highlight=False)


@_user.command("deactivate")
def user_deactivate(name: Annotated[str, typer.Argument()]) -> None:
    """Let a user in no more. The tokens given out before end within a minute."""
    _set_active("user", name, active=False)


@_user.command("activate")
def user_activate(name: Annotated[str, typer.Argument()]) -> None:
    """Let a user in again."""
    _set_active("user", name, active=True)


@_user.command("list")
def user_list() -> None:
    """Print the users."""
    _print_accounts("user")


@_client.command("add")
def client_add(
    name: Annotated[str, typer.Argument(help="The client_id.")],
    role: Annotated[list[str], typer.Option(help=SOME_ROLE)],
    customer: Annotated[str | None, typer.Option(metavar="ID", help=CUSTOMER)] = None,
    scope: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(SCOPES)}; both, unless given.")] = None,
) -> None:
    """Add a machine client and print its secret, which is shown this once."""
    settings = _own_issuer()
    given = {"name": name, "roles": role, "customer_id": customer, "scopes": scope or [*SCOPES]}
    new = _valid(NewClient, given)
    _, secret = _with_accounts(settings, lambda accounts: accounts.add_client(new, BY))
    typer.echo(secret)


@_client.command("secret")
def client_secret(name: Annotated[str, typer.Argument()]) -> None:
    """Print another secret for a client; the one before is good no longer."""
    _, secret = _with_accounts(_own_issuer(), lambda accounts: accounts.new_secret(name, BY))
    typer.echo(secret)


@_client.command("deactivate")
def client_deactivate(name: Annotated[str, typer.Argument()]) -> None:
    """Let a client in no more. The tokens given out before end within a minute."""
    _set_active("client", name, active=False)


@_client.command("activate")
def client_activate(name: Annotated[str, typer.Argument()]) -> None:
    """Let a client in again."""
    _set_active("client", name, active=True)


@_client.command("list")
def client_list() -> None:
    """Print the clients."""
    _print_accounts("client")


def _set_active(kind: Kind, name: str, *, active: bool) -> None:
    change = (UserChange if kind == "user" else ClientChange)(active=active)
    _with_accounts(_own_issuer(), lambda accounts: accounts.change(kind, name, change, BY))
    console.print(f"{name} is {'active' if active else 'not active'} now.", highlight=False)


def _print_accounts(kind: Kind) -> None:
    async def all_of(accounts: Accounts) -> list[Account]:
        found: list[Account] = []
        while page := await accounts.page(kind, PAGE, found[-1].name if found else ""):
            found += page
        return found

    table = Table("name", "roles", "customer", "scopes", "active", "changed", "by", box=None)
    for one in _with_accounts(_own_issuer(), all_of):
        active = "yes" if one.active else "no"
        told = (one.name, ", ".join(one.roles), one.customer_id or "", " ".join(one.scopes), active)
        table.add_row(*told, _time(one.changed_at), one.changed_by)
    console.print(table)


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
        with wiring.database(settings) as url:
            return uvloop.run(run(url))
    except (AccountExists, NoSuchAccount, ValueError) as error:
        raise CannotStart(str(error)) from None


# Keys --------------------------------------------------------------------------------------------------------


@_keys.command("list")
def keys_list() -> None:
    """Print the keys that are accepted, the newest last."""
    with wiring.database(_own_issuer()) as url:
        _print_keys(uvloop.run(_connected(url, read_keys)))


@_keys.command("rotate")
def keys_rotate(
    keep: Annotated[str, typer.Option(help="How long the keys before are accepted after it, such as 2h or 7d.")] = "",
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="Accept the keys before no more: one has leaked.")] = False,
) -> None:
    """Sign with a new key, in a minute; those before are accepted until the tokens signed with them have expired, which
    is an hour unless `orderlog token --ttl` made longer ones: then say --keep."""
    if keep and at_once:
        raise CannotStart("--keep and --at-once contradict each other; give one")
    overlap = _duration("--keep", keep) if keep else timedelta() if at_once else LIFETIME

    async def work(connection: psycopg.AsyncConnection[Any]) -> Any:
        await keys.rotate(connection, overlap)
        return await read_keys(connection)

    with wiring.database(_own_issuer()) as url:
        _print_keys(uvloop.run(_connected(url, work)))


def _print_keys(known: list[SigningKey]) -> None:
    table = Table("key", "made", "signs from", "accepted until", box=None)
    for one in known:
        until = _time(one.accepted_until) if one.accepted_until else "the next rotation"
        table.add_row(one.kid, _time(one.made_at), _time(one.signs_from), until)
    console.print(table)


# What they share ---------------------------------------------------------------------------------------------


async def _connected(url: str, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await work(connection)


def _own_issuer() -> Settings:
    """Raises `CannotStart` where tokens are another issuer's, before anybody types a password."""
    settings = _settings()
    wiring.token_maker(settings, secret_key(settings))
    return settings


def _settings() -> Settings:
    settings = load_settings()
    logs.configure(settings.log_format)
    return settings


def _duration(option: str, text: str) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdecimal() or not 0 < int(number) < 100_000:  # noqa: PLR2004  no overflow
        raise CannotStart(f"{option} {text!r} is not a time such as 30m, 1h or 7d")
    return timedelta(**{units[unit]: int(number)})


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}"
