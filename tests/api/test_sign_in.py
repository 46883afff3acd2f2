"""Guessing is slow, for everybody but the one who is not guessing."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from argon2 import extract_parameters
from psycopg_pool import AsyncConnectionPool

from api.accounts import Accounts, NewUser
from api.errors import Problem
from api.passwords import AT_ONCE, LONGEST_PASSWORD, Passwords
from api.sign_in import FORGET_ATTEMPTS, FREE, NotAccepted, SignIn, TooEarly
from projections.migrate import migrate
from tests.api.edge import SECRET

PASSWORD = "correct horse battery staple"
WRONG = "wrong horse battery staple"
HOME, ELSEWHERE = "192.0.2.1", "203.0.113.9"


@asynccontextmanager
async def a_process(url: str, **cost: int) -> AsyncIterator[SignIn]:
    """As each API process has one."""
    passwords = Passwords(**({"time": 1, "memory": 8} | cost))
    async with AsyncConnectionPool(url, min_size=1, max_size=8, open=False, kwargs={"autocommit": True}) as pool:
        yield SignIn(Accounts(pool, passwords), SECRET)
    passwords.close()


@pytest.fixture
async def sign_in(database_url: str) -> AsyncIterator[SignIn]:
    """One process, and a user called alice."""
    migrate(database_url)
    async with a_process(database_url) as one:
        await one.accounts.add_user(NewUser(name="alice", password=PASSWORD, roles=["staff"]), "test")
        yield one


async def failed(sign_in: SignIn, name: str = "alice", address: str = ELSEWHERE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(NotAccepted):
            await sign_in.user(name, WRONG, address)


async def wait(sign_in: SignIn, name: str = "alice", password: str = WRONG, address: str = ELSEWHERE) -> float:
    """The seconds that an attempt that comes too early is told."""
    with pytest.raises(TooEarly) as early:
        await sign_in.user(name, password, address)
    return early.value.seconds


async def pass_by(sign_in: SignIn, seconds: float) -> None:
    """Let so much time have passed, for the counts."""
    url = sign_in.accounts.pool.conninfo
    assert isinstance(url, str)
    moved = "UPDATE identity.attempts SET not_before = not_before - %(past)s, at = at - %(past)s"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(moved.replace("%(past)s", f"interval '{seconds} seconds'").encode())


@pytest.mark.parametrize("name", ["alice", "nobody"])
async def test_after_some_failures_each_one_doubles_the_delay_up_to_a_minute(sign_in: SignIn, name: str) -> None:
    await failed(sign_in, name, times=FREE)
    told = []
    for _ in range(9):
        await failed(sign_in, name)
        told.append(round(await wait(sign_in, name)))
        await pass_by(sign_in, told[-1] + 1)

    assert told == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_an_attempt_that_comes_too_early_does_not_prolong_the_delay(sign_in: SignIn) -> None:
    await failed(sign_in, times=FREE + 1)
    first = await wait(sign_in)
    for _ in range(20):
        assert await wait(sign_in, password=PASSWORD) <= first


async def test_the_right_password_is_accepted_after_the_delay_and_ends_it(sign_in: SignIn) -> None:
    await failed(sign_in, times=FREE + 1)
    await pass_by(sign_in, 2)

    assert (await sign_in.user("alice", PASSWORD, ELSEWHERE)).name == "alice"

    await failed(sign_in, times=FREE)


async def test_who_guesses_elsewhere_does_not_delay_the_owner_where_she_signed_in_before(sign_in: SignIn) -> None:
    await sign_in.user("alice", PASSWORD, HOME)
    await failed(sign_in, times=FREE + 1)
    await wait(sign_in, password=PASSWORD)

    assert (await sign_in.user("alice", PASSWORD, HOME)).name == "alice"
    await wait(sign_in)


async def test_the_owner_is_delayed_where_she_signed_in_before_for_her_own_failures(sign_in: SignIn) -> None:
    await sign_in.user("alice", PASSWORD, HOME)
    await failed(sign_in, address=HOME, times=FREE + 1)

    assert 0 < await wait(sign_in, address=HOME) <= 1


async def test_a_thousand_guesses_at_once_are_not_a_thousand_free_ones(sign_in: SignIn, database_url: str) -> None:
    async with a_process(database_url) as other:
        attempts = [one.user("alice", WRONG, ELSEWHERE) for _ in range(50) for one in (sign_in, other)]
        ended = await asyncio.gather(*attempts, return_exceptions=True)

    looked_at = [one for one in ended if isinstance(one, NotAccepted)]
    assert len(looked_at) == FREE + 1
    assert sum(isinstance(one, TooEarly) for one in ended) == 100 - FREE - 1


async def test_every_process_knows_the_delay(sign_in: SignIn, database_url: str) -> None:
    await failed(sign_in, times=FREE + 1)

    async with a_process(database_url) as other:
        await wait(other, password=PASSWORD)


async def test_failures_are_forgotten_after_an_hour(sign_in: SignIn) -> None:
    await failed(sign_in, times=FREE + 1)
    await pass_by(sign_in, 3_601)
    async with sign_in.accounts.pool.connection() as connection:
        await connection.execute(FORGET_ATTEMPTS)

    await failed(sign_in, times=FREE + 1)


async def test_neither_names_nor_addresses_that_were_tried_are_kept_as_they_are(sign_in: SignIn) -> None:
    await failed(sign_in, "my password, typed in the wrong field")
    await sign_in.user("alice", PASSWORD, HOME)
    async with sign_in.accounts.pool.connection() as connection:
        for table in (b"attempts", b"places"):
            kept = await (await connection.execute(b"SELECT * FROM identity." + table)).fetchall()
            assert kept
            assert not [value for row in kept for value in row if isinstance(value, str)]
            assert b"password" not in repr(kept).encode()
            assert HOME.encode() not in repr(kept).encode()


# Hashes ------------------------------------------------------------------------------------------------------


async def test_passwords_cost_what_rfc_9106_asks() -> None:
    passwords = Passwords()

    parameters = extract_parameters(await passwords.hashed(PASSWORD))

    assert parameters.type.name == "ID"
    assert (parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (3, 65_536, 1)
    passwords.close()


async def test_a_password_that_is_too_long_to_be_one_is_not_hashed(sign_in: SignIn) -> None:
    sign_in.accounts.passwords.close()  # nothing can be hashed any more

    with pytest.raises(NotAccepted):
        await sign_in.user("alice", "x" * (LONGEST_PASSWORD + 1), HOME)
    with pytest.raises(RuntimeError):
        await sign_in.user("alice", "x" * LONGEST_PASSWORD, HOME)


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(database_url: str) -> None:
    migrate(database_url)
    async with a_process(database_url, time=2, memory=16_384) as sign_in:
        names = [f"user-{number}" for number in range(12)]
        for name in names:
            await sign_in.accounts.add_user(NewUser(name=name, password=PASSWORD, roles=["staff"]), "test")
        known, unknown = [], []
        for name in names:
            known.append(await took(sign_in, name))
            unknown.append(await took(sign_in, f"no-{name}"))

    assert 0.5 < statistics.median(unknown) / statistics.median(known) < 2


async def took(sign_in: SignIn, name: str) -> float:
    start = time.perf_counter()
    await failed(sign_in, name)
    return time.perf_counter() - start


@pytest.mark.usefixtures("sign_in")
async def test_a_hash_of_another_cost_is_made_anew_at_the_next_sign_in(database_url: str) -> None:
    async with a_process(database_url, time=2) as dearer:
        before = await dearer.accounts.find("user", "alice")
        await dearer.user("alice", PASSWORD, HOME)
        after = await dearer.accounts.find("user", "alice")

        assert before is not None
        assert after is not None
        assert ("t=1" in before.secret, "t=2" in after.secret) == (True, True)
        assert after.generation == before.generation
        assert (await dearer.user("alice", PASSWORD, HOME)).name == "alice"


async def test_the_event_loop_goes_on_while_a_password_is_hashed() -> None:
    passwords = Passwords()
    hashing = asyncio.create_task(passwords.hashed(PASSWORD))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    passwords.close()

    assert turns > 100


async def test_only_so_many_hashes_are_made_at_once_and_only_so_many_wait() -> None:
    passwords = Passwords(waiting=3)
    ended = await asyncio.gather(*(passwords.hashed(PASSWORD) for _ in range(10)), return_exceptions=True)
    passwords.close()

    refused = [one for one in ended if isinstance(one, Problem)]
    assert len(refused) == 10 - AT_ONCE - 3
    assert {(one.status, one.code) for one in refused} == {(503, "busy")}
    assert passwords._threads._max_workers == AT_ONCE
