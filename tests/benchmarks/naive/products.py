"""The baseline's stock: each product an aggregate, whose stock is reserved in the same `save()` as the order is placed.

As the `eventsourcing` documentation shows it: an id made from a name, several aggregates in one `save()`, and `retry`
for what another thread was quicker to save.
"""

from collections.abc import Mapping
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from eventsourcing.utils import retry

from tests.benchmarks.naive.orders import Line, Order, Orders

ATTEMPTS = 100


class OutOfStock(Exception):
    """Less is left of a product than the order asks for; says which."""


class Product(Aggregate):
    class Listed(Aggregate.Created):
        sku: str
        on_hand: int

    class StockReserved(Aggregate.Event):
        order_id: UUID
        quantity: int

    @staticmethod
    def create_id(sku: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/products/{sku}")

    @event(Listed)
    def __init__(self, sku: str, on_hand: int) -> None:
        self.sku = sku
        self.on_hand = on_hand
        self.reserved = 0

    def reserve(self, order_id: UUID, quantity: int) -> None:
        """Raises `OutOfStock`."""
        if quantity > self.on_hand - self.reserved:
            raise OutOfStock(self.sku)
        self._reserve(order_id, quantity)

    @event(StockReserved)
    def _reserve(self, order_id: UUID, quantity: int) -> None:  # noqa: ARG002  the event is made of the arguments
        self.reserved += quantity


class Shop(Orders):
    @retry(IntegrityError, max_attempts=ATTEMPTS)
    def place_order(self, customer_id: str, currency: str, lines: list[Line]) -> Order:
        """Raises `OutOfStock`, and IntegrityError after too many attempts."""
        order = Order(customer_id, currency, lines, sum(line["quantity"] * line["unit_price"] for line in lines))
        products: list[Product] = [self.repository.get(Product.create_id(line["sku"])) for line in lines]
        for product, line in zip(products, lines, strict=True):
            product.reserve(order.id, line["quantity"])
        self.save(order, *products)
        return order


def list_products(environment: Mapping[str, str], products: int, on_hand: int, batch: int = 100) -> None:
    """SKU-1 … SKU-`products`, with so much of each. Batched, to be done soon."""
    with Shop(dict(environment)) as shop:
        for first in range(1, products + 1, batch):
            shop.save(*(listed(number, on_hand) for number in range(first, min(first + batch, products + 1))))


def listed(number: int, on_hand: int) -> Product:
    return Product(f"SKU-{number}", on_hand)
