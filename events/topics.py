"""The Kafka topics that events leave by: made with explicit settings, refused when they are not as they must be."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

from events.cloudevents import TOPICS
from events.explained import Explained

POSITION_TOPIC = "orders.relay-position.v1"
"""How far the log is published; written in the transaction of the events themselves."""

_KEPT_FOR_EVER = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(4 * 1024 * 1024),  # an order of a thousand lines with long names
    "unclean.leader.election.enable": "false",  # it would lose what was acknowledged
}

_LAST_ONLY = {
    "cleanup.policy": "compact",
    "segment.ms": str(60 * 60 * 1000),  # the segment in use is never compacted: it ends after an hour
    "segment.bytes": str(16 * 1024 * 1024),
    "unclean.leader.election.enable": "false",
}


class Topic(msgspec.Struct, frozen=True):
    name: str
    partitions: int | None  # None: as many as the installation sets
    settings: Mapping[str, str]


ALL = (
    Topic(TOPICS["order"], None, _KEPT_FOR_EVER),
    Topic(TOPICS["product"], None, _KEPT_FOR_EVER),
    Topic(POSITION_TOPIC, 1, _LAST_ONLY),
)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of an event topic where every Kafka client puts a key by default, and the relay does, too."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class KafkaUnreachable(Explained):
    """Kafka does not answer at the address it should have."""

    def __init__(self, bootstrap_servers: str, why: str) -> None:
        super().__init__(
            f"Kafka does not answer at {bootstrap_servers} ({why}): start it, "
            "or set ORDERLOG_KAFKA_BOOTSTRAP_SERVERS to where it is"
        )


class TopicMismatch(Explained):
    """A topic has another number of partitions than expected, so the order of events would be lost."""

    def __init__(self, topic: str, found: int, expected: int) -> None:
        super().__init__(
            f"topic {topic!r} has {found} partitions where {expected} are expected: set the number of partitions "
            f"to {found}, or delete the topics and publish the log anew"
        )
        self.topic, self.found, self.expected = topic, found, expected


class TopicRefused(Explained):
    """Kafka would not create a topic."""


async def ensure_topics(bootstrap_servers: str, partitions: int = 6, *, within: float = 15.0) -> None:
    """Create the topics that are missing, and check those that are there; several processes may do so at once.

    Raises `KafkaUnreachable` when Kafka does not answer `within` seconds, `TopicMismatch` for a wrong number of
    partitions, `TopicRefused` when a topic cannot be created.
    """
    try:
        async with asyncio.timeout(within), aclosing(_Administrator(bootstrap_servers)) as kafka:
            await kafka.start()
            await _create_missing(kafka, partitions)
            while not _complete(await kafka.partitions(), partitions):  # noqa: ASYNC110  Kafka can only be asked
                await asyncio.sleep(0.05)
    except (KafkaError, OSError, ValueError) as error:
        raise KafkaUnreachable(bootstrap_servers, str(error) or f"no answer within {within:.0f} s") from error


async def _create_missing(kafka: "_Administrator", partitions: int) -> None:
    present = await kafka.partitions()
    missing = [
        NewTopic(topic.name, topic.partitions or partitions, kafka.replicas, topic_configs=dict(topic.settings))
        for topic in ALL
        if topic.name not in present
    ]
    if missing:
        await kafka.create(missing)


def _complete(found: Mapping[str, int], partitions: int) -> bool:
    """Whether every topic can be seen. Raises `TopicMismatch`."""
    for topic in ALL:
        expected = topic.partitions or partitions
        if found.get(topic.name, expected) != expected:
            raise TopicMismatch(topic.name, found[topic.name], expected)
    return all(topic.name in found for topic in ALL)


class _Administrator:
    """What we ask of aiokafka's administration client, with an answer for each of its error codes."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._client: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=10_000)
        self.replicas = 1

    async def start(self) -> None:
        await self._client.start()
        brokers = len((await self._client.describe_cluster())["brokers"])
        self.replicas = min(3, max(1, brokers))

    async def aclose(self) -> None:
        await self._client.close()

    async def partitions(self) -> dict[str, int]:
        """Topic to its number of partitions, for the topics whose partitions all have a leader."""
        topics = await self._client.describe_topics()  # of all topics: asking for one by name might create it
        return {
            topic["topic"]: len(topic["partitions"])
            for topic in topics
            if topic["error_code"] == 0 and all(part["leader"] >= 0 for part in topic["partitions"])
        }

    async def create(self, topics: list[NewTopic]) -> None:
        """Raises `TopicRefused`; a topic that somebody else just created is fine."""
        if self.replicas == 3:  # noqa: PLR2004  one broker may be away, and what is acknowledged is still on two
            for topic in topics:
                topic.topic_configs["min.insync.replicas"] = "2"
        response = await self._client.create_topics(topics)
        for name, code, why in response.topic_errors:
            if code not in {0, TopicAlreadyExistsError.errno}:
                raise TopicRefused(f"Kafka would not create topic {name!r}: {why or for_code(code).__name__}")
