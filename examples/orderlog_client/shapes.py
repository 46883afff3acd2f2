"""What orderlog answers and what it is sent, as the OpenAPI document at /openapi.json describes it.

Amounts are minor units of their currency, times are RFC 3339 in UTC, ids are UUIDs in text.
"""

from typing import Any, Literal, NotRequired, TypedDict

CommandName = Literal[
    "place",
    "amend",
    "confirm",
    "cancel",
    "cancel-lines",
    "record-authorization",
    "record-capture",
    "void-authorization",
    "record-refund",
    "ship-items",
    "update-tracking",
    "confirm-delivery",
    "report-lost",
    "request-return",
    "decide-return",
    "receive-return",
    "place-hold",
    "release-hold",
    "add-note",
    "set-tags",
    "set-metadata",
]
"""What may be asked of an order that is there; the bodies are in the OpenAPI document."""

Status = Literal["draft", "placed", "confirmed", "completed", "cancelled"]


class Money(TypedDict):
    amount: int
    currency: str


class Address(TypedDict):
    name: str
    line1: str
    line2: NotRequired[str]
    postal_code: NotRequired[str]
    city: str
    region: NotRequired[str]
    country: str


# What is sent ------------------------------------------------------------------------------------------------


class WantedLine(TypedDict):
    sku: str
    quantity: int
    unit_price: NotRequired[Money]


class NewOrder(TypedDict):
    order_id: NotRequired[str]
    customer_id: NotRequired[str]
    currency: str
    lines: list[WantedLine]
    draft: NotRequired[bool]
    shipping: NotRequired[Money]
    discount: NotRequired[Money]
    tax: NotRequired[Money]
    expected_total: NotRequired[Money]
    payment_terms: NotRequired[Literal["prepaid", "invoice"]]
    payment_method: NotRequired[str]
    external_reference: NotRequired[str]
    email: NotRequired[str]
    shipping_address: NotRequired[Address]
    metadata: NotRequired[dict[str, str]]


class Card(TypedDict):
    """A product, as staff lists it."""

    name: str
    prices: list[Money]
    stock: NotRequired[Literal["tracked", "untracked"]]


# What is answered --------------------------------------------------------------------------------------------


class Line(TypedDict):
    line_id: str
    sku: str
    name: str
    quantity: int
    unit_price: Money
    discount: Money
    shipping: Money
    tax: Money
    total: Money
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int
    open: int


class Pieces(TypedDict):
    line_id: str
    quantity: int


class Shipment(TypedDict):
    shipment_id: str
    lines: list[Pieces]
    carrier: str | None
    tracking_number: str | None
    status: Literal["dispatched", "delivered", "lost"]


class Return(TypedDict):
    return_id: str
    reason: str
    lines: list[Pieces]
    received: list[Pieces]
    status: Literal["requested", "approved", "rejected", "received"]


class Summarized(TypedDict):
    """What an order and its summary have in common."""

    order_id: str
    number: str
    customer_id: str
    status: Status
    payment_status: str
    fulfilment_status: str
    return_status: str
    version: int
    currency: str
    total: Money
    refund_due: Money
    on_hold: bool
    tags: list[str]
    external_reference: str | None
    created_at: str
    placed_at: str | None
    updated_at: str


class Order(Summarized):
    lines: list[Line]
    subtotal: Money
    discount: Money
    shipping: Money
    tax: Money
    balance: Money
    authorized: Money
    voided: Money
    captured: Money
    refunded: Money
    hold_reason: str | None
    metadata: dict[str, str]
    shipments: list[Shipment]
    returns: list[Return]
    notes: int
    payment_terms: Literal["prepaid", "invoice"]
    payment_method: str | None
    email: str | None
    shipping_address: Address | None
    cancel_reason: str | None
    allowed_commands: list[str]


class OrderSummary(Summarized):
    units: int


class HistoryEntry(TypedDict):
    position: int
    version: int
    type: str
    time: str
    actor: str
    data: dict[str, Any]


class Product(TypedDict):
    sku: str
    name: str
    prices: list[Money]
    stock: Literal["tracked", "untracked"]
    on_hand: int
    reserved: int
    available: int
    version: int


class DailySales(TypedDict):
    date: str
    currency: str
    orders: int
    units: int
    gross: int
    refunded: int
    net: int


class Place(TypedDict):
    """One thing that is wrong with a request, and where."""

    pointer: str
    detail: str
    # and "in": body, path, query or header
