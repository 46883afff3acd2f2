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
from events.status import fulfilment_status, payment_status, return_status
from projections.shapes import LineView, Money, OrderView, ProductView, ReturnView, ShipmentView

encode = msgspec.json.Encoder().encode


def order_view(order: Order, version: int) -> OrderView:
    content = order.content
    currency = content.currency
    lines = tuple(order.lines.values())
    return OrderView(
        order_id=content.order_id,
        number=content.number,
        customer_id=content.customer_id,
        status=order.status.value,
        payment_status=payment_status(order.total, order.authorized - order.voided, order.captured, order.refunded),
        fulfilment_status=fulfilment_status(lines),
        return_status=return_status(lines),
        version=version,
        currency=currency,
        lines=tuple([_line(line, currency) for line in lines]),
        subtotal=Money(content.subtotal, currency),
        discount=Money(content.discount, currency),
        shipping=Money(content.shipping, currency),
        tax=Money(content.tax, currency),
        total=Money(order.total, currency),
        balance=Money(order.balance, currency),
        authorized=Money(order.authorized, currency),
        voided=Money(order.voided, currency),
        captured=Money(order.captured, currency),
        refunded=Money(order.refunded, currency),
        refund_due=Money(order.refund_due, currency),
        on_hold=order.on_hold,
        hold_reason=order.held,
        tags=order.tags,
        metadata=content.metadata,
        shipments=tuple([_shipment(one) for one in order.shipments.values()]),
        returns=tuple([_return(one) for one in order.returns.values()]),
        notes=order.notes,
        payment_terms=content.payment_terms,
        payment_method=content.payment_method,
        external_reference=content.external_reference,
        email=content.email,
        shipping_address=content.shipping_address,
        cancel_reason=order.cancel_reason,
        created_at=order.created_at,
        placed_at=order.placed_at,
        updated_at=order.updated_at,
        allowed_commands=allowed_commands(order),
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


def _line(line: OrderLine, currency: str) -> LineView:
    ordered = line.ordered
    return LineView(
        ordered.line_id,
        ordered.sku,
        ordered.name,
        ordered.quantity,
        Money(ordered.unit_price, currency),
        Money(ordered.discount, currency),
        Money(ordered.shipping, currency),
        Money(ordered.tax, currency),
        Money(ordered.total, currency),
        line.cancelled,
        line.shipped,
        line.delivered,
        line.lost,
        line.returned,
        line.open,
    )


def _shipment(shipment: Shipment) -> ShipmentView:
    return ShipmentView(
        shipment.shipment_id, shipment.lines, shipment.carrier, shipment.tracking_number, shipment.status
    )


def _return(one: Return) -> ReturnView:
    return ReturnView(one.return_id, one.reason, one.lines, one.received, one.status)
