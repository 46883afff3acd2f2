"""What the relay does to Kafka: one transaction for events and position, and finding the position again.

aiokafka's producer is good for one life: after any error it is closed, and another one is started, which fences it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from events.cloudevents import Record
from events.topics import POSITION_TOPIC

TRANSACTIONAL_ID = "orderlog.relay"
"""One for all relays: by it Kafka knows the one before."""

POSITION_KEY = b"relay"

PATIENCE = 15.0
"""Seconds that a step of the relay, such as a transaction, may take before it is given up."""

CLOSING = 2.0
"""Seconds that ending a transaction and closing a producer may take."""

log = structlog.get_logger()


class Published(msgspec.Struct, frozen=True):
    """How far the log is published: the value of a record of the position topic."""

    position: int  # up to and including this one
    event: str  # the id of the event there


class Batch(msgspec.Struct, frozen=True):
    """What one transaction writes."""

    records: dict[TopicPartition, list[Record]]
    last: Published


class Producer:
    """The transactional producer, from its start, which fences the one before, to the first error."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._kafka = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            client_id=TRANSACTIONAL_ID,
            transactional_id=TRANSACTIONAL_ID,
            transaction_timeout_ms=int(PATIENCE * 1000),
            acks="all",
            max_batch_size=512 * 1024,
            request_timeout_ms=10_000,
        )

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._kafka.start()
        except BaseException:  # a cancellation too
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def publish(self, batch: Batch) -> None:
        """One transaction. After any exception, a cancellation too, the producer is of no use any more."""
        await self._kafka.begin_transaction()
        position = Record(POSITION_TOPIC, POSITION_KEY, msgspec.json.encode(batch.last), [])
        sent = [self._send(partition, records) for partition, records in batch.records.items()]
        try:
            # To commit before every record is acknowledged could commit without those that are refused.
            await asyncio.gather(*sent, self._send(TopicPartition(POSITION_TOPIC, 0), [position]))
        except asyncio.CancelledError:
            await self._abort()
            raise
        await self._kafka.commit_transaction()

    async def confirm(self) -> None:
        """Make sure that Kafka is there. Raises KafkaError."""
        async with asyncio.timeout(PATIENCE):
            if not await self._kafka.client.force_metadata_update():
                raise KafkaConnectionError("no broker answers")

    async def _send(self, partition: TopicPartition, records: list[Record]) -> None:
        """Raises KafkaError."""
        for batch in self._batches(records):
            await (await self._kafka.send_batch(batch, partition.topic, partition=partition.partition))

    def _batches(self, records: list[Record]) -> Iterator[Any]:
        """The records in as few of aiokafka's batches as they fit in: a future for each, and no lingering."""
        batch = self._kafka.create_batch()
        for record in records:
            if not batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers):
                yield batch
                batch = self._kafka.create_batch()
                batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
        batch.close()
        yield batch

    async def _abort(self) -> None:
        """Readers need not wait for the transaction's timeout; if this fails, the next producer aborts it."""
        # aiokafka asserts that a producer that was fenced is not asked to abort.
        with contextlib.suppress(KafkaError, TimeoutError, AssertionError):
            async with asyncio.timeout(CLOSING):
                await self._kafka.abort_transaction()

    async def _close(self) -> None:
        """Close whole, also when the relay is stopped meanwhile: half closed leaves exceptions that nobody reads."""
        closing = asyncio.ensure_future(self._closed())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])
            raise

    async def _closed(self) -> None:
        """End a commit that is under way, and the connections; never raises."""
        try:
            async with asyncio.timeout(CLOSING):
                await self._kafka.stop()
        except (KafkaError, OSError) as error:
            log.info("Kafka is left without a goodbye", why=str(error) or type(error).__name__)
            await self._abandon()
        await asyncio.sleep(0.1)
        await self._kafka.client.close()  # what a request that was still under way has opened meanwhile
        for future in self._left_behind():
            if future.done() and not future.cancelled():
                future.exception()

    # aiokafka has no words for what the rest needs: its attributes are private.

    async def _abandon(self) -> None:
        """End what aiokafka would go on trying for as long as Kafka is away."""
        self._kafka._message_accumulator.fail_all(KafkaError("the producer was closed"))  # noqa: SLF001
        sender = self._kafka._sender.sender_task  # noqa: SLF001
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender], timeout=CLOSING)

    def _left_behind(self) -> "Iterator[asyncio.Future[Any]]":
        """What holds exceptions that nobody else will read, so that asyncio would complain."""
        kafka = self._kafka
        if (sender := kafka._sender.sender_task) is not None:  # noqa: SLF001
            yield sender
        if (transaction := kafka._txn_manager.wait_for_transaction_end()) is not None:  # noqa: SLF001
            yield transaction
        for batches in kafka._message_accumulator._batches.values():  # noqa: SLF001
            for batch in batches:
                yield batch.future
                yield batch._drain_waiter  # noqa: SLF001


async def read_position(bootstrap_servers: str) -> Published | None:
    """What the last committed record of the position topic says; None when there is none.

    To be read after the producer has started: then no transaction before it is open or can commit any more.
    """
    partition = TopicPartition(POSITION_TOPIC, 0)
    # Up to the last record of all, so that an open transaction is waited for and not overlooked.
    async with _reader(bootstrap_servers, partition, "read_uncommitted") as everything:
        begin = (await everything.beginning_offsets([partition]))[partition]
        end = (await everything.end_offsets([partition]))[partition]
    async with _reader(bootstrap_servers, partition, "read_committed") as committed:
        reach = 16
        while True:
            start = max(begin, end - reach)
            value = await _last_value(committed, partition, start, end)
            if value is not None:
                return msgspec.json.decode(value, type=Published)
            if start == begin:
                return None
            reach *= 8


async def _last_value(reader: AIOKafkaConsumer, partition: TopicPartition, start: int, end: int) -> bytes | None:
    value = None
    reader.seek(partition, start)
    while await reader.position(partition) < end:
        for record in (await reader.getmany(partition, timeout_ms=500)).get(partition, ()):
            value = record.value
    return value


@contextlib.asynccontextmanager
async def _reader(
    bootstrap_servers: str, partition: TopicPartition, isolation_level: str
) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        isolation_level=isolation_level,
        enable_auto_commit=False,
        request_timeout_ms=10_000,
    )
    try:
        await reader.start()
        await asyncio.sleep(0)  # aiokafka's `stop` cancels its caller if no task of the reader has run yet
        reader.assign([partition])
        yield reader
    finally:
        await reader.stop()
