"""Whoever listens hears every change once: from now on, or from a cursor, however the partitions commit."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from events.wakeup import Listening
from projections import changes
from projections.changes import BadCursor, Batch, Change, Changes, Cursor, CursorAhead, Interest
from projections.migrate import migrate
from projections.queries import Queries
from projections.worker import CHANGES

NOW = datetime(2026, 1, 2, tzinfo=UTC)

SHOW = """
INSERT INTO {table} (order_id, version, number, customer_id, status, {more}, currency, ordered, created_at, updated_at)
VALUES (%(order_id)s, %(version)s, %(order_id)s, %(customer_id)s, %(status)s, {values}, 'EUR', 100, %(now)s, %(now)s)
ON CONFLICT (order_id) DO UPDATE SET version = excluded.version, status = excluded.status"""
DETAILS = SHOW.format(
    table="order_details",
    more="lines, subtotal, discount, shipping, tax, payment_terms, metadata",
    values="'[]', 100, 0, 0, 0, 'prepaid', '{{}}'",
).replace("{{}}", "{}")
LISTED = SHOW.format(table="order_list", more="units", values="1")
TOLD = """
INSERT INTO timeline (order_id, version, partition, position, type, time, actor, data)
VALUES (%(order_id)s, %(version)s, %(partition)s, %(position)s, %(type)s, %(now)s, 'tests', '{}')"""
CHECKED = """
INSERT INTO checkpoints (projection, source, partition, next_offset, position)
SELECT unnest(%(projections)s::text[]), 'orders', %(partition)s, %(position)s, %(position)s
ON CONFLICT (projection, source, partition) DO UPDATE SET position = excluded.position"""


class Partition:
    """Commits events as a worker does: rows, checkpoints and notification in one transaction."""

    def __init__(self, url: str, number: int) -> None:
        self.number = number
        self._connection = psycopg.connect(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def commit(self, position: int, order_id: UUID, version: int = 1, customer_id: str = "C-1") -> None:
        with self.transaction():
            self.write(position, order_id, version, customer_id)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            yield
            self._connection.execute("NOTIFY changes")

    def write(self, position: int, order_id: UUID, version: int = 1, customer_id: str = "C-1") -> None:
        status = "placed" if version == 1 else "confirmed"
        row = {
            "partition": self.number,
            "position": position,
            "order_id": order_id,
            "version": version,
            "customer_id": customer_id,
            "status": status,
            "type": f"orderlog.order.{status}.v1",
            "now": NOW,
        }
        for statement in (DETAILS, LISTED, TOLD):
            self._connection.execute(statement, row)
        self.check(position)

    def check(self, position: int, projections: Sequence[str] = changes.SHOWN) -> None:
        values = {"projections": list(projections), "partition": self.number, "position": position}
        self._connection.execute(CHECKED, values)


class Hearer:
    """A listener that keeps what it heard."""

    def __init__(self, interest: Interest | None = None) -> None:
        self.interest = interest or Interest()
        self.heard: list[Change] = []

    def hear(self, batch: Batch) -> None:
        self.heard += filter(self.interest.wants, batch.changes)

    async def room(self) -> None:
        await asyncio.sleep(0)

    @property
    def events(self) -> list[tuple[UUID, int]]:
        return [(change.order_id, change.version) for change in self.heard]


class Hesitant(Hearer):
    """Takes what it missed step by step, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = asyncio.Semaphore(0)

    async def room(self) -> None:
        await self.steps.acquire()


@pytest.fixture
def url(database_url: str) -> str:
    migrate(database_url)
    return database_url


@asynccontextmanager
async def reading(url: str, **settings: Any) -> AsyncIterator[Changes]:
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=6, open=False) as pool,
        Listening(url, CHANGES) as listening,
    ):
        reader = Changes(listening.waiter(), pool, Queries(pool), **{"poll": 30, "patience": 2} | settings)
        reader.start()
        try:
            await asyncio.wait_for(reader.ready(), 10)
            yield reader
        finally:
            await reader.stop()


async def until(condition: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.005)


# Cursors


