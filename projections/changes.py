"""What changed, as a stream: one reader a process, any number of listeners, each from where it was.

The rows of the timeline become visible partition by partition: within one their positions only grow, between two there
is no order. So a place in the stream is a vector, one position for each partition, and reading each partition after its
own position misses nothing. The live changes are read once for all listeners; a listener that comes back reads what it
missed from the timeline itself, and then joins the others.
"""

import asyncio
import base64
import binascii
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from events.tasks import ended
from events.wakeup import Wakeup
from projections.queries import Queries
from projections.shapes import OrderView

log = structlog.get_logger()

SHOWN = ("order_details", "order_list", "timeline")
"""The projections whose rows make up a change; it is told when the slowest of them has it."""

HORIZON = """
SELECT partition, min(position) FROM checkpoints WHERE projection = ANY(%(shown)s)
GROUP BY partition HAVING count(DISTINCT projection) = cardinality(%(shown)s)"""
"""How far each partition has come in all the projections that a change shows."""

_EVENT = "t.partition, t.position, t.order_id, t.version, t.type, t.time"
_SPANS = "unnest(%(partitions)s::smallint[], %(after)s::bigint[], %(upto)s::bigint[]) AS span (partition, after, upto)"
_IN_SPAN = "t.partition = span.partition AND t.position > span.after AND t.position <= span.upto"
_FIRST = "ORDER BY t.position LIMIT %(limit)s"

BETWEEN = f"""
SELECT t.* FROM {_SPANS}
CROSS JOIN LATERAL (SELECT {_EVENT} FROM timeline t WHERE {_IN_SPAN} {_FIRST}) t {_FIRST}"""
"""The events of all orders between two cursors, the oldest first."""

BETWEEN_OF_CUSTOMER = f"""
WITH own AS MATERIALIZED (SELECT order_id FROM order_list WHERE customer_id = %(customer_id)s)
SELECT {_EVENT} FROM own JOIN timeline t USING (order_id) JOIN {_SPANS} ON {_IN_SPAN} {_FIRST}"""
"""The events of one customer's orders between two cursors: from the orders, which are few, not along the timeline."""

BETWEEN_OF_ORDER = f"""
SELECT {_EVENT} FROM timeline t JOIN {_SPANS} ON {_IN_SPAN} WHERE t.order_id = %(order_id)s {_FIRST}"""
"""The events of one order between two cursors."""

PAGE = 200
"""Events read at once; the event loop has other work between two pages."""

KEPT = 2_000
"""Live changes kept for a listener that still reads the timeline; with more it reads these from there too."""

LONGEST_SHOWN = 80
"""Characters of a bad cursor that its error repeats."""

_VERSION = b"\x01"
_LOG = -1
"""The partition of events that a projection read from the log itself."""


class BadCursor(Exception):
    """The text is not a cursor of this stream."""


class CursorAhead(Exception):
    """The cursor is of a later state than this database has reached, or of another database."""


