"""Placing an order, and drafting one before."""

import pytest
from pydantic import ValidationError

from commands.refusals import (
    AmountOverflow,
    CurrencyMismatch,
    DuplicateLines,
    NegativeTotal,
    NoPrice,
    OrderExists,
    OutOfStock,
    TotalMismatch,
    UnknownProducts,
)
from events.money import MAX_AMOUNT
from events.order import OrderPlaced
from events.product import ProductListed, StockReserved
from tests.commands.given import given
from tests.examples import (
    NOON,
    ORDER,
    a_cup,
    a_poster,
    an_order_drafted,
    an_order_placed,
    cups,
    cups_received,
    eur,
    place_draft,
    place_order,
    posters,
    wanted,
)


def test_placing_an_order_keeps_stock_for_it() -> None:
    (
        given(a_cup, cups_received(5))
        .when(place_order(wanted("CUP", 2)))
        .then(an_order_placed(cups(2)), ("CUP", StockReserved(NOON, ORDER, 2)))
    )


def test_an_untracked_product_can_be_ordered_without_stock() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 9))).then(an_order_placed(posters(9)))


def test_an_order_for_more_than_there_is_is_refused_and_says_how_much_there_is() -> None:
    (
        given(a_cup, cups_received(1))
        .when(place_order(wanted("CUP", 2)))
        .refused(OutOfStock, short={"CUP": {"asked": 2, "available": 1}})
    )


def test_stock_that_is_kept_for_another_order_is_not_available() -> None:
    (
        given(a_cup, cups_received(5), ("CUP", StockReserved(NOON, ORDER, 4)))
        .when(place_order(wanted("CUP", 2)))
        .refused(OutOfStock, short={"CUP": {"asked": 2, "available": 1}})
    )


def test_two_lines_of_one_product_share_its_stock() -> None:
    (
        given(a_cup, cups_received(5))
        .when(place_order(wanted("CUP", 3), wanted("CUP", 3, unit_price=200)))
        .refused(OutOfStock, short={"CUP": {"asked": 6, "available": 5}})
    )


def test_the_same_product_twice_at_the_same_price_is_refused() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 1), wanted("POSTER", 2))).refused(DuplicateLines, skus=["POSTER"])


def test_every_unknown_product_is_named() -> None:
    given(a_cup).when(place_order(wanted("B", 1), wanted("A", 1))).refused(UnknownProducts, skus=["A", "B"])


def test_a_product_without_a_price_in_the_currency_is_refused() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 1), currency="USD")).refused(
        NoPrice, skus=["POSTER"], currency="USD"
    )


def test_a_price_that_rides_in_wins_over_the_catalogue() -> None:
    placed = given(a_poster).when(place_order(wanted("POSTER", 2, unit_price=5))).outcome[0]
    assert getattr(placed, "total", None) == 10


def test_a_price_in_another_currency_is_refused_with_its_place() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 1, unit_price=5), currency="JPY")).refused(
        CurrencyMismatch, pointer="/lines/0/unit_price", expected="JPY", got="EUR"
    )


def test_the_total_is_lines_less_discount_plus_shipping_plus_tax() -> None:
    command = place_order(wanted("POSTER", 1), discount=eur(99), shipping=eur(500), tax=eur(7))
    placed = given(a_poster).when(command).outcome[0]
    assert getattr(placed, "total", None) == 1999 - 99 + 500 + 7


def test_another_total_than_expected_is_refused_and_both_are_shown() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 1), expected_total=eur(1))).refused(
        TotalMismatch, expected=1, total=1999
    )


def test_a_discount_larger_than_the_order_is_refused() -> None:
    given(a_poster).when(place_order(wanted("POSTER", 1), discount=eur(2000))).refused(
        NegativeTotal, subtotal=1999, discount=2000
    )


