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
    Column("units", BigInteger, nullable=False),
    counter("cancelled"),
    counter("shipped"),
    counter("delivered"),
    counter("lost"),
    counter("returned"),
    Column("on_hold", Boolean, nullable=False, server_default=text("false")),
    Column("tags", JSONB),  # none, rather than no tag: most orders then cost their index nothing
    Column("external_reference", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),  # drafted or placed
    Column("placed_at", DateTime(timezone=True)),  # none: a draft
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # Read backwards, each gives one page of its list after another.
    Index("order_list_newest", "created_at", "order_id"),
    Index("order_list_customer", "customer_id", "created_at", "order_id"),
    Index("order_list_status", "status", "created_at", "order_id"),
    Index("order_list_refund_due", "created_at", "order_id", postgresql_where=text("refund_due")),
    Index(
        "order_list_tags",
        "tags",
        postgresql_using="gin",
        postgresql_ops={"tags": "jsonb_path_ops"},
        postgresql_where=text("tags IS NOT NULL"),
    ),
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
