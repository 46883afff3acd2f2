"""The relay: writes the log to Kafka, exactly once; the only producer of the event topics.

1. Start the transactional producer: this fences the one before.
2. Read the own position from the position topic.
3. Read the log after it.
4. One Kafka transaction: the events and the new position.
5. On any error close the producer and go to 1.

A lock in PostgreSQL elects the one that runs, so that somebody does; Kafka's fencing keeps it safe, whoever believes to
be elected.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import msgspec
import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from psycopg import AsyncConnection

from events import cloudevents
from events.cloudevents import Record
from events.codec import Row, UnreadableEvent
from events.log import CHANNEL, Log, LogUnavailable
from events.topics import POSITION_TOPIC, ensure_topics
from events.wakeup import KEEPALIVE, Wakeup

TRANSACTIONAL_ID = "orderlog.relay"
"""One for all relays: by it Kafka knows the one before."""

POSITION_KEY = b"relay"

ELECT = "SELECT pg_try_advisory_lock(hashtext('orderlog.relay'))"
"""True for the one session that may run the relay; it stays so until the session ends."""

LAPSE = "SET idle_session_timeout = '5s'"
"""End the session, and with it the lock, of a relay that has stopped saying that it is alive."""

ALIVE = "SELECT"
"""Nothing, but it shows that the session is there, and keeps it."""

HEARTBEAT = 1.0
"""Seconds between two signs of life; an elected relay that is gone is replaced about as fast."""

PATIENCE = 15.0
"""Seconds that a step of the relay, such as a transaction, may take before it is given up."""

CLOSING = 2.0
"""Seconds that ending a transaction and closing a producer may take."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts."""

log = structlog.get_logger()


class LogRestored(Exception):
    """The log is not the one, or is older than the one, that was published."""

    def __init__(self, position: int, published: str, found: str) -> None:
        super().__init__(
            f"position {position} is published as {published!r}, but the log has {found} there: it was restored to an "
            "older state or is another log; bring the newer state back, or publish to topics of its own"
        )


class LogHasGap(Exception):
    """Events are missing from the log."""

    def __init__(self, after: int, found: int) -> None:
        super().__init__(
            f"position {after} of the log is followed by {found}: what was between is missing; bring it back"
        )


class Published(msgspec.Struct, frozen=True):
    """How far the log is published: the value of a record of the position topic."""

    position: int  # up to and including this one
    event: str  # the id of the event there


class _Batch(msgspec.Struct, frozen=True):
    """What one transaction writes."""

    records: dict[TopicPartition, list[Record]]
    last: Published


