"""An order, top to bottom: what may be asked, what it is, what follows from what happened, what is decided.

Nothing here asks the world: time, ids and prices ride in on the command; products come in as state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace
from pydantic import Field, StringConstraints, model_validator

from commands.command import Command, Currency, Model, Money, Name, Quantity, Reason, Reference, Sku
from commands.product import Product
from commands.refusals import (
    AlreadyShipped,
    AmountOverflow,
    CurrencyMismatch,
    DuplicateLines,
    ExceedsOpen,
    NegativeTotal,
    NoPrice,
    NoSuchOrder,
    NotConfirmed,
    OrderCancelledAlready,
    OrderExists,
    OutOfStock,
    OverCapture,
    PaymentRequired,
    ShipmentExists,
    TotalMismatch,
    UnknownLines,
    UnknownProducts,
)
from events import order as facts
from events.money import MAX_AMOUNT
from events.order import (
    Line,
    LineQuantity,
    OrderCancelled,
    OrderConfirmed,
    OrderEvent,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentTerms,
    ShipmentDispatched,
)
from events.product import ProductEvent, StockDispatched, StockReleased, StockReserved
from events.status import open_quantity

# What may be asked -------------------------------------------------------------------------------------------


class OrderCommand(Command):
    order_id: UUID


class WantedLine(Model):
    sku: Sku
    quantity: Quantity
    unit_price: Money | None = Field(default=None, description="staff only; the catalogue's price unless given")


class Address(Model):
    name: Name
    line1: Name
    line2: Name | None = None
    postal_code: Name | None = None
    city: Name
    region: Name | None = None
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] = Field(description="ISO 3166-1 alpha-2")


class PlaceOrder(OrderCommand):
    """Order these lines; the stock of tracked products is reserved, all of it or nothing."""

    customer_id: Reference
    currency: Currency
    lines: tuple[WantedLine, ...] = Field(min_length=1, max_length=2_000)
    shipping: Money | None = None
    discount: Money | None = None
    tax: Money | None = None
    expected_total: Money | None = Field(default=None, description="refused (total-mismatch) when it is another")
    payment_terms: PaymentTerms = Field(default="prepaid", description="invoice: staff only")
    payment_method: Reference | None = None
    external_reference: Reference | None = None
    email: Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")] | None = None
    shipping_address: Address | None = None
    metadata: dict[Name, Reason] = Field(default_factory=dict, max_length=50)


class ConfirmOrder(OrderCommand):
    """Take the order on: it is paid, authorized in full, or on invoice terms."""


class RecordAuthorization(OrderCommand):
    """The payment provider set an amount aside."""

    amount: Money
    reference: Reference


class RecordCapture(OrderCommand):
    """The payment provider collected an amount that was authorized."""

    amount: Money
    reference: Reference


class ShippedLine(Model):
    line_id: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    quantity: Quantity


class ShipItems(OrderCommand):
    """Send some or all of what is open."""

    lines: tuple[ShippedLine, ...] = Field(min_length=1, max_length=2_000)
    shipment_id: Reference | None = Field(default=None, description="S1, S2, ... unless given")
    carrier: Reference | None = None
    tracking_number: Reference | None = None

    @model_validator(mode="after")
    def each_line_once(self) -> "ShipItems":
        if len({line.line_id for line in self.lines}) < len(self.lines):
            raise ValueError("lines names the same line twice")
        return self


class CancelOrder(OrderCommand):
    """Call the whole order off, before anything is shipped; reserved stock is released."""

    reason: Reason


AnyOrderCommand = PlaceOrder | ConfirmOrder | RecordAuthorization | RecordCapture | ShipItems | CancelOrder


# What it is --------------------------------------------------------------------------------------------------


class Status(StrEnum):
    PLACED = "placed"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class OrderLine(msgspec.Struct, frozen=True, gc=False):
    line_id: str
    sku: str
    name: str
    quantity: int
    unit_price: int
    reserved: bool
    cancelled: int = 0
    shipped: int = 0
    delivered: int = 0
    lost: int = 0
    returned: int = 0

    @property
    def open(self) -> int:
        return open_quantity(self)


class Order(msgspec.Struct, frozen=True, gc=False):
    placed: OrderPlaced
    status: Status
    lines: tuple[OrderLine, ...]
    updated_at: datetime
    authorized: int = 0  # this and the following in minor units of the order's currency
    captured: int = 0
    refunded: int = 0
    shipments: tuple[ShipmentDispatched, ...] = ()
    cancel_reason: str | None = None

    @property
    def balance(self) -> int:
        return self.placed.total - self.captured + self.refunded


def skus_of(command: AnyOrderCommand, order: Order | None) -> set[str]:
    """The products whose stock the decision may read or move."""
    match command:
        case PlaceOrder():
            return {line.sku for line in command.lines}
        case ShipItems() | CancelOrder():
            return {line.sku for line in order.lines if line.reserved} if order else set()
        case ConfirmOrder() | RecordAuthorization() | RecordCapture():
            return set()
        case _:
            assert_never(command)


ALLOWED: dict[str, tuple[str, ...]] = {
    Status.PLACED: ("confirm", "record-authorization", "record-capture", "cancel"),
    Status.CONFIRMED: ("record-authorization", "record-capture", "ship-items", "cancel"),
    Status.CANCELLED: (),
}
"""Status to the commands that may succeed in it."""


def evolve(order: Order | None, event: OrderEvent) -> Order:
    if isinstance(event, OrderPlaced):
        return Order(event, Status.PLACED, tuple(map(_ordered, event.lines)), event.at)
    assert order is not None, f"{event} before the order was placed"
    match event:
        case OrderConfirmed():
            return replace(order, status=Status.CONFIRMED, updated_at=event.at)
        case PaymentAuthorized():
            return replace(order, authorized=order.authorized + event.amount, updated_at=event.at)
        case PaymentCaptured():
            return replace(order, captured=order.captured + event.amount, updated_at=event.at)
        case ShipmentDispatched():
            lines = _added(order.lines, event.lines, "shipped")
            return replace(order, lines=lines, shipments=(*order.shipments, event), updated_at=event.at)
        case OrderCancelled():
            lines = _added(order.lines, event.lines, "cancelled")
            return replace(order, status=Status.CANCELLED, lines=lines, cancel_reason=event.reason, updated_at=event.at)
        case _:
            assert_never(event)


def _ordered(line: Line) -> OrderLine:
    return OrderLine(line.line_id, line.sku, line.name, line.quantity, line.unit_price, line.reserved)


def _added(lines: tuple[OrderLine, ...], quantities: Iterable[LineQuantity], column: str) -> tuple[OrderLine, ...]:
    more = {one.line_id: one.quantity for one in quantities}
    return tuple(
        replace(line, **{column: getattr(line, column) + more[line.line_id]}) if line.line_id in more else line
        for line in lines
    )


# What is decided ---------------------------------------------------------------------------------------------


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Facts for the order and for each product (by SKU), to be appended together or not at all."""

    order: tuple[OrderEvent, ...] = ()
    products: Mapping[str, ProductEvent] = {}


