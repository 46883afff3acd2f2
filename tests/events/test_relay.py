"""The relay publishes the log once, in order, and says what is wrong when it cannot."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from events import cloudevents, leadership, publication
from events import relay as relays
from events.cloudevents import TOPICS, Record
from events.codec import Row
from events.envelope import order_stream, product_stream
from events.leadership import Leadership
from events.log import CHANNEL, Log
from events.publication import Published, read_position
from events.relay import Relay
from events.tasks import ended
from events.topics import POSITION_TOPIC, KafkaUnreachable, ensure_topics
from events.wakeup import Listening
from tests.events.test_relay_reader import (
    Appender,
    assert_published_once,
    filled_log,
    read_topics,
    remove_topics,
    row,
    some_streams,
)
from tests.services.child import free_port
from tests.services.kafka import Cluster

WHOLE = 10**9


@pytest.fixture
def kafka(broker: Cluster) -> Cluster:
    """Without our topics."""
    remove_topics(broker)
    return broker


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with closing(filled_log(database_url, 1_200)) as log:
        yield log


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What asyncio has to complain about, such as exceptions that nobody read: nothing; and no task is left."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    assert found == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    """A relay at work; stopped at the end, within the five seconds that it has."""
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.done(), [other.get_stack() for other in asyncio.all_tasks()]
        assert task.cancelled(), task.exception()


async def until(so: Callable[[], bool], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_every_event_is_published_once_and_in_order(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
        assert relay.leading
        assert relay.problem is None

    assert_published_once(read_topics(kafka, 1_200), log.read(0, WHOLE))
    assert not relay.leading


async def test_what_is_appended_is_published_soon(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
        with closing(Appender(log.url)) as appender:
            for position in range(1_201, 1_221):
                start = time.monotonic()
                appender.append([order_stream(uuid4())])
                await until(lambda position=position: relay.position == position)  # type: ignore[misc]
                assert time.monotonic() - start < 0.9, "it waited for the time to pass, not for the notification"

    assert_published_once(read_topics(kafka, 1_220), log.read(0, WHOLE))


async def test_a_relay_goes_on_where_the_one_before_stopped(kafka: Cluster, log: Log) -> None:
    with closing(Appender(log.url)) as appender:
        for life in range(4):
            async with running(Relay(log, kafka.bootstrap_servers, largest_batch=40)) as relay:
                start = relay.position
                await until(lambda start=start, relay=relay: relay.position > start)  # type: ignore[misc]
            appender.append(some_streams(100, Random(life)))
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_600)

    assert_published_once(read_topics(kafka, 1_600), log.read(0, WHOLE))


async def test_a_relay_that_is_stopped_leaves_no_transaction_open(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers, largest_batch=20)) as relay:
        await until(lambda: relay.position > 0)
    # An open one would hide what comes after it until its timeout.
    found = read_topics(kafka, relay.position, within=3)

    assert len(found) in {relay.position, relay.position + 20}  # the last commit may have ended after the relay


async def test_a_transaction_that_is_given_up_hides_nothing_that_comes_after_it(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(kafka.bootstrap_servers)
    place, record = TopicPartition(TOPICS["order"], 0), cloudevents.encode(row(order_stream(uuid4()), 1, 1))
    async with publication.Producer(kafka.bootstrap_servers) as producer:
        send, sent = producer._send, asyncio.Event()

        async def send_but_the_position(partition: TopicPartition, records: list[Record]) -> None:
            if partition.topic == POSITION_TOPIC:
                await asyncio.Event().wait()
            await send(partition, records)
            sent.set()

        monkeypatch.setattr(producer, "_send", send_but_the_position)
        batch = publication.Batch({place: [record]}, Published(1, "order-1/1"))
        publishing = asyncio.create_task(producer.publish(batch))
        await sent.wait()
        await ended(publishing)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as other:
        await other.send_and_wait(place.topic, record.value, record.key, place.partition, headers=record.headers)

    # Kafka itself would give the transaction up after PATIENCE.
    assert len(read_topics(kafka, 1, within=publication.PATIENCE / 2)) == 1


async def test_the_second_relay_waits_and_takes_over(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as first:
        await until(lambda: first.position == 1_200)
        async with running(Relay(log, kafka.bootstrap_servers)) as second:
            await asyncio.sleep(1.5)
            assert (first.leading, second.leading) == (True, False)
            with psycopg.connect(log.url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                )
            await until(lambda: not first.leading)  # how soon leadership passes on is promised in test_leadership.py
            await until(lambda: first.leading or second.leading)
            leader = first if first.leading else second
            with closing(Appender(log.url)) as appender:
                appender.append(some_streams(300, Random(2)))
            await until(lambda: leader.position == 1_500)

    assert_published_once(read_topics(kafka, 1_500), log.read(0, WHOLE))


async def test_two_relays_that_both_believe_to_be_elected_publish_once(
    kafka: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        leadership, "ELECT", "SELECT %s::text IS NOT NULL"
    )  # the lock is for liveness only; this is without it
    first, second = (Relay(log, kafka.bootstrap_servers, largest_batch=30) for _ in range(2))
    async with running(first), running(second):
        with closing(Appender(log.url)) as appender:
            for seed in range(6):
                appender.append(some_streams(50, Random(seed)))
                await asyncio.sleep(0.3)
        await until(lambda: 1_500 in {first.position, second.position}, within=40)

    assert_published_once(read_topics(kafka, 1_500), log.read(0, WHOLE))


async def test_a_fenced_relay_starts_again(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
        for _ in range(3):
            async with AIOKafkaProducer(
                bootstrap_servers=kafka.bootstrap_servers, transactional_id=publication.TRANSACTIONAL_ID
            ):
                pass
            with closing(Appender(log.url)) as appender:
                appender.append(some_streams(100, Random(3)))
            await until(lambda: relay.position == log.head())

    assert_published_once(read_topics(kafka, 1_500), log.read(0, WHOLE))


async def test_the_position_is_found_behind_many_transactions_that_were_aborted(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, transactional_id=publication.TRANSACTIONAL_ID
    ) as producer:
        for _ in range(100):
            await producer.begin_transaction()
            await producer.send_and_wait(
                POSITION_TOPIC, b'{"position":1,"event":"order-1/1"}', publication.POSITION_KEY
            )
            await producer.abort_transaction()

    last = log.read(1_199, 1)[0]
    assert await read_position(kafka.bootstrap_servers) == Published(1_200, f"{last[0]}/{last[1]}")


async def test_a_position_that_cannot_be_read_stops_the_relay_and_is_told(kafka: Cluster, log: Log) -> None:
    await ensure_topics(kafka.bootstrap_servers)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as other:
        await other.send_and_wait(POSITION_TOPIC, b"no position", publication.POSITION_KEY)

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.problem is not None and "JSON is malformed" in relay.problem)
        assert relay.position == 0
    assert read_topics(kafka, 0) == []


async def test_a_transaction_that_is_still_open_is_not_overlooked(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id="somebody else") as other:
        await other.begin_transaction()
        await other.send_and_wait(POSITION_TOPIC, b'{"position":1201,"event":"order-1/1"}', publication.POSITION_KEY)
        reading = asyncio.create_task(read_position(kafka.bootstrap_servers))
        await asyncio.sleep(1)
        assert not reading.done()
        await other.commit_transaction()

        assert await reading == Published(1_201, "order-1/1")


def break_name(row: Row) -> Row:
    return row[0], row[1], row[2], "orderlog.order.teleported.v1", row[4]


def break_json(row: Row) -> Row:
    return row[0], row[1], row[2], row[3], row[4][:-20]


@pytest.mark.parametrize(
    ("breaking", "why"),
    [(break_name, "its type 'orderlog.order.teleported.v1' is not known"), (break_json, "its JSON is not a stored")],
)
async def test_an_event_that_cannot_be_read_stops_the_relay_until_it_is_mended(
    kafka: Cluster, log: Log, breaking: Callable[[Row], Row], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "LONGEST_PAUSE", 0.5)
    stream, version, *_ = whole = log.read(699, 1)[0]
    write(log, breaking(whole))
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.problem not in {None, relays.NOT_YET})

        assert relay.position == 699
        assert relay.problem is not None
        assert relay.problem.startswith(f"event {version} of stream {stream!r} (position 700) cannot be read: {why}")
        assert len(read_topics(kafka, 699)) == 699

        write(log, whole)
        await until(lambda: relay.position == 1_200)
        assert relay.problem is None

    assert_published_once(read_topics(kafka, 1_200), log.read(0, WHOLE))


def write(log: Log, row: Row) -> None:
    with psycopg.connect(log.url) as connection:
        connection.execute(
            "UPDATE events SET topic = %s, state = %s WHERE notification_id = %s", (row[3], row[4], row[2])
        )


async def test_a_log_that_was_restored_to_an_older_state_is_not_published(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
    last = log.read(1_199, 1)[0]
    with psycopg.connect(log.url) as connection:
        connection.execute("DELETE FROM events WHERE notification_id > 1000")

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.problem not in {None, relays.NOT_YET})
        assert relay.problem is not None
        assert f"position 1200 is published as '{last[0]}/{last[1]}', but the log has nothing there" in relay.problem

    with closing(Appender(log.url)) as appender:  # and it stays so when the log grows past the position
        appender.append([product_stream("AFTER")] * 300)
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.problem not in {None, relays.NOT_YET})
        assert relay.problem is not None
        assert "but the log has 'product-AFTER/200' there" in relay.problem
    assert len(read_topics(kafka, 1_200)) == 1_200


async def test_a_log_with_a_gap_is_published_up_to_the_gap(kafka: Cluster, log: Log) -> None:
    with psycopg.connect(log.url) as connection:
        connection.execute("DELETE FROM events WHERE notification_id = 501")

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.problem not in {None, relays.NOT_YET})
        assert relay.position == 500
        assert relay.problem == (
            "position 500 of the log is followed by 502: what was between is missing; bring it back"
        )


async def test_a_relay_without_kafka_at_the_start_says_so(log: Log) -> None:
    port = free_port()

    with pytest.raises(KafkaUnreachable, match=f"Kafka does not answer at 127.0.0.1:{port} "):
        await Relay(log, f"127.0.0.1:{port}").run()


async def test_an_event_larger_than_a_batch_is_published(kafka: Cluster, database_url: str) -> None:
    log = filled_log(database_url, 10)
    large = row(order_stream(uuid4()), 1, 11)
    state = large[4].replace(b'"capture 1"', b'"%s"' % (b"x" * 2_000_000))
    writer = log.writer()
    writer.begin(10, ())
    writer.append([(*large[:4], state)], ())
    writer.close()

    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 11)

    assert_published_once(read_topics(kafka, 11), log.read(0, WHOLE))
    log.close()


async def test_an_event_that_kafka_refuses_is_not_passed_over(kafka: Cluster, log: Log) -> None:
    await ensure_topics(kafka.bootstrap_servers)
    allowed = ConfigEntry("max.message.bytes", "600000", incremental_operation=AlterConfigOpType.SET)
    settings = ConfigResource(ConfigResource.Type.TOPIC, TOPICS["order"], incremental_configs=[allowed])
    administrator = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    administrator.incremental_alter_configs([settings])[settings].result(60)
    large = row(order_stream(uuid4()), 1, 1_201)
    with closing(log.writer()) as writer:
        writer.begin(1_200, ())
        writer.append([(*large[:4], large[4].replace(b'"capture 1"', b'"%s"' % (b"x" * 1_000_000)))], ())

    async with running(Relay(log, kafka.bootstrap_servers, largest_batch=400)) as relay:
        await until(lambda: relay.position == 1_200 and relay.problem not in {None, relays.NOT_YET})
        assert "larger" in str(relay.problem) or "MessageSizeTooLarge" in str(relay.problem)
    assert_published_once(read_topics(kafka, 1_200), log.read(0, 1_200))


async def test_a_relay_that_is_not_elected_any_more_leaves_alone_who_is(kafka: Cluster, log: Log) -> None:
    """It may have stood still since it was elected: to start a producer now would fence the one of its successor."""
    await ensure_topics(kafka.bootstrap_servers)
    async with (
        Leadership(log.url) as leadership,
        Listening(log.url, CHANNEL) as listening,
        publication.Producer(kafka.bootstrap_servers) as successor,
    ):
        await leadership.won()
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory'")
        late = Relay(log, kafka.bootstrap_servers)
        publishing = asyncio.create_task(late._publish(leadership, listening.waiter()))
        await until(lambda: late.problem != relays.NOT_YET)
        await successor.publish(publication.Batch({}, Published(1, "order-1/1")))
        await ended(publishing)

    assert late.position == 0


async def test_a_key_is_in_the_partition_where_other_clients_put_it(kafka: Cluster, log: Log) -> None:
    async with running(Relay(log, kafka.bootstrap_servers)) as relay:
        await until(lambda: relay.position == 1_200)
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders.events.v1"])
    ours = {message.key(): message.partition() for message in consumer.consume(500, timeout=20)}
    consumer.close()
    theirs: dict[Any, int | None] = {}

    def delivered(_: object, message: Message) -> None:
        theirs[message.key()] = message.partition()

    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for key in ours:
        producer.produce("orders.events.v1", b"", key, on_delivery=delivered)
    producer.flush(20)

    assert len(ours) > 100
    assert ours == theirs
