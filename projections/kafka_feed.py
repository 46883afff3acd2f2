"""Events from Kafka: a consumer in a group, that starts from the checkpoints and not from the group's offsets."""

import asyncio
import time
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from events import cloudevents
from events.cloudevents import TOPICS, UnreadableRecord
from events.envelope import Kind, order_stream, product_stream
from events.tasks import ended
from projections.feed import Begin, CannotFollow, Delivered, FeedUnavailable, Place, Slice, Unreadable

PATIENCE = 15.0
"""Seconds that aiokafka may take for anything; some of its calls wait for ever when a broker has gone and come back."""

log = structlog.get_logger()


class KafkaFeed(ConsumerRebalanceListener):  # type: ignore[misc]
    """Events from the topics, as far as this consumer's partitions go.

    `idle` seconds without an event, it makes sure that there is none, since aiokafka's consumer can stand still for
    ever after a broker came back (aiokafka issue 1154).
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        *,
        topics: Mapping[Kind, str] = TOPICS,
        largest: int = 2_000,
        idle: float = 5.0,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._topics = topics
        self._largest = largest
        self._idle = idle
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[Place, int] = {}  # the places that are ours and placed
        self._failure: Exception | None = None
        self._unassigned_since: float | None = None  # monotonic seconds; none while the group has given us our share

    def source(self, kind: Kind) -> str:
        return self._topics[kind]

    async def open(self, kinds: set[Kind], begin: Begin) -> None:
        self._begin = begin
        self._failure = None
        self._next.clear()
        self._unassigned_since = time.monotonic()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,  # until a killed worker's partitions go to another; brokers allow no less
            heartbeat_interval_ms=1_000,
            metadata_max_age_ms=30_000,  # until a topic that is made later is seen
        )
        self._consumer.subscribe([self._topics[kind] for kind in sorted(kinds)], listener=self)
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            raise FeedUnavailable(f"Kafka at {self._bootstrap_servers} does not answer: {error}") from error

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        # In a task of its own: aiokafka's `stop` lets the cancellation of its own tasks out, which is not ours.
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.wait([stopping], timeout=3)
        if not stopping.done():
            await ended(stopping)
        if stopping.cancelled() or stopping.exception() is not None:  # the group finds out by itself that we are gone
            log.warning("left Kafka without a farewell", group=self._group)

    async def batch(self) -> list[Slice]:
        assert self._consumer is not None
        quiet_since = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    records = await self._consumer.getmany(timeout_ms=500, max_records=self._largest)
                    if not records and time.monotonic() > quiet_since + self._idle:
                        await self._make_sure_that_nothing_is_left()
                        quiet_since = time.monotonic()
            except (KafkaError, OSError, TimeoutError) as error:
                raise FeedUnavailable(f"Kafka at {self._bootstrap_servers} does not answer: {error!r}") from error
            if self._failure is not None:
                raise self._failure
            slices = [self._slice((tp.topic, tp.partition), its) for tp, its in records.items()]
            if slices := [part for part in slices if part is not None]:
                return slices

    async def seek(self, offsets: Mapping[Place, int]) -> None:
        assert self._consumer is not None
        for place, offset in offsets.items():
            if place in self._next:
                self._consumer.seek(TopicPartition(*place), offset)
                self._next[place] = offset

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._unassigned_since = time.monotonic()
        for tp in revoked:
            self._next.pop((tp.topic, tp.partition), None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Go to the checkpoints. aiokafka would log a failure here and go on from elsewhere: so `batch` raises it."""
        partitions = list(assigned)
        try:
            if partitions:
                async with asyncio.timeout(PATIENCE):
                    await self._go_to_checkpoints(partitions)
            self._unassigned_since = None
        except (KafkaError, OSError, TimeoutError) as error:
            self._failure = FeedUnavailable(f"Kafka at {self._bootstrap_servers} does not answer: {error!r}")
        except Exception as error:  # noqa: BLE001  raised by `batch`
            self._failure = error
        log.info("partitions assigned", group=self._group, partitions=[tuple(tp) for tp in partitions])

    async def _go_to_checkpoints(self, partitions: list[TopicPartition]) -> None:
        offsets = await self._begin([(tp.topic, tp.partition) for tp in partitions])
        await self._check(offsets)
        self._next.update(offsets)
        await self.seek(offsets)

    async def _check(self, offsets: Mapping[Place, int]) -> None:
        """The topic must hold what the checkpoints say was read from it, and everything after."""
        assert self._consumer is not None
        partitions = [TopicPartition(*place) for place in offsets]
        first = await self._consumer.beginning_offsets(partitions)
        end = await self._consumer.end_offsets(partitions)
        for tp in partitions:
            offset = offsets[tp.topic, tp.partition]
            if not first[tp] <= offset <= end[tp]:
                raise CannotFollow(
                    f"the read side goes on at offset {offset} of topic {tp.topic!r}, partition {tp.partition}, but "
                    f"the topic holds {first[tp]} to {end[tp]}: events were deleted or it is another topic; rebuild "
                    "the read side from the log with `orderlog rebuild`"
                )

    async def _make_sure_that_nothing_is_left(self) -> None:
        assert self._consumer is not None
        if self._unassigned_since is not None and time.monotonic() > self._unassigned_since + 2 * PATIENCE:
            raise FeedUnavailable(f"the Kafka group {self._group!r} has given us no share for {2 * PATIENCE:.0f} s")
        ours = [tp for tp in self._consumer.assignment() if (tp.topic, tp.partition) in self._next]
        if not ours:
            return
        end = await self._consumer.end_offsets(ours)
        before = {tp: await self._consumer.position(tp) for tp in ours}
        behind = [tp for tp in ours if before[tp] < end[tp]]
        if not behind:
            return
        await asyncio.sleep(1)
        for tp in behind:
            if tp not in self._consumer.assignment() or await self._consumer.position(tp) > before[tp]:
                return
        names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in behind)
        raise FeedUnavailable(f"the Kafka consumer stands still on {names} though there is more to read")

    def _slice(self, place: Place, records: list[ConsumerRecord]) -> Slice | None:
        start = self._next.get(place)
        if start is None:  # not yet at its checkpoint
            return None
        end = self._next[place] = records[-1].offset + 1
        return Slice(
            place, start, end, [record.offset for record in records], [self._read(record) for record in records]
        )

    def _read(self, record: ConsumerRecord) -> Delivered:
        try:
            return cloudevents.decode(
                record.topic, record.partition, record.offset, record.key, record.value, record.headers
            )
        except UnreadableRecord as error:
            key = (record.key or b"").decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
            stream = order_stream(key) if record.topic == self._topics["order"] else product_stream(key)
            return _unreadable(stream, record, str(error))


def _unreadable(stream: str, record: ConsumerRecord, why: str) -> Unreadable:
    """Without a header that says its version, its offset tells it apart."""
    headers = dict(record.headers)
    version = _number(headers.get("ce_sequence"), record.offset)
    return Unreadable(stream, version, _number(headers.get("ce_position"), 0), why)


def _number(header: bytes | None, otherwise: int) -> int:
    return int(header) if header is not None and header.isdigit() else otherwise