NOTHING = Decision()  # it is so already


def decide(command: AnyOrderCommand, order: Order | None, products: Mapping[str, Product]) -> Decision:
    """The facts that follow from a command. Raises a `Refusal`."""
    match command:
        case PlaceOrder():
            return place(command, order, products)
        case ConfirmOrder():
            return confirm(command, existing(order))
        case RecordAuthorization():
            return authorize(command, existing(order))
        case RecordCapture():
            return capture(command, existing(order))
        case ShipItems():
            return ship(command, existing(order))
        case CancelOrder():
            return cancel(command, existing(order))
        case _:
            assert_never(command)


def place(command: PlaceOrder, order: Order | None, products: Mapping[str, Product]) -> Decision:
    if order:
        raise OrderExists
    if unknown := sorted(line.sku for line in command.lines if line.sku not in products):
        raise UnknownProducts(skus=unknown)
    lines = _priced(command, products)
    _each_product_once(lines)
    wanted: Counter[str] = Counter()
    for line in lines:
        if line.reserved:
            wanted[line.sku] += line.quantity
    if short := {
        sku: {"asked": asked, "available": products[sku].available}
        for sku, asked in wanted.items()
        if asked > products[sku].available
    }:
        raise OutOfStock(short=short)
    return Decision(
        order=(_totalled(command, lines),),
        products={sku: StockReserved(command.at, command.order_id, asked) for sku, asked in wanted.items()},
    )


def _priced(command: PlaceOrder, products: Mapping[str, Product]) -> tuple[Line, ...]:
    currency = command.currency
    lines = []
    unpriced = []
    for number, line in enumerate(command.lines, 1):
        product = products[line.sku]
        price = product.prices.get(currency)
        if line.unit_price is not None:
            price = _in_currency(line.unit_price, currency, f"/lines/{number - 1}/unit_price")
        if price is None:
            unpriced.append(line.sku)
        else:
            lines.append(Line(str(number), line.sku, product.name, line.quantity, price, product.tracked))
    if unpriced:
        raise NoPrice(skus=sorted(set(unpriced)), currency=currency)
    return tuple(lines)


def _each_product_once(lines: tuple[Line, ...]) -> None:
    seen = {(line.sku, line.unit_price) for line in lines}
    if len(seen) < len(lines):
        counted = Counter((line.sku, line.unit_price) for line in lines)
        raise DuplicateLines(skus=sorted({sku for (sku, _), times in counted.items() if times > 1}))


