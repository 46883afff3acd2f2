"""How much was ordered on which day? Orders, pieces and amounts per UTC day of the order and currency."""

from collections.abc import Iterator
from typing import assert_never

from sqlalchemy import Column, Date, Table, Text

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
from projections.tables import Add, Change, Projection, counter, metadata

daily_sales = Table(
    "daily_sales",
    metadata,
    Column("date", Date, primary_key=True),
    Column("currency", Text, primary_key=True),
    counter("orders"),
    counter("units"),
    counter("gross"),  # this and the following in minor units
    counter("refunded"),
)


def react(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    assert isinstance(event, OrderEvent)
    match event:
        case OrderPlaced():
            units = sum(line.quantity for line in event.lines)
            day = (event.at.date(), event.currency)
            yield Add(daily_sales, day, {"orders": 1, "units": units, "gross": event.total})
        case OrderConfirmed() | PaymentAuthorized() | PaymentCaptured() | ShipmentDispatched() | OrderCancelled():
            pass
        case _:
            assert_never(event)


PROJECTION = Projection("daily_sales", "order", (daily_sales,), react)