class Cursor(msgspec.Struct, frozen=True, dict=True):
    """A place in the stream: everything up to these positions has been seen."""

    positions: dict[int, int]  # partition to log position; not to be changed

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises `BadCursor`."""
        try:
            code = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error) as error:
            raise BadCursor(f"{_shortened(text)} is not a cursor: it is not base64url") from error
        if code[:1] != _VERSION:
            raise BadCursor(f"{_shortened(text)} is not a cursor of this version of orderlog")
        try:
            numbers = list(_numbers(code[1:]))
            cursor = cls({number - 1: position for number, position in zip(*[iter(numbers)] * 2, strict=True)})
        except ValueError as error:
            raise BadCursor(f"{_shortened(text)} is not a whole cursor") from error
        if cursor.text != text:
            raise BadCursor(f"{_shortened(text)} is not a cursor in the form that it was given out")
        return cursor

    @cached_property
    def text(self) -> str:
        """As clients keep it: short, safe in a URL, and opaque to them."""
        pairs = sorted(self.positions.items())
        code = b"".join(_varint(partition + 1) + _varint(position) for partition, position in pairs)
        return base64.urlsafe_b64encode(_VERSION + code).rstrip(b"=").decode()

    def at(self, partition: int) -> int:
        """The position reached in a partition.

        A partition that appeared later begins where the log feed was: it repeats nothing that came from there.
        """
        return self.positions.get(partition, self.positions.get(_LOG, 0))

    def covers(self, other: "Cursor") -> bool:
        """Whether everything that the other one has seen, this one has seen too."""
        return all(self.at(partition) >= position for partition, position in other.positions.items())

    def with_partition(self, partition: int, position: int) -> "Cursor":
        return Cursor({**self.positions, partition: position})

    def joined(self, other: "Cursor") -> "Cursor":
        """What either has seen."""
        partitions = self.positions.keys() | other.positions.keys()
        return Cursor({partition: max(self.at(partition), other.at(partition)) for partition in partitions})

    def moved_to(self, position: int, upto: "Cursor") -> "Cursor":
        """After all events on the way to `upto` whose position is at most this one."""
        return Cursor({p: min(end, max(self.at(p), position)) for p, end in upto.positions.items()})


class Change(msgspec.Struct, frozen=True, dict=True):
    """One event of an order, and the order as it was when the event was told, which may be later than the event."""

    cursor: Cursor  # right after this change
    event: str  # its type: orderlog.order.placed.v1
    order_id: UUID
    version: int  # of the order, by this event
    time: datetime  # when it was recorded
    order: OrderView

    @cached_property
    def members(self) -> str:
        """The members of its JSON object, without the braces: the same for all listeners, so encoded once."""
        return _encode(
            {
                "cursor": self.cursor.text,
                "event": self.event,
                "order_id": self.order_id,
                "version": self.version,
                "time": self.time,
                "order": self.order,
            }
        )[1:-1].decode()


class Batch(msgspec.Struct, frozen=True):
    """Changes in order, and the cursor after them, which may be beyond the last one."""

    changes: tuple[Change, ...]
    cursor: Cursor


class Interest(msgspec.Struct, frozen=True):
    """Which changes a listener is told; a field that is None leaves none out."""

    order_id: UUID | None = None
    customer_id: str | None = None
    status: str | None = None  # of the order as it is told
    event: str | None = None

    def wants(self, change: Change) -> bool:
        return self.event in (None, change.event) and self.fits(change.order)

    def fits(self, order: OrderView) -> bool:
        return (
            self.order_id in (None, order.order_id)
            and self.customer_id in (None, order.customer_id)
            and self.status in (None, order.status)
        )


class Listener(Protocol):
    @property
    def interest(self) -> Interest: ...

    def hear(self, batch: Batch) -> None:
        """Take what it wants of the changes, without waiting; it neither joins nor leaves meanwhile."""

    async def room(self) -> None:
        """Wait until some hundred changes that it missed can be taken."""


class Changes:
    """Reads what the projections commit, once for all listeners. `start`, `join` or `catch_up`, `leave`, `stop`.

    `changed` wakes it when there may be something new; `complete` fills in what only the edge knows of an order. `poll`
    bounds in seconds how long a lost wake-up delays a change, `patience` how long a cursor may be ahead of this
    database. `problem` says what is wrong now.
    """

    def __init__(
        self,
        changed: Wakeup,
        pool: AsyncConnectionPool[Any],
        queries: Queries,
        *,
        complete: Callable[[OrderView], OrderView] = lambda order: order,
        poll: float = 5.0,
        patience: float = 5.0,
        replays: int = 4,
    ) -> None:
        self._changed = changed
        self._pool = pool
        self._queries = queries
        self._complete = complete
        self._poll = poll
        self._patience = patience
        self._replays = asyncio.Semaphore(replays)  # many come back at once after a deploy; others read here too
        self._audience = _Audience()
        self._cursor: Cursor | None = None
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = "the reader of changes has not started"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="changes")

    async def stop(self) -> None:
        if self._task is not None:
            await ended(self._task)

    @property
    def cursor(self) -> Cursor:
        """Every listener that has joined has been told everything up to here. Wait for `ready` first."""
        assert self._cursor is not None, "ready() was not awaited"
        return self._cursor

    async def ready(self) -> None:
        """Wait until the database has been read for the first time."""
        while self._cursor is None:
            await self._moved.wait()

    def join(self, listener: Listener) -> Cursor:
        """Tell the listener what changes from now on; return where that begins."""
        self._audience.add(listener)
        return self.cursor

    def leave(self, listener: Listener) -> None:
        self._audience.remove(listener)

    async def catch_up(self, listener: Listener, cursor: Cursor) -> Cursor:
        """Tell the listener everything after the cursor, then let it join, with no gap and nothing twice.

        Returns where it joins. Raises `CursorAhead`.
        """
        await self._reach(cursor)
        late = _Late(listener.interest)
        self._audience.add(late)
        try:
            while late.begins_again():
                # From here on the live changes are kept, and up to here they are in the timeline.
                async for batch in self._between(cursor, self.cursor, listener.interest):
                    await listener.room()
                    listener.hear(batch)
                    cursor = batch.cursor
                while late.kept:
                    await listener.room()
                    if late.kept:
                        batch = late.kept.popleft()
                        listener.hear(batch)
                        cursor = batch.cursor
        finally:
            self._audience.remove(late)
        return self.join(listener)  # nothing was awaited since the last kept change was heard

    async def orders(self, ids: Iterable[UUID]) -> dict[UUID, OrderView]:
        """The orders as they are now, as changes show them."""
        found = await self._queries.orders_by_id(list(ids))
        return {order_id: self._complete(order) for order_id, order in found.items()}

    async def _reach(self, cursor: Cursor) -> None:
        """Wait until the reader has seen what the cursor has: another process, or a faster one, may have told it."""
        try:
            async with asyncio.timeout(self._patience):
                await self.ready()
                while not self.cursor.covers(cursor):
                    await self._moved.wait()
        except TimeoutError:
            raise CursorAhead(
                "the cursor is ahead of this database, or from another one: begin again from a snapshot"
            ) from None

    async def _between(self, after: Cursor, upto: Cursor, interest: Interest) -> AsyncIterator[Batch]:
        while not after.covers(upto):
            async with self._replays:
                batch = await self._read(after, upto, interest)
            yield batch
            after = batch.cursor

    async def _run(self) -> None:
        delay = 0.1
        while True:
            try:
                await self._advance()
                self.problem, delay = None, 0.1
                await self._changed.wait(self._poll)
            except (psycopg.OperationalError, PoolTimeout) as error:
                self._fail("the database of the read models does not answer", error)
            except Exception as error:  # noqa: BLE001  whatever it is, it is told, and listeners wait for the mend
                self._fail("changes cannot be read", error)
            if self.problem:
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._poll)

    def _fail(self, what: str, error: Exception) -> None:
        self.problem = f"{what}: {error}"
        log.error("changes are not told", problem=self.problem, exc_info=not isinstance(error, psycopg.Error))

    async def _advance(self) -> None:
        """Tell everybody what is new, page by page. What is committed meanwhile wakes the reader again."""
        horizon = await self._horizon()
        if self._cursor is None or not self._audience:  # nobody to tell: nothing to read
            self._move((self._cursor or horizon).joined(horizon))
        upto = self.cursor.joined(horizon)
        while not self.cursor.covers(upto):
            batch = await self._read(self.cursor, upto, Interest())
            self._audience.tell(batch)
            self._move(batch.cursor)
            await asyncio.sleep(0)  # let the listeners send it

    def _move(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._moved.set()
        self._moved = asyncio.Event()

    async def _horizon(self) -> Cursor:
        return Cursor(dict(await self._fetch(HORIZON, {"shown": list(SHOWN)})))

    async def _read(self, after: Cursor, upto: Cursor, interest: Interest) -> Batch:
        """The next page after a cursor, whole before the other cursor or up to it."""
        spans = [(partition, after.at(partition), end) for partition, end in upto.positions.items()]
        partitions, begins, ends = zip(*spans, strict=True)
        parameters = {"partitions": list(partitions), "after": list(begins), "upto": list(ends), "limit": PAGE}
        rows = await self._fetch(_statement(interest), {**msgspec.structs.asdict(interest), **parameters})
        orders = await self.orders({row[2] for row in rows}) if rows else {}
        changes = tuple(change for change in _changes(after, rows, orders) if interest.wants(change))
        return Batch(changes, upto if len(rows) < PAGE else after.moved_to(rows[-1][1], upto))

    async def _fetch(self, statement: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(binary=True, row_factory=psycopg.rows.tuple_row)
            rows: list[tuple[Any, ...]] = await (await cursor.execute(statement, parameters)).fetchall()
            return rows


class _Late:
    """Stands in for a listener that still reads the timeline, and keeps the live changes for it."""

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self.kept: deque[Batch] = deque()
        self._size = 0
        self._complete = False

    def begins_again(self) -> bool:
        """Whether the timeline must be read once more, since not everything could be kept."""
        if self._complete:
            return False
        self._complete = True
        self._size = 0
        return True

    def hear(self, batch: Batch) -> None:
        if not self._complete:
            return
        wanted = tuple(filter(self.interest.wants, batch.changes))
        self._size += len(wanted)
        if self._size > KEPT:
            self.kept.clear()
            self._complete = False
        elif wanted:
            self.kept.append(Batch(wanted, batch.cursor))

    async def room(self) -> None:
        """It waits for nobody: it has a bound of its own."""


class _Audience:
    """Who listens, found by what they want: a change of one customer's order is nothing to the other thousands."""

    def __init__(self) -> None:
        self._everything: set[Listener] = set()
        self._by_order: defaultdict[object, set[Listener]] = defaultdict(set)
        self._by_customer: defaultdict[object, set[Listener]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._everything or self._by_order or self._by_customer)

    def add(self, listener: Listener) -> None:
        group, key = self._group(listener.interest)
        (self._everything if group is None else group[key]).add(listener)

    def remove(self, listener: Listener) -> None:
        group, key = self._group(listener.interest)
        (self._everything if group is None else group[key]).discard(listener)
        if group is not None and not group[key]:
            del group[key]

    def tell(self, batch: Batch) -> None:
        for listener in self._everything:
            listener.hear(batch)
        _tell(self._by_order, batch, lambda change: change.order_id)
        _tell(self._by_customer, batch, lambda change: change.order.customer_id)

    def _group(self, interest: Interest) -> tuple[defaultdict[object, set[Listener]] | None, object]:
        if interest.order_id is not None:
            return self._by_order, interest.order_id
        if interest.customer_id is not None:
            return self._by_customer, interest.customer_id
        return None, None


