"""What the tables must hold: a fold of the log, made without the code under test."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from events import codec
from events.codec import Row
from events.envelope import Event
from events.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderEvent,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    ShipmentDispatched,
)
from events.product import (
    ProductEvent,
    ProductListed,
    StockAdjusted,
    StockDispatched,
    StockReceived,
    StockReleased,
    StockReserved,
)

Tables = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


def folded(rows: Iterable[Row]) -> Tables:
    """What the tables must hold."""
    tables: Tables = {name: {} for name in TABLES}
    for row in rows:
        recorded = codec.decode(row)
        if recorded.kind == "order":
            _fold_order(tables, row, recorded.event)
        else:
            _fold_product(tables, row, recorded.event)
    return tables


def _fold_order(tables: Tables, row: Row, event: Event) -> None:
    assert isinstance(event, OrderEvent)
    stream, version, position, name, _ = row
    order_id = UUID(stream.removeprefix("order-"))
    cause = codec.decode(row).cause
    tables["timeline"][order_id, version] = {
        "position": position,
        "type": name,
        "time": cause.time,
        "actor": "tests",
        "data": codec.data(event).decode(),
    }
    if isinstance(event, OrderPlaced):
        _fold_placed(tables, event)
    details, listed = tables["order_details"][order_id,], tables["order_list"][order_id,]
    for order in (details, listed):
        order |= {"version": version, "updated_at": event.at}
        _fold_status_and_ledger(order, event)
    if isinstance(event, OrderCancelled):
        details["cancel_reason"] = event.reason
    if isinstance(event, OrderCancelled | ShipmentDispatched):
        column = "cancelled" if isinstance(event, OrderCancelled) else "shipped"
        for one in event.lines:
            tables["order_details_lines"][order_id, one.line_id][column] += one.quantity
            listed[column] += one.quantity


def _fold_placed(tables: Tables, event: OrderPlaced) -> None:
    units = sum(line.quantity for line in event.lines)
    both = {name: getattr(event, name) for name in ("customer_id", "currency", "total", "external_reference")}
    both |= {"status": "placed", "authorized": 0, "captured": 0, "refunded": 0, "placed_at": event.at}
    more = ("subtotal", "discount", "shipping", "tax", "payment_terms", "payment_method", "email")
    nothing = dict.fromkeys(("cancelled", "shipped", "delivered", "lost", "returned"), 0)
    own = {name: getattr(event, name) for name in more} | {"cancel_reason": None}
    tables["order_details"][event.order_id,] = both | own
    tables["order_list"][event.order_id,] = both | nothing | {"units": units}
    for line in event.lines:
        card = {name: getattr(line, name) for name in ("sku", "name", "quantity", "unit_price")}
        tables["order_details_lines"][event.order_id, line.line_id] = nothing | card
    day = (event.at.date(), event.currency)
    sales = tables["daily_sales"].setdefault(day, dict.fromkeys(("orders", "units", "gross", "refunded"), 0))
    sales["orders"] += 1
    sales["units"] += units
    sales["gross"] += event.total


def _fold_status_and_ledger(order: dict[str, Any], event: Event) -> None:
    match event:
        case OrderConfirmed():
            order["status"] = "confirmed"
        case OrderCancelled():
            order["status"] = "cancelled"
        case PaymentAuthorized():
            order["authorized"] += event.amount
        case PaymentCaptured():
            order["captured"] += event.amount


def _fold_product(tables: Tables, row: Row, event: Event) -> None:
    assert isinstance(event, ProductEvent)
    key = (row[0].removeprefix("product-"),)
    stock = tables["stock_levels"].setdefault(key, {"on_hand": 0, "reserved": 0})
    stock |= {"version": row[1], "updated_at": event.at}
    match event:
        case ProductListed():
            stock |= {"name": event.name, "tracked": event.tracked}
        case StockReceived() | StockAdjusted():
            stock["on_hand"] += event.quantity
        case StockReserved():
            stock["reserved"] += event.quantity
        case StockReleased():
            stock["reserved"] -= event.quantity
        case StockDispatched():
            stock["on_hand"] -= event.quantity
            stock["reserved"] -= event.quantity


TABLES: dict[str, tuple[str, ...]] = {
    "order_details": ("order_id",),
    "order_details_lines": ("order_id", "line_id"),
    "order_list": ("order_id",),
    "daily_sales": ("date", "currency"),
    "timeline": ("order_id", "version"),
    "stock_levels": ("sku",),
}
"""Each table with its key."""

NOT_FOLDED = {"partition", "shipping_address", "metadata", "prices"}
"""Where an event came by, and what has tests of its own."""


def written(url: str) -> Tables:
    """What the tables do hold."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {name: dict(_rows(connection, name, key)) for name, key in TABLES.items()}


def _rows(
    connection: psycopg.Connection[dict[str, Any]], table: str, key: tuple[str, ...]
) -> Iterable[tuple[tuple[Any, ...], dict[str, Any]]]:
    columns = "*" if table != "timeline" else "order_id, version, position, type, time, actor, data::text"
    for row in connection.execute(f"SELECT {columns} FROM {table}"):
        rest = row.keys() - {*key} - NOT_FOLDED
        yield tuple(row[name] for name in key), {name: row[name] for name in rest}


def difference(expected: Tables, found: Mapping[str, Any]) -> str:
    """The first few rows that differ; empty when none does."""
    differing = [
        f"{table} {key}: expected {expected[table].get(key)}, found {found[table].get(key)}"
        for table in expected
        for key in expected[table].keys() | found[table].keys()
        if expected[table].get(key) != found[table].get(key)
    ]
    return "\n".join([f"{len(differing)} rows differ", *differing[:5]]) if differing else ""
