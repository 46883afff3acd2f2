"""What the write side knows, in the shapes that the read side answers with: the same JSON for the same order."""

import msgspec

from commands.order import ALLOWED, Order, OrderLine
from commands.product import Product
from events.status import fulfilment_status, payment_status, return_status
from projections.shapes import LineView, Money, OrderView, ProductView

encode = msgspec.json.Encoder().encode


def order_view(order: Order, version: int) -> OrderView:
    placed = order.placed
    currency = placed.currency
    return OrderView(
        order_id=placed.order_id,
        customer_id=placed.customer_id,
        status=order.status.value,
        payment_status=payment_status(placed.total, order.authorized, order.captured, order.refunded),
        fulfilment_status=fulfilment_status(order.lines),
        return_status=return_status(order.lines),
        version=version,
        currency=currency,
        lines=tuple([_line(line, currency) for line in order.lines]),
        subtotal=Money(placed.subtotal, currency),
        discount=Money(placed.discount, currency),
        shipping=Money(placed.shipping, currency),
        tax=Money(placed.tax, currency),
        total=Money(placed.total, currency),
        balance=Money(order.balance, currency),
        authorized=Money(order.authorized, currency),
        captured=Money(order.captured, currency),
        refunded=Money(order.refunded, currency),
        payment_terms=placed.payment_terms,
        payment_method=placed.payment_method,
        external_reference=placed.external_reference,
        email=placed.email,
        shipping_address=placed.shipping_address,
        metadata=placed.metadata,
        cancel_reason=order.cancel_reason,
        placed_at=placed.at,
        updated_at=order.updated_at,
        allowed_commands=ALLOWED[order.status],
    )


def with_allowed_commands(view: OrderView) -> OrderView:
    """A view of the read side, completed: what may be done is the write side's to say."""
    return msgspec.structs.replace(view, allowed_commands=ALLOWED.get(view.status, ()))


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
    price = line.unit_price
    return LineView(
        line.line_id,
        line.sku,
        line.name,
        line.quantity,
        Money(price, currency),
        Money(price * line.quantity, currency),
        line.cancelled,
        line.shipped,
        line.delivered,
        line.lost,
        line.returned,
        line.open,
    )
