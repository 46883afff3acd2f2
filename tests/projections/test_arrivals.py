"""What a projection is said to have seen, it has seen; and who waits for it is woken."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from events.codec import Row
from events.envelope import key_of, kind_of
from events.topics import partition_of
from events.wakeup import Listening
from projections.arrivals import CHUNK, Arrivals
from projections.catalogue import PROJECTIONS
from projections.worker import CHANGES
from tests.projections.lives import lives, the_life_of_an_order
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide, until
from tests.projections.topics import Topics
from tests.services.kafka import Cluster

PARTITIONS = 6

CHECKPOINT = """
INSERT INTO checkpoints (projection, source, partition, next_offset, position) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (projection, source, partition) DO UPDATE SET position = excluded.position
"""
"""As a worker would have left it."""


@asynccontextmanager
async def watched(url: str, *, poll: float = 60) -> AsyncIterator[Arrivals]:
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=2, open=False) as pool,
        Listening(url, CHANGES) as listening,
    ):
        arrivals = Arrivals(listening.waiter(), pool, PROJECTIONS, partitions=PARTITIONS, poll=poll)
        arrivals.start()
        yield arrivals
        await arrivals.stop()


def orders_in(url: str, table: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {str(row[0]) for row in connection.execute(f"SELECT order_id FROM {table}")}


async def test_who_waits_is_woken_when_it_is_there_and_not_before(read_side: ReadSide) -> None:
    await read_side.record([*a_catalogue(), *lives(30, random.Random(1))])
    orders = {key_of(row[0]) for row in read_side.rows if kind_of(row[0]) == "order"}
    head = read_side.rows[-1][2]
    async with watched(read_side.url) as arrivals:
        waiting = {name: asyncio.create_task(arrivals.reached(name, head, 60)) for name in PROJECTIONS}
        assert not await arrivals.reached("order_list", head, 0.3)
        assert not any(task.done() for task in waiting.values())
        async with read_side.working():
            assert await waiting["order_list"]
            assert orders_in(read_side.url, "order_list") == orders
            assert await waiting["timeline"]
            assert orders_in(read_side.url, "timeline") == orders
            assert all(await asyncio.gather(*waiting.values()))
        assert arrivals.waiting == 0
        assert set((await arrivals.horizons(head)).values()) == {head}


async def test_who_waits_for_one_stream_does_not_wait_for_others(broker: Cluster, database_url: str) -> None:
    side = ReadSide(database_url, Topics(broker.bootstrap_servers))
    await side.record([*a_catalogue(), *lives(10, random.Random(2))])
    behind = side.rows[-1][0]
    others = [row for row in side.rows if kind_of(row[0]) == "order" and partition(row) != partition(side.rows[-1])]
    async with side.working(), watched(database_url) as arrivals:
        await side.shows_everything()
        checkpoint(database_url, "timeline", {partition_of(key_of(behind).encode(), PARTITIONS): 0})

        assert await arrivals.reached("timeline", others[-1][2], 0, stream=others[-1][0])
        assert not await arrivals.reached("timeline", side.rows[-1][2], 0, stream=behind)
        assert not await arrivals.reached("timeline", side.rows[-1][2], 0)
    side.log.close()


async def test_partitions_without_events_hold_nobody_up(broker: Cluster, database_url: str) -> None:
    side = ReadSide(database_url, Topics(broker.bootstrap_servers))
    await side.record(the_life_of_an_order(random.Random(3)))
    async with side.working(), watched(database_url) as arrivals:
        for name in PROJECTIONS:
            assert await arrivals.reached(name, side.rows[-1][2], 60), name
    side.log.close()


async def test_what_came_from_the_log_before_kafka_took_over_counts(broker: Cluster, database_url: str) -> None:
    side = ReadSide(database_url)
    await side.record([*a_catalogue(), *lives(10, random.Random(4))])
    async with side.working():
        await side.shows_everything()
    side.topics = Topics(broker.bootstrap_servers)
    await side.topics.publish(side.rows)
    async with side.working(), watched(database_url) as arrivals:
        await until(lambda: still_on_the_log(database_url))
        assert await arrivals.reached("order_list", side.rows[-1][2], 0)
        await side.record(lives(10, random.Random(5)))
        assert await arrivals.reached("order_list", side.rows[-1][2], 60)
    side.log.close()


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_checkpoints_are_what_was_seen_is_told_exactly(on_the_log: ReadSide, seed: int) -> None:
    """Against the definition: position by position, over more of the log than is looked at at once."""
    dice = random.Random(seed)
    rows = await on_the_log.record([*a_catalogue(), *lives(400, dice)])
    assert len(rows) > 4 * CHUNK
    everywhere = {
        at: dice.choice([len(rows), dice.randrange(len(rows) * seed // 5, len(rows))]) for at in range(PARTITIONS)
    }
    async with watched(on_the_log.url) as arrivals:
        for name, projection in PROJECTIONS.items():
            events = [row for row in rows if kind_of(row[0]) == projection.kind]
            seen = everywhere | dict.fromkeys(set(range(PARTITIONS)) - {partition(row) for row in events}, 0)
            checkpoint(on_the_log.url, name, seen)
            unseen = [row[2] for row in events if row[2] > seen[partition(row)]]
            horizon = min(unseen, default=len(rows) + 1) - 1
            for position in {horizon, min(horizon + 1, len(rows)), *dice.sample(range(1, len(rows)), 20)}:
                assert await arrivals.reached(name, position, 0) == (position <= horizon), (name, position, horizon)
            assert (await arrivals.horizons(len(rows)))[name] == horizon
            waits = [arrivals.reached(name, position, 5) for position in range(1, horizon + 1, 50)]
            assert all(await asyncio.gather(*waits))


async def test_a_checkpoint_that_went_back_in_a_crash_is_believed(on_the_log: ReadSide) -> None:
    rows = await on_the_log.record([*a_catalogue(), *lives(20, random.Random(6))])
    async with watched(on_the_log.url) as arrivals:
        checkpoint(on_the_log.url, "order_list", dict.fromkeys(range(PARTITIONS), len(rows)))
        assert await arrivals.reached("order_list", len(rows), 0)
        checkpoint(on_the_log.url, "order_list", dict.fromkeys(range(PARTITIONS), len(rows) // 2))
        assert not await arrivals.reached("order_list", len(rows), 0)


async def test_who_waits_when_the_process_ends_is_told_at_once(on_the_log: ReadSide) -> None:
    await on_the_log.record(a_catalogue())
    async with watched(on_the_log.url) as arrivals:
        waiting = [asyncio.create_task(arrivals.reached("order_list", 1, 600)) for _ in range(10)]
        await asyncio.sleep(0)
        await arrivals.stop()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 30) == [False] * 10


def partition(row: Row) -> int:
    return partition_of(key_of(row[0]).encode(), PARTITIONS)


def checkpoint(url: str, projection: str, positions: dict[int, int]) -> None:
    source = "orders" if projection != "stock_levels" else "products"
    with psycopg.connect(url) as connection:
        known = connection.execute("SELECT DISTINCT source FROM checkpoints WHERE projection = %s", (projection,))
        sources = [row[0] for row in known if row[0] != "log"] or [source]
        for at, position in positions.items():
            connection.execute(CHECKPOINT, (projection, sources[0], at, position, position))


def still_on_the_log(url: str) -> list[str]:
    """The projections that still follow the log."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT projection FROM checkpoints WHERE source = 'log' AND next_offset >= 0")
        return [row[0] for row in found]
