"""The tables are the fold of the log, whatever happens to the workers; the same on the log and on Kafka."""

import asyncio
import random

import psycopg
import pytest

from projections.catalogue import PROJECTIONS
from projections.feed import CannotFollow, LogFeed, Slice
from projections.worker import Worker
from tests.commands.test_processor import lock_waited_for
from tests.projections.fold import ALL_TABLES, difference, folded, written
from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide, until
from tests.projections.topics import Topics
from tests.services.kafka import Cluster


async def test_the_tables_are_the_fold_of_the_log(read_side: ReadSide) -> None:
    await read_side.record([*a_catalogue(), *lives(300, random.Random(1))])
    async with read_side.working():
        await read_side.shows_everything()


async def test_what_happens_while_the_worker_runs_is_shown_too(read_side: ReadSide) -> None:
    dice = random.Random(2)
    await read_side.record(a_catalogue())
    async with read_side.working():
        for _ in range(5):
            await read_side.record(lives(10, dice))
            await asyncio.sleep(0.05)
        await read_side.shows_everything()


@pytest.mark.parametrize("name", PROJECTIONS)
async def test_each_projection_can_run_alone(on_the_log: ReadSide, name: str) -> None:
    await on_the_log.record([*a_catalogue(), *lives(50, random.Random(3))])
    tables = {table.name for table in PROJECTIONS[name].tables}
    expected = folded(on_the_log.rows, ALL_TABLES)
    expected = {table: rows if table in tables else {} for table, rows in expected.items()}
    async with on_the_log.working([PROJECTIONS[name]]):
        await until(lambda: difference(expected, written(on_the_log.url, ALL_TABLES)))


async def test_workers_with_different_projections_do_not_disturb_each_other(read_side: ReadSide) -> None:
    await read_side.record([*a_catalogue(), *lives(100, random.Random(4))])
    first, *others = PROJECTIONS.values()
    async with read_side.working([first], group="-1"), read_side.working(others, group="-2"):
        await read_side.shows_everything()


async def test_a_projection_that_joins_later_reads_from_the_beginning_and_the_others_nothing_twice(
    read_side: ReadSide,
) -> None:
    await read_side.record([*a_catalogue(), *lives(100, random.Random(5))])
    first, *others = PROJECTIONS.values()
    async with read_side.working(others, largest=100):
        await until(lambda: not written(read_side.url)["daily_sales"])
    async with read_side.working([first, *others], largest=100):
        await read_side.shows_everything()


@pytest.mark.parametrize("late", ["daily_sales", "stock_levels"])
async def test_of_a_batch_each_projection_takes_what_it_has_not_seen(on_the_log: ReadSide, late: str) -> None:
    """Two read one batch, of which one of them has seen the first half; both of them add up."""
    two = [PROJECTIONS["daily_sales"], PROJECTIONS["stock_levels"]]
    expected = {table.name for one in two for table in one.tables}
    dice = random.Random(50)
    await on_the_log.record([*a_catalogue(), *lives(50, dice)])
    early = [one for one in two if one.name != late]
    async with on_the_log.working(early):
        await until(lambda: behind(on_the_log, [one.name for one in early]))
    await on_the_log.record(lives(50, dice))
    whole = {table: rows for table, rows in folded(on_the_log.rows, ALL_TABLES).items() if table in expected}
    async with on_the_log.working(two):
        await until(lambda: behind(on_the_log, [one.name for one in two]))
    found = {table: rows for table, rows in written(on_the_log.url, ALL_TABLES).items() if table in expected}
    assert not difference(whole, found)


def behind(side: ReadSide, names: list[str]) -> list[str]:
    """Which of the projections have not come to the end of the log."""
    with psycopg.connect(side.url) as connection:
        done = connection.execute(
            "SELECT projection FROM checkpoints WHERE position = %s", (len(side.rows),)
        ).fetchall()
    return sorted({*names} - {name for (name,) in done})


