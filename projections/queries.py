"""Every read: a typed async function with a name and a sentence."""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool

from events.codec import Row
from events.log import HEAD, STREAM, WRITTEN
from projections.checkpoints import Checkpoint
from projections.due_steps import Step
from projections.order_pages import STRETCH, Statement, Wanted, Window, found_by, listed, looked_up, walked
from projections.order_views import ORDER, order_summary, order_view
from projections.shapes import DailySales, HistoryEntry, Money, OrderSummary, OrderView, ProductView
from projections.statements import array, unfolded

ORDERS = f"{ORDER} WHERE order_id = ANY(%s)"
"""Some orders whole, each with its lines in their own order."""

ORDER_BY_NUMBER = f"{ORDER} WHERE order_id = (SELECT order_id FROM order_list WHERE number = %s)"
"""The order that has a number."""

HISTORY = """
SELECT timeline.position, timeline.version, timeline.type, timeline.time, timeline.actor, timeline.data::text
FROM timeline WHERE timeline.order_id = %(order_id)s AND (%(customer_id)s::text IS NULL OR EXISTS (
    SELECT FROM order_details
    WHERE order_details.order_id = timeline.order_id AND order_details.customer_id = %(customer_id)s
))
ORDER BY timeline.version
"""
"""What happened to an order, if it is this customer's, or for anybody."""

_PRODUCT = "sku, name, prices::text, tracked, on_hand, reserved, version"

PRODUCTS = f"SELECT {_PRODUCT} FROM stock_levels WHERE sku > %s ORDER BY sku LIMIT %s"
"""One page of the catalogue, by SKU."""

PRODUCTS_BEFORE = f"SELECT {_PRODUCT} FROM stock_levels WHERE sku < %s ORDER BY sku DESC LIMIT %s"
"""The page before a SKU, backwards."""

PRODUCT = f"SELECT {_PRODUCT} FROM stock_levels WHERE sku = %s"
"""One product."""

DAILY_SALES = """
SELECT date, currency, orders, units, gross, refunded, gross - refunded
FROM daily_sales WHERE date BETWEEN %s AND %s ORDER BY date, currency
"""
"""The sales of some days, first and last included."""

DUE = """
SELECT order_id, step, reference, started_at, position FROM due_steps
WHERE step = %s AND started_at <= %s ORDER BY started_at LIMIT %s
"""
"""The steps of a kind that have waited longest, of those that began to wait by an instant."""

NEXT_DUE = """
SELECT asked.step, first.started_at FROM unnest(%s::text[]) AS asked (step) CROSS JOIN LATERAL (
    SELECT started_at FROM due_steps WHERE due_steps.step = asked.step ORDER BY started_at LIMIT 1
) first
"""
"""Since when the first step of each kind has waited."""

DONE = f"""
DELETE FROM due_steps WHERE ctid IN (
    SELECT due_steps.ctid FROM due_steps JOIN (
        SELECT {unfolded("order_id", "uuid")}, {unfolded("step", "text")}, {unfolded("reference", "text")},
            {unfolded("position", "bigint")}
    ) AS done USING (order_id, step, reference, position)
    FOR UPDATE OF due_steps SKIP LOCKED
)
"""
"""Steps that were carried out or refused, unless a fact has made them due anew.

A row that a worker has locked stays, so that the two never wait for each other in a circle; it comes again.
"""

PROGRESS = (
    "SELECT projection, source, partition, next_offset, position FROM checkpoints "
    "WHERE next_offset >= 0 ORDER BY projection, source, partition"
)
"""How far each projection has come, in each place that it follows."""

PARKED = "SELECT projection, count(DISTINCT stream) FROM parked GROUP BY projection"
"""How many streams each projection has left aside."""

PARKED_BETWEEN = "SELECT EXISTS (SELECT FROM parked WHERE projection = ANY(%s) AND position > %s AND position <= %s)"
"""Whether some projections have left an event aside between two positions."""

ALL, FIRST = Wanted(), Window()

_prices = msgspec.json.Decoder(dict[str, int]).decode


class DueStep(msgspec.Struct, frozen=True, gc=False):
    """A step of an order that may be due, and has waited since `started_at`."""

    order_id: UUID
    step: Step
    reference: str  # of the authorization to be voided; empty for other steps
    started_at: datetime
    position: int  # in the log, of the fact that made it due


class Written(msgspec.Struct, frozen=True):
    """The head of the log, and the last event of a stream up to a position: none for a stream that was not there."""

    head: int
    version: int | None
    position: int | None


