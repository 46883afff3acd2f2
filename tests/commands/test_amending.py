"""Changing an order: all of it in one go, or nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from commands.order import AmendOrder
from commands.refusals import (
    AddressFixed,
    AmountOverflow,
    AmountsSettled,
    BelowFulfilled,
    CurrencyMismatch,
    DuplicateLines,
    LineFixed,
    NegativeTotal,
    OrderConfirmedAlready,
    OutOfStock,
    TotalMismatch,
    UnknownLines,
    UnknownProducts,
)
from events.money import MAX_AMOUNT
from events.order import Address, OrderAmended
from events.product import StockReleased, StockReserved
from tests.commands.given import given
from tests.commands.table import a_confirmed, a_draft, a_paid, a_placed, a_shipped
from tests.examples import (
    NOON,
    ORDER,
    a_poster,
    amend_order,
    amended,
    an_order_amended,
    an_order_confirmed,
    cups,
    eur,
    lines_cancelled,
    lost,
    posters,
    refund_required,
    shipped,
    wanted,
)

AN_ADDRESS: dict[str, Any] = {"name": "Ann", "line1": "1 Long Lane", "city": "Leeds", "country": "GB"}


def test_more_pieces_take_more_stock_and_fewer_give_it_back() -> None:
    given(*a_placed).when(amend_order(amended("1", 5))).then(
        an_order_amended(cups(5)), ("CUP", StockReserved(NOON, ORDER, 2))
    )
    given(*a_placed).when(amend_order(amended("1", 1))).then(
        an_order_amended(cups(1)), ("CUP", StockReleased(NOON, ORDER, 2))
    )


def test_an_amendment_that_takes_more_than_there_is_changes_nothing() -> None:
    given(*a_placed).when(amend_order(amended("1", 6))).refused(OutOfStock, short={"CUP": {"asked": 3, "available": 2}})


def test_lines_come_and_go_in_one_change_and_their_ids_are_not_used_again() -> None:
    once = given(*a_placed, a_poster).when(amend_order(wanted("POSTER", 1)))
    once.then(an_order_amended(posters(1, "2")), ("CUP", StockReleased(NOON, ORDER, 3)))
    (
        given(*a_placed, a_poster, an_order_amended(posters(1, "2")), ("CUP", StockReleased(NOON, ORDER, 3)))
        .when(amend_order(wanted("CUP", 1)))
        .then(an_order_amended(cups(1, "3")), ("CUP", StockReserved(NOON, ORDER, 1)))
    )


def test_stock_that_one_line_gives_back_is_there_for_another() -> None:
    given(*a_placed).when(amend_order(wanted("CUP", 5, unit_price=200))).then(
        an_order_amended(cups(5, "2", price=200)), ("CUP", StockReserved(NOON, ORDER, 2))
    )


def test_a_draft_is_amended_without_stock() -> None:
    given(*a_draft).when(amend_order(amended("1", 9))).then(an_order_amended(cups(9)))


def test_a_lower_total_than_was_captured_is_to_be_given_back() -> None:
    given(*a_paid).when(amend_order(amended("1", 2))).then(
        an_order_amended(cups(2)), refund_required(250, "order amended"), ("CUP", StockReleased(NOON, ORDER, 1))
    )


def test_what_is_taken_away_is_taken_away_from_all_shares() -> None:
    shared = given(*a_placed).when(amend_order(shipping=eur(10))).outcome[0]
    assert isinstance(shared, OrderAmended)
    none = given(*a_placed, shared).when(amend_order(shipping=eur(0)))
    none.then(an_order_amended(cups(3)))


def test_of_equal_lines_the_earlier_one_carries_the_odd_cent_whatever_is_named_first() -> None:
    new = wanted("POSTER", 3, unit_price=250)
    fact = given(*a_placed, a_poster).when(amend_order(new, amended("1", 3), shipping=eur(1))).outcome[0]
    assert isinstance(fact, OrderAmended)
    assert [(line.line_id, line.shipping) for line in fact.lines] == [("1", 1), ("2", 0)]


def test_what_is_not_given_is_left_alone() -> None:
    given(*a_placed).when(amend_order(email="a@b.example")).then(
        OrderAmended(NOON, (cups(3),), 750, 0, 0, 0, 750, "a@b.example")
    )


def test_a_line_of_which_something_was_shipped_keeps_its_price() -> None:
    given(*a_confirmed, shipped(1)).when(amend_order(amended("1", 3, unit_price=1))).refused(LineFixed, line_ids=["1"])


def test_a_line_keeps_its_product() -> None:
    line = {"line_id": "1", "sku": "POSTER", "quantity": 3}
    given(*a_placed, a_poster).when(amend_order(line)).refused(LineFixed, line_ids=["1"])


def test_a_line_of_which_something_was_cancelled_stands() -> None:
    part = (*a_placed, lines_cancelled(("1", 1), amount=250), ("CUP", StockReleased(NOON, ORDER, 1)))
    given(*part).when(amend_order(amended("1", 4))).refused(LineFixed, line_ids=["1"])
    given(*part).when(amend_order(amended("1", 3), wanted("CUP", 1))).then(
        an_order_amended(cups(3), cups(1, "2")), ("CUP", StockReserved(NOON, ORDER, 1))
    )


def test_only_what_is_open_is_taken_away() -> None:
    two_sent = (*a_confirmed, shipped(2), a_poster)
    given(*two_sent).when(amend_order(amended("1", 1))).refused(BelowFulfilled, lines={"1": {"asked": 1, "least": 2}})
    given(*two_sent).when(amend_order(wanted("POSTER", 1))).refused(
        BelowFulfilled, lines={"1": {"asked": 0, "least": 2}}
    )


def test_a_line_of_which_all_was_lost_is_not_taken_away_whole() -> None:
    given(*a_shipped, lost(3), a_poster).when(amend_order(wanted("POSTER", 1))).refused(
        BelowFulfilled, lines={"1": {"asked": 0, "least": 1}}
    )


def test_a_line_of_which_nothing_is_open_stays_named_or_not() -> None:
    given(*a_shipped, a_poster).when(amend_order(wanted("POSTER", 1))).then(an_order_amended(cups(3), posters(1, "2")))


def test_what_cancelled_lines_carry_of_the_extras_stays_with_them() -> None:
    shared = given(*a_placed, a_poster).when(amend_order(amended("1", 3), wanted("POSTER", 1), shipping=eur(100)))
    shares = shared.outcome[0]
    assert isinstance(shares, OrderAmended)
    assert [line.shipping for line in shares.lines] == [27, 73]
    cancelled = (*a_placed, a_poster, shares, lines_cancelled(("1", 3), amount=777))
    given(*cancelled).when(amend_order(shipping=eur(26))).refused(
        AmountsSettled, amounts={"shipping": {"asked": 26, "settled": 27}}
    )
    fewer = given(*cancelled).when(amend_order(shipping=eur(40))).outcome[0]
    assert isinstance(fewer, OrderAmended)
    assert [line.shipping for line in fewer.lines] == [27, 13]


def test_a_discount_is_not_more_than_the_other_lines_cost() -> None:
    one_off = (*a_placed, lines_cancelled(("1", 3), amount=750))
    given(*one_off).when(amend_order(wanted("CUP", 1), discount=eur(251))).refused(
        NegativeTotal, subtotal=250, discount=251
    )


def test_the_address_is_another_one_only_until_the_first_shipment() -> None:
    given(*a_confirmed).when(amend_order(shipping_address=AN_ADDRESS)).then(
        OrderAmended(NOON, (cups(3),), 750, 0, 0, 0, 750, None, Address(**AN_ADDRESS))
    )
    given(*a_shipped).when(amend_order(shipping_address=AN_ADDRESS)).refused(AddressFixed, pointer="/shipping_address")


def test_who_may_amend_before_confirmation_only_is_refused_after_it() -> None:
    command = amend_order(amended("1", 2), before_confirmation=True)
    given(*a_placed, an_order_confirmed).when(command).refused(OrderConfirmedAlready)
    assert given(*a_placed).when(command).refusal is None


def test_the_total_that_is_expected_is_the_one_that_is_owed_afterwards() -> None:
    part = (*a_placed, lines_cancelled(("1", 1), amount=250), a_poster)
    lines = amended("1", 3), wanted("POSTER", 1)
    assert given(*part).when(amend_order(*lines, expected_total=eur(2499))).refusal is None
    given(*part).when(amend_order(*lines, expected_total=eur(2749))).refused(TotalMismatch, expected=2749, total=2499)


def test_unknown_lines_and_products_are_named() -> None:
    given(*a_placed).when(amend_order(amended("7", 1))).refused(UnknownLines, line_ids=["7"])
    given(*a_placed).when(amend_order(amended("1", 3), wanted("B", 1), wanted("A", 1))).refused(
        UnknownProducts, skus=["A", "B"]
    )


def test_the_same_product_twice_at_the_same_price_is_refused() -> None:
    given(*a_placed).when(amend_order(amended("1", 3), wanted("CUP", 1))).refused(DuplicateLines, skus=["CUP"])


def test_a_price_in_another_currency_is_refused_with_its_place() -> None:
    line = {"line_id": "1", "quantity": 3, "unit_price": {"amount": 1, "currency": "USD"}}
    given(*a_placed).when(amend_order(line)).refused(
        CurrencyMismatch, pointer="/lines/0/unit_price", expected="EUR", got="USD"
    )


def test_a_total_that_cannot_be_kept_is_refused() -> None:
    given(*a_draft).when(amend_order(amended("1", 2, unit_price=MAX_AMOUNT))).refused(
        AmountOverflow, subtotal=2 * MAX_AMOUNT, total=2 * MAX_AMOUNT, largest=MAX_AMOUNT
    )


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"quantity": 1}], "needs a line_id"),
        ([amended("1", 1), amended("1", 2)], "names the same line twice"),
        ([], "at least 1 item"),
        ([{"line_id": "1", "quantity": 0}], "greater than 0"),
        ([{"line_id": "1", "quantity": 1_000_000_001}], "less than or equal to 1000000000"),
    ],
)
def test_what_is_wrong_with_lines_is_said_where_it_stands(lines: list[Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as error:
        AmendOrder.model_validate({"order_id": ORDER, "at": NOON, "lines": lines})
    assert error.value.errors()[0]["loc"][0] == "lines"
