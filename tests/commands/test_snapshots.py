"""A stream that has grown long is loaded from its snapshot and what came since, never wrongly."""

import random
from collections import Counter
from collections.abc import Iterable

import psycopg
import pytest

from commands import order as orders
from commands import snapshots
from commands.order import Order
from events import codec
from events.codec import Row
from events.envelope import Cause, Event, product_stream
from events.log import Log, Snapshot, Writer
from events.order import OrderEvent
from tests.commands.asking import asking, ids
from tests.examples import NOON, a_cup, cups_received, place_order, receive_cups, wanted
from tests.projections.lives import lives


def fill_stock(log: Log, receipts: int) -> None:
    """A cup, and so many receipts of one cup each."""
    facts: list[Event] = [a_cup, *(cups_received(1)[1] for _ in range(receipts))]
    stream, cause = product_stream("CUP"), Cause(NOON, "tests")
    rows = [(stream, at, at, codec.event_type(fact), codec.encode(fact, cause)) for at, fact in enumerate(facts, 1)]
    writer = log.writer()
    writer.append_unlocked(rows, [])
    writer.close()


def snapshot_version(log: Log) -> int:
    with psycopg.connect(log.url) as connection:
        [(version,)] = connection.execute("SELECT version FROM snapshots").fetchall()
    return int(version)


async def receive_two_cups(log: Log) -> int:
    """In two batches: the snapshot of the first is written before the second."""
    async with asking(log) as ask:
        await ask.one(receive_cups(1))
        return (await ask.one(receive_cups(1))).version


async def test_a_long_stream_is_loaded_from_its_snapshot_and_what_came_since(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_stock(log, 1_700)
    assert await receive_two_cups(log) == 1_703
    assert snapshot_version(log) == 1_701
    load, loaded = Writer.load, []

    def counted(writer: Writer, streams: Iterable[str], shape: str) -> tuple[list[Snapshot], list[Row]]:
        kept, rows = load(writer, streams, shape)
        loaded.append(len(rows))
        return kept, rows

    monkeypatch.setattr(Writer, "load", counted)
    async with asking(log) as ask:
        answers = await ask.all(*(place_order(wanted("CUP", 1), order_id=one) for one in ids(1_703)))
    assert Counter(one.code for one in answers) == {None: 1_702, "out-of-stock": 1}
    assert loaded[0] == 2
    assert snapshot_version(log) > 1_701  # kept anew as it grew


async def test_a_snapshot_that_cannot_be_read_is_no_loss(log: Log) -> None:
    fill_stock(log, 600)
    await receive_two_cups(log)
    with psycopg.connect(log.url, autocommit=True) as connection:
        connection.execute("UPDATE snapshots SET state = 'null'")
    assert await receive_two_cups(log) == 605


async def test_a_snapshot_of_another_shape_is_not_taken_for_ours(log: Log) -> None:
    fill_stock(log, 600)
    await receive_two_cups(log)
    with psycopg.connect(log.url, autocommit=True) as connection:
        connection.execute("UPDATE snapshots SET shape = 'older', version = 9000")
    assert await receive_two_cups(log) == 605
    assert snapshot_version(log) == 603


def test_every_state_is_read_back_from_its_snapshot() -> None:
    dice = random.Random(7)
    states: dict[str, Order] = {}
    for stream, event, *_ in lives(100, dice):
        if not isinstance(event, OrderEvent):
            continue
        states[stream] = orders.evolve(states.get(stream), event)
        assert snapshots.decode(stream, snapshots.encode(states[stream])) == states[stream]
