"""An order, whole: every command, what it needs to be decided, and who decides it.

Nothing here asks the world: time, ids and prices ride in on the command; products come in as state. What belongs
together stands in one file, commands, state and decisions: placing, amending, steps, payment, shipment, returns,
cancelling, remarks. `table` says which command may do what in which status.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from commands import amending, cancelling, payment, placing, remarks, returns, shipment, steps, table
from commands.amending import AmendedLine, AmendOrder
from commands.cancelling import CancelLines, CancelOrder, ExpireOrder
from commands.command import LinePieces, OrderCommand
from commands.decision import NOTHING, Decision
from commands.lines import OrderLine
from commands.order_state import Order, Status, evolve
from commands.payment import RecordAuthorization, RecordCapture, RecordRefund, VoidAuthorization
from commands.placing import Address, PlaceDraft, PlaceOrder, WantedLine
from commands.product import Product
from commands.refusals import BeforeOrder, NoSuchOrder, TooManyEvents
from commands.remarks import AddNote, SetMetadata, SetTags
from commands.returns import DecideReturn, ReceiveReturn, RequestReturn
from commands.shipment import ConfirmDelivery, ReportLost, ShipItems, UpdateTracking
from commands.steps import CompleteOrder, ConfirmOrder, PlaceHold, ReleaseHold
from commands.table import ALLOWED, IGNORED, NAMES, TABLE, allowed_commands
from events.order import OrderEvent

__all__ = [
    "ALLOWED",
    "NAMES",
    "NOTHING",
    "TABLE",
    "AddNote",
    "Address",
    "AmendOrder",
    "AmendedLine",
    "AnyOrderCommand",
    "CancelLines",
    "CancelOrder",
    "CompleteOrder",
    "ConfirmDelivery",
    "ConfirmOrder",
    "DecideReturn",
    "Decision",
    "ExpireOrder",
    "LinePieces",
    "Order",
    "OrderCommand",
    "OrderLine",
    "PlaceDraft",
    "PlaceHold",
    "PlaceOrder",
    "ReceiveReturn",
    "RecordAuthorization",
    "RecordCapture",
    "RecordRefund",
    "ReleaseHold",
    "ReportLost",
    "RequestReturn",
    "SetMetadata",
    "SetTags",
    "ShipItems",
    "Status",
    "UpdateTracking",
    "VoidAuthorization",
    "WantedLine",
    "allowed_commands",
    "decide",
    "evolve",
    "skus_of",
]

AnyOrderCommand = (
    PlaceOrder
    | PlaceDraft
    | AmendOrder
    | ConfirmOrder
    | CompleteOrder
    | PlaceHold
    | ReleaseHold
    | RecordAuthorization
    | RecordCapture
    | VoidAuthorization
    | RecordRefund
    | ShipItems
    | UpdateTracking
    | ConfirmDelivery
    | ReportLost
    | CancelLines
    | CancelOrder
    | ExpireOrder
    | RequestReturn
    | DecideReturn
    | ReceiveReturn
    | AddNote
    | SetTags
    | SetMetadata
)

MAX_EVENTS = 10_000
"""So many events an order may have: a command with which it would have more is refused."""

CLOSING_EVENTS = 1_000
"""So many more are left to what brings an order to an end, so that a full one is not stuck."""

_CLOSING = (
    RecordCapture | RecordRefund | VoidAuthorization | ConfirmDelivery | ReportLost | ReceiveReturn | CompleteOrder
    | CancelLines | CancelOrder | ExpireOrder
)  # fmt: skip

CLOCKS_DIFFER = timedelta(minutes=5)
"""A command is that much too early at most: it may come from another machine than the order did."""


def skus_of(command: AnyOrderCommand, order: Order | None) -> set[str]:
    """The products whose state the decision needs."""
    match command:
        case PlaceOrder():
            return {line.sku for line in command.lines}
        case PlaceDraft():
            return {line.sku for line in order.lines.values()} if order else set()
        case AmendOrder():
            new = {line.sku for line in command.lines or () if line.sku is not None}
            return new | _reserved(order)
        case ShipItems() | CancelLines() | CancelOrder() | ExpireOrder() | ReceiveReturn():
            return _reserved(order)
        case _:
            return set()


def _reserved(order: Order | None) -> set[str]:
    return {line.sku for line in order.lines.values() if line.reserved} if order else set()


def decide(
    command: AnyOrderCommand, order: Order | None, products: Mapping[str, Product], number: str = ""
) -> Decision:
    """The facts that follow from a command; `number` is the order's, should it begin with it. Raises a `Refusal`."""
    if order is None:
        if isinstance(command, PlaceOrder):
            return placing.place(command, products, number)
        raise NoSuchOrder
    _not_before(command, order)
    verdict = table.cell(type(command), order.status)
    if verdict is IGNORED:
        _known_ids(command, order)
        return NOTHING
    if isinstance(command, ShipItems) and shipment.shipped_already(command, order.shipments):
        return NOTHING
    if isinstance(verdict, type):
        raise verdict
    decision = _decided(command, order, products)
    most = MAX_EVENTS + (CLOSING_EVENTS if isinstance(command, _CLOSING) else 0)
    if decision.order and order.version + len(decision.order) > most:
        raise TooManyEvents(events=order.version, most=MAX_EVENTS)
    return decision