class Leaping(LogFeed):
    """Leaves out a batch."""

    left_out = 0

    async def batch(self) -> list[Slice]:
        slices = await super().batch()
        if slices[0].start > 1 and not self.left_out:
            self.left_out = len(slices[0].events)
            return await super().batch()
        return slices


async def test_events_that_a_feed_left_out_are_asked_for_again(on_the_log: ReadSide) -> None:
    await on_the_log.record([*a_catalogue(), *lives(50, random.Random(51))])
    feed = Leaping(on_the_log.log, largest=40)
    task = asyncio.create_task(Worker(on_the_log.url, PROJECTIONS.values(), feed).run())
    await on_the_log.shows_everything()
    assert feed.left_out == 40
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_that_is_stopped_and_started_goes_on_where_it_was(read_side: ReadSide) -> None:
    dice = random.Random(6)
    await read_side.record([*a_catalogue(), *lives(100, dice)])
    for _ in range(4):
        async with read_side.working(largest=50):
            await asyncio.sleep(dice.random() / 2)
    await read_side.record(lives(20, dice))
    async with read_side.working():
        await read_side.shows_everything()


async def test_two_workers_on_one_feed_apply_nothing_twice(read_side: ReadSide) -> None:
    dice = random.Random(7)
    await read_side.record([*a_catalogue(), *lives(150, dice)])
    async with read_side.working(largest=40), read_side.working(largest=40):
        for _ in range(5):
            await read_side.record(lives(20, dice))
        await read_side.shows_everything()


