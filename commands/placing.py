"""How an order begins: written down as a draft, or placed, which keeps stock for it."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec.structs import asdict, replace
from pydantic import Field, StringConstraints

from commands.command import (
    MOST_LINES,
    Currency,
    Email,
    Metadata,
    Model,
    Money,
    Name,
    OrderCommand,
    Quantity,
    Reference,
    Sku,
    in_currency,
)
from commands.decision import Decision
from commands.lines import in_stock
from commands.pricing import each_product_once, expect, new_lines, shared, summed
from commands.product import Product
from events import order as facts
from events.order import Content, Line, OrderDrafted, OrderPlaced, PaymentTerms
from events.product import ProductEvent, StockReserved

# What may be asked -------------------------------------------------------------------------------------------


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
    lines: tuple[WantedLine, ...] = Field(min_length=1, max_length=MOST_LINES)
    draft: bool = Field(default=False, strict=True, description="only write it down: no stock is kept")
    shipping: Money | None = None
    discount: Money | None = None
    tax: Money | None = None
    expected_total: Money | None = Field(default=None, description="refused (total-mismatch) when it is another")
    payment_terms: PaymentTerms = Field(default="prepaid", description="invoice: staff only")
    payment_method: Reference | None = None
    external_reference: Reference | None = None
    email: Email | None = None
    shipping_address: Address | None = None
    metadata: Metadata = Field(default_factory=dict)


class PlaceDraft(OrderCommand):
    """Place what was drafted, at the draft's prices."""


# What is decided ---------------------------------------------------------------------------------------------


def place(command: PlaceOrder, products: Mapping[str, Product], number: str) -> Decision:
    wanted = [(place, line.sku, line) for place, line in enumerate(command.lines)]
    lines = new_lines(wanted, 1, command.currency, products)
    each_product_once(lines)
    if command.draft:
        return Decision((_content(OrderDrafted, command, lines, number),))
    reserved = _reserved(command, lines, products)
    return Decision((_content(OrderPlaced, command, lines, number),), reserved)


def place_draft(command: PlaceDraft, draft: Content, products: Mapping[str, Product]) -> Decision:
    """The content is the draft's; but whether a line's stock is counted is for the products to say, as they now are."""
    lines = tuple(replace(line, reserved=products[line.sku].tracked) for line in draft.lines)
    placed = OrderPlaced(**(asdict(draft) | {"at": command.at, "lines": lines}))
    return Decision((placed,), _reserved(command, lines, products))


def _content(
    kind: type[OrderDrafted | OrderPlaced], command: PlaceOrder, lines: list[Line], number: str
) -> OrderDrafted | OrderPlaced:
    currency, address = command.currency, command.shipping_address
    sums = summed(
        lines,
        in_currency(command.discount, currency, "/discount"),
        in_currency(command.shipping, currency, "/shipping"),
        in_currency(command.tax, currency, "/tax"),
    )
    expect(command.expected_total, sums.total, currency)
    return kind(
        command.at,
        command.order_id,
        number,
        command.customer_id,
        currency,
        tuple(lines) if sums.plain else shared(lines, sums),
        sums.subtotal,
        sums.discount,
        sums.shipping,
        sums.tax,
        sums.total,
        command.payment_terms,
        command.payment_method,
        command.external_reference,
        command.email,
        kept_address(address) if address else None,
        command.metadata,
    )


def kept_address(address: Address) -> facts.Address:
    return facts.Address(**address.model_dump())


def _reserved(
    command: OrderCommand, lines: Iterable[Line], products: Mapping[str, Product]
) -> dict[str, tuple[ProductEvent, ...]]:
    """Stock for all these lines. Raises `OutOfStock`."""
    wanted: dict[str, int] = {}
    for line in lines:
        if line.reserved:
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    if not wanted:
        return {}
    in_stock(wanted, products)
    return {sku: (StockReserved(command.at, command.order_id, quantity),) for sku, quantity in wanted.items()}
