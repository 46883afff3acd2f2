"""The steps that an order as a whole takes after it is placed, and what stops them: confirm, complete, hold."""

from commands.command import OrderCommand, Reason
from commands.decision import NOTHING, Decision
from commands.order_state import Order
from commands.refusals import NotReserved, OnHold, OrderUnfinished, PaymentRequired
from events.order import OrderCompleted, OrderConfirmed, OrderHeld, OrderReleased

# What may be asked -------------------------------------------------------------------------------------------


class ConfirmOrder(OrderCommand):
    """Take the order on: it is paid, authorized in full, or on invoice terms."""


class CompleteOrder(OrderCommand):
    """Close the order: nothing is open, all was delivered or lost, and nobody owes anybody."""


class PlaceHold(OrderCommand):
    """Let nothing be confirmed or shipped until the hold is released."""

    reason: Reason


class ReleaseHold(OrderCommand):
    """The hold is over."""


# What is decided ---------------------------------------------------------------------------------------------


def confirm(command: ConfirmOrder, order: Order) -> Decision:
    not_held(order)
    if missing := [line.line_id for line in order.lines.values() if line.reserved and line.kept < line.open]:
        raise NotReserved(line_ids=missing)
    ledger = order.ledger
    paid, authorized = ledger.captured - ledger.refunded, ledger.capturable
    if order.content.payment_terms != "invoice" and paid + authorized < ledger.total:
        raise PaymentRequired(total=ledger.total, paid=paid, authorized=authorized)
    return Decision((OrderConfirmed(command.at),))


def complete(command: CompleteOrder, order: Order) -> Decision:
    not_held(order)
    still_open = {line.line_id: line.open for line in order.lines.values() if line.open}
    under_way = [one.shipment_id for one in order.shipments.values() if one.status == "dispatched"]
    if still_open or under_way or order.balance:
        raise OrderUnfinished(open=still_open, under_way=under_way, balance=order.balance)
    return Decision((OrderCompleted(command.at),))


def hold(command: PlaceHold, order: Order) -> Decision:
    return Decision((OrderHeld(command.at, command.reason),)) if order.held != command.reason else NOTHING


def release(command: ReleaseHold, order: Order) -> Decision:
    return Decision((OrderReleased(command.at),)) if order.on_hold else NOTHING


def not_held(order: Order) -> None:
    """Raises `OnHold`."""
    if order.on_hold:
        raise OnHold(hold_reason=order.held)