async def test_a_worker_that_lost_its_partition_cannot_commit(on_the_log: ReadSide) -> None:
    await on_the_log.record([*a_catalogue(), *lives(20, random.Random(8))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
        with psycopg.connect(on_the_log.url) as connection:
            connection.execute("UPDATE checkpoints SET next_offset = next_offset + 1000")
        before = written(on_the_log.url)
        await on_the_log.record(lives(5, random.Random(9)))
        await asyncio.sleep(1)
        assert not difference(before, written(on_the_log.url))


async def test_every_commit_is_told_to_the_listeners(on_the_log: ReadSide) -> None:
    await on_the_log.record(a_catalogue())
    async with await psycopg.AsyncConnection.connect(on_the_log.url, autocommit=True) as listener:
        await listener.execute("LISTEN changes")
        async with on_the_log.working():
            heard = [one.channel async for one in listener.notifies(timeout=10, stop_after=1)]
    assert heard == ["changes"]


async def test_nothing_is_told_to_the_listeners_before_it_is_committed(on_the_log: ReadSide) -> None:
    """They would look, find nothing, and not be woken again."""
    await on_the_log.record(a_catalogue())
    async with (
        on_the_log.working(),
        await psycopg.AsyncConnection.connect(on_the_log.url, autocommit=True) as listener,
    ):
        await on_the_log.shows_everything()
        await listener.execute("LISTEN changes")
        with psycopg.connect(on_the_log.url) as blocking:
            blocking.execute("SELECT FROM checkpoints FOR UPDATE")
            await on_the_log.record(lives(5, random.Random(52)))
            await lock_waited_for(on_the_log.url)
            assert [one async for one in listener.notifies(timeout=1)] == []
        assert [one.channel async for one in listener.notifies(timeout=60, stop_after=1)] == ["changes"]


async def test_a_worker_runs_in_a_thread_of_its_own_and_stops(read_side: ReadSide) -> None:
    await read_side.record([*a_catalogue(), *lives(20, random.Random(10))])
    worker = Worker(read_side.url, PROJECTIONS.values(), read_side.feed())
    ended = worker.start()
    await read_side.shows_everything()
    await asyncio.wait_for(worker.stop(), 5)
    assert ended.result(0) is None


async def test_what_ends_the_thread_is_told(on_the_log: ReadSide) -> None:
    with psycopg.connect(on_the_log.url) as connection:
        connection.execute("DROP TABLE parked")
    worker = Worker(on_the_log.url, PROJECTIONS.values(), on_the_log.feed())
    with pytest.raises(psycopg.errors.UndefinedTable):
        await asyncio.wait_for(asyncio.wrap_future(worker.start()), 10)


# From the log to Kafka ---------------------------------------------------------------------------------------


async def test_kafka_goes_on_where_the_log_ended(on_the_log: ReadSide, broker: Cluster) -> None:
    dice = random.Random(11)
    await on_the_log.record([*a_catalogue(), *lives(100, dice)])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    on_the_log.topics = Topics(broker.bootstrap_servers)
    await on_the_log.topics.publish(on_the_log.rows)
    await on_the_log.record(lives(100, dice))
    async with on_the_log.working():
        await on_the_log.shows_everything()


async def test_the_way_back_from_kafka_to_the_log_is_refused_in_one_sentence(
    on_the_log: ReadSide, broker: Cluster
) -> None:
    on_the_log.topics = Topics(broker.bootstrap_servers)
    await on_the_log.record([*a_catalogue(), *lives(10, random.Random(12))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    with pytest.raises(CannotFollow, match="orderlog rebuild") as refused:
        await Worker(on_the_log.url, PROJECTIONS.values(), LogFeed(on_the_log.log)).run()
    assert "\n" not in str(refused.value)


async def test_a_log_worker_that_still_runs_when_kafka_takes_over_ends(on_the_log: ReadSide, broker: Cluster) -> None:
    dice = random.Random(13)
    await on_the_log.record([*a_catalogue(), *lives(50, dice)])
    old = asyncio.create_task(Worker(on_the_log.url, PROJECTIONS.values(), LogFeed(on_the_log.log)).run())
    await on_the_log.shows_everything()
    on_the_log.topics = Topics(broker.bootstrap_servers)
    await on_the_log.topics.publish(on_the_log.rows)
    async with on_the_log.working():
        for _ in range(5):
            await on_the_log.record(lives(10, dice))
        await on_the_log.shows_everything()
    await on_the_log.record(lives(10, dice))
    with pytest.raises(CannotFollow, match="orderlog rebuild"):
        await asyncio.wait_for(old, 10)


@pytest.mark.parametrize("lost", [1, 20])
async def test_a_log_that_ends_before_the_checkpoint_is_refused(on_the_log: ReadSide, lost: int) -> None:
    await on_the_log.record([*a_catalogue(), *lives(10, random.Random(14))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    end = len(on_the_log.rows) - lost
    with psycopg.connect(on_the_log.url) as connection:
        connection.execute("DELETE FROM events WHERE notification_id > %s", (end,))
    with pytest.raises(CannotFollow, match=f"the log ends at {end}"):
        await asyncio.wait_for(Worker(on_the_log.url, PROJECTIONS.values(), LogFeed(on_the_log.log)).run(), 30)


async def test_a_topic_that_deleted_what_was_not_read_is_refused(on_the_log: ReadSide, broker: Cluster) -> None:
    on_the_log.topics = Topics(broker.bootstrap_servers, partitions=1)
    await on_the_log.record([*a_catalogue(), *lives(10, random.Random(16))])
    await asyncio.to_thread(on_the_log.topics.delete_records, 3)
    worker = Worker(on_the_log.url, PROJECTIONS.values(), on_the_log.feed())
    with pytest.raises(CannotFollow, match=r"the topic holds 3 to .*events were deleted"):
        await asyncio.wait_for(worker.run(), 30)


async def test_a_topic_that_holds_less_than_was_read_is_refused(on_the_log: ReadSide, broker: Cluster) -> None:
    on_the_log.topics = Topics(broker.bootstrap_servers)
    await on_the_log.record([*a_catalogue(), *lives(10, random.Random(15))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    with psycopg.connect(on_the_log.url) as connection:
        connection.execute("UPDATE checkpoints SET next_offset = 1000000 WHERE next_offset > 0")
    worker = Worker(on_the_log.url, PROJECTIONS.values(), on_the_log.feed())
    with pytest.raises(CannotFollow, match="offset 1000000 of topic"):
        await asyncio.wait_for(worker.run(), 30)
