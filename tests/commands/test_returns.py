"""Goods that come back."""

import pytest

from commands.order import OrderCommand
from commands.refusals import (
    ExceedsDelivered,
    ExceedsReturn,
    ReturnDecided,
    ReturnExists,
    ReturnNotApproved,
    UnknownLines,
    UnknownReturn,
)
from events.product import StockReturned
from tests.commands.given import given
from tests.commands.table import a_delivered, a_shipped
from tests.examples import (
    NOON,
    ORDER,
    decide_return,
    delivered,
    receive_return,
    refund_required,
    request_return,
    return_approved,
    return_received,
    return_rejected,
    return_requested,
)

asked_back = (*a_delivered, return_requested(("1", 2)))


def test_what_has_not_arrived_does_not_come_back() -> None:
    given(*a_shipped).when(request_return(("1", 1))).refused(
        ExceedsDelivered, lines={"1": {"asked": 1, "returnable": 0}}
    )


def test_what_is_asked_back_already_is_not_asked_back_again() -> None:
    given(*asked_back).when(request_return(("1", 2))).refused(
        ExceedsDelivered, lines={"1": {"asked": 2, "returnable": 1}}
    )


def test_what_was_rejected_may_be_asked_for_again() -> None:
    given(*asked_back, return_rejected).when(request_return(("1", 3))).then(return_requested(("1", 3), return_id="R2"))


def test_a_part_may_come_back_and_the_rest_be_asked_for_again() -> None:
    one_came = (*asked_back, return_approved, return_received(("1", 1), amount=250))
    given(*one_came).when(request_return(("1", 2))).then(return_requested(("1", 2), return_id="R2"))


def test_a_return_that_is_not_to_be_sold_again_is_not_put_into_stock() -> None:
    given(*asked_back, return_approved).when(receive_return(("1", 2), restock=False)).then(
        return_received(("1", 2), amount=500, restock=False), refund_required(500, "goods returned")
    )


def test_a_part_of_a_return_is_put_into_stock() -> None:
    given(*asked_back, return_approved).when(receive_return(("1", 1))).then(
        return_received(("1", 1), amount=250),
        refund_required(250, "goods returned"),
        ("CUP", StockReturned(NOON, ORDER, 1)),
    )


def test_more_than_was_approved_does_not_come_back() -> None:
    given(*asked_back, return_approved).when(receive_return(("1", 3))).refused(
        ExceedsReturn, lines={"1": {"asked": 3, "approved": 2}}
    )


def test_what_was_not_approved_does_not_come_back() -> None:
    given(*asked_back).when(receive_return(("1", 2))).refused(
        ReturnNotApproved, return_id="R1", return_status="requested"
    )
    given(*asked_back, return_rejected).when(receive_return(("1", 2))).refused(
        ReturnNotApproved, return_id="R1", return_status="rejected"
    )


def test_a_return_is_decided_once() -> None:
    given(*asked_back).when(decide_return(approved=False)).then(return_rejected)
    given(*asked_back, return_rejected).when(decide_return(approved=False)).ignored()
    given(*asked_back, return_rejected).when(decide_return(approved=True)).refused(
        ReturnDecided, return_id="R1", return_status="rejected"
    )
    given(*asked_back, return_approved).when(decide_return(approved=False)).refused(
        ReturnDecided, return_id="R1", return_status="approved"
    )


def test_a_known_return_with_other_contents_is_refused() -> None:
    given(*asked_back).when(request_return(("1", 1), return_id="R1")).refused(ReturnExists, return_id="R1")


def test_unknown_lines_are_named() -> None:
    given(*a_delivered).when(request_return(("7", 1))).refused(UnknownLines, line_ids=["7"])


@pytest.mark.parametrize("command", [decide_return("R9", approved=True), receive_return(("1", 1), return_id="R9")])
def test_an_unknown_return_is_refused(command: OrderCommand) -> None:
    given(*asked_back, delivered(0)).when(command).refused(UnknownReturn, return_id="R9")  # type: ignore[arg-type]
