"""What is to be done by itself, and since when has it waited? One row for each step of an order that may be due.

A row says that it is worth asking, not that the answer is yes: the command that carries the step out decides, and the
row goes whatever the answer. How long a step waits is the business of who carries it out.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, assert_never

from sqlalchemy import BigInteger, Column, DateTime, Index, Table, Text, Uuid

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
from projections.tables import Change, Projection, Put, Remove, metadata

Step = Literal["confirm", "complete", "expire", "void"]

due_steps = Table(
    "due_steps",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("reference", Text, primary_key=True, server_default=""),  # of the authorization to be voided
    # When the fact was recorded, not when it happened: an order of last year that is imported today waits from today.
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),  # in the log, of that fact
    Index("due_steps_step", "step", "started_at"),
)


def react(recorded: Recorded) -> Iterator[Change]:  # noqa: C901  one case for each fact
    event = recorded.event
    assert isinstance(event, OrderEvent)
    match event:
        case OrderPlaced():
            if event.payment_terms == "prepaid":
                yield _due(recorded, "expire" if event.total else "confirm")  # nothing to pay: it is paid
        case PaymentAuthorized():
            yield _due(recorded, "confirm")
            yield _due(recorded, "void", event.reference)
        case PaymentVoided():
            yield _over(recorded, "void", event.reference)
        case PaymentCaptured():  # of what was authorized: nothing can be confirmed that could not be before
            yield _over(recorded, "expire")
            yield _due(recorded, "complete")
        case OrderReleased() | OrderAmended() | LinesCancelled():  # what was authorized may be enough now
            yield _due(recorded, "confirm")
            yield _due(recorded, "complete")
        case OrderConfirmed():
            yield from _none(recorded, ("confirm", "expire"))
        case ShipmentDelivered() | ShipmentLost() | PaymentRefunded() | ReturnReceived():
            yield _due(recorded, "complete")
        case OrderCompleted():
            yield _over(recorded, "complete")
        case OrderCancelled():
            yield from _none(recorded, ("confirm", "complete", "expire"))
        case (
            OrderDrafted()
            | OrderHeld()
            | RefundRequired()
            | ShipmentDispatched()
            | TrackingUpdated()
            | ReturnRequested()
            | ReturnApproved()
            | ReturnRejected()
            | NoteAdded()
            | TagsSet()
            | MetadataSet()
        ):
            pass
        case _:
            assert_never(event)


def _due(recorded: Recorded, step: Step, reference: str = "") -> Change:
    since = {"started_at": recorded.cause.time, "position": recorded.position}
    return Put(due_steps, (recorded.key, step, reference), since)


def _over(recorded: Recorded, step: Step, reference: str = "") -> Change:
    return Remove(due_steps, (recorded.key, step, reference))


def _none(recorded: Recorded, steps: Iterable[Step]) -> Iterator[Change]:
    for step in steps:
        yield _over(recorded, step)


PROJECTION = Projection("due_steps", "order", (due_steps,), react)