class Relay:
    """`run` until cancelled. `leading`, `position` and `problem` say how it goes.

    `partitions` is the number of partitions of each event topic, `largest_batch` of events in one transaction.
    """

    def __init__(self, events: Log, bootstrap_servers: str, *, partitions: int = 6, largest_batch: int = 500) -> None:
        self._events = events
        self._bootstrap_servers = bootstrap_servers
        self._partitions = partitions
        self._largest_batch = largest_batch
        self.leading = False
        """This relay is the elected one."""
        self.position = 0
        """Up to here the log is published, as far as this relay knows."""
        self.problem: str | None = None
        """Why nothing is published at the moment."""

    async def run(self) -> None:
        """Publish until cancelled; a Kafka or a PostgreSQL that goes away is waited for.

        Raises what `ensure_topics` raises: `KafkaUnreachable` at the start, `TopicMismatch`, `TopicRefused`.
        """
        await ensure_topics(self._bootstrap_servers, self._partitions)
        async with Wakeup(self._events.url, CHANNEL) as grown:
            pause = _Pause()
            while True:
                try:
                    async with Leadership(self._events.url) as leadership:
                        await leadership.won()
                        pause.reset()
                        await self._lead(leadership, grown)
                except (psycopg.Error, TimeoutError) as error:
                    self._report("the relay is not elected any more", error)
                await pause.sleep()

    async def _lead(self, leadership: "Leadership", grown: Wakeup) -> None:
        """Publish while elected. Raises what ended the leadership."""
        self.leading = True
        log.info("the relay is elected")
        publishing = asyncio.create_task(self._publish(leadership, grown), name="publishes the log")
        losing = asyncio.create_task(leadership.lost(), name="keeps the leadership")
        try:
            ended, _ = await asyncio.wait([publishing, losing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = False
            await _end(publishing)
            await _end(losing)
        for task in ended:
            if task.cancelled():  # not by us: so aiokafka has done at times
                log.error("the relay starts again", why=f"a library cancelled the task that {task.get_name()}")
            else:
                task.result()

    async def _publish(self, leadership: "Leadership", grown: Wakeup) -> None:
        pause = _Pause()
        while True:
            start = self.position
            try:
                await leadership.confirm()  # or this would fence the relay that was elected meanwhile
                async with _Producer(self._bootstrap_servers) as producer:
                    await self._resume()
                    await self._follow(producer, grown)
            except (psycopg.Error, LogUnavailable, KafkaError, OSError) as error:
                self._report("the relay starts again", error)
            except (UnreadableEvent, LogRestored, LogHasGap) as error:
                self._report("the relay cannot go on", error)
            except Exception as error:
                log.exception("the relay failed and starts again")
                self.problem = repr(error)
            if self.position > start:
                pause.reset()
            await pause.sleep()

    def _report(self, what: str, error: Exception) -> None:
        self.problem = str(error).strip() or type(error).__name__
        log.warning(what, why=self.problem, kind=type(error).__name__, position=self.position)

    async def _resume(self) -> None:
        """Find where the log is published up to. Raises `LogRestored` when the log does not agree."""
        async with asyncio.timeout(PATIENCE):
            published = await read_position(self._bootstrap_servers)
        if published is None:
            self.position = 0
            return
        rows = await asyncio.to_thread(self._events.read, published.position - 1, 1)
        found = _id(rows[0]) if rows and rows[0][2] == published.position else None
        if found != published.event:
            raise LogRestored(published.position, published.event, repr(found) if found else "nothing")
        self.position = published.position

    async def _follow(self, producer: "_Producer", grown: Wakeup) -> None:
        """Publish what the log has, then what it gets, for ever. The next batch is read while one commits."""
        ahead = self._read_ahead(self.position)
        try:
            while True:
                batch = await ahead
                if batch is None:
                    self.problem = None
                    await grown.wait(HEARTBEAT)
                    ahead = self._read_ahead(self.position)
                else:
                    ahead = self._read_ahead(batch.last.position)
                    async with asyncio.timeout(PATIENCE):
                        await producer.publish(batch)
                    self.position = batch.last.position
                    self.problem = None
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _read_ahead(self, after: int) -> asyncio.Task[_Batch | None]:
        return asyncio.create_task(asyncio.to_thread(self._read, after), name=f"reads the log after {after}")

    def _read(self, after: int) -> _Batch | None:
        """The next batch, up to the first event that cannot be read. Raises `UnreadableEvent` if that is the first."""
        records: dict[TopicPartition, list[Record]] = defaultdict(list)
        last: Row | None = None
        for position, row in enumerate(self._events.read(after, self._largest_batch), after + 1):
            if row[2] != position:
                raise LogHasGap(position - 1, row[2])
            try:
                record = cloudevents.encode(row)
            except UnreadableEvent:
                if last is None:
                    raise
                break  # the ones before it first
            records[_partition(record.topic, record.key, self._partitions)].append(record)
            last = row
        return _Batch(records, Published(last[2], _id(last))) if last else None


class Leadership:
    """At most one session of the log's database has it. `won`, then `lost`; a connection of its own.

    Raises `psycopg.Error` or `TimeoutError` when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = await AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def won(self) -> None:
        """Wait for the turn. It asks again and again: a statement that waits would hold back PostgreSQL's vacuum."""
        await self._session.execute(LAPSE)
        while not await self._elected():  # noqa: ASYNC110  PostgreSQL can only be asked
            await asyncio.sleep(HEARTBEAT / 2)

    async def lost(self) -> None:
        """Keep it; raises when that is not possible any more."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            await self.confirm()

    async def confirm(self) -> None:
        async with asyncio.timeout(CLOSING):
            await self._session.execute(ALIVE)

    async def _elected(self) -> bool:
        row = await (await self._session.execute(ELECT)).fetchone()
        return bool(row and row[0])


class _Producer:
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

    async def publish(self, batch: _Batch) -> None:
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
        """End a commit that is under way, and the connections; never raises."""
        try:
            async with asyncio.timeout(CLOSING):
                await self._kafka.stop()
        except (KafkaError, OSError) as error:
            log.info("Kafka is left without a goodbye", why=str(error) or type(error).__name__)
            await self._abandon()
        await asyncio.sleep(SHORTEST_PAUSE)
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


class _Pause:
    """Between two attempts: longer and longer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._seconds = SHORTEST_PAUSE

    async def sleep(self) -> None:
        await asyncio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, LONGEST_PAUSE)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel until it has ended: aiokafka swallows a cancellation that finds it closing a connection."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)


@lru_cache(maxsize=8192)
def _partition(topic: str, key: bytes, partitions: int) -> TopicPartition:
    """Where every Kafka client would put the key by default."""
    return TopicPartition(topic, (murmur2(key) & 0x7FFFFFFF) % partitions)


def _id(row: Row) -> str:
    return f"{row[0]}/{row[1]}"
