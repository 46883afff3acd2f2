"""The shell around the decisions: a batch of commands in, one append, an answer for each.

While one batch commits, the next one gathers: the busier, the larger the batch, and no timer. Each command is decided
against the state that the earlier ones of its batch leave, and appended only if that state is the log's: there is one
sequence of decisions, however many processes decide. A refused or failing command costs its neighbours nothing.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import psycopg
import structlog

from commands import order as orders
from commands import product as products
from commands import snapshots
from commands.in_flight import WAIT, First, InFlight, KeysInFlight
from commands.order import AmendOrder, AnyOrderCommand, Order, PlaceOrder
from commands.product import AnyProductCommand, Product, ProductCommand
from commands.refusals import NoSuchOrder, OrderExists, Refusal, StaleVersion
from events import codec
from events.codec import Row, UnreadableEvent
from events.envelope import Cause, Event, key_of, kind_of, order_stream, product_stream
from events.log import FAR_BEHIND, Log, NotAppended, Snapshot, StoredAnswer, Writer
from events.numbers import Numbers
from events.product import ProductEvent, ProductFact

LARGEST_ANSWERS = 32 * 1024 * 1024
"""Bytes of answers after which no further command of a series is decided: an order of 2,000 lines is a megabyte."""

LOCKED_BATCHES = 64
"""After another process was seen to append, so many batches take the log's lock before they are decided."""

OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError)
"""What says nothing about the commands: the same ones may be tried again."""

AnyCommand = AnyOrderCommand | AnyProductCommand
State = Order | Product | None

