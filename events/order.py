"""What can have happened to an order. Facts only: past tense, plain data, no behaviour."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

PaymentTerms = Literal["prepaid", "invoice"]


class Fact(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    at: datetime  # business time, UTC


class Line(msgspec.Struct, frozen=True, gc=False):
    line_id: str  # "1", "2", ... in the order's own order
    sku: str
    name: str
    quantity: int
    unit_price: int  # minor units of the order's currency
    reserved: bool  # stock is kept for it


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


class OrderPlaced(Fact, frozen=True, gc=False, tag="orderlog.order.placed.v1"):
    order_id: UUID
    customer_id: str
    currency: str  # ISO 4217
    lines: tuple[Line, ...]
    subtotal: int  # of the lines; this and all amounts in minor units
    discount: int
    shipping: int
    tax: int
    total: int  # subtotal - discount + shipping + tax
    payment_terms: PaymentTerms = "prepaid"
    payment_method: str | None = None
    external_reference: str | None = None
    email: str | None = None
    shipping_address: Address | None = None
    metadata: dict[str, str] = {}


class OrderConfirmed(Fact, frozen=True, gc=False, tag="orderlog.order.confirmed.v1"):
    pass


class PaymentAuthorized(Fact, frozen=True, gc=False, tag="orderlog.order.payment-authorized.v1"):
    amount: int
    reference: str


class PaymentCaptured(Fact, frozen=True, gc=False, tag="orderlog.order.payment-captured.v1"):
    amount: int
    reference: str


class ShipmentDispatched(Fact, frozen=True, gc=False, tag="orderlog.order.shipment-dispatched.v1"):
    shipment_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str | None = None
    tracking_number: str | None = None


class OrderCancelled(Fact, frozen=True, gc=False, tag="orderlog.order.cancelled.v1"):
    reason: str
    lines: tuple[LineQuantity, ...]  # what was still open


# Closed: the type check names every place that must learn a new fact.
OrderEvent = OrderPlaced | OrderConfirmed | PaymentAuthorized | PaymentCaptured | ShipmentDispatched | OrderCancelled
