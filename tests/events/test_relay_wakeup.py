"""A waiter wakes when it should, also for what came before it waited or while the connection was lost."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from events.wakeup import Listening
from tests.services.postgres import Postgres

CHANNEL = "news"

SESSIONS_THAT_LISTEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = %s"
"""How many sessions asked for that last."""


def notify(url: str, channel: str = CHANNEL) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"NOTIFY {channel}")


async def test_a_notification_wakes_the_waiter(database_url: str) -> None:
    async with Listening(database_url, CHANNEL) as listening:
        wakeup = listening.waiter()
        assert await wakeup.wait(5)  # it listens now
        waiter = asyncio.create_task(wakeup.wait(5))
        await asyncio.sleep(0.1)
        assert not waiter.done()

        await asyncio.to_thread(notify, database_url)

        assert await waiter


async def test_a_notification_from_before_the_wait_is_not_missed(database_url: str) -> None:
    async with Listening(database_url, CHANNEL) as listening:
        wakeup = listening.waiter()
        assert await wakeup.wait(5)
        await asyncio.to_thread(notify, database_url)
        while not wakeup._news.is_set():  # noqa: ASYNC110  it must have come before the wait
            await asyncio.sleep(0.01)

        assert await wakeup.wait(0)
        assert not await wakeup.wait(0)


async def test_without_a_notification_the_time_passes(database_url: str) -> None:
    async with Listening(database_url, CHANNEL) as listening:
        wakeup = listening.waiter()
        assert await wakeup.wait(5)
        await asyncio.to_thread(notify, database_url, "other_news")
        start = time.monotonic()

        assert not await wakeup.wait(0.3)
        assert time.monotonic() - start >= 0.3


async def test_all_waiters_are_woken_over_one_connection(database_url: str) -> None:
    async with Listening(database_url, CHANNEL) as listening:
        waiters = [listening.waiter() for _ in range(3)]
        for one in waiters:
            assert await one.wait(5)
        waiters.append(listening.waiter())
        assert await waiters[-1].wait(0.5), "it looks at once, since there is a connection already"

        await asyncio.to_thread(notify, database_url)

        assert [await one.wait(5) for one in waiters] == [True] * 4
        with psycopg.connect(database_url) as connection:
            assert connection.execute(SESSIONS_THAT_LISTEN, (f'LISTEN "{CHANNEL}"',)).fetchone() == (1,)


@pytest.mark.parametrize("end", [Postgres.restart, lambda server: (server.kill(), server.start())])
async def test_it_listens_again_after_postgres_was_away(
    restartable_postgres: Postgres, end: Callable[[Postgres], None]
) -> None:
    restartable_postgres.start()
    url = restartable_postgres.create_database()
    async with Listening(url, CHANNEL) as listening:
        wakeup = listening.waiter()
        assert await wakeup.wait(5)

        await asyncio.to_thread(end, restartable_postgres)

        assert await wakeup.wait(10), "what came while it was away may be lost, so it wakes"
        assert not await wakeup.wait(0.2)
        await asyncio.to_thread(notify, url)
        assert await wakeup.wait(5)
