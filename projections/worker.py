"""Takes events from a feed and keeps the tables of its projections, rows and checkpoints in one transaction."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec
import psycopg
import structlog
import uvloop
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from sqlalchemy import Table

from events.envelope import kind_of
from events.tasks import ended
from projections.checkpoints import (
    MOVE,
    PARK,
    Checkpoints,
    Connection,
    Lost,
    Move,
    Parked,
    move_parameters,
    park_parameters,
)
from projections.feed import Delivered, Feed, FeedUnavailable, Place, Slice, Unreadable
from projections.folding import Rows, fold
from projections.statements import RowsMissing, Statement, missing, statements
from projections.tables import Change, Projection, Put

CHANGES = "changes"
"""The NOTIFY channel that says: the read side has changed."""

SESSION = (
    # A plan made while a table was small must not become a scan of it when it is large.
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
    # A worker that does not answer any more must not keep its rows locked for ever.
    "SET idle_in_transaction_session_timeout = '30s';"
    # The log is the truth. Rows and checkpoint are lost together or not at all, and what is lost is projected again:
    # so nobody need wait for the disk.
    "SET synchronous_commit = off"
)
"""How the worker's connection plans, how long it may stand still, and that its commits do not wait for the disk."""

NOTIFY = f"NOTIFY {CHANGES}"
"""Tell the listeners, once this is committed."""

