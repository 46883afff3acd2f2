"""Decides batches of commands against the log: what is known of it, one append, and what to do when that fails."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
import psycopg
import structlog

from commands.batch import Batch, Decided, Known, stream_of
from commands.exchange import Asked, Failed, Replies, Series, Told, Unavailable, keys_of
from commands.order import AmendOrder, PlaceOrder
from commands.remembered import Remembered
from events.codec import Row
from events.envelope import product_stream
from events.log import NotAppended, StoredAnswer, Writer
from events.numbers import Numbers

log = structlog.get_logger()

LOCKED_BATCHES = 64
"""After another process was seen to append, so many batches take the log's lock."""

DRAWN_AT_ONCE = 10_000
"""Order numbers; those that are left when the process ends are nobody's."""

ENOUGH_NUMBERS = 2_000
"""For a batch, of which each command may be decided twice."""

_WITH_SKUS = (PlaceOrder, AmendOrder)

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

    A batch is decided on what is remembered. A process that is alone appends it at the positions that follow, which
    fails if anybody else has appended meanwhile. One that is not takes the log's lock and catches up: what was decided
    stands unless a stream that was looked at has changed, and what does not stand is decided again before the append.
    """

    def __init__(self, writer: Writer, remember: int) -> None:
        self._writer = writer
        self._remembered = Remembered(writer, remember)
        self._in_doubt: _Attempt | None = None
        self._numbers: Numbers | None = None
        self._drawn: deque[int] = deque()  # of the numbers of orders: those that are left
        self._locked_batches = 1  # so many more take the lock; the first one finds the head of the log

    def close(self) -> None:
        self._writer.close()

    def knows(self, request: Asked) -> bool:
        """Whether it can be decided without loading a stream."""
        return all(stream in self._remembered for stream in _streams_asked_for([request]))

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
        except Exception:
            self._writer.close()  # and with it the log's lock, and a transaction in which nothing must be drawn
            raise
        finally:
            self._remembered.forget()

    def _process(self, requests: list[Asked], join: Callable[[], None]) -> list[Told]:
        self._draw_numbers()
        self._remembered.keep_grown()
        self._remembered.load(_streams_asked_for(requests))
        batch = Batch(self._remembered, self._number)
        replies = batch.told(requests)
        if batch.rows and self._locked_batches == 0 and self._in_doubt is None and not _some_are_all_or_none(requests):
            try:
                return self._append_unlocked(requests, replies, batch)
            except NotAppended:
                self._locked_batches = LOCKED_BATCHES
        return self._append_locked(requests, join, batch.decided)

    def _append_unlocked(self, requests: list[Asked], replies: list[Told], batch: Batch) -> list[Told]:
        """Raises `NotAppended` if what is remembered was not all there is to know."""
        self._in_doubt = attempt = _Attempt(requests, replies, batch.rows, batch.moved)
        try:
            self._writer.append_unlocked(batch.rows, list(batch.answers.values()))
        except NotAppended:
            self._in_doubt = None
            raise
        self._done(attempt)
        return replies

    def _append_locked(
        self, requests: list[Asked], join: Callable[[], None], decided: Mapping[int, Decided | Failed]
    ) -> list[Told]:
        self._locked_batches = max(self._locked_batches - 1, 0)
        known_answers = self._begin(keys_of(requests))
        if self._in_doubt is None:
            asked = len(requests)
            join()
            known_answers |= self._writer.answers(keys_of(requests[asked:]))
        if self._in_doubt is not None and (settled := self._settled(requests)) is not None:
            return settled
        batch = Batch(self._remembered, self._number, known_answers, decided)
        replies = batch.told(requests)
        if not batch.rows and not batch.answers:
            self._writer.abandon()
            return replies
        self._in_doubt = attempt = _Attempt(requests, replies, batch.rows, batch.moved)
        self._writer.append(batch.rows, list(batch.answers.values()))
        self._done(attempt)
        return replies

    def _begin(self, keys: list[str]) -> dict[str, StoredAnswer]:
        """Take the lock and catch up with what other processes appended."""
        head, news, answers = self._writer.begin(self._remembered.position, keys)
        if head > self._remembered.position:
            self._locked_batches = LOCKED_BATCHES
            self._remembered.follow(head, news)
        return answers

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

    def _done(self, attempt: _Attempt) -> None:
        self._in_doubt = None
        if attempt.rows:
            self._remembered.moved(attempt.moved, attempt.rows[-1][2])

    def _draw_numbers(self) -> None:
        """Not within a transaction: what that draws comes back when it fails, and somebody else may draw it."""
        if self._numbers is None:
            self._numbers = Numbers(self._writer.numbers_key())
        if len(self._drawn) < ENOUGH_NUMBERS:
            self._drawn.extend(self._writer.draw_numbers(DRAWN_AT_ONCE))

    def _number(self) -> str:
        """A number for an order, which no other has."""
        assert self._numbers is not None
        return self._numbers.number(self._drawn.popleft())

    def _one_by_one(self, requests: list[Asked], error: psycopg.Error) -> list[Told]:
        """The database refused the batch, which validation should have made impossible: find out whose fault it is."""
        log.error("database refused a batch", error=str(error), commands=len(requests))
        self._writer.abandon()
        self._in_doubt = None
        self._remembered.clear()
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
        if isinstance(request.command, _WITH_SKUS):
            for line in request.command.lines or ():
                if line.sku is not None:
                    yield product_stream(line.sku)