@given(st.dictionaries(st.integers(-1, 1000), st.integers(0, 2**62)))
def test_a_cursor_is_read_back_from_its_text(positions: dict[int, int]) -> None:
    cursor = Cursor(positions)

    assert Cursor.parse(cursor.text) == cursor
    assert cursor.text.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_over_six_partitions_of_a_large_log_is_short() -> None:
    assert len(Cursor({partition: 100_000_000 + partition for partition in range(6)}).text) < 50


@pytest.mark.parametrize(
    "text", ["", "now!", "AQ=", "AQE", "AQGA", "Agg", "ä", "AQIBAgI", "AQMBAgE", "A" * 5000, "AQIB\n"]
)
def test_what_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="is not a") as refused:
        Cursor.parse(text)
    assert len(str(refused.value)) < 200


@given(st.text())
def test_no_text_makes_the_cursor_fail_in_another_way(text: str) -> None:
    with suppress(BadCursor):
        assert Cursor.parse(text).text == text


def test_a_partition_that_appears_later_begins_where_the_log_feed_was() -> None:
    assert Cursor({-1: 7, 0: 9}).at(0) == 9
    assert Cursor({-1: 7, 0: 9}).at(1) == 7
    assert Cursor({0: 9}).at(1) == 0


# Live


async def test_a_change_is_told_when_it_is_committed_and_not_before(url: str) -> None:
    order, hearer = uuid4(), Hearer()
    async with reading(url) as reader:
        reader.join(hearer)
        with Partition(url, 0) as partition:
            with partition.transaction():
                partition.write(1, order)
                await asyncio.sleep(0.2)
                assert hearer.heard == []
            await until(lambda: hearer.heard)

    change = hearer.heard[0]
    assert (change.order_id, change.version, change.event) == (order, 1, "orderlog.order.placed.v1")
    assert (change.order.customer_id, change.order.status) == ("C-1", "placed")
    assert change.cursor == Cursor({0: 1})


async def test_each_listener_hears_what_it_is_interested_in(url: str) -> None:
    mine, other = uuid4(), uuid4()
    hearers = {
        Hearer(): {(mine, 1), (mine, 2), (other, 1)},
        Hearer(Interest(customer_id="C-1")): {(mine, 1), (mine, 2)},
        Hearer(Interest(order_id=other)): {(other, 1)},
        Hearer(Interest(order_id=other, customer_id="C-1")): set(),
        Hearer(Interest(event="orderlog.order.confirmed.v1")): {(mine, 2)},
        Hearer(Interest(customer_id="C-3")): set(),
    }
    async with reading(url) as reader:
        for hearer in hearers:
            reader.join(hearer)
        with Partition(url, 0) as partition:
            partition.commit(1, mine)
            partition.commit(2, other, customer_id="C-2")
            partition.commit(3, mine, version=2)
            await until(lambda: reader.cursor.covers(Cursor({0: 3})))
        late = {}
        for hearer, expected in hearers.items():
            assert set(hearer.events) == expected
            late[await caught_up(reader, hearer.interest)] = expected

    for hearer, expected in late.items():
        assert set(hearer.events) == expected
        assert len(hearer.events) == len(expected)


async def caught_up(reader: Changes, interest: Interest) -> Hearer:
    hearer = Hearer(interest)
    await reader.catch_up(hearer, Cursor({}))
    return hearer


async def test_the_order_is_encoded_once_for_all_listeners(url: str) -> None:
    first, second = Hearer(), Hearer(Interest(customer_id="C-1"))
    async with reading(url) as reader:
        reader.join(first)
        reader.join(second)
        with Partition(url, 0) as partition:
            partition.commit(1, uuid4())
        await until(lambda: first.heard and second.heard)

    assert first.heard[0].members is second.heard[0].members


async def test_a_listener_that_left_hears_nothing(url: str) -> None:
    gone, there = Hearer(Interest(customer_id="C-1")), Hearer()
    async with reading(url) as reader:
        reader.join(gone)
        reader.join(there)
        reader.leave(gone)
        with Partition(url, 0) as partition:
            partition.commit(1, uuid4())
        await until(lambda: there.heard)

    assert gone.heard == []