def test_a_total_that_cannot_be_kept_is_refused() -> None:
    total = 1_000_000_000 * MAX_AMOUNT
    given(a_poster).when(place_order(wanted("POSTER", 1_000_000_000, unit_price=MAX_AMOUNT))).refused(
        AmountOverflow, subtotal=total, total=total, largest=MAX_AMOUNT
    )


def test_an_order_is_placed_once() -> None:
    given(a_poster, an_order_placed(posters(1))).when(place_order(wanted("POSTER", 1))).refused(OrderExists)


@pytest.mark.parametrize("quantity", [0, -1, 1_000_000_001, True, 1.5, "2"])
def test_a_quantity_is_a_whole_number_from_one_to_a_milliard(quantity: object) -> None:
    with pytest.raises(ValidationError):
        place_order({"sku": "CUP", "quantity": quantity})


@pytest.mark.parametrize("field", ["currency", "unit_price"])
def test_an_unknown_currency_is_refused_where_it_stands(field: str) -> None:
    price = {"amount": 5, "currency": "XXX"}
    lines = [wanted("CUP", 1) | ({"unit_price": price} if field == "unit_price" else {})]
    with pytest.raises(ValidationError) as error:
        place_order(*lines, **({"currency": "XXX"} if field == "currency" else {}))
    assert field in error.value.errors()[0]["loc"]


def test_shipping_discount_and_tax_are_shared_by_what_the_lines_cost() -> None:
    command = place_order(wanted("POSTER", 1), wanted("CUP", 2), shipping=eur(500), discount=eur(100), tax=eur(10))
    (placed,) = (one for one in given(a_poster, a_cup, cups_received(5)).when(command).outcome[:1])
    assert isinstance(placed, OrderPlaced)
    # 1999 and 500 of 2499: 399.96 and 100.04, 79.99 and 20.01, 7.9992 and 2.0008
    assert [(line.shipping, line.discount, line.tax, line.total) for line in placed.lines] == [
        (400, 80, 8, 2327),
        (100, 20, 2, 582),
    ]
    assert sum(line.total for line in placed.lines) == placed.total


def test_a_discount_on_more_than_the_goods_leaves_no_line_below_nothing() -> None:
    """Each line is worth 2: shared by that, the discount of 8 would take 3 from a line that costs no more than 2."""
    lines = wanted("POSTER", 1, unit_price=2), wanted("POSTER", 2, unit_price=1), wanted("CUP", 1, unit_price=2)
    command = place_order(*lines, shipping=eur(1), tax=eur(1), discount=eur(8))
    placed = given(a_poster, a_cup, cups_received(5)).when(command).outcome[0]
    assert isinstance(placed, OrderPlaced)
    assert [line.total for line in placed.lines] == [0, 0, 0]


def test_a_draft_keeps_no_stock_and_needs_none() -> None:
    given(a_cup).when(place_order(wanted("CUP", 9), draft=True)).then(an_order_drafted(cups(9)))


def test_a_draft_that_is_placed_keeps_its_prices_and_takes_its_stock() -> None:
    dearer = ProductListed(NOON, "CUP", "A cup", {"EUR": 999}, tracked=True)
    (
        given(a_cup, cups_received(5), an_order_drafted(cups(2)), dearer)
        .when(place_draft())
        .then(an_order_placed(cups(2)), ("CUP", StockReserved(NOON, ORDER, 2)))
    )


def test_a_draft_is_not_placed_without_its_stock() -> None:
    given(a_cup, cups_received(1), an_order_drafted(cups(2))).when(place_draft()).refused(
        OutOfStock, short={"CUP": {"asked": 2, "available": 1}}
    )


def test_stock_that_is_counted_since_the_draft_is_taken_too() -> None:
    counted = ProductListed(NOON, "POSTER", "A poster, printed on demand", {"EUR": 1999}, tracked=True)
    given(a_poster, an_order_drafted(posters(2)), counted).when(place_draft()).refused(
        OutOfStock, short={"POSTER": {"asked": 2, "available": 0}}
    )
