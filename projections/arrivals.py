"""Tells when projections have got to positions of the log; one reader a process, for all who wait.

A projection that follows the log has seen everything up to its checkpoint. One that follows Kafka has a checkpoint for
each partition, which says nothing of a partition that has no events for it to see. So what it has seen altogether is
found along the log: up to the first event that lies, in its own partition, behind that partition's checkpoint.
"""

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from events.envelope import Kind, key_of, kind_of
from events.log import LAST_IN_SPAN, SPAN
from events.tasks import ended
from events.topics import partition_of
from events.wakeup import Wakeup
from projections.checkpoints import CLOSED
from projections.feed import LOG
from projections.tables import Projection

PLACES = "SELECT projection, partition, next_offset, position FROM checkpoints WHERE projection = ANY(%s)"
"""Every checkpoint of some projections."""

CHUNK = 500
"""Events of the log that are looked at one by one; a longer way is asked of PostgreSQL as a whole."""

PAUSE = 0.5  # seconds between two attempts while the database does not answer

log = structlog.get_logger()


class Waiter(msgspec.Struct, frozen=True, order=True):
    position: int
    number: int
    future: "asyncio.Future[bool]"


class Places(msgspec.Struct, frozen=True):
    """The positions that one projection has reached, by partition."""

    log: int | None = None  # None: it follows Kafka
    before: int = 0  # what it had from the log, before Kafka took over
    partitions: dict[int, int] = {}

    def at(self, partition: int) -> int:
        return max(self.partitions.get(partition, 0), self.before)

    def least(self, partitions: int) -> int:
        """Everything up to here has been seen, wherever it is."""
        return min(self.at(partition) for partition in range(partitions))


class Arrivals:
    """`start`, `reached`, `stop`.

    `changed` wakes it when a projection has got on; `poll` bounds in seconds how long a lost wake-up delays a waiter.

    `partitions` is how many the event topics have.
    """

    def __init__(
        self,
        changed: Wakeup,
        pool: AsyncConnectionPool[Any],
        projections: Mapping[str, Projection],
        *,
        partitions: int,
        poll: float = 5.0,
    ) -> None:
        self._changed = changed
        self._kinds = {name: projection.kind for name, projection in projections.items()}
        self._trails = {name: _Trail(pool, projection.kind, partitions) for name, projection in projections.items()}
        self._pool = pool
        self._partitions = partitions
        self._poll = poll
        self._numbers = itertools.count()
        self._waiting: dict[tuple[str, int | None], list[Waiter]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="arrivals")

    async def stop(self) -> None:
        """Whoever waits is told that it has not been reached."""
        if self._task is not None:
            await ended(self._task)
            self._task = None
        for waiter in itertools.chain.from_iterable(self._waiting.values()):
            _tell(waiter, reached=False)
        self._waiting.clear()

    async def reached(self, projection: str, position: int, within: float, *, stream: str | None = None) -> bool:
        """Whether the projection has, within so many seconds, seen everything up to a position that the log has.

        With a stream, only the place where its events come from counts.
        """
        partition = None if stream is None else partition_of(key_of(stream).encode(), self._partitions)
        if within <= 0 or self._task is None:
            places = await self._places([projection])
            return await self._seen(projection, partition, places[projection], position) >= position
        waiter = Waiter(position, next(self._numbers), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting.setdefault((projection, partition), []), waiter)
        self._changed.wake()
        try:
            async with asyncio.timeout(within):
                return await waiter.future
        except TimeoutError:
            return False
        finally:
            self._leave((projection, partition), waiter)

    async def horizons(self, upto: int) -> dict[str, int]:
        """Up to which position, at most `upto`, each projection has seen everything."""
        places = await self._places(list(self._kinds))
        return {name: min(upto, await self._seen(name, None, one, upto)) for name, one in places.items()}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _leave(self, key: tuple[str, int | None], waiter: Waiter) -> None:
        """Whoever was told has left already."""
        waiting = self._waiting.get(key, [])
        if waiter in waiting:
            waiting.remove(waiter)
            heapq.heapify(waiting)
        if not waiting:
            self._waiting.pop(key, None)

    async def _run(self) -> None:
        while True:
            try:
                if self._waiting:
                    await self._look()
            except (psycopg.OperationalError, PoolTimeout) as error:
                log.warning("readers wait: the database of the read models does not answer", error=str(error))
                await asyncio.sleep(PAUSE)
            except Exception:
                log.exception("readers wait: what the projections have seen cannot be told")
                await asyncio.sleep(PAUSE)
            else:
                await self._changed.wait(self._poll)

    async def _look(self) -> None:
        """Read how far the projections are that somebody waits for, and tell those who need not wait any more."""
        keys = list(self._waiting)  # who comes meanwhile wakes the reader again
        places = await self._places(sorted({projection for projection, _ in keys}))
        for projection, partition in keys:
            waiting = self._waiting.get((projection, partition), [])
            positions = [waiter.position for waiter in waiting]
            seen = await self._seen(projection, partition, places[projection], max(positions, default=0))
            while waiting and waiting[0].position <= seen:
                _tell(heapq.heappop(waiting), reached=True)

    async def _seen(self, projection: str, partition: int | None, places: Places, wanted: int) -> int:
        """Up to which position everything was seen, from a partition or from all; no further is looked than wanted."""
        if places.log is not None:
            return places.log
        if partition is not None:
            return places.at(partition)
        return await self._trails[projection].followed(places, wanted)

    async def _places(self, projections: list[str]) -> dict[str, Places]:
        places = {projection: Places() for projection in projections}
        for projection, partition, next_offset, position in await _fetch(self._pool, PLACES, (projections,)):
            known = places[projection]
            if (LOG[0], partition) != LOG:
                known.partitions[partition] = position
            elif next_offset == CLOSED:
                places[projection] = Places(None, position, known.partitions)
            else:
                places[projection] = Places(position, 0, known.partitions)
        return places