def _tell(group: dict[object, set[Listener]], batch: Batch, key: Callable[[Change], object]) -> None:
    heard: dict[object, list[Change]] = {}
    for change in batch.changes:
        if key(change) in group:
            heard.setdefault(key(change), []).append(change)
    for name, changes in heard.items():
        part = Batch(tuple(changes), batch.cursor)
        for listener in group[name]:
            listener.hear(part)


def _statement(interest: Interest) -> str:
    if interest.order_id is not None:
        return BETWEEN_OF_ORDER
    return BETWEEN if interest.customer_id is None else BETWEEN_OF_CUSTOMER


def _changes(cursor: Cursor, rows: Iterable[Sequence[Any]], orders: dict[UUID, OrderView]) -> Iterator[Change]:
    for partition, position, order_id, version, event, time in rows:
        cursor = cursor.with_partition(partition, position)
        order = orders.get(order_id)
        if order is not None:  # an order whose placing is parked is nowhere to be seen, so it is not here either
            yield Change(cursor, event, order_id, version, time, order)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    code = bytearray()
    while number >> 7:
        code.append(number & 0x7F | 0x80)
        number >>= 7
    code.append(number)
    return bytes(code)


def _numbers(code: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in code:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError


def _shortened(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


_encode = msgspec.json.Encoder().encode