async def test_a_projection_that_is_behind_holds_its_partition_back(url: str) -> None:
    hearer, early, late = Hearer(), uuid4(), uuid4()
    async with reading(url) as reader:
        reader.join(hearer)
        with Partition(url, 0) as partition, Partition(url, 1) as other:
            partition.commit(1, early)
            with partition.transaction():
                partition.write(3, late)
                partition.check(1, ["order_details"])
            other.commit(2, uuid4())
            await until(lambda: len(hearer.heard) == 2)
            await asyncio.sleep(0.1)
            assert (late, 1) not in hearer.events
            with partition.transaction():
                partition.check(3, ["order_details"])
            await until(lambda: (late, 1) in hearer.events)


async def test_a_partition_that_a_projection_has_yet_to_begin_is_held_back(url: str) -> None:
    """Its timeline may have rows later on that lie before what the others have reached."""
    hearer, order, elsewhere = Hearer(), uuid4(), uuid4()
    async with reading(url) as reader:
        reader.join(hearer)
        with Partition(url, 0) as partition, Partition(url, 1) as other:
            with partition.transaction():
                partition.check(2, ["order_details", "order_list"])
            other.commit(3, elsewhere)
            await until(lambda: hearer.events == [(elsewhere, 1)])
            partition.commit(2, order)
            await until(lambda: len(hearer.events) == 2)

    assert hearer.events == [(elsewhere, 1), (order, 1)]


async def test_a_partition_that_commits_late_is_not_passed_over(url: str) -> None:
    hearer, first, second = Hearer(), uuid4(), uuid4()
    async with reading(url) as reader:
        reader.join(hearer)
        with Partition(url, 0) as slow, Partition(url, 1) as fast:
            with slow.transaction():
                slow.write(1, first)
                fast.commit(2, second)
                await until(lambda: hearer.events == [(second, 1)])
            await until(lambda: hearer.events == [(second, 1), (first, 1)])
        back = Hearer()
        await reader.catch_up(back, hearer.heard[0].cursor)

    assert back.events == [(first, 1)]


async def test_a_reader_that_was_cut_off_goes_on(url: str) -> None:
    hearer = Hearer()
    async with reading(url, poll=0.5) as reader:
        reader.join(hearer)
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database()"
            )
        with Partition(url, 0) as partition:
            for position in range(1, 4):
                partition.commit(position, uuid4())
        await until(lambda: len(hearer.heard) == 3)
        await until(lambda: reader.problem is None)


async def test_where_nobody_listens_the_reader_is_still_where_the_projections_are(url: str) -> None:
    async with reading(url) as reader:
        with Partition(url, 0) as partition:
            partition.commit(1, uuid4())
        await until(lambda: reader.cursor == Cursor({0: 1}))
        hearer = Hearer()

        assert reader.join(hearer) == Cursor({0: 1})
        assert hearer.heard == []


# Coming back


async def test_a_cursor_from_a_faster_process_is_waited_for(url: str) -> None:
    hearer, order = Hearer(), uuid4()
    async with reading(url) as reader:
        with Partition(url, 0) as partition:
            partition.commit(1, uuid4())
            coming = asyncio.create_task(reader.catch_up(hearer, Cursor({0: 2})))
            await asyncio.sleep(0.2)
            partition.commit(2, uuid4())
            partition.commit(3, order)
            await coming
            await until(lambda: hearer.heard)

    assert hearer.events == [(order, 1)]


async def test_a_cursor_that_this_database_never_reached_is_refused(url: str) -> None:
    async with reading(url, patience=0.2) as reader:
        with pytest.raises(CursorAhead, match="begin again from a snapshot"):
            await reader.catch_up(Hearer(), Cursor({0: 2}))
        assert not reader._audience


async def test_a_database_that_moved_from_the_log_to_kafka_goes_on(url: str) -> None:
    hearer, orders = Hearer(), [uuid4() for _ in range(4)]
    async with reading(url) as reader:
        reader.join(hearer)
        with Partition(url, -1) as log:
            log.commit(1, orders[0])
            log.commit(2, orders[1])
        await until(lambda: len(hearer.heard) == 2)
        with Partition(url, 3) as partition, Partition(url, 0) as another:
            partition.commit(3, orders[2])
            another.commit(4, orders[3])
        await until(lambda: len(hearer.heard) == 4)
        back = Hearer()
        await reader.catch_up(back, hearer.heard[0].cursor)

    assert back.events == [(order, 1) for order in orders[1:]]


