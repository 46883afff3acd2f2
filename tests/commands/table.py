"""The table of DESIGN section 3 as examples: each command in each status, and what it comes to there."""

from dataclasses import dataclass

from commands.order import AnyOrderCommand, Status
from commands.refusals import (
    NotConfirmed,
    NotPlaced,
    OrderCancelledAlready,
    OrderCompletedAlready,
    OrderExists,
    OrderPlacedAlready,
    Refusal,
)
from events.order import MetadataSet, NoteAdded, OrderCancelled, TagsSet
from events.product import StockDispatched, StockReleased, StockReserved, StockReturned
from tests.commands.given import Fact
from tests.examples import (
    NOON,
    ORDER,
    a_cup,
    add_note,
    amend_order,
    amended,
    an_order_amended,
    an_order_cancelled,
    an_order_completed,
    an_order_confirmed,
    an_order_drafted,
    an_order_held,
    an_order_placed,
    an_order_released,
    authorized,
    cancel_lines,
    cancel_order,
    captured,
    complete_order,
    confirm_delivery,
    confirm_order,
    cups,
    cups_received,
    decide_return,
    delivered,
    expire_order,
    lines_cancelled,
    lost,
    place_draft,
    place_hold,
    place_order,
    receive_return,
    record_authorization,
    record_capture,
    record_refund,
    refund_required,
    refunded,
    release_hold,
    report_lost,
    request_return,
    return_approved,
    return_received,
    return_requested,
    set_metadata,
    set_tags,
    ship_items,
    shipped,
    tracked,
    update_tracking,
    void_authorization,
    voided,
    wanted,
)

Facts = tuple[Fact, ...]


@dataclass(frozen=True)
class Case:
    """In this status, after these facts: what the command comes to, facts (none: ignored) or a refusal."""

    status: Status
    command: AnyOrderCommand
    given: Facts
    then: Facts | type[Refusal]

    def __str__(self) -> str:
        return f"{type(self.command).__name__}-{self.status}"


# Each order is of three cups at 2.50.

reserved = ("CUP", StockReserved(NOON, ORDER, 3))
released = ("CUP", StockReleased(NOON, ORDER, 3))
dispatched = ("CUP", StockDispatched(NOON, ORDER, 3))
restocked = ("CUP", StockReturned(NOON, ORDER, 3))

a_draft: Facts = (a_cup, cups_received(5), an_order_drafted(cups(3)))
a_placed: Facts = (a_cup, cups_received(5), an_order_placed(cups(3)), reserved)
an_invoiced: Facts = (a_cup, cups_received(5), an_order_placed(cups(3), payment_terms="invoice"), reserved)
an_authorized: Facts = (*a_placed, authorized(750))
a_paid: Facts = (*an_authorized, captured(750))
a_confirmed: Facts = (*a_placed, an_order_confirmed)
a_shipped: Facts = (*a_paid, an_order_confirmed, shipped(3), dispatched)
a_delivered: Facts = (*a_shipped, delivered(3))
a_completed: Facts = (*a_delivered, an_order_completed)
a_wanted_back: Facts = (*a_completed, return_requested(("1", 3)))
a_cancelled: Facts = (
    *an_authorized,
    an_order_cancelled(("1", 3), amount=750),
    voided(750, "cancelled"),
    released,
)
all_off: OrderCancelled = an_order_cancelled(("1", 3), amount=750)

IGNORED: Facts = ()

_GIVEN: dict[Status, Facts] = {
    Status.DRAFT: a_draft,
    Status.PLACED: a_placed,
    Status.CONFIRMED: a_confirmed,
    Status.COMPLETED: a_completed,
    Status.CANCELLED: a_cancelled,
}


@dataclass(frozen=True)
class After:
    """An outcome that takes another order than the plain one of its status."""

    given: Facts
    then: Facts | type[Refusal]


