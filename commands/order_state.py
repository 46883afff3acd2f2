"""What an order is, and what follows from what happened to it."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace

from commands import lines, payment, returns, shipment
from commands.lines import Lines
from commands.payment import Ledger
from commands.returns import Returns
from commands.shipment import Shipments
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

AMENDABLE = tuple(name for name in OrderAmended.__struct_fields__ if name != "at")
"""The fields of an order's content that an amendment says anew."""


class Status(StrEnum):
    DRAFT = "draft"
    PLACED = "placed"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


# How far it came: each phase has what only it can have -------------------------------------------------------


class Draft(msgspec.Struct, frozen=True, gc=False, tag="draft"):
    status: ClassVar = Status.DRAFT


class Placed(msgspec.Struct, frozen=True, gc=False, tag="placed"):
    status: ClassVar = Status.PLACED
    placed_at: datetime


class Confirmed(msgspec.Struct, frozen=True, gc=False, tag="confirmed"):
    status: ClassVar = Status.CONFIRMED
    placed_at: datetime


class Completed(msgspec.Struct, frozen=True, gc=False, tag="completed"):
    status: ClassVar = Status.COMPLETED
    placed_at: datetime


class Cancelled(msgspec.Struct, frozen=True, gc=False, tag="cancelled"):
    status: ClassVar = Status.CANCELLED
    placed_at: datetime | None  # None: it was a draft
    reason: str


Phase = Draft | Placed | Confirmed | Completed | Cancelled


class Order(msgspec.Struct, frozen=True, gc=False):
    content: OrderDrafted | OrderPlaced  # as it now stands: amendments are worked in
    phase: Phase
    lines: Lines
    ledger: Ledger
    last_line: int  # the highest number that a line of it ever had
    created_at: datetime
    updated_at: datetime
    version: int = 1  # so many things happened to it
    held: str | None = None  # why nothing of it is to be confirmed or shipped
    shipments: Shipments = {}
    returns: Returns = {}
    tags: tuple[str, ...] = ()
    notes: int = 0

    @property
    def order_id(self) -> UUID:
        return self.content.order_id

    @property
    def customer_id(self) -> str:
        return self.content.customer_id

    @property
    def currency(self) -> str:
        return self.content.currency

    @property
    def status(self) -> Status:
        return self.phase.status

    @property
    def placed_at(self) -> datetime | None:
        return None if isinstance(self.phase, Draft) else self.phase.placed_at

    @property
    def cancel_reason(self) -> str | None:
        return self.phase.reason if isinstance(self.phase, Cancelled) else None

    @property
    def on_hold(self) -> bool:
        return self.held is not None

    @property
    def total(self) -> int:
        return self.ledger.total

    @property
    def balance(self) -> int:
        return self.ledger.balance

    @property
    def authorized(self) -> int:
        return self.ledger.authorized

    @property
    def voided(self) -> int:
        return self.ledger.voided

    @property
    def captured(self) -> int:
        return self.ledger.captured

    @property
    def refunded(self) -> int:
        return self.ledger.refunded

    @property
    def refund_due(self) -> int:
        return self.ledger.refund_due


# What follows from what happened -----------------------------------------------------------------------------


def evolve(order: Order | None, event: OrderEvent) -> Order:
    if order is None:
        assert isinstance(event, Content), f"{event} before there was an order"
        return _begun(event)
    return replace(order, **_changes(order, event), version=order.version + 1, updated_at=event.at)


def _begun(event: OrderDrafted | OrderPlaced) -> Order:
    draft = isinstance(event, OrderDrafted)
    return Order(
        event,
        Draft() if draft else Placed(event.at),
        lines.begun(event.lines, draft=draft),
        Ledger(event.currency, event.total),
        len(event.lines),
        event.at,
        event.at,
    )


def _changes(order: Order, event: OrderEvent) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  one case for each event
    """The fields that the event gives new values."""
    match event:
        case OrderDrafted() | OrderPlaced():
            begun = _begun(event)
            return {"content": event, "phase": begun.phase, "lines": begun.lines, "ledger": begun.ledger}
        case OrderAmended():
            return _amended(order, event)
        case OrderConfirmed():
            return {"phase": Confirmed(_placed_at(order))}
        case OrderCompleted():
            return {"phase": Completed(_placed_at(order))}
        case OrderCancelled():
            return {"phase": Cancelled(order.placed_at, event.reason)} | _taken_off(order, event)
        case LinesCancelled():
            return _taken_off(order, event)
        case OrderHeld():
            return {"held": event.reason}
        case OrderReleased():
            return {"held": None}
        case PaymentAuthorized() | PaymentCaptured() | PaymentVoided() | PaymentRefunded():
            return {"ledger": payment.evolve(order.ledger, event)}
        case RefundRequired():
            return {}  # the ledger says so itself
        case ShipmentDispatched() | ShipmentDelivered() | ShipmentLost():
            return {
                "lines": lines.evolve(order.lines, event),
                "shipments": shipment.evolve(order.shipments, event),
            }
        case TrackingUpdated():
            return {"shipments": shipment.evolve(order.shipments, event)}
        case ReturnRequested() | ReturnApproved() | ReturnRejected():
            return {"returns": returns.evolve(order.returns, event)}
        case ReturnReceived():
            return {"returns": returns.evolve(order.returns, event)} | _taken_off(order, event)
        case NoteAdded():
            return {"notes": order.notes + 1}
        case TagsSet():
            return {"tags": event.tags}
        case MetadataSet():
            return {"content": replace(order.content, metadata=event.metadata)}
        case _:
            assert_never(event)


def _amended(order: Order, event: OrderAmended) -> dict[str, Any]:
    return {
        "content": replace(order.content, **{name: getattr(event, name) for name in AMENDABLE}),
        "lines": lines.amended(order.lines, event.lines, draft=isinstance(order.phase, Draft)),
        "ledger": payment.evolve(order.ledger, event),
        "last_line": max(order.last_line, *(int(line.line_id) for line in event.lines)),
    }


def _taken_off(order: Order, event: LinesCancelled | OrderCancelled | ReturnReceived) -> dict[str, Any]:
    return {"lines": lines.evolve(order.lines, event), "ledger": payment.evolve(order.ledger, event)}


def _placed_at(order: Order) -> datetime:
    assert order.placed_at is not None, f"order {order.order_id} goes on before it was placed"
    return order.placed_at
