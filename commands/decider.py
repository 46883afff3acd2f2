"""Decides batches of commands against the log: what is known of it, one append, and what to do when that fails."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec
import psycopg
import structlog

from commands import snapshots
from commands.batch import UNKNOWN, Batch, Known, evolved, stream_of
from commands.exchange import Asked, Failed, Replies, Series, Told, Unavailable, keys_of
from commands.order import AmendOrder, Order, PlaceOrder
from events import codec
from events.codec import Row, UnreadableEvent
from events.envelope import product_stream
from events.log import FAR_BEHIND, NotAppended, Snapshot, StoredAnswer, Writer
from events.numbers import Numbers

log = structlog.get_logger()

LOCKED_BATCHES = 64
"""After another process was seen to append, so many batches take the log's lock before they are decided."""

OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError)
"""What says nothing about the commands: the same ones may be tried again."""


class _Attempt(msgspec.Struct):
    """What was sent to be committed, so that a lost connection leaves no doubt about it."""

    requests: list[Asked]
    replies: list[Told]
    rows: list[Row]
    moved: dict[str, Known]


class Decider:
    """Decides batches on one connection; for one thread, and without asyncio.

    A batch is decided under the log's lock, after catching up: so nothing is decided twice, however many processes
    decide. A process that is alone saves the round trip for the lock: it decides on what it knows and appends at the
    positions that follow, which fails if anybody else has appended meanwhile; then the batch is decided under the lock.
    """

    def __init__(self, writer: Writer, remember: int) -> None:
        self._writer = writer
        self._remember = remember
        self._known: dict[str, Known | UnreadableEvent] = {}  # the least recently used first
        self._position = 0  # all of `_known` is at least as new as this
        self._in_doubt: _Attempt | None = None
        self._numbers: Numbers | None = None
        self._grown: dict[str, Known] = {}  # to be kept as snapshots
        self._locked_batches = 1  # so many more are decided under the lock; the first one finds the head of the log

    def close(self) -> None:
        self._writer.close()

    def knows(self, request: Asked) -> bool:
        """Whether it can be decided without loading a stream."""
        return all(stream in self._known for stream in _streams_asked_for([request]))

    def process(self, requests: list[Asked], join: Callable[[], None] = lambda: None) -> list[Told]:
        """An answer for each request, in order. `join` is called once the lock is had: it may append more requests.

        Raises `psycopg.OperationalError` when the connection is lost: the same list of requests may then be given
        again, and none is decided twice.
        """
        try:
            return self._process(requests, join)
        except OUTAGES:
            self._writer.close()  # whatever was under way on it: the next attempt begins on a connection of its own
            raise
        except psycopg.Error as error:
            return self._one_by_one(requests, error)
        finally:
            self._forget()

    def _process(self, requests: list[Asked], join: Callable[[], None]) -> list[Told]:
        if self._numbers is None:
            self._numbers = Numbers(self._writer.numbers_key())
        self._keep_grown()
        self._load(_streams_asked_for(requests))
        if self._locked_batches == 0 and self._in_doubt is None and not _some_are_all_or_none(requests):
            try:
                return self._process_unlocked(requests, join)
            except NotAppended:
                self._locked_batches = LOCKED_BATCHES
        return self._process_locked(requests, join)

    def _process_unlocked(self, requests: list[Asked], join: Callable[[], None]) -> list[Told]:
        """Decide on what is known; the log refuses it (`NotAppended`) if that was not all there is to know."""
        batch = Batch(self, {})
        replies = batch.told(requests)
        if not batch.rows:  # nothing that the log could refuse
            return self._process_locked(requests, join)
        self._in_doubt = attempt = _Attempt(requests, replies, batch.rows, batch.moved)
        try:
            self._writer.append_unlocked(batch.rows, list(batch.answers.values()))
        except NotAppended:
            self._in_doubt = None
            raise
        self._moved(attempt)
        return replies

    def _process_locked(self, requests: list[Asked], join: Callable[[], None]) -> list[Told]:
        self._locked_batches = max(self._locked_batches - 1, 0)
        known_answers = self._begin(keys_of(requests))
        if self._in_doubt is None:
            asked = len(requests)
            join()
            known_answers |= self._writer.answers(keys_of(requests[asked:]))
        if self._in_doubt is not None and (settled := self._settled(requests)) is not None:
            return settled
        batch = Batch(self, known_answers)
        replies = batch.told(requests)
        if not batch.rows and not batch.answers:
            self._writer.abandon()
            return replies
        self._in_doubt = attempt = _Attempt(requests, replies, batch.rows, batch.moved)
        self._writer.append(batch.rows, list(batch.answers.values()))
        self._moved(attempt)
        return replies

    def state(self, stream: str) -> Known:
        """A stream as it is. Raises `UnreadableEvent`."""
        known = self._known.get(stream)
        if known is None:
            self._load([stream])
            known = self._known[stream]
        if isinstance(known, UnreadableEvent):
            raise known
        return known

    @property
    def position(self) -> int:
        return self._position

    def number(self, position: int) -> str:
        """The number of an order whose first event has this position."""
        assert self._numbers is not None
        return self._numbers.number(position)

    def _begin(self, keys: list[str]) -> dict[str, StoredAnswer]:
        """Take the lock and catch up with what other processes appended."""
        news, answers = self._writer.begin(self._position, keys)
        if news:
            self._locked_batches = LOCKED_BATCHES
        if len(news) > FAR_BEHIND:
            self._known.clear()
            self._position = self._writer.head()
        elif news:
            for row in news:
                self._follow(row)
            self._position = news[-1][2]
        return answers

    def _follow(self, row: Row) -> None:
        stream, version = row[0], row[1]
        known = self._known.get(stream)
        if isinstance(known, Known) and version > known.version:
            if version == known.version + 1:
                self._known[stream] = _folded([row], known)
            else:
                del self._known[stream]

    def _load(self, streams: Iterable[str]) -> None:
        known = self._known
        missing = set()
        for stream in streams:
            if stream in known:
                known[stream] = known.pop(stream)  # used most recently
            else:
                missing.add(stream)
        if not missing:
            return
        kept, found = self._writer.load(missing, snapshots.SHAPE)
        start = dict.fromkeys(missing, UNKNOWN)
        rows: dict[str, list[Row]] = {stream: [] for stream in missing}
        for row in found:
            rows[row[0]].append(row)
        for snapshot in kept:
            stream, version = snapshot.stream, snapshot.version
            try:
                start[stream] = Known(version, snapshots.decode(stream, snapshot.state))
            except ValueError as error:  # the stream says it all, only slower
                log.warning("snapshot cannot be read", stream=stream, version=version, error=str(error))
                rows[stream] = self._writer.streams([stream])
        for stream, its_rows in rows.items():
            known[stream] = folded = _folded(its_rows, start[stream])
            if len(its_rows) >= snapshots.EVERY and isinstance(folded, Known):
                self._grown[stream] = folded
        more = {
            product_stream(line.sku)
            for stream in missing
            if isinstance(one := known[stream], Known) and isinstance(one.state, Order)
            for line in one.state.lines.values()
            if line.reserved
        }
        if more:
            self._load(more)

    def _keep_grown(self) -> None:
        """Keep what long streams have come to. Before a batch, not after one: it may fail, and the batch is decided."""
        if not self._grown:
            return
        kept = [
            Snapshot(stream, one.version, snapshots.encode(one.state))
            for stream, one in self._grown.items()
            if one.state is not None
        ]
        self._writer.keep(kept, snapshots.SHAPE)
        self._grown.clear()

    def _settled(self, requests: list[Asked]) -> list[Told] | None:
        """Whether the batch in doubt was committed after all: the lock is held, so it is decided by now."""
        attempt, self._in_doubt = self._in_doubt, None
        if attempt is None or attempt.requests is not requests or not attempt.rows:
            return None
        first = attempt.rows[0]
        if not any(row == first for row in self._writer.streams([first[0]])):
            return None
        self._writer.abandon()
        return attempt.replies

    def _moved(self, attempt: _Attempt) -> None:
        self._in_doubt = None
        for stream, known in attempt.moved.items():
            before = self._known.pop(stream, None)
            self._known[stream] = known
            if known.version >= snapshots.EVERY and snapshots.are_due(_version(before), known.version):
                self._grown[stream] = known
        if attempt.rows:
            self._position = attempt.rows[-1][2]

    def _forget(self) -> None:
        """Streams that were only asked about, and refused, are known too: the bound holds after every batch."""
        too_many = max(len(self._known) - self._remember, 0)
        for stream in [*islice(self._known, too_many)]:  # in one walk: each from the front passes those that are gone
            del self._known[stream]

    def _one_by_one(self, requests: list[Asked], error: psycopg.Error) -> list[Told]:
        """The database refused the batch, which validation should have made impossible: find out whose fault it is."""
        log.error("database refused a batch", error=str(error), commands=len(requests))
        self._writer.abandon()
        self._in_doubt = None
        self._known.clear()
        if len(requests) > 1:
            return [*self._singly(requests)]
        only = requests[0]
        if isinstance(only, Series) and only.held is None:
            return [Replies([one for one in self._singly(only.requests) if not isinstance(one, Replies)])]
        return [Failed(str(error))]

    def _singly(self, requests: Iterable[Asked]) -> Iterator[Told]:
        for request in requests:
            try:
                yield from self.process([request])
            except OUTAGES:  # not for the caller to try again: some of these requests are committed by now
                yield Unavailable()


def _some_are_all_or_none(asked: list[Asked]) -> bool:
    """Then keys are looked up before anything is decided: what is refused leaves nothing for a known key to fail."""
    return Series in map(type, asked) and any(isinstance(one, Series) and one.held is not None for one in asked)


def _streams_asked_for(asked: Iterable[Asked]) -> Iterator[str]:
    for request in asked:
        if isinstance(request, Series):
            yield from _streams_asked_for(request.requests)
            continue
        if not request.new:
            yield stream_of(request.command)
        if isinstance(request.command, PlaceOrder | AmendOrder):
            for line in request.command.lines or ():
                if line.sku is not None:
                    yield product_stream(line.sku)


def _version(known: "Known | UnreadableEvent | None") -> int:
    return known.version if isinstance(known, Known) else 0


def _folded(rows: list[Row], start: Known) -> Known | UnreadableEvent:
    version, state = start.version, start.state
    try:
        for row in rows:
            recorded = codec.decode(row)
            version, state = recorded.version, evolved(state, recorded.event)
    except UnreadableEvent as unreadable:
        return unreadable
    return Known(version, state)
