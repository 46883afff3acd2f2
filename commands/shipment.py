"""Parcels, top to bottom: what may be asked, what a shipment is, what is decided."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace
from pydantic import ConfigDict, Field, model_validator

from commands.command import OrderCommand, Pieces, Reference, one_of
from commands.decision import NOTHING, Decision
from commands.lines import Lines, asked, in_stock, within_open
from commands.product import Product
from commands.refusals import DeliveredAlready, LostAlready, ShipmentExists, UnknownShipment
from events.order import LineQuantity, ShipmentDelivered, ShipmentDispatched, ShipmentLost, TrackingUpdated
from events.product import ProductEvent, StockDispatched, StockReserved

# What may be asked -------------------------------------------------------------------------------------------


class ShipItems(OrderCommand):
    """Send some or all of what is open."""

    lines: Pieces
    shipment_id: Reference | None = Field(default=None, description="S1, S2, ... unless given")
    carrier: Reference | None = None
    tracking_number: Reference | None = None


class UpdateTracking(OrderCommand):
    """Say with whom a shipment travels and under which number; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=one_of("carrier", "tracking_number"))

    shipment_id: Reference
    carrier: Reference | None = None
    tracking_number: Reference | None = None

    @model_validator(mode="after")
    def says_something(self) -> "UpdateTracking":
        if self.carrier is None and self.tracking_number is None:
            raise ValueError("needs a carrier or a tracking_number")
        return self


class ConfirmDelivery(OrderCommand):
    """A shipment arrived."""

    shipment_id: Reference


class ReportLost(OrderCommand):
    """A shipment will not arrive: its pieces are open again, and no stock is reserved for them."""

    shipment_id: Reference


# What it is --------------------------------------------------------------------------------------------------


class Shipment(msgspec.Struct, frozen=True, gc=False):
    shipment_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str | None = None
    tracking_number: str | None = None
    status: Literal["dispatched", "delivered", "lost"] = "dispatched"


Shipments = dict[str, Shipment]
"""By their ids, in the order in which they left."""

ShipmentEvent = ShipmentDispatched | TrackingUpdated | ShipmentDelivered | ShipmentLost


def evolve(shipments: Shipments, event: ShipmentEvent) -> Shipments:
    known = event.shipment_id
    match event:
        case ShipmentDispatched():
            return shipments | {known: Shipment(known, event.lines, event.carrier, event.tracking_number)}
        case TrackingUpdated(carrier=carrier, tracking_number=tracking_number):
            updated = replace(shipments[known], carrier=carrier, tracking_number=tracking_number)
            return shipments | {known: updated}
        case ShipmentDelivered():
            return shipments | {known: replace(shipments[known], status="delivered")}
        case ShipmentLost():
            return shipments | {known: replace(shipments[known], status="lost")}
        case _:
            assert_never(event)


# What is decided ---------------------------------------------------------------------------------------------


def shipped_already(command: ShipItems, shipments: Shipments) -> bool:
    """Raises `ShipmentExists` for a known shipment that had other contents."""
    known = shipments.get(command.shipment_id or "")
    if known is None:
        return False
    if {one.line_id: one.quantity for one in known.lines} != {one.line_id: one.quantity for one in command.lines}:
        raise ShipmentExists(shipment_id=known.shipment_id)
    return True


def ship(command: ShipItems, lines: Lines, shipments: Shipments, products: Mapping[str, Product]) -> Decision:
    wanted = asked(command.lines, lines)
    within_open(wanted, lines)
    stock = _leaving(command, wanted, lines, products)
    shipment_id = command.shipment_id or next_id("S", shipments)
    fact = ShipmentDispatched(command.at, shipment_id, wanted, command.carrier, command.tracking_number)
    return Decision((fact,), stock)


def _leaving(
    command: ShipItems, wanted: tuple[LineQuantity, ...], lines: Lines, products: Mapping[str, Product]
) -> dict[str, tuple[ProductEvent, ...]]:
    """Pieces for which no stock is reserved, after a loss, are reserved as they leave. Raises `OutOfStock`."""
    leaving: Counter[str] = Counter()
    extra: Counter[str] = Counter()
    for one in wanted:
        line = lines[one.line_id]
        if line.reserved:
            leaving[line.sku] += one.quantity
            extra[line.sku] += max(one.quantity - line.kept, 0)
    in_stock({sku: quantity for sku, quantity in extra.items() if quantity}, products)
    at, order_id = command.at, command.order_id
    return {
        sku: (
            *((StockReserved(at, order_id, extra[sku]),) if extra[sku] else ()),
            StockDispatched(at, order_id, quantity),
        )
        for sku, quantity in leaving.items()
    }


def update_tracking(command: UpdateTracking, shipments: Shipments) -> Decision:
    known = existing(shipments, command.shipment_id)
    carrier = command.carrier or known.carrier
    tracking_number = command.tracking_number or known.tracking_number
    if (carrier, tracking_number) == (known.carrier, known.tracking_number):
        return NOTHING
    return Decision((TrackingUpdated(command.at, known.shipment_id, carrier, tracking_number),))


def deliver(command: ConfirmDelivery, shipments: Shipments) -> Decision:
    known = existing(shipments, command.shipment_id)
    if known.status == "delivered":
        return NOTHING
    if known.status == "lost":
        raise LostAlready(shipment_id=known.shipment_id)
    return Decision((ShipmentDelivered(command.at, known.shipment_id, known.lines),))


def lose(command: ReportLost, shipments: Shipments) -> Decision:
    known = existing(shipments, command.shipment_id)
    if known.status == "lost":
        return NOTHING
    if known.status == "delivered":
        raise DeliveredAlready(shipment_id=known.shipment_id)
    return Decision((ShipmentLost(command.at, known.shipment_id, known.lines),))


def existing(shipments: Shipments, shipment_id: str) -> Shipment:
    """Raises `UnknownShipment`."""
    known = shipments.get(shipment_id)
    if known is None:
        raise UnknownShipment(shipment_id=shipment_id)
    return known


def next_id(letter: str, taken: Collection[str]) -> str:
    """S1, S2, ... past the ids that callers chose themselves."""
    number = len(taken) + 1
    while f"{letter}{number}" in taken:
        number += 1
    return f"{letter}{number}"