def each(command: AnyOrderCommand, *outcomes: Facts | type[Refusal] | After) -> list[Case]:
    """The outcomes in draft, placed, confirmed, completed and cancelled."""
    cases = []
    for status, outcome in zip(Status, outcomes, strict=True):
        if isinstance(outcome, After):
            cases.append(Case(status, command, outcome.given, outcome.then))
        else:
            cases.append(Case(status, command, _GIVEN[status], outcome))
    return cases


four = an_order_amended(cups(4))
one_more = ("CUP", StockReserved(NOON, ORDER, 1))
note, tags, metadata = NoteAdded(NOON, "rang twice"), TagsSet(NOON, ("vip",)), MetadataSet(NOON, {"a": "b"})
one_left = authorized(60, "auth-2")
owing: Facts = (*a_completed, refunded(100))

CASES: list[Case] = [
    *each(place_order(wanted("CUP", 3)), OrderExists, OrderExists, OrderExists, OrderExists, OrderExists),
    *each(
        place_draft(),
        (an_order_placed(cups(3)), reserved),
        OrderPlacedAlready,
        OrderPlacedAlready,
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(
        amend_order(amended("1", 4)),
        (four,),
        (four, one_more),
        (four, one_more),
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(
        confirm_order(),
        NotPlaced,
        After(an_authorized, (an_order_confirmed,)),
        IGNORED,
        IGNORED,
        OrderCancelledAlready,
    ),
    *each(
        record_authorization(100, reference="auth-2"),
        NotPlaced,
        (authorized(100, "auth-2"),),
        (authorized(100, "auth-2"),),
        After(owing, (authorized(100, "auth-2"),)),
        OrderCancelledAlready,
    ),
    *each(
        record_capture(100, reference="capture-2"),
        NotPlaced,
        After(an_authorized, (captured(100, "capture-2"),)),
        After((*an_authorized, an_order_confirmed), (captured(100, "capture-2"),)),
        After((*owing, authorized(100, "auth-2")), (captured(100, "capture-2"),)),
        (captured(100, "capture-2"), refund_required(100, "late capture")),
    ),
    *each(
        void_authorization("auth-2"),
        NotPlaced,
        After((*a_placed, one_left), (voided(60, reference="auth-2"),)),
        After((*a_confirmed, one_left), (voided(60, reference="auth-2"),)),
        After((*a_delivered, one_left, an_order_completed), (voided(60, reference="auth-2"),)),
        After((*a_placed, one_left, all_off, voided(60, "cancelled", "auth-2")), IGNORED),
    ),
    *each(
        record_refund(100),
        NotPlaced,
        After(a_paid, (refunded(100),)),
        After(a_delivered, (refunded(100),)),
        (refunded(100),),
        After((*a_cancelled, captured(100), refund_required(100, "late capture")), (refunded(100),)),
    ),
    *each(
        ship_items(3),
        NotPlaced,
        NotConfirmed,
        (shipped(3), dispatched),
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(
        update_tracking(carrier="Post"),
        NotPlaced,
        NotConfirmed,
        After(a_shipped, (tracked("Post"),)),
        IGNORED,
        OrderCancelledAlready,
    ),
    *each(
        confirm_delivery(),
        NotPlaced,
        NotConfirmed,
        After(a_shipped, (delivered(3),)),
        IGNORED,
        OrderCancelledAlready,
    ),
    *each(
        report_lost(),
        NotPlaced,
        NotConfirmed,
        After(a_shipped, (lost(3),)),
        IGNORED,
        OrderCancelledAlready,
    ),
    *each(
        cancel_lines(("1", 3)),
        NotPlaced,
        (lines_cancelled(("1", 3), amount=750), released),
        (lines_cancelled(("1", 3), amount=750), released),
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(
        cancel_order(),
        (all_off,),
        After(an_authorized, (all_off, voided(750, "cancelled"), released)),
        After(
            (*a_paid, an_order_confirmed),
            (all_off, refund_required(750, "order cancelled"), released),
        ),
        OrderCompletedAlready,
        IGNORED,
    ),
    *each(
        expire_order(),
        IGNORED,
        After(
            an_authorized,
            (an_order_cancelled(("1", 3), amount=750, reason="expired"), voided(750, "expired"), released),
        ),
        IGNORED,
        IGNORED,
        IGNORED,
    ),
    *each(
        request_return(("1", 3)),
        NotPlaced,
        NotConfirmed,
        After(a_delivered, (return_requested(("1", 3)),)),
        (return_requested(("1", 3)),),
        OrderCancelledAlready,
    ),
    *each(
        decide_return(approved=True),
        NotPlaced,
        NotConfirmed,
        After((*a_delivered, return_requested(("1", 3))), (return_approved,)),
        After(a_wanted_back, (return_approved,)),
        OrderCancelledAlready,
    ),
    *each(
        receive_return(("1", 3)),
        NotPlaced,
        NotConfirmed,
        After(
            (*a_delivered, return_requested(("1", 3)), return_approved),
            (return_received(("1", 3), amount=750), refund_required(750, "goods returned"), restocked),
        ),
        After(
            (*a_wanted_back, return_approved),
            (return_received(("1", 3), amount=750), refund_required(750, "goods returned"), restocked),
        ),
        OrderCancelledAlready,
    ),
    *each(
        complete_order(),
        NotPlaced,
        NotConfirmed,
        After(a_delivered, (an_order_completed,)),
        IGNORED,
        OrderCancelledAlready,
    ),
    *each(
        place_hold(),
        NotPlaced,
        (an_order_held,),
        (an_order_held,),
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(
        release_hold(),
        NotPlaced,
        After((*a_placed, an_order_held), (an_order_released,)),
        After((*a_confirmed, an_order_held), (an_order_released,)),
        OrderCompletedAlready,
        OrderCancelledAlready,
    ),
    *each(add_note(), (note,), (note,), (note,), (note,), (note,)),
    *each(set_tags("vip"), (tags,), (tags,), (tags,), (tags,), (tags,)),
    *each(set_metadata(a="b"), (metadata,), (metadata,), (metadata,), (metadata,), (metadata,)),
]
"""One for each cell."""

AGAIN: list[Case] = [
    Case(Status.DRAFT, amend_order(amended("1", 3)), a_draft, IGNORED),
    Case(Status.PLACED, amend_order(amended("1", 3)), a_placed, IGNORED),
    Case(Status.PLACED, record_authorization(750), an_authorized, IGNORED),
    Case(Status.PLACED, record_capture(750), a_paid, IGNORED),
    Case(Status.PLACED, void_authorization(), (*an_authorized, voided(750)), IGNORED),
    Case(Status.PLACED, record_refund(100), (*a_paid, refunded(100)), IGNORED),
    Case(Status.PLACED, expire_order(), a_paid, IGNORED),
    Case(Status.PLACED, expire_order(), an_invoiced, IGNORED),
    Case(Status.PLACED, place_hold(), (*a_placed, an_order_held), IGNORED),
    Case(Status.PLACED, release_hold(), a_placed, IGNORED),
    Case(Status.PLACED, set_tags(), a_placed, IGNORED),
    Case(Status.PLACED, set_metadata(), a_placed, IGNORED),
    Case(Status.CONFIRMED, ship_items(3, shipment_id="S1"), a_shipped, IGNORED),
    Case(Status.COMPLETED, ship_items(3, shipment_id="S1"), a_completed, IGNORED),
    Case(Status.CONFIRMED, update_tracking(carrier="Post"), (*a_shipped, tracked("Post")), IGNORED),
    Case(Status.CONFIRMED, confirm_delivery(), a_delivered, IGNORED),
    Case(Status.CONFIRMED, report_lost(), (*a_shipped, lost(3)), IGNORED),
    Case(Status.COMPLETED, request_return(("1", 3), return_id="R1"), a_wanted_back, IGNORED),
    Case(Status.COMPLETED, decide_return(approved=True), (*a_wanted_back, return_approved), IGNORED),
    Case(
        Status.COMPLETED,
        receive_return(("1", 3)),
        (*a_wanted_back, return_approved, return_received(("1", 3), amount=750)),
        IGNORED,
    ),
]
"""What is so already, where the table's own cells do not say it."""
