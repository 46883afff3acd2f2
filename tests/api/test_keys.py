"""Keys that are rotated: with overlap, in every process, and at once when one has leaked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import jwt
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from api.auth import Caller
from api.errors import Problem
from api.keys import FIRST, KNOWN_BY_ALL, LONG_AGO, Keyring, SigningKey, derived, read_keys, rotate
from api.standing import Standing
from api.tokens import LIFETIME, Tokens
from projections.migrate import migrate
from tests.api.edge import ALICE, SECRET


class Process:
    """What one API process believes."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.tokens = Tokens(SECRET, issuer="orderlog", audience="orderlog")
        self.standing = Standing(pool, self.tokens)

    def issue(self) -> str:
        return self.tokens.issue(ALICE, ["customer"])

    async def believes(self, token: str) -> Caller:
        return await self.tokens.verify(f"Bearer {token}".encode())

    async def refuses(self, token: str) -> None:
        with pytest.raises(Problem) as refused:
            await self.believes(token)
        assert refused.value.status == 401


@asynccontextmanager
async def processes(url: str, count: int = 2) -> AsyncIterator[list[Process]]:
    async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}) as pool:
        started = [Process(pool) for _ in range(count)]
        for one in started:
            await one.standing.look()
        yield started


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    migrate(database_url)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as one:
        yield one


async def pass_by(connection: psycopg.AsyncConnection, time: timedelta) -> None:
    """Let so much time have passed, for the keys."""
    earlier = "signs_from = signs_from - %(time)s, accepted_until = accepted_until - %(time)s"
    await connection.execute(f"UPDATE identity.signing_keys SET {earlier}".encode(), {"time": time})


async def test_an_installation_begins_with_a_key_that_needs_no_database(connection: psycopg.AsyncConnection) -> None:
    (first,) = await read_keys(connection)

    assert (first.kid, first.accepted_until) == (FIRST, None)
    assert Keyring(SECRET).signing() == Keyring(SECRET)._keys[first.kid]


async def test_a_new_key_signs_when_every_process_knows_it(
    connection: psycopg.AsyncConnection, database_url: str
) -> None:
    async with processes(database_url) as (early, late):
        before = late.issue()
        new = await rotate(connection, LIFETIME)
        await early.standing.look()

        assert kid(early.issue()) == FIRST
        await late.believes(early.issue())
        await pass_by(connection, KNOWN_BY_ALL)
        for one in (early, late):
            await one.standing.look()
            assert kid(one.issue()) == new.kid
        await late.believes(early.issue())
        await early.believes(before)


async def test_a_key_before_is_accepted_until_its_last_token_has_expired(
    connection: psycopg.AsyncConnection, database_url: str
) -> None:
    async with processes(database_url) as (one, _):
        before = one.issue()
        await one.believes(before)
        await rotate(connection, LIFETIME)
        await one.standing.look()
        await one.believes(before)

        await pass_by(connection, KNOWN_BY_ALL + LIFETIME)
        await one.standing.look()

        await one.refuses(before)
        assert len(await read_keys(connection)) == 1


async def test_the_overlap_begins_when_the_new_key_signs(connection: psycopg.AsyncConnection) -> None:
    new = await rotate(connection, LIFETIME)
    before, _ = await read_keys(connection)

    assert before.accepted_until == new.signs_from + LIFETIME


async def test_a_remembered_token_ends_with_its_key_even_between_two_looks() -> None:
    tokens = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    soon = datetime.now(UTC) + timedelta(seconds=300)
    tokens.ring.hold([SigningKey(FIRST, LONG_AGO, LONG_AGO, accepted_until=soon)])

    verified = await tokens.verify_token(tokens.issue(ALICE, ["customer"]))

    assert verified.expires == soon.timestamp()


async def test_a_key_that_leaked_is_believed_no_more_after_one_look(
    connection: psycopg.AsyncConnection, database_url: str
) -> None:
    async with processes(database_url) as (one, other):
        before = one.issue()
        for process in (one, other):
            await process.believes(before)
        new = await rotate(connection, timedelta())
        for process in (one, other):
            await process.standing.look()
            await process.refuses(before)
            assert kid(process.issue()) == new.kid
        await other.believes(one.issue())


async def test_a_second_rotation_gives_no_key_a_longer_life(connection: psycopg.AsyncConnection) -> None:
    await rotate(connection, timedelta(hours=1))
    (first, _) = await read_keys(connection)
    await rotate(connection, timedelta(days=7))
    again, *rest = await read_keys(connection)

    assert again == first
    assert len(rest) == 2
    assert rest[-1].accepted_until is None


def test_keys_are_derived_from_secret_and_name_and_from_nothing_else() -> None:
    keys = {derived(secret, name) for secret in (SECRET, b"x" * 32) for name in ("1", "2")}

    assert len(keys) == 4
    assert derived(SECRET, "1") in keys
    assert SECRET not in keys


async def test_the_database_holds_no_secret(connection: psycopg.AsyncConnection) -> None:
    new = await rotate(connection, LIFETIME)
    rows = await (await connection.execute("SELECT signing_keys::text FROM identity.signing_keys")).fetchall()

    secrets = [form for name in (FIRST, new.kid) for key in [derived(SECRET, name)] for form in (key.hex(), str(key))]
    assert len(rows) == 2
    assert not [secret for secret in [*secrets, SECRET.decode()] for (row,) in rows if secret in row]


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])
