"""What the write side knows, in the shapes that the read side answers with: the same JSON for the same order."""

from collections.abc import Iterable, Mapping

import msgspec

from commands.lines import OrderLine
from commands.order import Order
from commands.product import Product
from commands.returns import Return
from commands.shipment import Shipment
from commands.table import allowed_commands
from events.product import ProductEvent, StockReleased, StockReserved
from events.status import fulfilment_status, open_quantity, payment_status, return_status
from projections.shapes import LineView, Money, OrderView, ProductView, ReturnView, ShipmentView

encode = msgspec.json.Encoder().encode


def order_view(order: Order, version: int) -> OrderView:
    """Its values are given by their places, as its parts are: 37 names to look up take a microsecond an order."""
    content, ledger = order.content, order.ledger
    currency = content.currency
    nothing = Money(0, currency)  # said again and again: most orders have nothing to share among their lines
    lines = tuple([_line(line, currency, nothing) for line in order.lines.values()])
    return OrderView(
        content.order_id,
        content.number,
        content.customer_id,
        order.status,
        payment_status(ledger.total, ledger.authorized - ledger.voided, ledger.captured, ledger.refunded),
        fulfilment_status(lines),
        return_status(lines),
        version,
        currency,
        lines,
        Money(content.subtotal, currency),
        Money(content.discount, currency),
        Money(content.shipping, currency),
        Money(content.tax, currency),
        Money(ledger.total, currency),
        Money(ledger.balance, currency),
        Money(ledger.authorized, currency),
        Money(ledger.voided, currency),
        Money(ledger.captured, currency),
        Money(ledger.refunded, currency),
        Money(ledger.refund_due, currency),
        order.on_hold,
        order.held,
        order.tags,
        content.metadata,
        tuple(map(_shipment, order.shipments.values())),
        tuple(map(_return, order.returns.values())),
        order.notes,
        content.payment_terms,
        content.payment_method,
        content.external_reference,
        content.email,
        content.shipping_address,
        order.cancel_reason,
        order.created_at,
        order.placed_at,
        order.updated_at,
        allowed_commands(order),
    )


def preview(order: Order, version: int, moves: Mapping[str, Iterable[ProductEvent]]) -> bytes:
    """An order as an amendment would leave it, as JSON, and what it would do to the stock; `version` is today's."""
    shown = msgspec.to_builtins(order_view(order, version))
    return encode({**shown, "dry_run": True, "reservations": {sku: _reserved(facts) for sku, facts in moves.items()}})


def _reserved(facts: Iterable[ProductEvent]) -> int:
    """Pieces; below zero: released."""
    return sum(
        fact.quantity if isinstance(fact, StockReserved) else -fact.quantity
        for fact in facts
        if isinstance(fact, StockReserved | StockReleased)
    )


def with_allowed_commands(view: OrderView) -> OrderView:
    """A view of the read side, completed: what may be done is the write side's to say."""
    return msgspec.structs.replace(view, allowed_commands=allowed_commands(_Situation(view)))


class _Situation:
    """A view, as the write side looks at an order: amounts without their currency."""

    def __init__(self, view: OrderView) -> None:
        self.status, self.on_hold = view.status, view.on_hold
        self.shipments, self.returns = view.shipments, view.returns
        self.authorized, self.voided = view.authorized.amount, view.voided.amount
        self.captured, self.refunded = view.captured.amount, view.refunded.amount
        self.balance = view.balance.amount


def product_view(product: Product, version: int) -> ProductView:
    return ProductView(
        sku=product.sku,
        name=product.name,
        prices=tuple(Money(amount, currency) for currency, amount in sorted(product.prices.items())),
        stock="tracked" if product.tracked else "untracked",
        on_hand=product.on_hand,
        reserved=product.reserved,
        available=product.available,
        version=version,
    )


def _line(line: OrderLine, currency: str, nothing: Money) -> LineView:
    ordered = line.ordered
    return LineView(
        ordered.line_id,
        ordered.sku,
        ordered.name,
        ordered.quantity,
        Money(ordered.unit_price, currency),
        Money(ordered.discount, currency) if ordered.discount else nothing,
        Money(ordered.shipping, currency) if ordered.shipping else nothing,
        Money(ordered.tax, currency) if ordered.tax else nothing,
        Money(ordered.total, currency),
        line.cancelled,
        line.shipped,
        line.delivered,
        line.lost,
        line.returned,
        open_quantity(line),
    )


def _shipment(shipment: Shipment) -> ShipmentView:
    return ShipmentView(
        shipment.shipment_id, shipment.lines, shipment.carrier, shipment.tracking_number, shipment.status
    )


def _return(one: Return) -> ReturnView:
    return ReturnView(one.return_id, one.reason, one.lines, one.received, one.status)
