"""Where events come from: the one seam between the workers and the log, or Kafka (`kafka_feed.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from events import codec
from events.codec import Row, UnreadableEvent
from events.envelope import Kind, Recorded
from events.explained import Explained
from events.log import CHANNEL, Log, LogUnavailable
from events.wakeup import Listening

P = ParamSpec("P")
T = TypeVar("T")

Place = tuple[str, int]
"""A source, such as "log" or a topic, and a partition of it."""

LOG: Place = ("log", -1)

Begin = Callable[[Iterable[Place]], Awaitable[Mapping[Place, int]]]
"""Told which places a feed is to deliver, the worker answers with the offset from which it needs each."""


class FeedUnavailable(Exception):
    """The source of events does not answer. It is tried again."""


class CannotFollow(Explained):
    """The source is not what the read side was made from. Trying again does not help."""


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """An event that cannot be read; it stops the stream that it belongs to, no other."""

    stream: str
    version: int
    position: int  # 0: not known
    why: str


Delivered = Recorded | Unreadable


class Slice(msgspec.Struct, frozen=True, gc=False):
    """All that there is of one place from the offset `start` to just before the offset `end`."""

    place: Place
    start: int
    end: int
    offsets: list[int]  # ascending, one for each event
    events: list[Delivered]

    @property
    def position(self) -> int:
        """Of the last event in the log; 0 for none."""
        return self.events[-1].position if self.events else 0

    def halves(self) -> "tuple[Slice, Slice]":
        middle = len(self.events) // 2
        cut = self.offsets[middle]
        return (
            Slice(self.place, self.start, cut, self.offsets[:middle], self.events[:middle]),
            Slice(self.place, cut, self.end, self.offsets[middle:], self.events[middle:]),
        )


class Feed(Protocol):
    """Delivers events. For one worker; not safe to share.

    Each method but `close` raises `FeedUnavailable`: then `close`, and `open` again later.
    """

    def source(self, kind: Kind) -> str:
        """Where events of this kind come from."""

    async def open(self, kinds: set[Kind], begin: Begin) -> None: ...

    async def batch(self) -> list[Slice]:
        """The next events, as soon as there are some; at most one slice for each place."""

    async def seek(self, offsets: Mapping[Place, int]) -> None:
        """Deliver these places from these offsets on. Places that are no longer ours are left alone."""

    async def close(self) -> None: ...


class LogFeed:
    """Events straight from the log, whose one place has the position of an event as its offset.

    Woken by the log's notifications; looks every `poll` seconds even so.
    """

    def __init__(self, log: Log, *, largest: int = 2_000, poll: float = 1.0) -> None:
        self._log = log
        self._largest = largest
        self._poll = poll
        self._next = 0
        self._stack = AsyncExitStack()

    def source(self, kind: Kind) -> str:  # noqa: ARG002  the log holds every kind
        return LOG[0]

    async def open(self, kinds: set[Kind], begin: Begin) -> None:  # noqa: ARG002  as above
        listening = await self._stack.enter_async_context(Listening(self._log.url, CHANNEL))
        self._wakeup = listening.waiter()
        self._next = (await begin([LOG]))[LOG]
        head = await self._ask(self._log.head)
        if self._next > head + 1:
            raise CannotFollow(
                f"the read side has seen the log up to position {self._next - 1}, but the log ends at {head}: "
                "it is another log or an older copy; rebuild the read side with `orderlog rebuild`"
            )

    async def batch(self) -> list[Slice]:
        while not (rows := await self._ask(self._log.read, self._next - 1, self._largest)):
            await self._wakeup.wait(self._poll)
        start, self._next = self._next, rows[-1][2] + 1
        return [Slice(LOG, start, self._next, [row[2] for row in rows], [_read(row) for row in rows])]

    async def seek(self, offsets: Mapping[Place, int]) -> None:
        self._next = offsets.get(LOG, self._next)

    async def close(self) -> None:
        await self._stack.aclose()

    @staticmethod
    async def _ask(question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read the log in a thread, since it does not wait asynchronously."""
        try:
            return await asyncio.to_thread(question, *args, **kwargs)
        except LogUnavailable as error:
            raise FeedUnavailable(f"the log does not answer: {error}") from error


def _read(row: Row) -> Delivered:
    try:
        return codec.decode(row)
    except UnreadableEvent as error:
        return Unreadable(error.stream, error.version, error.position, str(error))
