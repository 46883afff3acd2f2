"""Answers to idempotency keys are kept for a week, then removed in small steps that hold nobody up."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from events.expiry import BEGIN, ELECT, INDEX_IS_USABLE, REMOVE, TASK, Expiry
from events.log import Log
from tests.commands.asking import asking, read, request
from tests.commands.test_processor import lock_waited_for
from tests.examples import list_cup, place_order, wanted
from tests.services.postgres import Postgres

WEEK = timedelta(days=7)

OLD = """
INSERT INTO answers (key, fingerprint, answer, position, recorded_at)
SELECT gen_random_uuid(), gen_random_uuid(), '', number, now() - %s - number * interval '1 second'
FROM generate_series(1, %s) AS number
"""
"""So many answers that are a second older each than a time."""


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with closing(Log(database_url)) as log:
        log.create()
        yield log


def after(passed: timedelta, log: Log, step: int = 10) -> Expiry:
    """What removes answers when so much time has passed."""
    return Expiry(log.url, WEEK, now=lambda: datetime.now(UTC) + passed, step=step)


def kept(database: psycopg.Connection) -> int:
    return one(database, "SELECT count(*)::int FROM answers")


def one(database: psycopg.Connection, question: str) -> int:
    found = database.execute(question).fetchone()
    assert found is not None
    return int(found[0])


async def test_a_key_is_known_for_a_week_and_new_after_it(log: Log) -> None:
    once = request(place_order(wanted("CUP", 1)), "key")
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        first = await ask.processor.submit(once)
        early = await after(WEEK - timedelta(minutes=5), log).sweep()
        replayed = await ask.processor.submit(once)
        due = await after(WEEK + timedelta(minutes=5), log).sweep()
        anew = await ask.processor.submit(once)
    assert (early, due) == (0, 1)
    assert replayed == replace(first, replayed=True)
    assert (anew.replayed, read(anew).code) == (False, "order-exists")


async def test_what_is_due_is_removed_in_steps_and_nothing_else(log: Log) -> None:
    expiry = after(timedelta(), log)
    assert await expiry.sweep() == 0
    with psycopg.connect(log.url, autocommit=True) as database:
        database.execute(OLD, (WEEK, 25))
        database.execute(OLD, (WEEK - timedelta(hours=1), 3))
        before = one(database, "SELECT pg_current_xact_id()::text")
        removed = await expiry.sweep()
        transactions = one(database, "SELECT pg_current_xact_id()::text") - before - 1
        assert (removed, kept(database)) == (25, 3)
        assert transactions == 3, "ten, ten and five"


async def test_answers_of_one_moment_are_removed_though_a_step_ends_among_them(log: Log) -> None:
    """Those of one batch of commands have one time."""
    with psycopg.connect(log.url, autocommit=True) as database:
        database.execute(OLD, (WEEK, 25))
        database.execute("UPDATE answers SET recorded_at = now() - interval '8 days'")
        assert await after(timedelta(), log).sweep() == 25
        assert kept(database) == 0


async def test_a_step_goes_by_the_index(log: Log) -> None:
    await after(timedelta(), log).sweep()
    with psycopg.connect(log.url, autocommit=True) as database:
        database.execute(OLD, (timedelta(), 5_000))
        database.execute("ANALYZE answers")
        bounds = {"since": BEGIN, "until": datetime.now(UTC) - WEEK, "step": 1_000}
        plan = "\n".join(row[0] for row in database.execute(f"EXPLAIN {REMOVE}", bounds))
    assert "using answers_recorded_at on answers" in plan
    assert "Tid Scan on answers" in plan
    assert "Seq Scan" not in plan


async def test_commands_go_on_while_the_index_is_made_on_a_table_that_has_data(log: Log) -> None:
    """It waits for a transaction that writes answers; nobody waits for it."""
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        with psycopg.connect(log.url) as writing, psycopg.connect(log.url, autocommit=True) as database:
            database.execute(OLD, (WEEK, 25))
            writing.execute(OLD, (timedelta(), 1))
            sweeping = asyncio.create_task(after(timedelta(), log).sweep())
            await lock_waited_for(log.url)
            assert (await ask.one(place_order(wanted("CUP", 1), order_id=uuid4()), "key")).accepted
            assert not sweeping.done()
            writing.commit()
            assert await sweeping == 25
            assert one(database, INDEX_IS_USABLE)


async def test_an_index_that_was_not_finished_is_made_anew(log: Log) -> None:
    with psycopg.connect(log.url) as writing, psycopg.connect(log.url, autocommit=True) as database:
        writing.execute(OLD, (WEEK, 1))
        killed = asyncio.create_task(after(timedelta(), log).sweep())
        await lock_waited_for(log.url)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        assert not one(database, INDEX_IS_USABLE)
        writing.commit()
        assert await after(timedelta(), log).sweep() == 1
        assert one(database, INDEX_IS_USABLE)


async def test_one_process_removes_at_a_time(log: Log) -> None:
    with psycopg.connect(log.url, autocommit=True) as database:
        database.execute(OLD, (WEEK, 25))
        with psycopg.connect(log.url, autocommit=True) as other:
            other.execute(ELECT, (TASK,))
            assert await after(timedelta(), log).sweep() == 0
        async with asyncio.timeout(20):
            while not await after(timedelta(), log).sweep():  # noqa: ASYNC110  PostgreSQL frees the lock a moment later
                await asyncio.sleep(0.01)
        assert kept(database) == 0


async def test_commands_do_not_wait_for_a_removal_under_way(log: Log) -> None:
    await after(timedelta(), log).sweep()
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        with psycopg.connect(log.url) as removing:
            removing.execute(OLD, (WEEK, 25))
            removing.commit()
            removing.execute(REMOVE, {"since": BEGIN, "until": datetime.now(UTC) - WEEK, "step": 25})
            placing = ask.one(place_order(wanted("CUP", 1), order_id=uuid4()), "key")
            assert (await asyncio.wait_for(placing, 20)).accepted


async def test_a_database_that_goes_away_is_waited_for(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    with closing(Log(restartable_postgres.create_database())) as log:
        log.create()
        running = asyncio.create_task(Expiry(log.url, timedelta(seconds=1)).run())
        await outlived(log.url)
        await asyncio.to_thread(restartable_postgres.kill)
        with capture_logs() as lines:
            async with asyncio.timeout(60):
                while not any("waits for the database" in line["event"] for line in lines):  # noqa: ASYNC110  what it says is all there is
                    await asyncio.sleep(0.01)
        await asyncio.to_thread(restartable_postgres.start)
        await outlived(log.url)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def outlived(url: str) -> None:
    """Wait until an answer that is kept no longer has gone, which is looked for oftener than once a minute."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(OLD, (WEEK, 1))
        async with asyncio.timeout(40):
            while kept(database):  # noqa: ASYNC110  what ends the wait is in the database
                await asyncio.sleep(0.01)
