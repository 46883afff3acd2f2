"""Which orders are there, newest first? One row an order, with the sums over its lines."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, assert_never

from sqlalchemy import BigInteger, Column, DateTime, Index, Table, Text, Uuid

from events.envelope import Recorded
from events.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderEvent,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    ShipmentDispatched,
)
from projections.tables import Change, Projection, Put, Set, counter, metadata

order_list = Table(
    "order_list",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    counter("authorized"),
    counter("captured"),
    counter("refunded"),
    Column("units", BigInteger, nullable=False),
    counter("cancelled"),
    counter("shipped"),
    counter("delivered"),
    counter("lost"),
    counter("returned"),
    Column("external_reference", Text),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # Read backwards, each gives one page of its list after another.
    Index("order_list_newest", "placed_at", "order_id"),
    Index("order_list_customer", "customer_id", "placed_at", "order_id"),
    Index("order_list_status", "status", "placed_at", "order_id"),
)


class _Quantity(Protocol):
    @property
    def quantity(self) -> int: ...


def react(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    assert isinstance(event, OrderEvent)
    key = (recorded.key,)
    moved = {"version": recorded.version, "updated_at": event.at}
    match event:
        case OrderPlaced():
            yield Put(order_list, key, _placed(event) | moved)
        case OrderConfirmed():
            yield Set(order_list, key, moved | {"status": "confirmed"})
        case PaymentAuthorized():
            yield Set(order_list, key, moved, {"authorized": event.amount})
        case PaymentCaptured():
            yield Set(order_list, key, moved, {"captured": event.amount})
        case ShipmentDispatched():
            yield Set(order_list, key, moved, {"shipped": _units(event.lines)})
        case OrderCancelled():
            yield Set(order_list, key, moved | {"status": "cancelled"}, {"cancelled": _units(event.lines)})
        case _:
            assert_never(event)


def _placed(event: OrderPlaced) -> dict[str, Any]:
    return {
        "customer_id": event.customer_id,
        "status": "placed",
        "currency": event.currency,
        "total": event.total,
        "authorized": 0,
        "captured": 0,
        "refunded": 0,
        "units": _units(event.lines),
        "cancelled": 0,
        "shipped": 0,
        "delivered": 0,
        "lost": 0,
        "returned": 0,
        "external_reference": event.external_reference,
        "placed_at": event.at,
    }


def _units(lines: Iterable[_Quantity]) -> int:
    return sum(line.quantity for line in lines)


PROJECTION = Projection("order_list", "order", (order_list,), react)
