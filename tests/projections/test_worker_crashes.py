"""Workers that are killed, join and leave, and lose their servers: the tables are the fold of the log all the same."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide, until
from tests.projections.topics import Topics
from tests.services.kafka import Broker
from tests.services.postgres import Postgres


@pytest.fixture
def dice() -> random.Random:
    """Shown with a test that fails."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    return random.Random(seed)


async def test_a_worker_killed_at_any_moment_leaves_true_tables(read_side: ReadSide, dice: random.Random) -> None:
    await read_side.record([*a_catalogue(), *lives(400, dice)])
    for _ in range(3 if read_side.topics else 8):
        async with a_process(read_side, largest=60) as process:
            before = progress(read_side)
            await until(lambda before=before: progress(read_side) == before)  # type: ignore[misc]
            await asyncio.sleep(dice.random() / 10)
            process.kill()
        await read_side.record(lives(50, dice))
    async with a_process(read_side, largest=60):
        await read_side.shows_everything()


async def test_workers_join_and_leave_and_are_killed_while_events_come(
    read_side: ReadSide, dice: random.Random
) -> None:
    await read_side.record([*a_catalogue(), *lives(300, dice)])
    async with a_process(read_side, largest=50):
        for number in range(3):
            async with a_process(read_side, largest=50) as other:
                await read_side.record(lives(100, dice))
                await asyncio.sleep(0.5 + dice.random())
                if number % 2:
                    other.kill()
                else:
                    other.terminate()
        await read_side.shows_everything(within=60)


async def test_a_postgresql_that_restarts_is_waited_for(restartable_postgres: Postgres, dice: random.Random) -> None:
    restartable_postgres.start()
    url = restartable_postgres.create_database()
    side = ReadSide(url)
    await side.record([*a_catalogue(), *lives(500, dice)])
    async with side.working(largest=50) as worker:
        await asyncio.sleep(0.3 * dice.random())
        await asyncio.to_thread(restartable_postgres.restart)
        await asyncio.sleep(0.3 * dice.random())
        await asyncio.to_thread(restartable_postgres.kill)
        await until(lambda: worker.problem is None)  # a worker with nothing to do looks once a second
        await asyncio.to_thread(restartable_postgres.start)
        await side.shows_everything()
        await side.record(lives(50, dice))
        await side.shows_everything()
        await until(lambda: worker.problem)
    side.log.close()


async def test_a_kafka_that_restarts_is_waited_for(
    restartable_broker: Broker, database_url: str, dice: random.Random
) -> None:
    restartable_broker.start()
    side = ReadSide(database_url, Topics(restartable_broker.bootstrap_servers))
    await side.record([*a_catalogue(), *lives(500, dice)])
    async with side.working(largest=50):
        await asyncio.sleep(1)
        await asyncio.to_thread(restartable_broker.restart)
        await side.record(lives(50, dice))
        await side.shows_everything(within=60)
        await asyncio.to_thread(restartable_broker.kill)
        await asyncio.to_thread(restartable_broker.start)
        await side.record(lives(50, dice))
        await side.shows_everything(within=60)
    side.log.close()


@asynccontextmanager
async def a_process(side: ReadSide, largest: int) -> AsyncIterator["subprocess.Popen[bytes]"]:
    kafka = [side.topics.bootstrap_servers, side.topics.prefix] if side.topics else []
    command = [sys.executable, "-m", "tests.projections.worker_process", side.url, str(largest), *kafka]
    process = subprocess.Popen(command)  # noqa: ASYNC220  it returns at once
    try:
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


def progress(side: ReadSide) -> int:
    with psycopg.connect(side.url) as connection:
        row = connection.execute("SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints").fetchone()
    assert row is not None
    return int(row[0])
