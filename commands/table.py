"""The life of an order as one table: what each command comes to in each status."""

from collections.abc import Callable, Sized
from enum import Enum
from functools import cache
from typing import Protocol

import msgspec

from commands.amending import AmendOrder
from commands.cancelling import CancelLines, CancelOrder, ExpireOrder
from commands.command import OrderCommand
from commands.order_state import Status
from commands.payment import RecordAuthorization, RecordCapture, RecordRefund, VoidAuthorization
from commands.placing import PlaceDraft, PlaceOrder
from commands.refusals import (
    NotConfirmed,
    NotPlaced,
    OrderExists,
    Refusal,
)
from commands.refusals import OrderCancelledAlready as _Cancelled
from commands.refusals import OrderCompletedAlready as _Completed
from commands.refusals import OrderPlacedAlready as _Placed
from commands.remarks import AddNote, SetMetadata, SetTags
from commands.returns import DecideReturn, ReceiveReturn, RequestReturn
from commands.shipment import ConfirmDelivery, ReportLost, ShipItems, UpdateTracking
from commands.steps import CompleteOrder, ConfirmOrder, PlaceHold, ReleaseHold


class Verdict(Enum):
    DECIDED = "decided"  # by the rules of its theme: a fact, a refusal, or nothing where it is so already
    IGNORED = "ignored"  # it is so already, or does not matter any more: success, and no fact


DECIDED, IGNORED = Verdict.DECIDED, Verdict.IGNORED

Cell = Verdict | type[Refusal]
Row = tuple[Cell, Cell, Cell, Cell, Cell]

# fmt: off
TABLE: dict[type[OrderCommand], Row] = {
    #                     draft        placed        confirmed    completed    cancelled
    PlaceOrder:          (OrderExists, OrderExists,  OrderExists, OrderExists, OrderExists),
    PlaceDraft:          (DECIDED,     _Placed,      _Placed,     _Completed,  _Cancelled),
    AmendOrder:          (DECIDED,     DECIDED,      DECIDED,     _Completed,  _Cancelled),
    ConfirmOrder:        (NotPlaced,   DECIDED,      IGNORED,     IGNORED,     _Cancelled),
    RecordAuthorization: (NotPlaced,   DECIDED,      DECIDED,     DECIDED,     _Cancelled),
    RecordCapture:       (NotPlaced,   DECIDED,      DECIDED,     DECIDED,     DECIDED),
    VoidAuthorization:   (NotPlaced,   DECIDED,      DECIDED,     DECIDED,     DECIDED),
    RecordRefund:        (NotPlaced,   DECIDED,      DECIDED,     DECIDED,     DECIDED),
    ShipItems:           (NotPlaced,   NotConfirmed, DECIDED,     _Completed,  _Cancelled),
    UpdateTracking:      (NotPlaced,   NotConfirmed, DECIDED,     IGNORED,     _Cancelled),
    ConfirmDelivery:     (NotPlaced,   NotConfirmed, DECIDED,     IGNORED,     _Cancelled),
    ReportLost:          (NotPlaced,   NotConfirmed, DECIDED,     IGNORED,     _Cancelled),
    CancelLines:         (NotPlaced,   DECIDED,      DECIDED,     _Completed,  _Cancelled),
    CancelOrder:         (DECIDED,     DECIDED,      DECIDED,     _Completed,  IGNORED),
    ExpireOrder:         (IGNORED,     DECIDED,      IGNORED,     IGNORED,     IGNORED),
    RequestReturn:       (NotPlaced,   NotConfirmed, DECIDED,     DECIDED,     _Cancelled),
    DecideReturn:        (NotPlaced,   NotConfirmed, DECIDED,     DECIDED,     _Cancelled),
    ReceiveReturn:       (NotPlaced,   NotConfirmed, DECIDED,     DECIDED,     _Cancelled),
    CompleteOrder:       (NotPlaced,   NotConfirmed, DECIDED,     IGNORED,     _Cancelled),
    PlaceHold:           (NotPlaced,   DECIDED,      DECIDED,     _Completed,  _Cancelled),
    ReleaseHold:         (NotPlaced,   DECIDED,      DECIDED,     _Completed,  _Cancelled),
    AddNote:             (DECIDED,     DECIDED,      DECIDED,     DECIDED,     DECIDED),
    SetTags:             (DECIDED,     DECIDED,      DECIDED,     DECIDED,     DECIDED),
    SetMetadata:         (DECIDED,     DECIDED,      DECIDED,     DECIDED,     DECIDED),
}
"""Command to what it comes to in each status, in the order of `Status`."""
# fmt: on

