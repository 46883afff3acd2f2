"""An order's decisions, as sentences."""

import pytest
from pydantic import ValidationError

from commands.order import ALLOWED, Order, Status, evolve
from commands.refusals import (
    AlreadyShipped,
    AmountOverflow,
    CurrencyMismatch,
    DuplicateLines,
    ExceedsOpen,
    NegativeTotal,
    NoPrice,
    NoSuchOrder,
    NotConfirmed,
    OrderCancelledAlready,
    OrderExists,
    OutOfStock,
    OverCapture,
    PaymentRequired,
    ShipmentExists,
    TotalMismatch,
    UnknownLines,
    UnknownProducts,
)
from events.money import MAX_AMOUNT
from events.product import StockDispatched, StockReleased, StockReserved
from tests.commands.given import given
from tests.examples import (
    NOON,
    ORDER,
    a_cup,
    a_poster,
    an_order_cancelled,
    an_order_confirmed,
    an_order_placed,
    authorized,
    cancel_order,
    captured,
    confirm_order,
    cups,
    cups_received,
    eur,
    place_order,
    posters,
    record_authorization,
    record_capture,
    ship_items,
    shipped,
    wanted,
)

# Place -------------------------------------------------------------------------------------------------------


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


# Confirm -----------------------------------------------------------------------------------------------------


def test_an_order_on_invoice_terms_is_confirmed_unpaid() -> None:
    given(an_order_placed(cups(2), payment_terms="invoice")).when(confirm_order()).then(an_order_confirmed)


def test_a_prepaid_order_needs_its_payment_before_it_is_confirmed() -> None:
    given(an_order_placed(cups(2)), authorized(499)).when(confirm_order()).refused(
        PaymentRequired, total=500, authorized=499
    )


def test_a_prepaid_order_that_is_authorized_in_full_is_confirmed() -> None:
    given(an_order_placed(cups(2)), authorized(500)).when(confirm_order()).then(an_order_confirmed)


def test_confirming_twice_is_ignored() -> None:
    given(an_order_placed(cups(2)), an_order_confirmed).when(confirm_order()).ignored()


# Pay ---------------------------------------------------------------------------------------------------------


def test_an_authorization_is_recorded() -> None:
    given(an_order_placed(cups(2))).when(record_authorization(500)).then(authorized(500))


def test_a_capture_within_the_authorization_is_recorded() -> None:
    given(an_order_placed(cups(2)), authorized(500)).when(record_capture(500)).then(captured(500))


def test_more_than_is_authorized_is_not_captured() -> None:
    given(an_order_placed(cups(2)), authorized(500), captured(400)).when(record_capture(101)).refused(
        OverCapture, authorized=500, captured=400, amount=101
    )


def test_a_payment_in_another_currency_is_refused() -> None:
    given(an_order_placed(cups(2))).when(record_authorization(500, "USD")).refused(
        CurrencyMismatch, pointer="/amount", expected="EUR", got="USD"
    )


# Ship --------------------------------------------------------------------------------------------------------

a_confirmed_order = (a_cup, cups_received(5), an_order_placed(cups(3)), an_order_confirmed)


def test_a_part_can_be_shipped_and_its_stock_leaves() -> None:
    (
        given(*a_confirmed_order, ("CUP", StockReserved(NOON, ORDER, 3)))
        .when(ship_items(2))
        .then(shipped(2), ("CUP", StockDispatched(NOON, ORDER, 2)))
    )


def test_no_more_than_is_open_is_shipped() -> None:
    given(*a_confirmed_order, shipped(2)).when(ship_items(2)).refused(ExceedsOpen, lines={"1": {"asked": 2, "open": 1}})


def test_an_order_is_shipped_only_after_it_is_confirmed() -> None:
    given(an_order_placed(cups(3))).when(ship_items(1)).refused(NotConfirmed)


def test_unknown_lines_are_named() -> None:
    given(*a_confirmed_order).when(ship_items(1, line_id="7")).refused(UnknownLines, line_ids=["7"])


def test_the_same_shipment_again_is_ignored() -> None:
    given(*a_confirmed_order, shipped(2)).when(ship_items(2, shipment_id="S1")).ignored()


def test_another_shipment_with_a_known_id_is_refused() -> None:
    given(*a_confirmed_order, shipped(2)).when(ship_items(1, shipment_id="S1")).refused(
        ShipmentExists, shipment_id="S1"
    )


# Cancel ------------------------------------------------------------------------------------------------------


def test_cancelling_gives_the_stock_back() -> None:
    (
        given(a_cup, cups_received(5), an_order_placed(cups(2)), ("CUP", StockReserved(NOON, ORDER, 2)))
        .when(cancel_order())
        .then(an_order_cancelled(("1", 2)), ("CUP", StockReleased(NOON, ORDER, 2)))
    )


def test_a_confirmed_order_can_be_cancelled_before_anything_is_shipped() -> None:
    given(an_order_placed(posters(2)), an_order_confirmed).when(cancel_order()).then(an_order_cancelled(("1", 2)))


def test_cancelling_twice_is_ignored() -> None:
    given(an_order_placed(cups(2)), an_order_cancelled(("1", 2))).when(cancel_order()).ignored()


def test_a_shipped_order_cannot_be_cancelled() -> None:
    given(*a_confirmed_order, shipped(1)).when(cancel_order()).refused(AlreadyShipped, shipments=["S1"])


@pytest.mark.parametrize(
    "command",
    [confirm_order(), record_authorization(1), record_capture(1), ship_items(1)],
    ids=lambda c: type(c).__name__,
)
def test_a_cancelled_order_takes_nothing_more(command: object) -> None:
    given(an_order_placed(cups(2)), an_order_cancelled(("1", 2))).when(command).refused(OrderCancelledAlready)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [confirm_order(), record_authorization(1), record_capture(1), ship_items(1), cancel_order()],
    ids=lambda c: type(c).__name__,
)
def test_an_order_that_does_not_exist_takes_nothing(command: object) -> None:
    given(a_cup).when(command).refused(NoSuchOrder)  # type: ignore[arg-type]


# The order itself --------------------------------------------------------------------------------------------


def test_what_was_cancelled_or_shipped_is_no_longer_open() -> None:
    order: Order | None = None
    for fact in (an_order_placed(cups(3), posters(2, "2")), an_order_confirmed, shipped(2)):
        order = evolve(order, fact)
    assert order is not None
    assert [line.open for line in order.lines] == [1, 2]


def test_every_status_says_what_is_allowed_in_it() -> None:
    assert set(ALLOWED) == set(Status)
