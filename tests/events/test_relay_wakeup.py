"""A waiter wakes when it should, also for what came before it waited or while the connection was lost."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from events.wakeup import Wakeup
from tests.services.postgres import Postgres

CHANNEL = "news"


def notify(url: str, channel: str = CHANNEL) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"NOTIFY {channel}")


async def test_a_notification_wakes_the_waiter(database_url: str) -> None:
    async with Wakeup(database_url, CHANNEL) as wakeup:
        assert await wakeup.wait(5)  # it listens now
        waiter = asyncio.create_task(wakeup.wait(5))
        await asyncio.sleep(0.1)
        assert not waiter.done()

        await asyncio.to_thread(notify, database_url)

        assert await waiter


async def test_a_notification_from_before_the_wait_is_not_missed(database_url: str) -> None:
    async with Wakeup(database_url, CHANNEL) as wakeup:
        assert await wakeup.wait(5)
        await asyncio.to_thread(notify, database_url)
        while not wakeup._news.is_set():  # noqa: ASYNC110  it must have come before the wait
            await asyncio.sleep(0.01)

        assert await wakeup.wait(0)
        assert not await wakeup.wait(0)


async def test_without_a_notification_the_time_passes(database_url: str) -> None:
    async with Wakeup(database_url, CHANNEL) as wakeup:
        assert await wakeup.wait(5)
        await asyncio.to_thread(notify, database_url, "other_news")
        start = time.monotonic()

        assert not await wakeup.wait(0.3)
        assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize("end", [Postgres.restart, lambda server: (server.kill(), server.start())])
async def test_it_listens_again_after_postgres_was_away(
    restartable_postgres: Postgres, end: Callable[[Postgres], None]
) -> None:
    restartable_postgres.start()
    url = restartable_postgres.create_database()
    async with Wakeup(url, CHANNEL) as wakeup:
        assert await wakeup.wait(5)

        await asyncio.to_thread(end, restartable_postgres)

        assert await wakeup.wait(10), "what came while it was away may be lost, so it wakes"
        assert not await wakeup.wait(0.2)
        await asyncio.to_thread(notify, url)
        assert await wakeup.wait(5)
