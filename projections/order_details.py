"""What is in this order, and how far is it? One row an order, with its lines as they were ordered."""

from collections.abc import Iterator
from typing import Any, assert_never

from sqlalchemy import BigInteger, Column, Computed, DateTime, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

from events.envelope import Recorded
from events.order import (
    Content,
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
from projections import order_movements
from projections.tables import Change, Projection, Put, Set, counter, metadata

order_details = Table(
    "order_details",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("number", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # As the last fact about the content says them. One value, so that an amendment replaces them all.
    Column("lines", JSON, nullable=False),
    Column("subtotal", BigInteger, nullable=False),
    Column("discount", BigInteger, nullable=False),
    Column("shipping", BigInteger, nullable=False),
    Column("tax", BigInteger, nullable=False),
    Column("ordered", BigInteger, nullable=False),  # the total of these lines
    counter("reduced"),  # what the customer owes the less for pieces cancelled and returned
    Column("total", BigInteger, Computed("ordered - reduced", persisted=True), nullable=False),
    counter("authorized"),
    counter("voided"),
    counter("captured"),
    counter("refunded"),
    Column("hold_reason", Text),  # none: it is not on hold
    Column("tags", JSON),  # none: it never had one
    counter("notes"),
    Column("payment_terms", Text, nullable=False),
    Column("payment_method", Text),
    Column("external_reference", Text),
    Column("email", Text),
    Column("shipping_address", JSON),
    Column("metadata", JSON, nullable=False),
    Column("cancel_reason", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("placed_at", DateTime(timezone=True)),  # none: a draft
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

_UNTOUCHED = {
    "reduced": 0,
    "authorized": 0,
    "voided": 0,
    "captured": 0,
    "refunded": 0,
    "hold_reason": None,
    "tags": None,
    "notes": 0,
    "cancel_reason": None,
}


def react(recorded: Recorded) -> Iterator[Change]:  # noqa: C901, PLR0912  one case for each fact
    event, key = recorded.event, (recorded.key,)
    assert isinstance(event, OrderEvent)
    moved = {"version": recorded.version, "updated_at": event.at}
    match event:
        case OrderDrafted() | OrderPlaced():
            yield _content(recorded, event, moved)
        case OrderAmended():
            yield Set(order_details, key, moved | _amended(event))
        case OrderConfirmed():
            yield Set(order_details, key, moved | {"status": "confirmed"})
        case LinesCancelled():
            yield Set(order_details, key, moved, {"reduced": event.amount})
            yield from order_movements.counted(recorded, "cancelled", event.lines)
        case OrderCancelled():
            ended = {"status": "cancelled", "cancel_reason": event.reason}
            yield Set(order_details, key, moved | ended, {"reduced": event.amount})
            yield from order_movements.counted(recorded, "cancelled", event.lines)
        case OrderCompleted():
            yield Set(order_details, key, moved | {"status": "completed"})
        case OrderHeld():
            yield Set(order_details, key, moved | {"hold_reason": event.reason})
        case OrderReleased():
            yield Set(order_details, key, moved | {"hold_reason": None})
        case PaymentAuthorized():
            yield Set(order_details, key, moved, {"authorized": event.amount})
        case PaymentCaptured():
            yield Set(order_details, key, moved, {"captured": event.amount})
        case PaymentVoided():
            yield Set(order_details, key, moved, {"voided": event.amount})
        case PaymentRefunded():
            yield Set(order_details, key, moved, {"refunded": event.amount})
        case RefundRequired():  # it follows from the ledger
            yield Set(order_details, key, moved)
        case ShipmentDispatched() | TrackingUpdated() | ShipmentDelivered() | ShipmentLost():
            yield Set(order_details, key, moved)
            yield from order_movements.of_shipment(recorded, event)
        case ReturnRequested() | ReturnApproved() | ReturnRejected():
            yield Set(order_details, key, moved)
            yield from order_movements.of_return(recorded, event)
        case ReturnReceived():
            yield Set(order_details, key, moved, {"reduced": event.amount})
            yield from order_movements.of_return(recorded, event)
        case NoteAdded():
            yield Set(order_details, key, moved, {"notes": 1})
        case TagsSet():
            yield Set(order_details, key, moved | {"tags": event.tags})
        case MetadataSet():
            yield Set(order_details, key, moved | {"metadata": event.metadata})
        case _:
            assert_never(event)


def _content(recorded: Recorded, event: OrderDrafted | OrderPlaced, moved: dict[str, Any]) -> Change:
    drafted = isinstance(event, OrderDrafted)
    values = moved | _card(event) | _amended(event)
    values |= {"status": "draft" if drafted else "placed", "placed_at": None if drafted else event.at}
    if recorded.version > 1:  # a draft is placed: what was said about it beside its content stands
        return Set(order_details, (recorded.key,), values)
    return Put(order_details, (recorded.key,), values | _UNTOUCHED | {"created_at": event.at})


def _card(event: Content) -> dict[str, Any]:
    """What no amendment changes."""
    return {
        "number": event.number,
        "customer_id": event.customer_id,
        "currency": event.currency,
        "payment_terms": event.payment_terms,
        "payment_method": event.payment_method,
        "external_reference": event.external_reference,
        "metadata": event.metadata,
    }


def _amended(event: Content | OrderAmended) -> dict[str, Any]:
    return {
        "lines": event.lines,
        "subtotal": event.subtotal,
        "discount": event.discount,
        "shipping": event.shipping,
        "tax": event.tax,
        "ordered": event.total,
        "email": event.email,
        "shipping_address": event.shipping_address,
    }


PROJECTION = Projection("order_details", "order", (order_details, *order_movements.TABLES), react)
