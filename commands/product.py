"""A product and its stock, top to bottom: what may be asked, what it is, what is decided."""

from typing import Annotated, Literal, assert_never

import msgspec
from msgspec.structs import replace
from pydantic import Field, model_validator

from commands.command import Command, Money, Name, Quantity, Reason, Sku
from commands.refusals import NoSuchProduct, StockBelowReserved, StockNotTracked
from events.product import (
    ProductEvent,
    ProductListed,
    StockAdjusted,
    StockDispatched,
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
)

# What may be asked -------------------------------------------------------------------------------------------


class ProductCommand(Command):
    sku: Sku


class ListProduct(ProductCommand):
    """Put a product into the catalogue, or change its name, its prices or whether its stock is counted."""

    name: Name
    prices: Annotated[tuple[Money, ...], Field(max_length=200)]
    stock: Literal["tracked", "untracked"] = "untracked"

    @model_validator(mode="after")
    def one_price_a_currency(self) -> "ListProduct":
        if len({price.currency for price in self.prices}) < len(self.prices):
            raise ValueError("prices has two prices in one currency")
        return self


class ReceiveStock(ProductCommand):
    """Goods arrived."""

    quantity: Quantity
    reason: Reason | None = None


class AdjustStock(ProductCommand):
    """Correct the count; the quantity may be negative."""

    quantity: Annotated[int, Field(strict=True, ge=-1_000_000_000, le=1_000_000_000)]
    reason: Reason | None = None


AnyProductCommand = ListProduct | ReceiveStock | AdjustStock

# What it is --------------------------------------------------------------------------------------------------


class Product(msgspec.Struct, frozen=True, gc=False):
    sku: str
    name: str
    prices: dict[str, int]
    tracked: bool
    on_hand: int = 0
    reserved: int = 0  # a number, not a list: a popular product has a million reservations

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


def evolve(product: Product | None, event: ProductEvent) -> Product:
    if isinstance(event, ProductListed):
        listed = product or Product(event.sku, event.name, event.prices, event.tracked)
        return replace(listed, name=event.name, prices=event.prices, tracked=event.tracked)
    assert product is not None, f"{event} before the product was listed"
    match event:
        case StockReceived() | StockAdjusted() | StockReturned():
            return replace(product, on_hand=product.on_hand + event.quantity)
        case StockReserved():
            return replace(product, reserved=product.reserved + event.quantity)
        case StockReleased():
            return replace(product, reserved=product.reserved - event.quantity)
        case StockDispatched():
            return replace(
                product, on_hand=product.on_hand - event.quantity, reserved=product.reserved - event.quantity
            )
        case _:
            assert_never(event)


# What is decided ---------------------------------------------------------------------------------------------


def decide(command: AnyProductCommand, product: Product | None) -> ProductEvent | None:
    """The fact that follows, or None when it is so already. Raises a `Refusal`."""
    match command:
        case ListProduct():
            return list_product(command, product)
        case ReceiveStock():
            tracked(product)
            return StockReceived(command.at, command.quantity, command.reason)
        case AdjustStock():
            return adjust(command, tracked(product))
        case _:
            assert_never(command)


def list_product(command: ListProduct, product: Product | None) -> ProductEvent | None:
    prices = {price.currency: price.amount for price in command.prices}
    card = (command.name, prices, command.stock == "tracked")
    if product and (product.name, product.prices, product.tracked) == card:
        return None
    return ProductListed(command.at, command.sku, *card)


def adjust(command: AdjustStock, product: Product) -> ProductEvent | None:
    if product.on_hand + command.quantity < product.reserved:
        raise StockBelowReserved(on_hand=product.on_hand, reserved=product.reserved, adjustment=command.quantity)
    return StockAdjusted(command.at, command.quantity, command.reason) if command.quantity else None


def tracked(product: Product | None) -> Product:
    if product is None:
        raise NoSuchProduct
    if not product.tracked:
        raise StockNotTracked(sku=product.sku)
    return product
