"""The shell around the decisions: a batch of commands in, one append, an answer for each.

While one batch commits, the next one gathers: the busier, the larger the batch, and no timer. Each command is decided
against the state that the earlier ones of its batch leave, and appended only if that state is the log's: there is one
sequence of decisions, however many processes decide. A refused or failing command costs its neighbours nothing.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import structlog

from commands.batch import is_dry_run
from commands.decider import OUTAGES, Decider
from commands.exchange import (
    Asked,
    Busy,
    Failed,
    Replies,
    Reply,
    Request,
    Series,
    Told,
    Unavailable,
    keys_of,
)
from commands.in_flight import WAIT, First, InFlight, KeysInFlight
from events.log import Log

log = structlog.get_logger()


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
        for key in keys_of([series]):
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
            same = first.fingerprint == request.fingerprint and not is_dry_run(request.command)
            if same and first.reply is not None:
                return msgspec.structs.replace(first.reply, replayed=True)
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


@contextlib.asynccontextmanager
async def processing(events: Log) -> AsyncIterator[Processor]:
    processor = Processor(events)
    processor.start()
    try:
        yield processor
    finally:
        await processor.stop()


class _Waiting(msgspec.Struct, frozen=True):
    request: Asked
    future: "asyncio.Future[Any]"
    until: float  # monotonic seconds
    weight: int = 1  # commands


def _first(request: Request, told: Told) -> First:
    """What those learn who repeated the command meanwhile."""
    return First(request.fingerprint, told if isinstance(told, Reply) else None)
