"""What can have happened to a product and its stock."""

from uuid import UUID

from events.order import Fact


class ProductFact(Fact, frozen=True, gc=False):
    """By which a fact about a product is told from one about an order."""


class ProductListed(ProductFact, frozen=True, gc=False, tag="orderlog.product.listed.v1"):
    """The product's card as it now is: the first listing, and each change of name, prices or tracking."""

    sku: str
    name: str
    prices: dict[str, int]  # ISO 4217 currency to minor units
    tracked: bool  # stock is counted


class StockReceived(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-received.v1"):
    quantity: int
    reason: str | None = None


class StockAdjusted(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-adjusted.v1"):
    quantity: int  # may be negative
    reason: str | None = None


class StockReserved(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-reserved.v1"):
    order_id: UUID
    quantity: int


class StockReleased(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-released.v1"):
    order_id: UUID
    quantity: int


class StockDispatched(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-dispatched.v1"):
    """Reserved stock left the house."""

    order_id: UUID
    quantity: int


class StockReturned(ProductFact, frozen=True, gc=False, tag="orderlog.product.stock-returned.v1"):
    """Goods that had left came back and can be sold again."""

    order_id: UUID
    quantity: int


ProductEvent = (
    ProductListed | StockReceived | StockAdjusted | StockReserved | StockReleased | StockDispatched | StockReturned
)