OUTAGES = ("08", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that say nothing about the events: connection, deadlock, resources, operator, system."""

INDIGESTIBLE = ("22", "23", "54")
"""Classes of SQLSTATE that blame what is written: bad data, a violated constraint, a limit."""

LONGEST_PAUSE = 5.0  # seconds between two attempts while something is away
AFTER_LOSS = 0.2  # seconds before a worker looks again at what another one does

log = structlog.get_logger()


class Indigestible(Exception):
    """An event that a projection cannot react to."""


class Prepared(msgspec.Struct, frozen=True):
    """One transaction: what to write, and how far that brings each projection."""

    moves: list[Move]
    statements: list[Statement]
    left: list[Parked]


class Worker:
    """Keeps the tables of some projections at what the feed delivers.

    `run` it in an event loop until it is cancelled, which it heeds between two batches; or `start` and `stop` it in a
    thread of its own, so that a loop that answers requests is not held up. `problem` says what it waits for.
    """

    def __init__(self, url: str, projections: Iterable[Projection], feed: Feed) -> None:
        self._url = url
        self._projections = list(projections)
        self._feed = feed
        self._checkpoints = Checkpoints(projection.name for projection in self._projections)
        self._pause = 0.0
        self._thread: threading.Thread | None = None
        self._cancel: Any = None
        self.problem: str | None = "the worker has not reached its feed yet"
        self.events = 0  # taken since the start

    def start(self) -> "Future[None]":
        """Work in a thread; the future ends when the work does, with the error if that was the cause."""
        outcome: Future[None] = Future()
        ready = threading.Event()

        async def work() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            self._cancel = lambda: asyncio.run_coroutine_threadsafe(ended(task), loop)
            ready.set()
            await self.run()

        def thread() -> None:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(work())
            except asyncio.CancelledError:
                outcome.set_result(None)
            except BaseException as error:  # noqa: BLE001  it is the future's now
                outcome.set_exception(error)

        self._thread = threading.Thread(target=thread, name="projections", daemon=True)
        self._thread.start()
        ready.wait()
        return outcome

    async def stop(self) -> None:
        """End the thread at the end of its batch."""
        if self._thread is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._cancel()
            await asyncio.to_thread(self._thread.join)

    async def run(self) -> None:
        """Follow the feed, through outages of it and of the database. Raises `CannotFollow`."""
        while True:
            try:
                await self._follow()
            except FeedUnavailable as error:
                self.problem = str(error)
            except psycopg.Error as error:
                if not _is_outage(error):
                    raise
                self.problem = f"the read side's database does not answer: {error}"
            self._pause = min(max(self._pause * 2, 0.05), LONGEST_PAUSE)
            log.warning("projections wait", problem=self.problem, seconds=self._pause)
            await asyncio.sleep(self._pause)

    async def _follow(self) -> None:
        async with await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            await connection.execute(SESSION)
            try:
                await self._feed.open({projection.kind for projection in self._projections}, self._begin)
                self.problem = None
                await self._take_batches(connection)
            finally:
                await self._feed.close()

    async def _begin(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """Take places over. On a connection of its own: a feed may ask in the middle of a transaction of ours."""
        async with await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            return await self._checkpoints.load(connection, {place: self._following(place) for place in places})

    def _following(self, place: Place) -> list[str]:
        return [projection.name for projection in self._projections if self._feed.source(projection.kind) == place[0]]

    async def _take_batches(self, connection: Connection) -> None:
        reading = asyncio.create_task(self._feed.batch())
        try:
            while True:
                slices = await reading
                reading = asyncio.create_task(self._feed.batch())  # while PostgreSQL writes
                try:
                    await _finished(self._apply(connection, slices))
                except Lost:
                    await ended(reading)
                    await self._look_again(slices)
                    reading = asyncio.create_task(self._feed.batch())
                else:
                    self.events += sum(len(part.events) for part in slices)
                self._pause = 0.0
        finally:
            await ended(reading)

    async def _look_again(self, slices: Sequence[Slice]) -> None:
        """Somebody else has moved a checkpoint: nothing of ours was committed; go on from where it is now."""
        log.info("projections moved by another worker", places=[part.place for part in slices])
        await asyncio.sleep(AFTER_LOSS)  # let the other one work, rather than race with it for every batch
        await self._feed.seek(await self._begin(part.place for part in slices))

    async def _apply(self, connection: Connection, slices: Sequence[Slice]) -> None:
        """Commit the slices, but for events that cannot be digested, which are parked. Raises `Lost`."""
        try:
            await self._commit(connection, self._prepared(slices, self._projections))
        except Exception as error:
            if not _is_indigestible(error):
                raise
        else:
            return
        if len(slices) == 1 and len(slices[0].events) == 1:
            await self._apply_singly(connection, slices[0])
        else:
            for part in _halves(slices):
                await self._apply(connection, part)

    async def _apply_singly(self, connection: Connection, part: Slice) -> None:
        """Commit one event for each projection by itself, or park its stream for the projection."""
        for projection in self._projections:
            try:
                await self._commit(connection, self._prepared([part], [projection]))
            except Exception as error:
                if not _is_indigestible(error):
                    raise
                await self._park(connection, projection, part, error)

    async def _park(self, connection: Connection, projection: Projection, part: Slice, error: Exception) -> None:
        event = part.events[0]
        why = f"{type(error).__name__}: {error}"
        log.error(
            "event parked, and the rest of its stream with it",
            projection=projection.name,
            event_id=f"{event.stream}/{event.version}",
            position=event.position,
            error=why,
        )
        text = why.replace("\0", "\\0").encode(errors="backslashreplace").decode()  # what PostgreSQL can keep
        left = Parked(projection.name, event.stream, event.version, event.position, text)
        known = self._checkpoints.offset(projection.name, part.place)
        assert known is not None
        await self._commit(connection, Prepared([_move(projection, part, known)], [], [left]))

    def _prepared(self, slices: Sequence[Slice], projections: Sequence[Projection]) -> Prepared:
        moves: list[Move] = []
        left: list[Parked] = []
        tables: dict[Table, Rows] = {}
        for projection in projections:
            for part in slices:
                if self._feed.source(projection.kind) != part.place[0]:
                    continue
                known = self._checkpoints.offset(projection.name, part.place)
                if known is None or part.start > known:
                    raise Lost
                if part.end > known:
                    moves.append(_move(projection, part, known))
                    fold(self._changes(projection, part, known, left), tables)
        return Prepared(moves, [one for table, rows in tables.items() for one in statements(table, rows)], left)

    def _changes(self, projection: Projection, part: Slice, known: int, left: list[Parked]) -> Iterator[Change]:
        """What follows from those events of a slice that the projection has not seen."""
        name, kind, partition = projection.name, projection.kind, part.place[1]
        seen = self._checkpoints.from_log(name, part.place)
        parked = self._checkpoints.parked(name)
        for offset, event in zip(part.offsets, part.events, strict=True):
            if offset < known or 0 < event.position <= seen or kind_of(event.stream) != kind:
                continue
            if event.stream in parked:
                left.append(Parked(name, event.stream, event.version, event.position, None))
            else:
                yield from _reaction(projection, event, partition)

    async def _commit(self, connection: Connection, prepared: Prepared) -> None:
        """Write and move, all or nothing. Raises `Lost`, or `RowsMissing`."""
        if not prepared.moves:
            return
        try:
            await self._write(connection, prepared)
            await connection.execute("COMMIT")
        except BaseException:
            if connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
                await connection.execute("ROLLBACK")
            raise
        self._checkpoints.moved(prepared.moves, prepared.left)

    @staticmethod
    async def _write(connection: Connection, prepared: Prepared) -> None:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            # First of all: a worker that has lost its partition waits here for the one that has it, and writes nothing.
            moved = await connection.execute(MOVE, move_parameters(prepared.moves), prepare=True)
            written = [
                (statement, await connection.execute(statement.query, statement.parameters, prepare=True))
                for statement in prepared.statements
            ]
            if prepared.left:
                await connection.execute(PARK, park_parameters(prepared.left))
            await connection.execute(NOTIFY)
        if moved.rowcount != len(prepared.moves):
            raise Lost
        for statement, cursor in written:
            if statement.table is not None and cursor.rowcount != len(statement.keys):
                query = missing(statement)
                keys = await (await connection.execute(query.query, query.parameters)).fetchall()
                raise RowsMissing(statement.table.name, keys)


def _reaction(projection: Projection, event: Delivered, partition: int) -> Iterator[Change]:
    if isinstance(event, Unreadable):
        raise Indigestible(event.why)
    try:
        for change in projection.react(event):
            if projection.arrived_by is not None and isinstance(change, Put):
                change.values[projection.arrived_by] = partition
            yield change
    except Exception as error:
        raise Indigestible(f"{projection.name} cannot take event {event.id}: {error!r}") from error


def _move(projection: Projection, part: Slice, known: int) -> Move:
    return Move(projection.name, part.place, known, part.end, part.position)


def _halves(slices: Sequence[Slice]) -> tuple[Sequence[Slice], Sequence[Slice]]:
    if len(slices) > 1:
        middle = len(slices) // 2
        return slices[:middle], slices[middle:]
    first, second = slices[0].halves()
    return [first], [second]


def _is_outage(error: psycopg.Error) -> bool:
    """Whether waiting may help."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(OUTAGES)


def _is_indigestible(error: Exception) -> bool:
    """Whether the event is to blame, rather than the database or the way to it."""
    if isinstance(error, psycopg.Error):
        return error.sqlstate is not None and error.sqlstate.startswith(INDIGESTIBLE)
    return not isinstance(error, Lost)


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Await the work; who cancels us meanwhile waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
