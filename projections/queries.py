"""Every read: a typed async function with a name and a sentence."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool

from events.codec import Row
from events.log import HEAD, STREAM, WRITTEN
from events.order import Address
from events.status import fulfilment_status, open_quantity, payment_status, return_status
from projections.checkpoints import Checkpoint
from projections.shapes import DailySales, HistoryEntry, LineView, Money, OrderSummary, OrderView, ProductView

_ORDER = (
    "order_id, version, customer_id, status, currency, subtotal, discount, shipping, tax, total, authorized, captured, "
    "refunded, payment_terms, payment_method, external_reference, email, shipping_address::text, metadata::text, "
    "cancel_reason, placed_at, updated_at"
)
_LINE = "line_id, sku, name, quantity, unit_price, cancelled, shipped, delivered, lost, returned"

ORDERS = f"""
SELECT {_ORDER}, (
    SELECT json_agg(json_build_array({_LINE}) ORDER BY length(line_id), line_id)::text
    FROM order_details_lines WHERE order_details_lines.order_id = order_details.order_id
)
FROM order_details WHERE order_id = ANY(%s)
"""
"""Some orders whole, each with its lines in their own order."""

_SUMMARY = (
    "order_id, version, customer_id, status, currency, total, authorized, captured, refunded, units, cancelled, "
    "shipped, delivered, lost, returned, external_reference, placed_at, updated_at"
)

ORDER_LIST = f"SELECT {_SUMMARY} FROM order_list {{where}} ORDER BY placed_at DESC, order_id DESC LIMIT %(limit)s"
"""One page of the orders, newest first; `where` is put together from `CONDITIONS`."""

CONDITIONS = {
    "customer_id": "customer_id = %(customer_id)s",
    "status": "status = %(status)s",
    "after": "(placed_at, order_id) < (%(placed_at)s, %(order_id)s)",
}
"""What may be asked of the list: each an index can answer, page after page."""

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

PRODUCT = f"SELECT {_PRODUCT} FROM stock_levels WHERE sku = %s"
"""One product."""

DAILY_SALES = """
SELECT date, currency, orders, units, gross, refunded, gross - refunded
FROM daily_sales WHERE date BETWEEN %s AND %s ORDER BY date, currency
"""
"""The sales of some days, first and last included."""

PROGRESS = (
    "SELECT projection, source, partition, next_offset, position FROM checkpoints "
    "WHERE next_offset >= 0 ORDER BY projection, source, partition"
)
"""How far each projection has come, in each place that it follows."""

PARKED = "SELECT projection, count(DISTINCT stream) FROM parked GROUP BY projection"
"""How many streams each projection has left aside."""

PARKED_BETWEEN = "SELECT EXISTS (SELECT FROM parked WHERE projection = ANY(%s) AND position > %s AND position <= %s)"
"""Whether some projections have left an event aside between two positions."""

_address = msgspec.json.Decoder(Address).decode
_metadata = msgspec.json.Decoder(dict[str, str]).decode
_prices = msgspec.json.Decoder(dict[str, int]).decode

Cursor = tuple[datetime, UUID]
"""Where a page of orders ended: placed_at and order_id of its last order."""


class Written(msgspec.Struct, frozen=True):
    """The head of the log, and the last event of a stream up to a position: none for a stream that was not there."""

    head: int
    version: int | None
    position: int | None


class Queries:
    """Reads the tables of the projections. Raises `psycopg.OperationalError` where the database does not answer."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def order(self, order_id: UUID) -> OrderView | None:
        """One order, whole."""
        return (await self.orders_by_id([order_id])).get(order_id)

    async def orders_by_id(self, ids: Iterable[UUID]) -> dict[UUID, OrderView]:
        """Those of these orders that are there."""
        rows = await self._fetch(ORDERS, (list(ids),))
        return {row[0]: _order(row) for row in rows}

    async def orders(
        self,
        customer_id: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: Cursor | None = None,
    ) -> list[OrderSummary]:
        """One page of the orders, newest first, from after a cursor."""
        asked = {"customer_id": customer_id, "status": status, "after": after}
        conditions = [CONDITIONS[name] for name, value in asked.items() if value is not None]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        placed_at, order_id = after or (None, None)
        values = {
            "customer_id": customer_id,
            "status": status,
            "limit": limit,
            "placed_at": placed_at,
            "order_id": order_id,
        }
        return [_summary(row) for row in await self._fetch(ORDER_LIST.format(where=where), values)]

    async def history(self, order_id: UUID, customer_id: str | None = None) -> list[HistoryEntry]:
        """What happened to an order, oldest first; nothing for another customer's."""
        rows = await self._fetch(HISTORY, {"order_id": order_id, "customer_id": customer_id})
        return [
            HistoryEntry(position, version, name, time, actor, msgspec.Raw(data))
            for position, version, name, time, actor, data in rows
        ]

    async def products(self, limit: int = 50, after_sku: str | None = None) -> list[ProductView]:
        """One page of the catalogue, by SKU, from after one of them."""
        return [_product(row) for row in await self._fetch(PRODUCTS, (after_sku or "", limit))]

    async def product(self, sku: str) -> ProductView | None:
        """One product."""
        rows = await self._fetch(PRODUCT, (sku,))
        return _product(rows[0]) if rows else None

    async def daily_sales(self, first: date, last: date) -> list[DailySales]:
        """The sales of some days, first and last included."""
        return [DailySales(*row) for row in await self._fetch(DAILY_SALES, (first, last))]

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

    async def _fetch(self, query: str, parameters: Any) -> list[Any]:
        async with self._pool.connection() as connection:
            cursor = await connection.cursor(binary=True).execute(query, parameters)
            return cast(list[Any], await cursor.fetchall())