log = structlog.get_logger()


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The command holds: its events are in the log, or it was so already."""

    version: int  # of the command's own stream
    position: int  # the log's head right after the command
    state: Order | Product
    events: tuple[Event, ...]  # of the command's own stream; empty when it was so already
    recorded: int  # events of all streams: the last ones up to the position
    products: Mapping[str, tuple[ProductEvent, ...]] = {}  # of a dry run only: what would happen to which, by SKU


class Refused(msgspec.Struct, frozen=True):
    """The command does not hold; nothing was appended."""

    refusal: Refusal
    version: int  # of the command's own stream; 0 when there is none
    position: int
    state: State


class Request(msgspec.Struct, frozen=True):
    """A command, who asks, and how its outcome becomes the answer that is kept and replayed."""

    command: AnyCommand
    actor: str
    answer: Callable[[Accepted | Refused], bytes]
    key: str | None = None  # UUID in hexadecimal: the hash of caller and Idempotency-Key
    fingerprint: str = ""  # UUID in hexadecimal: the hash of what was asked
    expected_version: int | None = None
    new: bool = False  # the stream cannot exist yet: its id was made for this command
    owner: str | None = None  # the customer that the caller is confined to: other customers' orders do not exist
    request_id: str | None = None
    traceparent: str | None = None


class Reply(msgspec.Struct, frozen=True, gc=False):
    answer: bytes
    replayed: bool = False


class Series(msgspec.Struct, frozen=True):
    """Commands that are decided in order, one right after another, and appended together.

    Each is accepted or refused for itself. With `held`, which tells from an answer whether its command held, all of
    them hold or nothing is appended; then no answer is kept either, so that all of it may be tried again.
    """

    requests: tuple[Request, ...]
    held: Callable[[bytes], bool] | None = None


class Replies(msgspec.Struct, frozen=True):
    """To the commands of a series, in their order; an exception may be `NotApplied` and `NoRoom` as well."""

    of: list[Reply | Exception]


Asked = Request | Series
Told = Reply | Replies | Exception


class KeyReused(Exception):
    """The idempotency key was used for another request."""


class Busy(Exception):
    """More commands wait than can be decided soon; try again."""


class Unavailable(Exception):
    """The log could not be written; whether the command was taken is not known. Try again with the same key."""


class Failed(Exception):
    """The command could not be decided; nothing was appended."""


class NotApplied(Exception):
    """Another command of the series was refused, so nothing of it was appended."""


class NoRoom(Exception):
    """The answers to the commands before it in the series are all that one series may have; it was not decided."""


class Processor:
    """Decides commands in one thread of its own. `start`, `submit` from the event loop, `stop`.

    `remember` bounds how many streams are kept in memory, `queue` how many commands may wait; `patience` is how many
    seconds a command waits for a database that is away, `repeat_wait` how many a repeated one waits for the first.
    """

    def __init__(
        self,
        events: Log,
        *,
        remember: int = 20_000,
        queue: int = 5_000,
        largest_batch: int = 512,
        patience: float = 10.0,
        repeat_wait: float = WAIT,
    ) -> None:
        self._decider = Decider(events.writer(), remember)
        self._waiting: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._submitted: list[_Waiting] = []  # in this turn of the event loop: one wake-up of the thread for all
        self._under_way = 0
        self._left: list[_Waiting] = []  # came too late to have its streams loaded before the lock: first of all next
        self._ending = False
        self._queue = queue
        self._largest_batch = largest_batch
        self._patience = patience
        self._repeat_wait = repeat_wait
        self._in_flight = KeysInFlight()
        self._series = 0  # under way: while there is none, nothing needs to be weighed
        self._thread: threading.Thread | None = None
        self.commands = 0
        self.sizes = [0] * (largest_batch.bit_length() + 1)
        """How many batches had so many commands: at 3, those of 4 to 7, whose numbers have three bits."""

    def start(self) -> None:
        """Needs a running event loop: answers are delivered there."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="processor", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Answer what waits, then end."""
        if self._thread is not None:
            if self._submitted:
                self._hand_over()
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    @property
    def waiting(self) -> int:
        """Commands that wait, or are being decided."""
        return self._under_way

    @property
    def batches(self) -> int:
        return sum(self.sizes)

    def submit(self, request: Request) -> asyncio.Future[Reply]:
        """The answer, once it is on disk.

        Raises `Busy` at once; the future raises `KeyReused`, `InFlight`, `Unavailable` or `Failed`.
        """
        if self._under_way >= self._queue:
            raise Busy
        key = request.key
        if key is not None:
            if key in self._in_flight:
                return asyncio.ensure_future(self._repeated(request, key))
            self._in_flight[key] = None
        self._under_way += 1
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(_Waiting(request, future, time.monotonic() + self._patience))
        return future

    def submit_series(self, series: Series) -> asyncio.Future[Replies]:
        """The answers, once they are on disk. A series has one command at least, and fits into a batch.

        Raises `Busy` at once when there is no room for all of it; the future raises `Unavailable` or `Failed`.
        """
        weight = len(series.requests)
        assert 0 < weight <= self._largest_batch, "a series is part of one batch"
        if self._under_way + weight > self._queue:
            raise Busy
        for key in _keys([series]):
            self._in_flight.setdefault(key, None)
        self._under_way += weight
        self._series += 1
        future: asyncio.Future[Replies] = self._loop.create_future()
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(_Waiting(series, future, time.monotonic() + self._patience, weight))
        return future

    async def still_in_flight(self, keys: Iterable[str]) -> set[str]:
        """Wait until none of the keys is under way, as long as a repeated command waits; those that still are."""
        until = self._loop.time() + self._repeat_wait
        left = set()
        for key in keys:
            try:
                await self._in_flight.first(key, until)
            except InFlight:
                left.add(key)
        return left

    async def _repeated(self, request: Request, key: str) -> Reply:
        """What the first one with the key is answered; one that is not the same, or had no answer, has its own turn."""
        until = self._loop.time() + self._repeat_wait
        while (first := await self._in_flight.first(key, until)) is not None:
            same = first.fingerprint == request.fingerprint and not _is_dry_run(request.command)
            if same and first.answer is not None:
                return Reply(first.answer, replayed=True)
        return await self.submit(request)

    def _hand_over(self) -> None:
        self._waiting.put(self._submitted)
        self._submitted = []

    def _work(self) -> None:
        while not self._ending or self._left:
            batch = self._gathered()
            if batch:
                replies = self._decided(batch)
                commands = self._weight(batch)
                self.sizes[commands.bit_length()] += 1
                self.commands += commands
                self._deliver(batch, replies)
        self._decider.close()

    def _gathered(self) -> list["_Waiting"]:
        """Whatever waits; at least one command, unless it is time to end."""
        batch, self._left = self._left, []
        if not batch:
            first = self._waiting.get()
            self._ending = first is None
            batch = first or []
        for more in self._more():
            batch += more
        end = self._fitting(batch)
        self._left = batch[end:]
        return batch[:end]

    def _fitting(self, waiting: list["_Waiting"]) -> int:
        """How many of them, from the first on, one batch can take."""
        if not self._series:
            return self._largest_batch
        commands = 0
        for place, one in enumerate(waiting):
            commands += one.weight
            if commands > self._largest_batch:
                return place
        return len(waiting)

    def _weight(self, waiting: list["_Waiting"]) -> int:
        """How many commands they are."""
        return sum(one.weight for one in waiting) if self._series else len(waiting)

    def _more(self) -> Iterator[list["_Waiting"]]:
        """What else waits by now."""
        with contextlib.suppress(Empty):
            while not self._ending:
                some = self._waiting.get_nowait()
                if some is None:
                    self._ending = True
                else:
                    yield some

    def _decided(self, batch: list["_Waiting"]) -> list[Told]:
        """An answer to each command of the batch, which what came while the lock was waited for has joined."""
        requests = [waiting.request for waiting in batch]

        def join() -> None:
            room = self._largest_batch - self._weight(batch)
            for some in self._more():
                for one in some:
                    if one.weight <= room and self._decider.knows(one.request):
                        batch.append(one)
                        requests.append(one.request)
                        room -= one.weight
                    else:
                        self._left.append(one)

        pause = 0.05
        while True:
            try:
                return self._decider.process(requests, join)
            except OUTAGES as error:
                if time.monotonic() > batch[0].until:
                    log.error("log unavailable, gave up", error=str(error), commands=len(batch))  # noqa: TRY400  the database's words suffice
                    return [Unavailable()] * len(batch)
                log.warning("log unavailable, trying again", error=str(error), commands=len(batch))
                time.sleep(pause)
                pause = min(pause * 2, 1.0)
            except Exception as error:
                log.exception("batch failed", commands=len(batch))
                return [Failed(str(error))] * len(batch)

    def _deliver(self, batch: list["_Waiting"], replies: list[Told]) -> None:
        def deliver() -> None:
            self._under_way -= self._weight(batch)
            for waiting, reply in zip(batch, replies, strict=True):
                if isinstance(waiting.request, Series):
                    self._series -= 1
                    self._series_ended(waiting.request, reply)
                elif (key := waiting.request.key) is not None and (
                    repeats := self._in_flight.pop(key, None)
                ) is not None:
                    repeats.set_result(_first(waiting.request, reply))
                if waiting.future.done():
                    continue
                if isinstance(reply, Exception):
                    waiting.future.set_exception(reply)
                else:
                    waiting.future.set_result(reply)

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(deliver)

    def _series_ended(self, series: Series, told: Told) -> None:
        replies = told.of if isinstance(told, Replies) else [told] * len(series.requests)
        for request, reply in zip(series.requests, replies, strict=True):
            if request.key is not None and (repeats := self._in_flight.pop(request.key, None)) is not None:
                repeats.set_result(_first(request, reply))