async def test_a_listener_that_falls_behind_while_it_joins_reads_on_from_where_it_was(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 3)
    hearer, orders = Hesitant(), [uuid4() for _ in range(7)]
    async with reading(url) as reader:
        with Partition(url, 0) as partition:

            async def commit(*positions: int) -> None:
                for position in positions:
                    partition.commit(position, orders[position - 1])
                    await until(lambda: reader.cursor.covers(Cursor({0: position})))  # noqa: B023  awaited here

            await commit(1)
            coming = asyncio.create_task(reader.catch_up(hearer, Cursor({})))
            await asyncio.sleep(0.1)
            await commit(2, 3)  # kept for it, while it reads the first
            hearer.steps.release()
            hearer.steps.release()
            await until(lambda: len(hearer.heard) == 2)
            await commit(4, 5, 6, 7)  # too many to be kept as well
            for _ in range(10):
                hearer.steps.release()
            await coming

    assert hearer.events == [(order, 1) for order in orders]


@pytest.mark.parametrize(("page", "kept"), [(changes.PAGE, changes.KEPT), (3, 4), (1, 0), (50, 1)])
async def test_coming_and_going_under_concurrent_commits_misses_and_repeats_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, page: int, kept: int
) -> None:
    monkeypatch.setattr(changes, "PAGE", page)
    monkeypatch.setattr(changes, "KEPT", kept)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    customers = ["C-1", "C-2"]
    orders = {uuid4(): random.Random(seed + n).choice(customers) for n in range(24)}
    interests = [Interest(), Interest(customer_id="C-1"), Interest(order_id=next(iter(orders)))]
    async with AsyncExitStack() as stack:
        # One reader may be far behind the other: that is no reason to doubt a cursor here.
        readers = [await stack.enter_async_context(reading(url, patience=60)) for _ in range(2)]
        writing = asyncio.create_task(asyncio.to_thread(write_everything, url, orders, seed))
        travellers = [
            asyncio.create_task(travel(readers, interest, writing, random.Random(seed + number)))
            for number, interest in enumerate(interests * 2)
        ]
        written, _ = await writing
        for traveller, interest in zip(travellers, interests * 2, strict=True):
            expected = [
                (order, version)
                for order, version in written
                if interest.order_id in (None, order) and interest.customer_id in (None, orders[order])
            ]
            heard = await asyncio.wait_for(traveller, 60)
            assert sorted(heard) == sorted(expected)
            for order in orders:
                versions = [version for one, version in heard if one == order]
                assert versions == sorted(versions)


def write_everything(url: str, orders: dict[UUID, str], seed: int) -> tuple[list[tuple[UUID, int]], Cursor]:
    """Six partitions commit at their own pace, the positions ascending in each. Return what, and the last cursor."""
    written: list[tuple[UUID, int]] = []
    ends: dict[int, int] = {}
    lock, position = threading.Lock(), 0

    def write(number: int) -> None:
        nonlocal position
        chance = random.Random(seed + 100 + number)
        mine = list(orders)[number::6]
        versions = dict.fromkeys(mine, 0)
        with Partition(url, number) as partition:
            for _ in range(25):
                with partition.transaction():
                    for order in chance.choices(mine, k=chance.randrange(1, 6)):
                        with lock:
                            position += 1
                            own = position
                        versions[order] += 1
                        partition.write(own, order, versions[order], orders[order])
                        written.append((order, versions[order]))
                        ends[number] = own
                    time.sleep(chance.choice([0, 0, 0.002, 0.03]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return written, Cursor(ends)


async def travel(
    readers: list[Changes], interest: Interest, writing: "asyncio.Task[Any]", chance: random.Random
) -> list[tuple[UUID, int]]:
    """Listen for a while, now here, now there, each time from where it was; at last until everything is heard."""
    cursor = Cursor({})
    heard: list[tuple[UUID, int]] = []
    while True:
        last = writing.done()
        reader, hearer = chance.choice(readers), Hearer(interest)
        joined = await reader.catch_up(hearer, cursor)
        if last:
            await until(lambda: reader.cursor.covers(writing.result()[1]))  # noqa: B023  awaited here
            return heard + hearer.events
        await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.05]))
        reader.leave(hearer)
        use_last_change = chance.random() < 0.7 and hearer.heard
        heard += hearer.events
        cursor = hearer.heard[-1].cursor if use_last_change else reader.cursor
        assert reader.cursor.covers(joined)