def _totalled(command: PlaceOrder, lines: tuple[Line, ...]) -> OrderPlaced:
    subtotal = sum(line.quantity * line.unit_price for line in lines)
    discount, shipping, tax = (
        _in_currency(money, command.currency, f"/{name}") if money else 0
        for name, money in (("discount", command.discount), ("shipping", command.shipping), ("tax", command.tax))
    )
    total = subtotal - discount + shipping + tax
    if max(subtotal, total) > MAX_AMOUNT:
        raise AmountOverflow(subtotal=subtotal, total=total, largest=MAX_AMOUNT)
    if total < 0:
        raise NegativeTotal(subtotal=subtotal, discount=discount)
    if command.expected_total and _in_currency(command.expected_total, command.currency, "/expected_total") != total:
        raise TotalMismatch(expected=command.expected_total.amount, total=total)
    return OrderPlaced(
        command.at,
        command.order_id,
        command.customer_id,
        command.currency,
        lines,
        subtotal,
        discount,
        shipping,
        tax,
        total,
        command.payment_terms,
        command.payment_method,
        command.external_reference,
        command.email,
        facts.Address(**command.shipping_address.model_dump()) if command.shipping_address else None,
        command.metadata,
    )


def confirm(command: ConfirmOrder, order: Order) -> Decision:
    if order.status is Status.CONFIRMED:
        return NOTHING
    not_cancelled(order)
    placed = order.placed
    if placed.payment_terms != "invoice" and max(order.authorized, order.captured) < placed.total:
        raise PaymentRequired(total=placed.total, authorized=order.authorized)
    return Decision(order=(OrderConfirmed(command.at),))


def authorize(command: RecordAuthorization, order: Order) -> Decision:
    amount = _in_currency(command.amount, order.placed.currency, "/amount")
    not_cancelled(order)
    if order.authorized + amount > MAX_AMOUNT:
        raise AmountOverflow(authorized=order.authorized, amount=amount, largest=MAX_AMOUNT)
    return Decision(order=(PaymentAuthorized(command.at, amount, command.reference),)) if amount else NOTHING


def capture(command: RecordCapture, order: Order) -> Decision:
    amount = _in_currency(command.amount, order.placed.currency, "/amount")
    not_cancelled(order)
    if order.captured + amount > order.authorized:
        raise OverCapture(authorized=order.authorized, captured=order.captured, amount=amount)
    return Decision(order=(PaymentCaptured(command.at, amount, command.reference),)) if amount else NOTHING


def ship(command: ShipItems, order: Order) -> Decision:
    not_cancelled(order)
    if order.status is not Status.CONFIRMED:
        raise NotConfirmed
    asked = tuple(LineQuantity(line.line_id, line.quantity) for line in command.lines)
    for shipment in order.shipments:
        if shipment.shipment_id == command.shipment_id:
            if shipment.lines == asked:
                return NOTHING
            raise ShipmentExists(shipment_id=command.shipment_id)
    by_id = {line.line_id: line for line in order.lines}
    if unknown := sorted(line.line_id for line in asked if line.line_id not in by_id):
        raise UnknownLines(line_ids=unknown)
    if over := {
        one.line_id: {"asked": one.quantity, "open": by_id[one.line_id].open}
        for one in asked
        if one.quantity > by_id[one.line_id].open
    }:
        raise ExceedsOpen(lines=over)
    shipment_id = command.shipment_id or f"S{len(order.shipments) + 1}"
    return Decision(
        order=(ShipmentDispatched(command.at, shipment_id, asked, command.carrier, command.tracking_number),),
        products={
            sku: StockDispatched(command.at, command.order_id, quantity)
            for sku, quantity in _kept(by_id, asked).items()
        },
    )


def cancel(command: CancelOrder, order: Order) -> Decision:
    if order.status is Status.CANCELLED:
        return NOTHING
    if order.shipments:
        raise AlreadyShipped(shipments=[shipment.shipment_id for shipment in order.shipments])
    still_open = tuple(LineQuantity(line.line_id, line.open) for line in order.lines if line.open)
    by_id = {line.line_id: line for line in order.lines}
    return Decision(
        order=(OrderCancelled(command.at, command.reason, still_open),),
        products={
            sku: StockReleased(command.at, command.order_id, quantity)
            for sku, quantity in _kept(by_id, still_open).items()
        },
    )


def _kept(lines: Mapping[str, OrderLine], quantities: Iterable[LineQuantity]) -> Counter[str]:
    """How much reserved stock these quantities are, by SKU."""
    kept: Counter[str] = Counter()
    for one in quantities:
        line = lines[one.line_id]
        if line.reserved:
            kept[line.sku] += one.quantity
    return kept


def _in_currency(money: Money, currency: str, pointer: str) -> int:
    if money.currency != currency:
        raise CurrencyMismatch(pointer=pointer, expected=currency, got=money.currency)
    return money.amount


def existing(order: Order | None) -> Order:
    if order is None:
        raise NoSuchOrder
    return order


def not_cancelled(order: Order) -> None:
    if order.status is Status.CANCELLED:
        raise OrderCancelledAlready
