"""Which orders are there, newest first? One row an order, with the sums over its lines."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, assert_never

from sqlalchemy import BigInteger, Boolean, Column, Computed, DateTime, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from events.envelope import Recorded
from events.order import (
    LinesCancelled,
    MetadataSet,
    NoteAdded,
    OrderAmended,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderDrafted,
    OrderEvent,
    OrderHeld,
    OrderPlaced,
    OrderReleased,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
    RefundRequired,
    ReturnApproved,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    TagsSet,
    TrackingUpdated,
)
from projections.tables import Change, Projection, Put, Set, counter, metadata

PAYMENT_STATUS = """CASE
    WHEN refunded <> 0 THEN CASE WHEN refunded >= captured THEN 'refunded' ELSE 'partly_refunded' END
    WHEN captured <> 0 THEN CASE WHEN captured >= ordered - reduced THEN 'paid' ELSE 'partly_paid' END
    WHEN ordered - reduced = 0 THEN 'none'
    WHEN authorized - voided >= ordered - reduced THEN 'authorized' ELSE 'unpaid' END"""
"""As `events/status.py` has it; this and the following two."""

FULFILMENT_STATUS = """CASE
    WHEN units - cancelled = 0 THEN 'none'
    WHEN delivered <> 0 THEN CASE WHEN delivered >= units - cancelled THEN 'delivered' ELSE 'partly_delivered' END
    WHEN shipped - lost <> 0 THEN CASE WHEN shipped - lost >= units - cancelled THEN 'shipped' ELSE 'partly_shipped' END
    ELSE 'unfulfilled' END"""

RETURN_STATUS = """CASE
    WHEN returned = 0 THEN 'none' WHEN returned >= delivered THEN 'returned' ELSE 'partly_returned' END"""


def _computed(name: str, expression: str) -> Column[str]:
    """Stored, so that an index can hold it, and moves an order only when it changes."""
    return Column(name, Text, Computed(expression, persisted=True), nullable=False)


SETTLED = {"payment_status": "paid", "fulfilment_status": "delivered", "return_status": "none"}
"""What most orders come to in the end. Those are found by walking the whole list; all others have an index."""


def _unless_settled(column: str, settled: str) -> Index:
    return Index(
        f"order_list_{column}", column, "listed_at", "order_id", postgresql_where=text(f"{column} <> '{settled}'")
    )


order_list = Table(
    "order_list",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("number", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("ordered", BigInteger, nullable=False),  # the total of all lines
    counter("reduced"),  # what the customer owes the less for pieces cancelled and returned
    Column("total", BigInteger, Computed("ordered - reduced", persisted=True), nullable=False),
    counter("authorized"),
    counter("voided"),
    counter("captured"),
    counter("refunded"),
    # Stored, so that only an order for which it changes moves in the index of those that wait for their money.
    Column("refund_due", Boolean, Computed("captured - refunded > ordered - reduced", persisted=True), nullable=False),
    _computed("payment_status", PAYMENT_STATUS),
    Column("units", BigInteger, nullable=False),
    counter("cancelled"),
    counter("shipped"),
    counter("delivered"),
    counter("lost"),
    counter("returned"),
    _computed("fulfilment_status", FULFILMENT_STATUS),
    _computed("return_status", RETURN_STATUS),
    Column("on_hold", Boolean, nullable=False, server_default=text("false")),
    Column("tags", JSONB),  # none: it has no tag
    Column("external_reference", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),  # drafted or placed
    Column("placed_at", DateTime(timezone=True)),  # none: a draft
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # The order of the lists: a draft that is placed is new, and dates of placing are a stretch of it.
    Column(
        "listed_at",
        DateTime(timezone=True),
        Computed("coalesce(placed_at, created_at)", persisted=True),
        nullable=False,
    ),
    # Each is read along the order of the lists, so it gives one page after another, whatever its filter leaves out.
    Index("order_list_newest", "listed_at", "order_id"),
    Index("order_list_customer", "customer_id", "listed_at", "order_id"),
    Index("order_list_status", "status", "listed_at", "order_id"),
    *(_unless_settled(column, settled) for column, settled in SETTLED.items()),
    Index("order_list_refund_due", "listed_at", "order_id", postgresql_where=text("refund_due")),
    Index("order_list_on_hold", "listed_at", "order_id", postgresql_where=text("on_hold")),
    Index("order_list_total", "currency", "total"),
    Index("order_list_number", "number", unique=True),
)

_UNTOUCHED = {
    "reduced": 0,
    "authorized": 0,
    "voided": 0,
    "captured": 0,
    "refunded": 0,
    "cancelled": 0,
    "shipped": 0,
    "delivered": 0,
    "lost": 0,
    "returned": 0,
    "on_hold": False,
    "tags": None,
}


class _Quantity(Protocol):
    @property
    def quantity(self) -> int: ...


def react(recorded: Recorded) -> Iterator[Change]:  # noqa: C901, PLR0912  one case for each fact
    event, key = recorded.event, (recorded.key,)
    assert isinstance(event, OrderEvent)
    moved = {"version": recorded.version, "updated_at": event.at}
    match event:
        case OrderDrafted() | OrderPlaced():
            yield _content(recorded, event, moved)
        case OrderAmended():
            yield Set(order_list, key, moved | {"ordered": event.total, "units": _units(event.lines)})
        case OrderConfirmed():
            yield Set(order_list, key, moved | {"status": "confirmed"})
        case LinesCancelled():
            yield Set(order_list, key, moved, {"cancelled": _units(event.lines), "reduced": event.amount})
        case OrderCancelled():
            less = {"cancelled": _units(event.lines), "reduced": event.amount}
            yield Set(order_list, key, moved | {"status": "cancelled"}, less)
        case OrderCompleted():
            yield Set(order_list, key, moved | {"status": "completed"})
        case OrderHeld():
            yield Set(order_list, key, moved | {"on_hold": True})
        case OrderReleased():
            yield Set(order_list, key, moved | {"on_hold": False})
        case PaymentAuthorized():
            yield Set(order_list, key, moved, {"authorized": event.amount})
        case PaymentCaptured():
            yield Set(order_list, key, moved, {"captured": event.amount})
        case PaymentVoided():
            yield Set(order_list, key, moved, {"voided": event.amount})
        case PaymentRefunded():
            yield Set(order_list, key, moved, {"refunded": event.amount})
        case ShipmentDispatched():
            yield Set(order_list, key, moved, {"shipped": _units(event.lines)})
        case ShipmentDelivered():
            yield Set(order_list, key, moved, {"delivered": _units(event.lines)})
        case ShipmentLost():
            yield Set(order_list, key, moved, {"lost": _units(event.lines)})
        case ReturnReceived():
            yield Set(order_list, key, moved, {"returned": _units(event.lines), "reduced": event.amount})
        case TagsSet():
            yield Set(order_list, key, moved | {"tags": event.tags or None})
        case (
            RefundRequired()  # it follows from the ledger
            | TrackingUpdated()
            | ReturnRequested()
            | ReturnApproved()
            | ReturnRejected()
            | NoteAdded()
            | MetadataSet()
        ):
            yield Set(order_list, key, moved)
        case _:
            assert_never(event)


def _content(recorded: Recorded, event: OrderDrafted | OrderPlaced, moved: dict[str, Any]) -> Change:
    drafted = isinstance(event, OrderDrafted)
    values = moved | {
        "number": event.number,
        "customer_id": event.customer_id,
        "status": "draft" if drafted else "placed",
        "currency": event.currency,
        "ordered": event.total,
        "units": _units(event.lines),
        "external_reference": event.external_reference,
        "placed_at": None if drafted else event.at,
    }
    if recorded.version > 1:  # a draft is placed: what was said about it beside its content stands
        return Set(order_list, (recorded.key,), values)
    return Put(order_list, (recorded.key,), values | _UNTOUCHED | {"created_at": event.at})


def _units(lines: Iterable[_Quantity]) -> int:
    return sum(line.quantity for line in lines)


PROJECTION = Projection("order_list", "order", (order_list,), react)
