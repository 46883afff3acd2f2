"""Who follows the log by position misses nothing, however many write."""

import threading
from collections.abc import Iterator
from contextlib import closing
from random import Random
from uuid import uuid4

import psycopg
import pytest

from events import codec
from events.codec import Row, UnreadableEvent
from events.envelope import order_stream
from events.log import Log
from tests.events.test_relay_reader import Appender, row, some_streams

WRITERS, BATCHES = 16, 40


class Follower:
    """Reads the log after the last position that it has seen, as the relay and the log feed do."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.seen: list[int] = []

    def catch_up(self) -> None:
        while rows := self._log.read(self.seen[-1] if self.seen else 0, 500):
            self.seen += [position for _, _, position, _, _ in rows]

    def lost(self) -> set[int]:
        """What the log has and the follower has not."""
        return {position for _, _, position, _, _ in self._log.read(0, 10**9)} - set(self.seen)


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with closing(Log(database_url)) as log:
        log.create()
        yield log


def test_a_follower_misses_nothing_while_sixteen_write(log: Log) -> None:
    def write(seed: int) -> None:
        random = Random(seed)
        with closing(Appender(log.url)) as appender:
            for _ in range(BATCHES):
                appender.append(some_streams(random.randint(1, 5), random))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(WRITERS)]
    follower = Follower(log)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        follower.catch_up()
    follower.catch_up()

    assert follower.lost() == set()
    assert follower.seen == list(range(1, log.head() + 1))
    assert len(follower.seen) >= WRITERS * BATCHES


def test_the_follower_above_would_notice_writers_that_do_not_lock(log: Log) -> None:
    """Positions given out outside the lock become visible out of order: the loss that the lock prevents."""
    follower = Follower(log)
    with psycopg.connect(log.url) as slow, psycopg.connect(log.url) as fast:
        slow_position = insert_without_lock(slow)
        fast_position = insert_without_lock(fast)
        fast.commit()
        follower.catch_up()
        slow.commit()
    follower.catch_up()

    assert slow_position < fast_position
    assert follower.seen == [fast_position]
    assert follower.lost() == {slow_position}


def insert_without_lock(connection: psycopg.Connection) -> int:
    stream, version, _, name, state = row(order_stream(uuid4()), 1, 0)
    inserted = connection.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state) VALUES (%s, %s, %s, %s) "
        "RETURNING notification_id",
        (stream, version, name, state),
    ).fetchone()
    assert inserted is not None
    return int(inserted[0])


GOOD = row("order-1", 2, 3)


@pytest.mark.parametrize("read", [codec.decode, codec.decode_raw])
@pytest.mark.parametrize(
    ("name", "state", "why"),
    [
        ("orderlog.order.teleported.v1", GOOD[4], "'orderlog.order.teleported.v1'"),
        ("orderlog.order.teleported.v1", b"{}", "its type 'orderlog.order.teleported.v1' is not known"),
        (GOOD[3], GOOD[4][:-1], "JSON is not a"),
        (GOOD[3], b"", "JSON is not a"),
        (GOOD[3], b'{"data":{"type":"orderlog.order.confirmed.v1"}}', "JSON is not a"),
        pytest.param(
            GOOD[3],
            GOOD[4].replace(b'"actor":"', b'"actor":"\xff'),
            "JSON is not a",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named(log: Log, read: object, name: str, state: bytes, why: str) -> None:
    stored = store(log, (GOOD[0], GOOD[1], GOOD[2], name, state))

    with pytest.raises(UnreadableEvent, match=why) as raised:
        codec.decode(stored) if read is codec.decode else codec.decode_raw(stored)

    assert (raised.value.stream, raised.value.version, raised.value.position) == ("order-1", 2, 3)
    assert str(raised.value).startswith("event 2 of stream 'order-1' (position 3) cannot be read: ")


def store(log: Log, row: Row) -> Row:
    writer = log.writer()
    writer.begin(0, ())
    writer.append([row], ())
    writer.close()
    return log.read(0, 1)[0]


@pytest.mark.parametrize("position", [0, 2**15 - 1, 2**31 - 1, 2**40])
def test_a_writer_takes_the_lock_wherever_it_has_come_to(log: Log, position: int) -> None:
    """A position is sent as the smallest integer that holds it, and what is added to it must not go beyond."""
    with closing(log.writer()) as writer:
        assert writer.begin(position, ()) == (0, [], {})
