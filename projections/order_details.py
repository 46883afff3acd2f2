"""What is in this order, and how far is it? One row an order, one row a line."""

from collections.abc import Iterator
from typing import Any, assert_never

from sqlalchemy import BigInteger, Column, DateTime, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

from events.envelope import Recorded
from events.order import (
    LineQuantity,
    OrderCancelled,
    OrderConfirmed,
    OrderEvent,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    ShipmentDispatched,
)
from projections.tables import Change, Key, Projection, Put, Set, counter, metadata

order_details = Table(
    "order_details",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("subtotal", BigInteger, nullable=False),
    Column("discount", BigInteger, nullable=False),
    Column("shipping", BigInteger, nullable=False),
    Column("tax", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    counter("authorized"),
    counter("captured"),
    counter("refunded"),
    Column("payment_terms", Text, nullable=False),
    Column("payment_method", Text),
    Column("external_reference", Text),
    Column("email", Text),
    Column("shipping_address", JSON),
    Column("metadata", JSON, nullable=False),
    Column("cancel_reason", Text),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

order_details_lines = Table(
    "order_details_lines",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    counter("cancelled"),
    counter("shipped"),
    counter("delivered"),
    counter("lost"),
    counter("returned"),
    Index("order_details_lines_sku", "sku"),
)

_UNTOUCHED = {"cancelled": 0, "shipped": 0, "delivered": 0, "lost": 0, "returned": 0}


def react(recorded: Recorded) -> Iterator[Change]:
    event, order_id = recorded.event, recorded.key
    assert isinstance(event, OrderEvent)
    key = (order_id,)
    moved = {"version": recorded.version, "updated_at": event.at}
    match event:
        case OrderPlaced():
            yield Put(order_details, key, _placed(event) | moved)
            yield from _lines(order_id, event)
        case OrderConfirmed():
            yield Set(order_details, key, moved | {"status": "confirmed"})
        case PaymentAuthorized():
            yield Set(order_details, key, moved, {"authorized": event.amount})
        case PaymentCaptured():
            yield Set(order_details, key, moved, {"captured": event.amount})
        case ShipmentDispatched():
            yield Set(order_details, key, moved)
            yield from _more(order_id, "shipped", event.lines)
        case OrderCancelled():
            yield Set(order_details, key, moved | {"status": "cancelled", "cancel_reason": event.reason})
            yield from _more(order_id, "cancelled", event.lines)
        case _:
            assert_never(event)


def _placed(event: OrderPlaced) -> dict[str, Any]:
    return {
        "customer_id": event.customer_id,
        "status": "placed",
        "currency": event.currency,
        "subtotal": event.subtotal,
        "discount": event.discount,
        "shipping": event.shipping,
        "tax": event.tax,
        "total": event.total,
        "authorized": 0,
        "captured": 0,
        "refunded": 0,
        "payment_terms": event.payment_terms,
        "payment_method": event.payment_method,
        "external_reference": event.external_reference,
        "email": event.email,
        "shipping_address": event.shipping_address,
        "metadata": event.metadata,
        "cancel_reason": None,
        "placed_at": event.at,
    }


def _lines(order_id: str, event: OrderPlaced) -> Iterator[Change]:
    for line in event.lines:
        key: Key = (order_id, line.line_id)
        card = {"sku": line.sku, "name": line.name, "quantity": line.quantity, "unit_price": line.unit_price}
        yield Put(order_details_lines, key, card | _UNTOUCHED)


def _more(order_id: str, column: str, lines: tuple[LineQuantity, ...]) -> Iterator[Change]:
    for line in lines:
        yield Set(order_details_lines, (order_id, line.line_id), {}, {column: line.quantity})


PROJECTION = Projection("order_details", "order", (order_details, order_details_lines), react)
