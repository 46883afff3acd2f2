"""How much was ordered on which day, and how much given back? Orders, pieces and amounts per UTC day and currency.

An order counts on the day when it was placed, with what it was then; a refund counts on its own day.
"""

from collections.abc import Iterator
from typing import assert_never

from sqlalchemy import Column, Date, Table, Text

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
from projections.tables import Add, Change, Projection, counter, metadata

daily_sales = Table(
    "daily_sales",
    metadata,
    Column("date", Date, primary_key=True),
    Column("currency", Text, primary_key=True),
    counter("orders"),
    counter("units"),
    counter("gross"),  # of the orders placed that day; this and the following in minor units
    counter("refunded"),  # that day, of orders of any day
)


def react(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    assert isinstance(event, OrderEvent)
    match event:
        case OrderPlaced():
            units = sum(line.quantity for line in event.lines)
            day = (event.at.date(), event.currency)
            yield Add(daily_sales, day, {"orders": 1, "units": units, "gross": event.total})
        case PaymentRefunded():
            yield Add(daily_sales, (event.at.date(), event.currency), {"refunded": event.amount})
        case (
            OrderDrafted()
            | OrderAmended()
            | OrderConfirmed()
            | LinesCancelled()
            | OrderCancelled()
            | OrderCompleted()
            | OrderHeld()
            | OrderReleased()
            | PaymentAuthorized()
            | PaymentCaptured()
            | PaymentVoided()
            | RefundRequired()
            | ShipmentDispatched()
            | TrackingUpdated()
            | ShipmentDelivered()
            | ShipmentLost()
            | ReturnRequested()
            | ReturnApproved()
            | ReturnRejected()
            | ReturnReceived()
            | NoteAdded()
            | TagsSet()
            | MetadataSet()
        ):
            pass
        case _:
            assert_never(event)


PROJECTION = Projection("daily_sales", "order", (daily_sales,), react)
