"""How an order is called off, in part or whole: by somebody, or because its time to be paid ran out."""

from collections.abc import Mapping
from typing import Literal

from commands.command import OrderCommand, Pieces, Reason
from commands.decision import NOTHING, Decision
from commands.lines import asked, reservations, within_open, worth
from commands.order_state import Order, evolve
from commands.payment import refund_required, void_all
from commands.product import Product
from commands.refusals import AlreadyShipped
from events.order import LineQuantity, LinesCancelled, OrderCancelled

# What may be asked -------------------------------------------------------------------------------------------


class CancelLines(OrderCommand):
    """Call off some or all of what is open; reserved stock is released."""

    lines: Pieces
    reason: Reason


class CancelOrder(OrderCommand):
    """Call the whole order off, before anything is shipped; reserved stock is released."""

    reason: Reason


class ExpireOrder(OrderCommand):
    """The time to pay is over: an order on prepaid terms of which nothing was captured is cancelled."""


# What is decided ---------------------------------------------------------------------------------------------


def cancel_lines(command: CancelLines, order: Order, products: Mapping[str, Product]) -> Decision:
    pieces = asked(command.lines, order.lines)
    within_open(pieces, order.lines)
    fact = LinesCancelled(command.at, command.reason, pieces, worth(pieces, order.lines))
    due = refund_required(order.ledger, (fact,), command.at, "lines cancelled")
    return Decision((fact, *due), reservations(command, order.lines, evolve(order, fact).lines, products))


def cancel(command: CancelOrder, order: Order, products: Mapping[str, Product]) -> Decision:
    if order.shipments:
        raise AlreadyShipped(shipments=list(order.shipments))
    return _cancelled(command, order, products, command.reason, "cancelled")


def expire(command: ExpireOrder, order: Order, products: Mapping[str, Product]) -> Decision:
    if order.content.payment_terms != "prepaid" or order.captured:
        return NOTHING
    return _cancelled(command, order, products, "expired", "expired")


def _cancelled(
    command: OrderCommand,
    order: Order,
    products: Mapping[str, Product],
    reason: str,
    voided: Literal["cancelled", "expired"],
) -> Decision:
    """Nothing is owed any more, open authorizations are given up, and what was captured is to be given back."""
    still_open = tuple(LineQuantity(line.line_id, line.open) for line in order.lines.values() if line.open)
    fact = OrderCancelled(command.at, reason, still_open, order.total)
    due = refund_required(order.ledger, (fact,), command.at, "order cancelled")
    stock = reservations(command, order.lines, evolve(order, fact).lines, products)
    return Decision((fact, *void_all(order.ledger, command.at, voided), *due), stock)
