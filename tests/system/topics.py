"""What is in the event topics, as a consumer with nothing but confluent-kafka reads it."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, TopicPartition

TOPICS = ("orders.events.v1", "products.events.v1")


@dataclass(frozen=True)
class Message:
    topic: str
    partition: int
    key: str
    headers: dict[str, str]
    value: dict[str, Any]


def messages(bootstrap_servers: str, expected: int, within: float = 60) -> list[Message]:
    """All that committed transactions wrote, once there is as much as expected; each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"reads-{uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        return _read(consumer, expected, time.monotonic() + within)
    finally:
        consumer.close()


def _read(consumer: Consumer, expected: int, deadline: float) -> list[Message]:
    known = consumer.list_topics(timeout=10).topics
    places = {TopicPartition(topic, number, 0) for topic in TOPICS for number in known[topic].partitions}
    consumer.assign(list(places))
    found: list[Message] = []
    ended: set[tuple[str | None, int | None]] = set()
    while (len(found) < expected or len(ended) < len(places)) and time.monotonic() < deadline:
        for message in consumer.consume(1_000, timeout=0.2):
            place = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                ended.discard(place)
                found.append(_message(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(place)
    return found


def _message(message: confluent_kafka.Message) -> Message:
    key, value, topic, partition = message.key(), message.value(), message.topic(), message.partition()
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    assert topic is not None
    assert partition is not None
    headers = {name: text.decode() for name, text in cast(list[tuple[str, bytes]], message.headers())}
    return Message(topic, partition, key.decode(), headers, json.loads(value))


def assert_each_stream_counts_from_one(found: Iterable[Message]) -> None:
    """In the order in which they were read: 1, 2, 3 ... with no gap and no event twice."""
    sequences: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in found:
        sequences[one.topic, one.key].append(int(one.headers["ce_sequence"]))
    for (topic, key), seen in sequences.items():
        assert seen == list(range(1, len(seen) + 1)), f"{key} in {topic} is {seen}"
