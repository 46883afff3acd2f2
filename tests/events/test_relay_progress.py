"""The relay says how far it is, to processes that have nothing to do with Kafka, and does not depend on being heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from random import Random

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from events import relay_progress
from events.log import Log
from events.relay import Relay
from events.relay_progress import NOTE, Noted, noted
from tests.events.test_relay import complaints, kafka, log, running, until
from tests.events.test_relay_reader import Appender, some_streams
from tests.services.kafka import Cluster

__all__ = ["complaints", "kafka", "log"]  # fixtures

END_OF_A_STANDBY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'SELECT pg_try_advisory_lock%' AND pid NOT IN (
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
)
"""
"""Ends the session of who waits to be elected."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_progress, "EVERY", 0.1)


@pytest.fixture
async def pool(log: Log) -> AsyncIterator[AsyncConnectionPool]:
    async with AsyncConnectionPool(log.url, min_size=1, max_size=1, open=False, kwargs={"autocommit": True}) as one:
        yield one


async def reads(pool: AsyncConnectionPool, so: Callable[[Noted], bool], within: float = 20) -> Noted:
    """What is noted, when it is so."""
    async with asyncio.timeout(within):
        while (found := await noted(pool)) is None or not so(found):  # noqa: ASYNC110  what ends the wait is in the database
            await asyncio.sleep(0.02)
    return found


async def test_a_relay_notes_how_far_it_is(kafka: Cluster, log: Log, pool: AsyncConnectionPool) -> None:
    assert await noted(pool) is None
    async with running(Relay(log, kafka.bootstrap_servers, largest_batch=100)) as relay:
        done = await reads(pool, lambda one: one.position == 1_200 and one.complete is not None)
        assert (done.events, done.seconds) == (0, 0)
        assert done.silent < 5
        with closing(Appender(log.url)) as appender:
            appender.append(some_streams(300, Random(2)))
        await reads(pool, lambda one: one.position == 1_500 and one.events == 0)
        await until(lambda: relay.position == 1_500)

    await reads(pool, lambda one: one.silent > 1)


async def test_what_is_not_published_is_told_with_how_long_it_has_waited(
    kafka: Cluster, log: Log, pool: AsyncConnectionPool
) -> None:
    with psycopg.connect(log.url) as connection:
        connection.execute("DELETE FROM events WHERE notification_id = 1101")
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_100)
        stuck = await reads(pool, lambda one: one.position == 1_100)
        later = await reads(pool, lambda one: one.silent < 1)

    assert (stuck.events, later.events) == (100, 100)
    assert stuck.complete is None, "it has never seen the end of the log"


async def test_a_relay_that_cannot_note_where_it_is_publishes_all_the_same(kafka: Cluster, log: Log) -> None:
    with psycopg.connect(log.url) as connection:
        connection.execute("DROP TABLE relay_progress")

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
        assert relay.leading
        assert relay.problem is None


async def test_nothing_is_noted_by_a_relay_that_does_not_know_where_to_go_on(
    kafka: Cluster, log: Log, pool: AsyncConnectionPool
) -> None:
    """It would be taken for one that has yet to publish the whole log."""
    async with running(Relay(log, kafka.bootstrap_servers)):
        await reads(pool, lambda one: one.position == 1_200)
    with psycopg.connect(log.url) as connection:
        connection.execute("DELETE FROM events WHERE notification_id > 1000")

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.leading and "restored to an older state" in (relay.problem or ""))
        found = await reads(pool, lambda one: one.silent > 3)

    assert found.position == 1_200


async def test_a_standby_that_lost_its_database_is_ready_again_when_it_has_it_back(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as leader:
        await until(lambda: leader.position == 1_200)
        async with running(Relay(log, kafka.bootstrap_servers)) as standby:
            with psycopg.connect(log.url, autocommit=True) as connection:
                await until(lambda: connection.execute(END_OF_A_STANDBY).fetchall() != [])
            await until(lambda: standby.problem is not None)
            await until(lambda: standby.problem is None)
            assert (leader.leading, standby.leading) == (True, False)


async def test_a_relay_that_has_yet_to_see_the_end_of_the_log_takes_nothing_back(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        for age in (40.0, None):
            await connection.execute(NOTE, {"position": 1_100, "age": age})

    found = await noted(pool)

    assert found is not None
    assert (found.position, found.events) == (1_100, 100)
    assert 40 <= found.seconds < 100
