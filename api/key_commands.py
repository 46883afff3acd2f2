"""What the command line does with the keys of the built-in issuer: signs a token, lists them, makes another one.

It says nothing but what it is asked for, and loads as little: tokens are asked for again and again.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, cast, get_args

import uvloop
from psycopg import AsyncConnection

from api import keys
from api.keys import SigningKey, read_keys
from api.roles import Role
from api.settings import Settings, duration, load_settings, secret_key
from api.starting import CannotStart, identity_database
from api.tokens import LIFETIME, token_maker

T = TypeVar("T")


def token(role: str, customer: str | None, ttl: str) -> str:
    """A bearer token. Raises `CannotStart`, and what `load_settings` and `secret_key` raise."""
    if role not in get_args(Role):
        raise CannotStart(f"{role!r} is not a role; there are {', '.join(get_args(Role))}")
    if (role == "customer") != (customer is not None):
        raise CannotStart("a customer's token names the customer: --role customer --customer ID; no other one does")
    lifetime = _duration("--ttl", ttl)
    settings = load_settings()
    tokens = token_maker(settings, secret_key(settings))
    tokens.ring.hold(_connected(settings, read_keys))
    return tokens.issue(customer or role, [cast(Role, role)], lifetime)


def known() -> list[SigningKey]:
    """The keys that are accepted, the newest last."""
    return _connected(own_issuer(), read_keys)


def rotate(keep: str, *, at_once: bool) -> list[SigningKey]:
    """Sign with another key; return those that are accepted. The ones before are for as long as `keep` says."""
    if keep and at_once:
        raise CannotStart("--keep and --at-once contradict each other; give one")
    overlap = _duration("--keep", keep) if keep else timedelta() if at_once else LIFETIME

    async def work(connection: AsyncConnection[Any]) -> list[SigningKey]:
        await keys.rotate(connection, overlap)
        return await read_keys(connection)

    return _connected(own_issuer(), work)


def own_issuer() -> Settings:
    """Raises `CannotStart` where tokens are another issuer's, before anybody types a password."""
    settings = load_settings()
    token_maker(settings, secret_key(settings))
    return settings


def _connected(settings: Settings, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            return await work(connection)

    with identity_database(settings) as url:
        return uvloop.run(run(url))


def _duration(option: str, text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise CannotStart(f"{option} {error}") from None