class _Waiting(msgspec.Struct, frozen=True):
    request: Asked
    future: "asyncio.Future[Any]"
    until: float  # monotonic seconds
    weight: int = 1  # commands


def _first(request: Request, told: Told) -> First:
    """What those learn who repeated the command meanwhile."""
    return First(request.fingerprint, told.answer if isinstance(told, Reply) else None)


class _Known(msgspec.Struct, frozen=True, gc=False):
    version: int
    state: State


_UNKNOWN = _Known(0, None)


class _Decided(msgspec.Struct, frozen=True):
    outcome: Accepted | Refused
    rows: list[Row]
    moved: dict[str, _Known]


class _Attempt(msgspec.Struct):
    """What was sent to be committed, so that a lost connection leaves no doubt about it."""

    requests: list[Asked]
    replies: list[Told]
    rows: list[Row]
    moved: dict[str, _Known]


class Decider:
    """Decides batches on one connection; for one thread, and without asyncio.

    A batch is decided under the log's lock, after catching up: so nothing is decided twice, however many processes
    decide. A process that is alone saves the round trip for the lock: it decides on what it knows and appends at the
    positions that follow, which fails if anybody else has appended meanwhile; then the batch is decided under the lock.
    """

    def __init__(self, writer: Writer, remember: int) -> None:
        self._writer = writer
        self._remember = remember
        self._known: dict[str, _Known | UnreadableEvent] = {}  # the least recently used first
        self._position = 0  # all of `_known` is at least as new as this
        self._in_doubt: _Attempt | None = None
        self._numbers: Numbers | None = None
        self._grown: dict[str, _Known] = {}  # to be kept as snapshots
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
        batch = _Batch(self, {})
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
        known_answers = self._begin(_keys(requests))
        if self._in_doubt is None:
            asked = len(requests)
            join()
            known_answers |= self._writer.answers(_keys(requests[asked:]))
        if self._in_doubt is not None and (settled := self._settled(requests)) is not None:
            return settled
        batch = _Batch(self, known_answers)
        replies = batch.told(requests)
        if not batch.rows and not batch.answers:
            self._writer.abandon()
            return replies
        self._in_doubt = attempt = _Attempt(requests, replies, batch.rows, batch.moved)
        self._writer.append(batch.rows, list(batch.answers.values()))
        self._moved(attempt)
        return replies

    def state(self, stream: str) -> _Known:
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
        if isinstance(known, _Known) and version > known.version:
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
        start = dict.fromkeys(missing, _UNKNOWN)
        rows: dict[str, list[Row]] = {stream: [] for stream in missing}
        for row in found:
            rows[row[0]].append(row)
        for snapshot in kept:
            stream, version = snapshot.stream, snapshot.version
            try:
                start[stream] = _Known(version, snapshots.decode(stream, snapshot.state))
            except ValueError as error:  # the stream says it all, only slower
                log.warning("snapshot cannot be read", stream=stream, version=version, error=str(error))
                rows[stream] = self._writer.streams([stream])
        for stream, its_rows in rows.items():
            known[stream] = folded = _folded(its_rows, start[stream])
            if len(its_rows) >= snapshots.EVERY and isinstance(folded, _Known):
                self._grown[stream] = folded
        more = {
            product_stream(line.sku)
            for stream in missing
            if isinstance(one := known[stream], _Known) and isinstance(one.state, Order)
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


class _Batch:
    """The decisions of one batch, in the making."""

    def __init__(self, decider: Decider, known_answers: dict[str, StoredAnswer]) -> None:
        self._decider = decider
        self._known_answers = known_answers
        self._position = decider.position
        self._now = datetime.now(UTC)
        self.rows: list[Row] = []
        self.moved: dict[str, _Known] = {}
        self.answers: dict[str, StoredAnswer] = {}

    def told(self, asked: list[Asked]) -> list[Told]:
        return [self._series(one) if isinstance(one, Series) else self.reply(one) for one in asked]

    def _series(self, series: Series) -> Replies:
        if series.held is None:
            return Replies([*self._in_order(series.requests)])
        return Replies(self._all_or_none(series.requests, series.held))

    def _all_or_none(self, requests: tuple[Request, ...], held: Callable[[bytes], bool]) -> list[Reply | Exception]:
        """Every refusal is told, but what follows on an order from what was refused is not decided."""
        before = len(self.rows), dict(self.moved), dict(self.answers), self._position
        replies = [*self._in_order(requests, held)]
        if all(_holds(reply, held) for reply in replies):
            return replies
        rows, self.moved, self.answers, self._position = before
        del self.rows[rows:]
        kept = self._known_answers.keys() | self.answers.keys()
        return [
            NotApplied() if _holds(reply, held) and request.key not in kept else reply
            for request, reply in zip(requests, replies, strict=True)
        ]

    def _in_order(
        self, requests: tuple[Request, ...], held: Callable[[bytes], bool] | None = None
    ) -> Iterator[Reply | Exception]:
        size = 0
        refused: set[str] = set()
        for request in requests:
            stream = _stream_of(request.command)
            if stream in refused:
                yield NotApplied()
                continue
            reply = self.reply(request) if size <= LARGEST_ANSWERS else NoRoom()
            size += len(reply.answer) if isinstance(reply, Reply) else 0
            if held is not None and not _holds(reply, held):
                refused.add(stream)
            yield reply

    def reply(self, request: Request) -> Reply | Exception:
        key = request.key
        if key and (known := self._known_answers.get(key) or self.answers.get(key)):
            return Reply(known.answer, replayed=True) if known.fingerprint == request.fingerprint else KeyReused()
        try:
            decided = self._decided(request)
            answer = request.answer(decided.outcome)
        except Exception as error:
            log.exception(
                "command failed",
                command=type(request.command).__name__,
                request_id=request.request_id,
                traceparent=request.traceparent,
            )
            return Failed(str(error))
        self.rows += decided.rows
        self.moved.update(decided.moved)
        self._position += len(decided.rows)
        if key and not _is_dry_run(request.command):
            self.answers[key] = StoredAnswer(key, request.fingerprint, answer, self._position)
        return Reply(answer)

    def _decided(self, request: Request) -> "_Decided":
        command = request.command
        stream = _stream_of(command)
        before = _UNKNOWN if request.new and stream not in self.moved else self._state(stream)
        shown = _UNKNOWN if _belongs_to_another(request.owner, before.state) else before
        try:
            if request.expected_version is not None and request.expected_version != shown.version:
                raise StaleVersion(expected=request.expected_version)
            if shown is not before:
                raise OrderExists if isinstance(command, PlaceOrder) else NoSuchOrder
            changes = list(self._changes(command, stream, before.state))
        except Refusal as refusal:
            return _Decided(Refused(refusal, shown.version, self._position, shown.state), [], {})
        cause = Cause(self._now, request.actor, request.request_id, request.traceparent)
        position = self._position
        rows: list[Row] = []
        moved: dict[str, _Known] = {}
        for changed, events in changes:
            start = before if changed == stream else self._state(changed)
            version, state = start.version, start.state
            for event in events:
                version += 1
                position += 1
                state = _evolve(state, event)
                rows.append((changed, version, position, codec.event_type(event), codec.encode(event, cause)))
            moved[changed] = _Known(version, state)
        after = moved.get(stream, before)
        assert after.state is not None
        own = changes[0][1] if stream in moved else ()
        if _is_dry_run(command):
            would_move = _of_products(changes)
            return _Decided(Accepted(before.version, self._position, after.state, own, 0, would_move), [], {})
        return _Decided(Accepted(after.version, position, after.state, own, len(rows)), rows, moved)

    def _changes(self, command: AnyCommand, stream: str, state: State) -> Iterator[tuple[str, tuple[Event, ...]]]:
        """The facts that follow, by stream. Raises a `Refusal`."""
        if isinstance(command, ProductCommand):
            assert state is None or isinstance(state, Product)
            fact = products.decide(command, state)
            if fact:
                yield stream, (fact,)
            return
        assert state is None or isinstance(state, Order)
        shelf = {}
        for sku in orders.skus_of(command, state):
            product = self._state(product_stream(sku)).state
            if isinstance(product, Product):
                shelf[sku] = product
        number = self._decider.number(self._position + 1) if isinstance(command, PlaceOrder) else ""
        decision = orders.decide(command, state, shelf, number)
        if decision.order:
            yield stream, decision.order
        for sku, facts in decision.products.items():
            yield product_stream(sku), facts

    def _state(self, stream: str) -> _Known:
        return self.moved.get(stream) or self._decider.state(stream)


def _keys(asked: Iterable[Asked]) -> list[str]:
    """The idempotency keys of all commands."""
    return [
        request.key
        for one in asked
        for request in (one.requests if isinstance(one, Series) else (one,))
        if request.key is not None
    ]


def _some_are_all_or_none(asked: list[Asked]) -> bool:
    """Then keys are looked up before anything is decided: what is refused leaves nothing for a known key to fail."""
    return Series in map(type, asked) and any(isinstance(one, Series) and one.held is not None for one in asked)


def _holds(reply: Reply | Exception, held: Callable[[bytes], bool]) -> bool:
    return isinstance(reply, Reply) and held(reply.answer)


def _stream_of(command: AnyCommand) -> str:
    return product_stream(command.sku) if isinstance(command, ProductCommand) else order_stream(command.order_id)


def _is_dry_run(command: AnyCommand) -> bool:
    return isinstance(command, AmendOrder) and command.dry_run


def _of_products(changes: list[tuple[str, tuple[Event, ...]]]) -> dict[str, tuple[ProductEvent, ...]]:
    return {
        key_of(changed): tuple(event for event in events if isinstance(event, ProductEvent))
        for changed, events in changes
        if kind_of(changed) == "product"
    }


def _belongs_to_another(owner: str | None, state: State) -> bool:
    return owner is not None and isinstance(state, Order) and state.customer_id != owner


def _streams_asked_for(asked: Iterable[Asked]) -> Iterator[str]:
    for request in asked:
        if isinstance(request, Series):
            yield from _streams_asked_for(request.requests)
            continue
        if not request.new:
            yield _stream_of(request.command)
        if isinstance(request.command, PlaceOrder | AmendOrder):
            for line in request.command.lines or ():
                if line.sku is not None:
                    yield product_stream(line.sku)


def _version(known: "_Known | UnreadableEvent | None") -> int:
    return known.version if isinstance(known, _Known) else 0


def _folded(rows: list[Row], start: _Known) -> _Known | UnreadableEvent:
    version, state = start.version, start.state
    try:
        for row in rows:
            recorded = codec.decode(row)
            version, state = recorded.version, _evolve(state, recorded.event)
    except UnreadableEvent as unreadable:
        return unreadable
    return _Known(version, state)


def _evolve(state: State, event: Event) -> Order | Product:
    if isinstance(event, ProductFact):  # a look at one class: `OrderEvent` has two dozen
        assert state is None or isinstance(state, Product)
        return products.evolve(state, event)
    assert state is None or isinstance(state, Order)
    return orders.evolve(state, event)
