"""What can have happened to an order. Facts only: past tense, plain data, no behaviour.

Amounts are minor units of the order's currency. A fact says all that follows from it in numbers, so that a read model
adds them up without knowing what was there before.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

PaymentTerms = Literal["prepaid", "invoice"]


class Fact(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    at: datetime  # business time, UTC


class Line(msgspec.Struct, frozen=True, gc=False):
    line_id: str  # "1", "2", ... in the order's own order; never used twice
    sku: str
    name: str
    quantity: int
    unit_price: int
    reserved: bool  # its stock is counted: what is open is kept for it
    discount: int = 0  # this line's share of the order's discount; this and the following by largest remainder
    shipping: int = 0
    tax: int = 0

    @property
    def total(self) -> int:
        return self.quantity * self.unit_price - self.discount + self.shipping + self.tax


class Address(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str
    line1: str
    city: str
    country: str  # ISO 3166-1 alpha-2
    line2: str | None = None
    postal_code: str | None = None
    region: str | None = None


class LineQuantity(msgspec.Struct, frozen=True, gc=False):
    line_id: str
    quantity: int


# Placing -----------------------------------------------------------------------------------------------------


class Content(Fact, frozen=True, gc=False):
    """What an order says of itself, whole: as drafted, or as placed."""

    order_id: UUID
    number: str  # what people read out: see events/numbers.py
    customer_id: str
    currency: str  # ISO 4217
    lines: tuple[Line, ...]
    subtotal: int  # of the lines
    discount: int
    shipping: int
    tax: int
    total: int  # subtotal - discount + shipping + tax, and the sum of the lines' totals
    payment_terms: PaymentTerms = "prepaid"
    payment_method: str | None = None
    external_reference: str | None = None
    email: str | None = None
    shipping_address: Address | None = None
    metadata: dict[str, str] = {}


class OrderDrafted(Content, frozen=True, gc=False, tag="orderlog.order.drafted.v1"):
    """Written down, and binding nobody: no stock is kept."""


class OrderPlaced(Content, frozen=True, gc=False, tag="orderlog.order.placed.v1"):
    """Also what becomes of a draft; the content is then the draft's, said again."""


class OrderAmended(Fact, frozen=True, gc=False, tag="orderlog.order.amended.v1"):
    """The content that can change, whole, as it is after the change."""

    lines: tuple[Line, ...]  # all of them; what was cancelled, shipped or returned of a line stands as it was
    subtotal: int
    discount: int
    shipping: int
    tax: int
    total: int  # of these lines as ordered: what was cancelled or returned goes off it as before
    email: str | None = None
    shipping_address: Address | None = None


class OrderConfirmed(Fact, frozen=True, gc=False, tag="orderlog.order.confirmed.v1"):
    pass


class LinesCancelled(Fact, frozen=True, gc=False, tag="orderlog.order.lines-cancelled.v1"):
    reason: str
    lines: tuple[LineQuantity, ...]
    amount: int  # what the customer owes the less for it


class OrderCancelled(Fact, frozen=True, gc=False, tag="orderlog.order.cancelled.v1"):
    reason: str  # "expired" when its time to be paid ran out
    lines: tuple[LineQuantity, ...]  # what was still open
    amount: int  # what the customer owes the less for it


class OrderCompleted(Fact, frozen=True, gc=False, tag="orderlog.order.completed.v1"):
    """Nothing is open, all was delivered or lost, and nobody owes anybody."""


class OrderHeld(Fact, frozen=True, gc=False, tag="orderlog.order.held.v1"):
    reason: str


class OrderReleased(Fact, frozen=True, gc=False, tag="orderlog.order.released.v1"):
    """The hold is over."""


# Payment -----------------------------------------------------------------------------------------------------


class PaymentAuthorized(Fact, frozen=True, gc=False, tag="orderlog.order.payment-authorized.v1"):
    amount: int
    reference: str


class PaymentCaptured(Fact, frozen=True, gc=False, tag="orderlog.order.payment-captured.v1"):
    amount: int
    reference: str


class PaymentVoided(Fact, frozen=True, gc=False, tag="orderlog.order.payment-voided.v1"):
    """What was left uncaptured of an authorization is given up."""

    amount: int
    reference: str  # of the authorization
    reason: Literal["voided", "expired", "cancelled"] = "voided"


class RefundRequired(Fact, frozen=True, gc=False, tag="orderlog.order.refund-required.v1"):
    """So much more than is owed was captured; it is to be given back."""

    amount: int
    reason: str  # such as "late capture"


class PaymentRefunded(Fact, frozen=True, gc=False, tag="orderlog.order.payment-refunded.v1"):
    amount: int
    reference: str
    currency: str  # the order's


# Shipment ----------------------------------------------------------------------------------------------------


class ShipmentDispatched(Fact, frozen=True, gc=False, tag="orderlog.order.shipment-dispatched.v1"):
    shipment_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str | None = None
    tracking_number: str | None = None


class TrackingUpdated(Fact, frozen=True, gc=False, tag="orderlog.order.tracking-updated.v1"):
    shipment_id: str
    carrier: str | None = None
    tracking_number: str | None = None


class ShipmentDelivered(Fact, frozen=True, gc=False, tag="orderlog.order.shipment-delivered.v1"):
    shipment_id: str
    lines: tuple[LineQuantity, ...]  # the shipment's


class ShipmentLost(Fact, frozen=True, gc=False, tag="orderlog.order.shipment-lost.v1"):
    """Its pieces are open again."""

    shipment_id: str
    lines: tuple[LineQuantity, ...]  # the shipment's


# Return ------------------------------------------------------------------------------------------------------


class ReturnRequested(Fact, frozen=True, gc=False, tag="orderlog.order.return-requested.v1"):
    return_id: str
    lines: tuple[LineQuantity, ...]
    reason: str


class ReturnApproved(Fact, frozen=True, gc=False, tag="orderlog.order.return-approved.v1"):
    return_id: str


class ReturnRejected(Fact, frozen=True, gc=False, tag="orderlog.order.return-rejected.v1"):
    return_id: str


class ReturnReceived(Fact, frozen=True, gc=False, tag="orderlog.order.return-received.v1"):
    return_id: str
    lines: tuple[LineQuantity, ...]  # what came back: some or all of what was approved
    restock: bool  # it can be sold again
    amount: int  # what the customer owes the less for it


# Remarks -----------------------------------------------------------------------------------------------------


class NoteAdded(Fact, frozen=True, gc=False, tag="orderlog.order.note-added.v1"):
    note: str


class TagsSet(Fact, frozen=True, gc=False, tag="orderlog.order.tags-set.v1"):
    tags: tuple[str, ...]  # all of them, sorted


class MetadataSet(Fact, frozen=True, gc=False, tag="orderlog.order.metadata-set.v1"):
    metadata: dict[str, str]  # all of it


# Closed: the type check names every place that must learn a new fact.
OrderEvent = (
    OrderDrafted
    | OrderPlaced
    | OrderAmended
    | OrderConfirmed
    | LinesCancelled
    | OrderCancelled
    | OrderCompleted
    | OrderHeld
    | OrderReleased
    | PaymentAuthorized
    | PaymentCaptured
    | PaymentVoided
    | RefundRequired
    | PaymentRefunded
    | ShipmentDispatched
    | TrackingUpdated
    | ShipmentDelivered
    | ShipmentLost
    | ReturnRequested
    | ReturnApproved
    | ReturnRejected
    | ReturnReceived
    | NoteAdded
    | TagsSet
    | MetadataSet
)