class _Sums(msgspec.Struct, frozen=True, gc=False):
    """The quantities of all lines of an order together."""

    quantity: int
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int


class _Line(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A line as `ORDERS` gives it."""

    line_id: str
    sku: str
    name: str
    quantity: int
    unit_price: int
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int


_lines = msgspec.json.Decoder(list[_Line]).decode


def _summary(row: tuple[Any, ...]) -> OrderSummary:
    (
        order_id,
        version,
        customer_id,
        status,
        currency,
        total,
        authorized,
        captured,
        refunded,
        units,
        cancelled,
        shipped,
        delivered,
        lost,
        returned,
        external_reference,
        placed_at,
        updated_at,
    ) = row
    sums = (_Sums(units, cancelled, shipped, delivered, lost, returned),)
    return OrderSummary(
        order_id,
        customer_id,
        status,
        payment_status(total, authorized, captured, refunded),
        fulfilment_status(sums),
        return_status(sums),
        version,
        currency,
        Money(total, currency),
        units,
        external_reference,
        placed_at,
        updated_at,
    )


def _order(row: tuple[Any, ...]) -> OrderView:
    (
        order_id,
        version,
        customer_id,
        status,
        currency,
        subtotal,
        discount,
        shipping,
        tax,
        total,
        authorized,
        captured,
        refunded,
        payment_terms,
        payment_method,
        external_reference,
        email,
        shipping_address,
        metadata,
        cancel_reason,
        placed_at,
        updated_at,
        its_lines,
    ) = row
    lines = tuple(_line(line, currency) for line in _lines(its_lines or "[]"))
    return OrderView(
        order_id,
        customer_id,
        status,
        payment_status(total, authorized, captured, refunded),
        fulfilment_status(lines),
        return_status(lines),
        version,
        currency,
        lines,
        Money(subtotal, currency),
        Money(discount, currency),
        Money(shipping, currency),
        Money(tax, currency),
        Money(total, currency),
        Money(total - captured + refunded, currency),
        Money(authorized, currency),
        Money(captured, currency),
        Money(refunded, currency),
        payment_terms,
        payment_method,
        external_reference,
        email,
        _address(shipping_address) if shipping_address else None,
        _metadata(metadata),
        cancel_reason,
        placed_at,
        updated_at,
    )


def _line(line: _Line, currency: str) -> LineView:
    return LineView(
        line.line_id,
        line.sku,
        line.name,
        line.quantity,
        Money(line.unit_price, currency),
        Money(line.quantity * line.unit_price, currency),
        line.cancelled,
        line.shipped,
        line.delivered,
        line.lost,
        line.returned,
        open_quantity(line),
    )


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
