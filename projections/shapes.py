"""What reads answer, as the JSON that people get. Times are RFC 3339 UTC, money is minor units with its currency."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from events.order import Address, PaymentTerms
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
    total: Money
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int
    open: int


class OrderSummary(msgspec.Struct, frozen=True, gc=False):
    """An order in a list."""

    order_id: UUID
    customer_id: str
    status: str
    payment_status: PaymentStatus
    fulfilment_status: FulfilmentStatus
    return_status: ReturnStatus
    version: int
    currency: str
    total: Money
    units: int
    external_reference: str | None
    placed_at: datetime
    updated_at: datetime


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """An order, whole. `allowed_commands` is the edge's to fill in."""

    order_id: UUID
    customer_id: str
    status: str
    payment_status: PaymentStatus
    fulfilment_status: FulfilmentStatus
    return_status: ReturnStatus
    version: int
    currency: str
    lines: tuple[LineView, ...]
    subtotal: Money
    discount: Money
    shipping: Money
    tax: Money
    total: Money
    balance: Money
    authorized: Money
    captured: Money
    refunded: Money
    payment_terms: PaymentTerms
    payment_method: str | None
    external_reference: str | None
    email: str | None
    shipping_address: Address | None
    metadata: dict[str, str]
    cancel_reason: str | None
    placed_at: datetime
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
    gross: int  # this and the following in minor units
    refunded: int
    net: int