NAMES: dict[type[OrderCommand], str] = {
    PlaceDraft: "place",
    AmendOrder: "amend",
    ConfirmOrder: "confirm",
    RecordAuthorization: "record-authorization",
    RecordCapture: "record-capture",
    VoidAuthorization: "void-authorization",
    RecordRefund: "record-refund",
    ShipItems: "ship-items",
    UpdateTracking: "update-tracking",
    ConfirmDelivery: "confirm-delivery",
    ReportLost: "report-lost",
    CancelLines: "cancel-lines",
    CancelOrder: "cancel",
    RequestReturn: "request-return",
    DecideReturn: "decide-return",
    ReceiveReturn: "receive-return",
    PlaceHold: "place-hold",
    ReleaseHold: "release-hold",
    AddNote: "add-note",
    SetTags: "set-tags",
    SetMetadata: "set-metadata",
}
"""What people call the commands that can be asked of an order that is there."""

_COLUMN = {status: column for column, status in enumerate(Status)}

ALLOWED: dict[str, tuple[str, ...]] = {
    status: tuple(name for kind, name in NAMES.items() if TABLE[kind][column] is DECIDED)
    for status, column in _COLUMN.items()
}
"""Status to the commands that may succeed in it."""


def cell(kind: type[OrderCommand], status: Status) -> Cell:
    return TABLE[kind][_COLUMN[status]]


class Situation(Protocol):
    """What is known of an order, by the side that decides or by the one that is read; amounts in minor units."""

    @property
    def status(self) -> str: ...
    @property
    def on_hold(self) -> bool: ...
    @property
    def shipments(self) -> Sized: ...
    @property
    def returns(self) -> Sized: ...
    @property
    def authorized(self) -> int: ...
    @property
    def voided(self) -> int: ...
    @property
    def captured(self) -> int: ...
    @property
    def refunded(self) -> int: ...
    @property
    def balance(self) -> int: ...


class _Look(msgspec.Struct, frozen=True, gc=False):
    """A situation, as far as it decides what may be done."""

    status: str
    on_hold: bool
    shipped: bool
    asked_back: bool
    voidable: bool
    refundable: bool
    capturable: bool
    owed: bool


def allowed_commands(order: Situation) -> tuple[str, ...]:
    """The commands that may succeed as things stand, as far as a look at the whole order tells."""
    authorized, captured = order.authorized, order.captured
    return _allowed(
        _Look(
            status=order.status,
            on_hold=order.on_hold,
            shipped=bool(order.shipments),
            asked_back=bool(order.returns),
            voidable=authorized > order.voided + captured,
            refundable=captured > order.refunded,
            capturable=authorized > captured,
            owed=order.balance > 0,
        )
    )


@cache
def _allowed(look: _Look) -> tuple[str, ...]:
    """There are few situations, and looking one up is much faster than working it out for every order."""
    out = {name for names, is_so in _HOPELESS if is_so(look) for name in names}
    return tuple(name for name in ALLOWED[look.status] if name not in out)


_HOPELESS: tuple[tuple[tuple[str, ...], Callable[[_Look], bool]], ...] = (
    (("confirm", "ship-items", "place-hold"), lambda look: look.on_hold),
    (("release-hold",), lambda look: not look.on_hold),
    (("cancel",), lambda look: look.shipped),
    (("update-tracking", "confirm-delivery", "report-lost", "request-return"), lambda look: not look.shipped),
    (("decide-return", "receive-return"), lambda look: not look.asked_back),
    (("void-authorization",), lambda look: not look.voidable),
    (("record-refund",), lambda look: not look.refundable),
    (("record-capture",), lambda look: not look.capturable),
    (("record-authorization", "record-capture"), lambda look: look.status == Status.COMPLETED and not look.owed),
)
"""Commands, and when they cannot succeed although the order's status would let them."""
