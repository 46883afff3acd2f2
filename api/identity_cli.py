"""The command line of the built-in issuer: accounts, keys, and tokens for whoever holds the installation.

As `cli.py`, this says what can be typed, and what came of it; what a command runs is loaded when it runs.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from api.roles import SCOPES, Role

if TYPE_CHECKING:
    from api.keys import SigningKey

SOME_ROLE = f"One of {', '.join(get_args(Role))}; give several one by one."
CUSTOMER = "Whose orders: with the role customer."


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
    from api import key_commands

    typer.echo(key_commands.token(role, customer, ttl))


# Users and clients -------------------------------------------------------------------------------------------


@_user.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="What the user signs in with, such as an email address.")],
    role: Annotated[list[str], typer.Option(help=SOME_ROLE)],
    customer: Annotated[str | None, typer.Option(metavar="ID", help=CUSTOMER)] = None,
) -> None:
    """Add a user. The password is asked for, or is the first line of standard input."""
    from api import account_commands

    added = account_commands.add_user(name, role, customer)
    typer.echo(f"{added.name} may sign in: {', '.join(added.roles)}.")


@_user.command("password")
def user_password(name: Annotated[str, typer.Argument()]) -> None:
    """Give a user another password. The tokens given out before end within a minute."""
    from api import account_commands

    account_commands.set_password(name)
    typer.echo(f"{name} has another password.")


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
    from api import account_commands

    typer.echo(account_commands.add_client(name, role, customer, scope))


@_client.command("secret")
def client_secret(name: Annotated[str, typer.Argument()]) -> None:
    """Print another secret for a client; the one before is good no longer."""
    from api import account_commands

    typer.echo(account_commands.new_secret(name))


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


def _set_active(kind: Literal["user", "client"], name: str, *, active: bool) -> None:
    from api import account_commands

    account_commands.set_active(kind, name, active=active)
    typer.echo(f"{name} is {'active' if active else 'not active'} now.")


def _print_accounts(kind: Literal["user", "client"]) -> None:
    from api import account_commands

    rows = [
        (
            one.name,
            ", ".join(one.roles),
            one.customer_id or "",
            " ".join(one.scopes),
            "yes" if one.active else "no",
            _time(one.changed_at),
            one.changed_by,
        )
        for one in account_commands.listed(kind)
    ]
    _print_table(("name", "roles", "customer", "scopes", "active", "changed", "by"), rows)


# Keys --------------------------------------------------------------------------------------------------------


@_keys.command("list")
def keys_list() -> None:
    """Print the keys that are accepted, the newest last."""
    from api import key_commands

    _print_keys(key_commands.known())


@_keys.command("rotate")
def keys_rotate(
    keep: Annotated[str, typer.Option(help="How long the keys before are accepted after it, such as 2h or 7d.")] = "",
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="Accept the keys before no more: one has leaked.")] = False,
) -> None:
    """Sign with a new key, in a minute; those before are accepted until the tokens signed with them have expired, which
    is an hour unless `orderlog token --ttl` made longer ones: then say --keep."""
    from api import key_commands

    _print_keys(key_commands.rotate(keep, at_once=at_once))


def _print_keys(known: "Iterable[SigningKey]") -> None:
    rows = [
        (
            one.kid,
            _time(one.made_at),
            _time(one.signs_from),
            _time(one.accepted_until) if one.accepted_until else "the next rotation",
        )
        for one in known
    ]
    _print_table(("key", "made", "signs from", "accepted until"), rows)


# What they share ---------------------------------------------------------------------------------------------


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}"