class _Trail:
    """Follows the log behind a projection that follows Kafka: everything up to `_position` has been seen."""

    def __init__(self, pool: AsyncConnectionPool[Any], kind: Kind, partitions: int) -> None:
        self._pool = pool
        self._kind = kind
        self._partitions = partitions
        self._position = 0
        self._least = 0
        self._one_at_a_time = asyncio.Lock()

    async def followed(self, places: Places, last: int) -> int:
        """Up to which position everything was seen; at most `last`, which the log has reached."""
        async with self._one_at_a_time:
            least = places.least(self._partitions)
            # A checkpoint goes back when PostgreSQL crashes, since nobody waits until it is on disk.
            self._position = least if least < self._least else max(self._position, least)
            self._least = least
            if self._position < last and await self._step(places, last) and self._position < last:
                await self._go_far(places, last)
            return self._position

    async def _step(self, places: Places, last: int) -> bool:
        """Go on event by event, up to the first one that was not seen; whether there may be more after the last."""
        rows = await _fetch(self._pool, SPAN, (self._position, min(last, self._position + CHUNK)))
        for position, stream in rows:
            if not self._has(places, stream, position):
                return False
            self._position = position
        return len(rows) == CHUNK

    async def _go_far(self, places: Places, last: int) -> None:
        """Go to the end at once; if not all was seen up to there, find the first that was not by halves."""
        if await self._leap(places, last):
            return
        while last - self._position > CHUNK:
            middle = (self._position + last) // 2
            if not await self._leap(places, middle):
                last = middle
        await self._step(places, last)

    async def _leap(self, places: Places, last: int) -> bool:
        rows = await _fetch(self._pool, LAST_IN_SPAN, (self._position, last, f"{self._kind}-"))
        if not all(self._has(places, stream, position) for position, stream in rows):
            return False
        self._position = last
        return True

    def _has(self, places: Places, stream: str, position: int) -> bool:
        if kind_of(stream) != self._kind:
            return True
        return position <= places.at(partition_of(key_of(stream).encode(), self._partitions))


async def _fetch(pool: AsyncConnectionPool[Any], query: str, parameters: tuple[Any, ...]) -> list[Any]:
    async with pool.connection() as connection:
        rows: list[Any] = await (await connection.cursor(binary=True).execute(query, parameters)).fetchall()
        return rows


def _tell(waiter: Waiter, *, reached: bool) -> None:
    if not waiter.future.done():
        waiter.future.set_result(reached)
