"""What the relay's tests count with, by another client library than the relay's; and that it would notice a fault."""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from events import codec, topics
from events.cloudevents import TOPICS, decode
from events.codec import Row
from events.envelope import Cause, Event, Recorded, order_stream, product_stream
from events.log import READ, Log, Writer
from events.order import PaymentCaptured
from events.product import StockReceived
from tests.services.kafka import Cluster

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(stream: str, version: int, position: int) -> Row:
    event: Event = StockReceived(NOON, version)
    if stream.startswith("order-"):
        event = PaymentCaptured(NOON, version, f"capture {version}")
    return stream, version, position, codec.event_type(event), codec.encode(event, Cause(NOON, "test"))


class Appender:
    """Appends to the log, beside any number of others that do."""

    def __init__(self, url: str) -> None:
        self.writer = Writer(url)
        self._position = 0
        self._versions: Counter[str] = Counter()

    def append(self, streams: Sequence[str]) -> None:
        """One event for each stream, in one commit. Where that fails, the next one asks the log what became of it."""
        self.writer.begin(self._position, ())
        for stream, version, position, _, _ in self.writer._rows(READ, (self._position, 1_000_000)):
            self._versions[stream], self._position = version, position
        rows, appended = [], Counter[str]()
        for position, stream in enumerate(streams, self._position + 1):
            appended[stream] += 1
            rows.append(row(stream, self._versions[stream] + appended[stream], position))
        self.writer.append(rows, ())
        self._versions += appended
        self._position += len(rows)

    def close(self) -> None:
        self.writer.close()


def some_streams(count: int, random: Random) -> list[str]:
    """Orders that get many events, orders that get one, and a few products."""
    busy = [order_stream(UUID(int=number)) for number in range(20)]
    return [
        random.choice([random.choice(busy), order_stream(uuid4()), product_stream(f"SKU-{random.randrange(9)}")])
        for _ in range(count)
    ]


def filled_log(url: str, count: int, random: Random | None = None) -> Log:
    """A new log of so many events."""
    log = Log(url)
    log.create()
    with closing(Appender(url)) as appender:
        for start in range(0, count, 5_000):
            appender.append(some_streams(min(5_000, count - start), random or Random(1)))
    return log


def remove_topics(cluster: Cluster) -> None:
    """No topics: to Kafka, the log was never published. One that was just made may come to light while others go."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    names = {topic.name for topic in topics.ALL}
    deadline = time.monotonic() + 60
    while present := names & set(admin.list_topics(timeout=10).topics):
        assert time.monotonic() < deadline
        for removed in admin.delete_topics(list(present), operation_timeout=10).values():
            with contextlib.suppress(KafkaException):  # it is gone already, and still listed
                removed.result()
        time.sleep(0.05)


def read_topics(
    cluster: Cluster, count: int, *, within: float = 60, isolation: str = "read_committed"
) -> list[Recorded]:
    """All there is in the topics of events, once there are `count`; partition by partition in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": f"counts-{uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    known = consumer.list_topics(timeout=10).topics
    partitions = [TopicPartition(topic, number, 0) for topic in TOPICS.values() for number in known[topic].partitions]
    consumer.assign(partitions)
    found: list[Recorded] = []
    ended: set[tuple[str | None, int | None]] = set()
    deadline = time.monotonic() + within
    while len(found) < count or len(ended) < len(partitions):
        if time.monotonic() > deadline:
            break
        for message in consumer.consume(1_000, timeout=0.2):
            place = (message.topic(), message.partition())
            if (error := message.error()) is None:
                ended.discard(place)
                found.append(_recorded(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(place)
    consumer.close()
    return found


def _recorded(message: Message) -> Recorded:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    key, value, headers = message.key(), message.value(), message.headers()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    assert isinstance(headers, list)
    attributes = [(name, text) for name, text in headers if isinstance(text, bytes)]
    return decode(topic, partition, offset, key, value, attributes)


def assert_published_once(found: Sequence[Recorded], rows: Iterable[Row]) -> None:
    """Every event of the log was found once, and those of one stream in order: 1, 2, 3 ..."""
    twice = [event for event, times in Counter(recorded.id for recorded in found).items() if times > 1]
    assert not twice, f"{len(twice)} published more than once: {twice[:5]}"
    expected = {recorded.id: recorded for recorded in map(codec.decode, rows)}
    missing = sorted(expected.keys() - {recorded.id for recorded in found})
    assert not missing, f"{len(missing)} of {len(expected)} not published: {missing[:5]}"
    assert [recorded for recorded in found if expected.get(recorded.id) != recorded] == []
    versions: dict[str, list[int]] = defaultdict(list)
    for recorded in found:
        versions[recorded.stream].append(recorded.version)
    for stream, seen in versions.items():
        assert seen == list(range(1, len(seen) + 1)), f"{stream} is published as {seen}"


ROWS = [row("order-1", 1, 1), row("product-A", 1, 2), row("order-1", 2, 3), row("order-2", 1, 4), row("order-1", 3, 5)]
FOUND = [codec.decode(one) for one in ROWS]


def test_it_accepts_the_log_itself() -> None:
    assert_published_once(FOUND, ROWS)


def test_it_notices_an_event_that_is_published_twice() -> None:
    with pytest.raises(AssertionError, match=r"1 published more than once: \['order-1/2'\]"):
        assert_published_once([*FOUND, FOUND[2]], ROWS)


@pytest.mark.parametrize("lost", range(5))
def test_it_notices_an_event_that_is_not_published(lost: int) -> None:
    with pytest.raises(AssertionError, match="1 of 5 not published"):
        assert_published_once(FOUND[:lost] + FOUND[lost + 1 :], ROWS)


def test_it_notices_events_of_an_order_in_the_wrong_order() -> None:
    with pytest.raises(AssertionError, match=r"order-1 is published as \[1, 3, 2\]"):
        assert_published_once([FOUND[0], FOUND[4], FOUND[1], FOUND[2], FOUND[3]], ROWS)


def test_an_append_that_failed_leaves_no_version_out(database_url: str) -> None:
    with closing(filled_log(database_url, 0)) as log, closing(Appender(database_url)) as appender:
        with pytest.raises(psycopg.Error):
            appender.append(["order-1", "not a text: \0"])
        appender.close()
        appender.append(["order-1", "order-1"])
        appender.append(["order-1"])
        assert [(stream, version) for stream, version, *_ in log.read(0, 10)] == [("order-1", v) for v in (1, 2, 3)]


def test_it_notices_an_event_that_is_not_in_the_log() -> None:
    with pytest.raises(AssertionError):
        assert_published_once([*FOUND, codec.decode(row("order-9", 1, 6))], ROWS)
