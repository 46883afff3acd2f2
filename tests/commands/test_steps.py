"""Confirming, completing and holding an order."""

from commands.refusals import NotReserved, OnHold, OrderUnfinished, PaymentRequired
from events.order import OrderHeld
from tests.commands.given import given
from tests.commands.table import a_confirmed, a_delivered, a_placed, a_shipped, an_authorized, an_invoiced
from tests.examples import (
    NOON,
    an_order_amended,
    an_order_confirmed,
    an_order_held,
    an_order_placed,
    authorized,
    captured,
    complete_order,
    confirm_order,
    cups,
    lines_cancelled,
    lost,
    place_hold,
    refunded,
    ship_items,
    shipped,
    voided,
)


def test_an_order_on_invoice_terms_is_confirmed_unpaid() -> None:
    given(*an_invoiced).when(confirm_order()).then(an_order_confirmed)


def test_a_prepaid_order_needs_its_payment_before_it_is_confirmed() -> None:
    given(an_order_placed(cups(2)), authorized(499)).when(confirm_order()).refused(
        PaymentRequired, total=500, paid=0, authorized=499
    )


def test_what_was_voided_does_not_pay_for_an_order() -> None:
    given(*an_authorized, voided(750)).when(confirm_order()).refused(PaymentRequired, total=750, paid=0, authorized=0)


def test_what_was_given_back_does_not_pay_for_an_order() -> None:
    given(*an_authorized, captured(750), refunded(1)).when(confirm_order()).refused(
        PaymentRequired, total=750, paid=749, authorized=0
    )


def test_what_is_captured_and_what_is_authorized_pay_together() -> None:
    given(*a_placed, authorized(500, "a"), captured(500, "a"), authorized(250, "b")).when(confirm_order()).then(
        an_order_confirmed
    )


def test_what_was_cancelled_needs_no_payment() -> None:
    given(*a_placed, lines_cancelled(("1", 3), amount=750)).when(confirm_order()).then(an_order_confirmed)


def test_an_order_on_hold_is_not_confirmed() -> None:
    given(*an_authorized, an_order_held).when(confirm_order()).refused(OnHold, hold_reason="looks odd")


def test_an_order_on_hold_is_not_shipped() -> None:
    given(*a_confirmed, an_order_held).when(ship_items(1)).refused(OnHold, hold_reason="looks odd")


def test_an_order_on_hold_is_not_completed() -> None:
    given(*a_delivered, an_order_held).when(complete_order()).refused(OnHold, hold_reason="looks odd")


def test_a_hold_for_another_reason_says_so() -> None:
    given(*a_placed, an_order_held).when(place_hold("address unknown")).then(OrderHeld(NOON, "address unknown"))


def test_an_order_whose_stock_is_not_all_reserved_is_not_confirmed() -> None:
    """No command leads here: it is the last look before the order is taken on."""
    given(*an_authorized, shipped(3), lost(3)).when(confirm_order()).refused(NotReserved, line_ids=["1"])


def test_an_order_is_not_completed_while_something_is_open() -> None:
    given(*a_confirmed, authorized(750), captured(750)).when(complete_order()).refused(
        OrderUnfinished, open={"1": 3}, under_way=[], balance=0
    )


def test_an_order_is_not_completed_while_something_is_under_way() -> None:
    given(*a_shipped).when(complete_order()).refused(OrderUnfinished, open={}, under_way=["S1"], balance=0)


def test_an_order_is_not_completed_while_somebody_owes_something() -> None:
    given(*a_delivered, refunded(1)).when(complete_order()).refused(OrderUnfinished, open={}, under_way=[], balance=1)


def test_an_order_is_not_completed_while_pieces_that_were_lost_are_open() -> None:
    given(*a_shipped, lost(3)).when(complete_order()).refused(OrderUnfinished, open={"1": 3}, under_way=[], balance=0)


def test_an_amendment_that_costs_more_leaves_the_order_to_be_paid() -> None:
    given(*a_delivered, an_order_amended(cups(4))).when(complete_order()).refused(
        OrderUnfinished, open={"1": 1}, under_way=[], balance=250
    )
