"""Where are the pieces of an order? Counted for each line, and by the shipments and returns that moved them."""

from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from sqlalchemy import BigInteger, Column, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

from events.envelope import Recorded
from events.order import (
    LineQuantity,
    ReturnApproved,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    TrackingUpdated,
)
from projections.tables import Add, Change, Put, Set, counter, metadata

order_details_quantities = Table(
    "order_details_quantities",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("line_id", Text, primary_key=True),  # a line without a row is as it was ordered
    counter("cancelled"),
    counter("shipped"),
    counter("delivered"),
    counter("lost"),
    counter("returned"),
)

order_details_shipments = Table(
    "order_details_shipments",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("shipment_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),  # of the order, when it left
    Column("lines", JSON, nullable=False),
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("status", Text, nullable=False),
)

order_details_returns = Table(
    "order_details_returns",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("return_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),  # of the order, when it was requested
    Column("reason", Text, nullable=False),
    Column("lines", JSON, nullable=False),  # as requested
    Column("received", JSON, nullable=False),  # what came back of them
    Column("status", Text, nullable=False),
)

TABLES = (order_details_quantities, order_details_shipments, order_details_returns)

ShipmentEvent = ShipmentDispatched | TrackingUpdated | ShipmentDelivered | ShipmentLost
ReturnEvent = ReturnRequested | ReturnApproved | ReturnRejected | ReturnReceived


def of_shipment(recorded: Recorded, event: ShipmentEvent) -> Iterator[Change]:
    key = (recorded.key, event.shipment_id)
    match event:
        case ShipmentDispatched():
            values = {"version": recorded.version, "lines": event.lines, "status": "dispatched"}
            yield Put(order_details_shipments, key, values | _tracking(event))
            yield from counted(recorded, "shipped", event.lines)
        case TrackingUpdated():
            yield Set(order_details_shipments, key, _tracking(event))
        case ShipmentDelivered():
            yield Set(order_details_shipments, key, {"status": "delivered"})
            yield from counted(recorded, "delivered", event.lines)
        case ShipmentLost():
            yield Set(order_details_shipments, key, {"status": "lost"})
            yield from counted(recorded, "lost", event.lines)
        case _:
            assert_never(event)


def of_return(recorded: Recorded, event: ReturnEvent) -> Iterator[Change]:
    key = (recorded.key, event.return_id)
    match event:
        case ReturnRequested():
            values = {"version": recorded.version, "reason": event.reason, "lines": event.lines}
            yield Put(order_details_returns, key, values | {"received": (), "status": "requested"})
        case ReturnApproved():
            yield Set(order_details_returns, key, {"status": "approved"})
        case ReturnRejected():
            yield Set(order_details_returns, key, {"status": "rejected"})
        case ReturnReceived():
            yield Set(order_details_returns, key, {"received": event.lines, "status": "received"})
            yield from counted(recorded, "returned", event.lines)
        case _:
            assert_never(event)


def counted(recorded: Recorded, column: str, lines: Iterable[LineQuantity]) -> Iterator[Change]:
    """So many more pieces of these lines were shipped, or whatever the column says."""
    for line in lines:
        yield Add(order_details_quantities, (recorded.key, line.line_id), {column: line.quantity})


def _tracking(event: ShipmentDispatched | TrackingUpdated) -> dict[str, Any]:
    return {"carrier": event.carrier, "tracking_number": event.tracking_number}
