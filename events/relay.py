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
import time
from collections import defaultdict
from functools import lru_cache

import msgspec
import psycopg
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from events import cloudevents
from events.cloudevents import Record
from events.codec import Row, UnreadableEvent
from events.leadership import HEARTBEAT, Leadership
from events.log import CHANNEL, Log, LogUnavailable
from events.publication import PATIENCE, Batch, Producer, Published, read_position
from events.relay_progress import Progress, keep_noting
from events.tasks import ended
from events.topics import ensure_topics, partition_of
from events.wakeup import Listening, Wakeup

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts."""

NOT_YET = "the relay has not reached Kafka yet"

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


class Read(msgspec.Struct, frozen=True):
    """What was next in the log, if anything was."""

    batch: Batch | None
    complete_until: float | None  # monotonic seconds: the log had nothing after it then; None: it may have had more


class Relay:
    """`run` until cancelled. `leading`, `position` and `problem` say how it goes.

    `partitions` is the number of partitions of each event topic, `largest_batch` of events in one transaction.
    """

    def __init__(self, events: Log, bootstrap_servers: str, *, partitions: int = 6, largest_batch: int = 1_000) -> None:
        self._events = events
        self._bootstrap_servers = bootstrap_servers
        self._partitions = partitions
        self._largest_batch = largest_batch
        self.leading = False
        """This relay is the elected one."""
        self.position = 0
        """Up to here the log is published, as far as this relay knows."""
        self.problem: str | None = NOT_YET
        """Why nothing is published at the moment."""
        self._resumed = False
        self._complete_until: float | None = None

    @property
    def progress(self) -> Progress | None:
        """None until it is known where to go on."""
        if not self._resumed:
            return None
        until = self._complete_until
        return Progress(self.position, time.monotonic() - until if until is not None else None)

    async def run(self) -> None:
        """Publish until cancelled; a Kafka or a PostgreSQL that goes away is waited for.

        Raises what `ensure_topics` raises: `KafkaUnreachable` at the start, `TopicMismatch`, `TopicRefused`.
        """
        await ensure_topics(self._bootstrap_servers, self._partitions)
        self.problem = None
        async with Listening(self._events.url, CHANNEL) as listening:
            grown, pause = listening.waiter(), _Pause()
            while True:
                try:
                    async with Leadership(self._events.url) as leadership:
                        self.problem = None
                        await leadership.won()
                        pause.reset()
                        await self._lead(leadership, grown)
                except (psycopg.Error, TimeoutError) as error:
                    self._report("the relay is not elected any more", error)
                await pause.sleep()

    async def _lead(self, leadership: Leadership, grown: Wakeup) -> None:
        """Publish while elected. Raises what ended the leadership."""
        self.leading = True
        log.info("the relay is elected")
        publishing = asyncio.create_task(self._publish(leadership, grown), name="publishes the log")
        losing = asyncio.create_task(leadership.lost(), name="keeps the leadership")
        noting = asyncio.create_task(keep_noting(self._events.url, lambda: self.progress), name="notes its progress")
        try:
            over, _ = await asyncio.wait([publishing, losing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = self._resumed = False
            await ended(publishing, losing, noting)
        for task in over:
            if task.cancelled():  # not by us: so aiokafka has done at times
                log.error("the relay starts again", why=f"a library cancelled the task that {task.get_name()}")
            else:
                task.result()

    async def _publish(self, leadership: Leadership, grown: Wakeup) -> None:
        pause = _Pause()
        while True:
            start = self.position
            try:
                await leadership.confirm()  # or this would fence the relay that was elected meanwhile
                async with Producer(self._bootstrap_servers) as producer:
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
            self.position, self._resumed = 0, True
            return
        rows = await asyncio.to_thread(self._events.read, published.position - 1, 1)
        found = _id(rows[0]) if rows and rows[0][2] == published.position else None
        if found != published.event:
            raise LogRestored(published.position, published.event, repr(found) if found else "nothing")
        self.position, self._resumed = published.position, True

    async def _follow(self, producer: Producer, grown: Wakeup) -> None:
        """Publish what the log has, then what it gets, for ever. The next batch is read while one commits."""
        ahead = self._read_ahead(self.position)
        try:
            while True:
                read = await ahead
                if (batch := read.batch) is None:
                    self.problem = None
                    self._complete_until = read.complete_until
                    if not await grown.wait(HEARTBEAT):
                        await producer.confirm()
                    ahead = self._read_ahead(self.position)
                else:
                    ahead = self._read_ahead(batch.last.position)
                    async with asyncio.timeout(PATIENCE):
                        await producer.publish(batch)
                    self.position = batch.last.position
                    self.problem = None
                    self._complete_until = read.complete_until or self._complete_until
        finally:
            await ended(ahead)

    def _read_ahead(self, after: int) -> asyncio.Task[Read]:
        return asyncio.create_task(asyncio.to_thread(self._read, after), name=f"reads the log after {after}")

    def _read(self, after: int) -> Read:
        """The next batch, up to the first event that is missing or cannot be read.

        Raises `LogHasGap` or `UnreadableEvent` if that is the very first.
        """
        records: dict[TopicPartition, list[Record]] = defaultdict(list)
        last: Row | None = None
        begun = time.monotonic()
        rows = self._events.read(after, self._largest_batch)
        complete_until = begun if len(rows) < self._largest_batch else None
        for position, row in enumerate(rows, after + 1):
            try:
                record = _record(row, position)
            except (LogHasGap, UnreadableEvent):
                if last is None:
                    raise
                complete_until = None
                break  # the ones before it first
            records[_partition(record.topic, record.key, self._partitions)].append(record)
            last = row
        batch = Batch(records, Published(last[2], _id(last))) if last else None
        return Read(batch, complete_until)


class _Pause:
    """Between two attempts: longer and longer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._seconds = SHORTEST_PAUSE

    async def sleep(self) -> None:
        await asyncio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, LONGEST_PAUSE)


@lru_cache(maxsize=8192)
def _partition(topic: str, key: bytes, partitions: int) -> TopicPartition:
    return TopicPartition(topic, partition_of(key, partitions))


def _record(row: Row, position: int) -> Record:
    if row[2] != position:
        raise LogHasGap(position - 1, row[2])
    return cloudevents.encode(row)


def _id(row: Row) -> str:
    return f"{row[0]}/{row[1]}"
