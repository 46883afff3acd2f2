"""Topics of a test's own, written as the relay writes them."""

from collections.abc import Iterable
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from events import cloudevents
from events.codec import Row
from events.envelope import Kind, kind_of


class Topics:
    """The two event topics under names of their own, so that tests do not meet in them."""

    def __init__(self, bootstrap_servers: str, partitions: int = 6) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = f"test-{uuid4().hex[:12]}"
        self.names: dict[Kind, str] = named(self.prefix)
        admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        topics = [NewTopic(name, num_partitions=partitions, replication_factor=1) for name in self.names.values()]
        for created in admin.create_topics(topics).values():
            created.result(timeout=30)

    async def publish(self, rows: Iterable[Row], at_once: int = 500) -> None:
        """In transactions, some of which are aborted and written again."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, transactional_id=self.prefix, linger_ms=2, acks="all"
        )
        await producer.start()
        try:
            left = list(rows)
            for number, first in enumerate(range(0, len(left), at_once)):
                part = left[first : first + at_once]
                if number % 3 == 0:
                    await self._send(producer, part)
                    await producer.abort_transaction()
                await self._send(producer, part)
                await producer.commit_transaction()
        finally:
            await producer.stop()

    async def publish_garbage(self, key: bytes, value: bytes) -> None:
        """A record that no relay wrote, into the topic of the orders."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers)
        await producer.start()
        try:
            await producer.send_and_wait(self.names["order"], value, key=key)
        finally:
            await producer.stop()

    def delete_records(self, before: int) -> None:
        """Delete, of the first partition of the orders, what is before an offset."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for deleted in admin.delete_records([TopicPartition(self.names["order"], 0, before)]).values():
            deleted.result(timeout=30)

    async def _send(self, producer: AIOKafkaProducer, rows: Iterable[Row]) -> None:
        await producer.begin_transaction()
        sent = []
        for row in rows:
            one = cloudevents.encode(row)
            topic = self.names[kind_of(row[0])]
            sent.append(await producer.send(topic, one.value, key=one.key, headers=one.headers))
        for record in sent:
            await record


def named(prefix: str) -> dict[Kind, str]:
    return {"order": f"{prefix}.orders", "product": f"{prefix}.products"}