class Queries:
    """Reads the tables of the projections. Raises `psycopg.OperationalError` where the database does not answer.

    `stretch` is how many orders are looked through one by one before a search looks all up.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], *, stretch: int = STRETCH) -> None:
        self._pool = pool
        self._stretch = stretch

    async def order(self, order_id: UUID) -> OrderView | None:
        """One order, whole."""
        return (await self.orders_by_id([order_id])).get(order_id)

    async def orders_by_id(self, ids: Iterable[UUID]) -> dict[UUID, OrderView]:
        """Those of these orders that are there."""
        views = [order_view(row) for row in await self._fetch(ORDERS, (list(ids),))]
        return {view.order_id: view for view in views}

    async def order_by_number(self, number: str) -> OrderView | None:
        """One order, whole, by its number in canonical form."""
        rows = await self._fetch(ORDER_BY_NUMBER, (number,))
        return order_view(rows[0]) if rows else None

    async def orders(self, wanted: Wanted = ALL, window: Window = FIRST) -> list[OrderSummary]:
        """One page of the orders, newest first."""
        if found_by(wanted) is None:
            rows = await self._page(listed(wanted, window))
        else:
            looked_through = await self._page(walked(wanted, window, self._stretch))
            rows = [row[1:] for row in looked_through if row[1] is not None]
            if len(rows) < window.limit and looked_through[0][0] == self._stretch:
                rows = await self._page(looked_up(wanted, window))
        page = [order_summary(row[:-1]) for row in rows]
        return page[::-1] if window.before is not None else page

    async def history(self, order_id: UUID, customer_id: str | None = None) -> list[HistoryEntry]:
        """What happened to an order, oldest first; nothing for another customer's."""
        rows = await self._fetch(HISTORY, {"order_id": order_id, "customer_id": customer_id})
        return [
            HistoryEntry(position, version, name, time, actor, msgspec.Raw(data))
            for position, version, name, time, actor, data in rows
        ]

    async def products(
        self, limit: int = 50, after_sku: str | None = None, *, before_sku: str | None = None
    ) -> list[ProductView]:
        """One page of the catalogue, by SKU, from after one of them, or up to one."""
        if before_sku is not None:
            return [_product(row) for row in await self._fetch(PRODUCTS_BEFORE, (before_sku, limit))][::-1]
        return [_product(row) for row in await self._fetch(PRODUCTS, (after_sku or "", limit))]

    async def product(self, sku: str) -> ProductView | None:
        """One product."""
        rows = await self._fetch(PRODUCT, (sku,))
        return _product(rows[0]) if rows else None

    async def daily_sales(self, first: date, last: date) -> list[DailySales]:
        """The sales of some days, first and last included."""
        return [DailySales(*row) for row in await self._fetch(DAILY_SALES, (first, last))]

    async def due(self, step: Step, until: datetime, limit: int) -> list[DueStep]:
        """The steps of a kind that began to wait by an instant, the oldest first."""
        return [DueStep(*row) for row in await self._fetch(DUE, (step, until, limit))]

    async def next_due(self, steps: Collection[Step]) -> dict[Step, datetime]:
        """Since when the first step of each kind has waited; kinds of which none waits are not named."""
        return dict(await self._fetch(NEXT_DUE, (list(steps),)))

    async def done(self, steps: Iterable[DueStep]) -> None:
        """Forget steps that were carried out or refused, unless a fact has made them due anew since they were read."""
        rows = [(one.order_id, one.step, one.reference, one.position) for one in steps]
        if rows:
            async with self._pool.connection() as connection:
                await connection.execute(DONE, [array(column) for column in zip(*rows, strict=True)])

    async def progress(self) -> list[Checkpoint]:
        """How far each projection has come, in each place that it follows."""
        return [Checkpoint(*row) for row in await self._fetch(PROGRESS, ())]

    async def parked(self) -> dict[str, int]:
        """How many streams each projection has left aside; projections with none are not named."""
        return dict(await self._fetch(PARKED, ()))

    async def parked_between(self, projections: Iterable[str], after: int, upto: int) -> bool:
        """Whether one of these projections has left an event aside, after a position and up to another."""
        return bool((await self._fetch(PARKED_BETWEEN, (list(projections), after, upto)))[0][0])

    async def stream(self, stream: str) -> list[Row]:
        """The events of one stream, as the log has them."""
        return await self._fetch(STREAM, (stream,))

    async def head(self) -> int:
        """The position of the newest event of the log; 0 for an empty one."""
        return int((await self._fetch(HEAD, ()))[0][0])

    async def written(self, position: int, stream: str | None = None) -> Written:
        """What the log says of a position, and of what a stream had come to by then."""
        rows = await self._fetch(WRITTEN, {"stream": stream, "position": position})
        return Written(*rows[0])

    async def _page(self, statement: Statement) -> list[Any]:
        """Never by a plan that is kept: which one is good depends on what is asked for."""
        return await self._fetch(statement.query, statement.parameters, prepare=False)

    async def _fetch(self, query: str, parameters: Any, *, prepare: bool | None = None) -> list[Any]:
        async with self._pool.connection() as connection:
            cursor = await connection.cursor(binary=True).execute(query, parameters, prepare=prepare)
            return cast(list[Any], await cursor.fetchall())


def _product(row: tuple[Any, ...]) -> ProductView:
    sku, name, prices, tracked, on_hand, reserved, version = row
    return ProductView(
        sku,
        name,
        tuple(Money(amount, currency) for currency, amount in sorted(_prices(prices).items())),
        "tracked" if tracked else "untracked",
        on_hand,
        reserved,
        on_hand - reserved,
        version,
    )