def _decided(  # noqa: C901, PLR0911, PLR0912  one case for each command
    command: AnyOrderCommand, order: Order, products: Mapping[str, Product]
) -> Decision:
    """By the rules of its theme."""
    match command:
        case PlaceOrder():
            raise AssertionError("the table refuses it in every status")
        case PlaceDraft():
            return placing.place_draft(command, order.content, products)
        case AmendOrder():
            return amending.amend(command, order, products)
        case ConfirmOrder():
            return steps.confirm(command, order)
        case CompleteOrder():
            return steps.complete(command, order)
        case PlaceHold():
            return steps.hold(command, order)
        case ReleaseHold():
            return steps.release(command, order)
        case RecordAuthorization() | RecordCapture() | VoidAuthorization() | RecordRefund():
            return Decision(_paid(command, order))
        case ShipItems():
            steps.not_held(order)
            return shipment.ship(command, order.lines, order.shipments, products)
        case UpdateTracking():
            return shipment.update_tracking(command, order.shipments)
        case ConfirmDelivery():
            return shipment.deliver(command, order.shipments)
        case ReportLost():
            return shipment.lose(command, order.shipments)
        case CancelLines():
            return cancelling.cancel_lines(command, order, products)
        case CancelOrder():
            return cancelling.cancel(command, order, products)
        case ExpireOrder():
            return cancelling.expire(command, order, products)
        case RequestReturn():
            return returns.request(command, order.lines, order.returns)
        case DecideReturn():
            return returns.decide(command, order.returns)
        case ReceiveReturn():
            return returns.receive(command, order.lines, order.returns, order.ledger)
        case AddNote():
            return remarks.add_note(command)
        case SetTags():
            return remarks.set_tags(command, order)
        case SetMetadata():
            return remarks.set_metadata(command, order)
        case _:
            assert_never(command)


def _paid(
    command: RecordAuthorization | RecordCapture | VoidAuthorization | RecordRefund, order: Order
) -> tuple[OrderEvent, ...]:
    completed = order.status is Status.COMPLETED
    match command:
        case RecordAuthorization():
            return payment.authorize(command, order.ledger, completed=completed)
        case RecordCapture() if order.status is Status.CANCELLED:
            return payment.capture_late(command, order.ledger)
        case RecordCapture():
            return payment.capture(command, order.ledger, completed=completed)
        case VoidAuthorization():
            return payment.void(command, order.ledger)
        case RecordRefund():
            return payment.refund(command, order.ledger)
        case _:
            assert_never(command)


def _not_before(command: OrderCommand, order: Order) -> None:
    began = order.placed_at or order.created_at
    if command.at < began - CLOCKS_DIFFER:
        raise BeforeOrder(at=command.at, order_at=began)


def _known_ids(command: AnyOrderCommand, order: Order) -> None:
    """What does not matter any more must still be about something that is there. Raises `UnknownShipment`."""
    if isinstance(command, UpdateTracking | ConfirmDelivery | ReportLost):
        shipment.existing(order.shipments, command.shipment_id)
