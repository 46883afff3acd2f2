"""What reads answer, as the JSON that people get. Times are RFC 3339 UTC, money is minor units with its currency."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from events.order import Address, LineQuantity, PaymentTerms
from events.status import FulfilmentStatus, PaymentStatus, ReturnStatus


class Money(msgspec.Struct, frozen=True, gc=False):
    amount: int
    currency: str


class LineView(msgspec.Struct, frozen=True, gc=False):
    line_id: str
    sku: str
    name: str
    quantity: int
    unit_price: Money
    discount: Money  # this line's share of the order's; this and the following two
    shipping: Money
    tax: Money
    total: Money  # of all pieces ordered: quantity * unit_price - discount + shipping + tax
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int
    open: int


class OrderSummary(msgspec.Struct, frozen=True, gc=False):
    """An order in a list."""

    order_id: UUID
    number: str
    customer_id: str
    status: str
    payment_status: PaymentStatus
    fulfilment_status: FulfilmentStatus
    return_status: ReturnStatus
    version: int
    currency: str
    total: Money
    refund_due: Money
    units: int
    on_hold: bool
    tags: tuple[str, ...]
    external_reference: str | None
    created_at: datetime  # drafted or placed: lists are in this order
    placed_at: datetime | None  # not yet, for a draft
    updated_at: datetime


class ShipmentView(msgspec.Struct, frozen=True, gc=False):
    shipment_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str | None
    tracking_number: str | None
    status: Literal["dispatched", "delivered", "lost"]


class ReturnView(msgspec.Struct, frozen=True, gc=False):
    return_id: str
    reason: str
    lines: tuple[LineQuantity, ...]  # as requested
    received: tuple[LineQuantity, ...]  # what came back of them
    status: Literal["requested", "approved", "rejected", "received"]


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """An order, whole. `allowed_commands` is the edge's to fill in."""

    order_id: UUID
    number: str
    customer_id: str
    status: str
    payment_status: PaymentStatus
    fulfilment_status: FulfilmentStatus
    return_status: ReturnStatus
    version: int
    currency: str
    lines: tuple[LineView, ...]
    subtotal: Money  # this and the following three: of all that was ordered
    discount: Money
    shipping: Money
    tax: Money
    total: Money  # of what the customer keeps: less what was cancelled or came back
    balance: Money  # still owed of it; below zero where a refund is due
    authorized: Money
    voided: Money
    captured: Money
    refunded: Money
    refund_due: Money
    on_hold: bool
    hold_reason: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str]
    shipments: tuple[ShipmentView, ...]  # in the order in which they left
    returns: tuple[ReturnView, ...]  # in the order in which they were asked for
    notes: int  # how many; they are in the history
    payment_terms: PaymentTerms
    payment_method: str | None
    external_reference: str | None
    email: str | None
    shipping_address: Address | None
    cancel_reason: str | None
    created_at: datetime
    placed_at: datetime | None  # not yet, for a draft
    updated_at: datetime
    allowed_commands: tuple[str, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One event of an order, as its history shows it."""

    position: int
    version: int
    type: str
    time: datetime
    actor: str
    data: msgspec.Raw


class ProductView(msgspec.Struct, frozen=True, gc=False):
    sku: str
    name: str
    prices: tuple[Money, ...]
    stock: str  # tracked or untracked
    on_hand: int
    reserved: int
    available: int
    version: int


class DailySales(msgspec.Struct, frozen=True, gc=False):
    date: date
    currency: str
    orders: int
    units: int
    gross: int  # of the orders placed that day, as they were placed; this and the following in minor units
    refunded: int  # that day, of orders of any day
    net: int  # gross - refunded
