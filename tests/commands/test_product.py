"""A product's decisions, as sentences."""

import pytest
from pydantic import ValidationError

from commands.product import ListProduct
from commands.refusals import NoSuchProduct, StockBelowReserved, StockNotTracked
from events.product import ProductListed, StockAdjusted, StockReceived, StockReserved
from tests.commands.given import given
from tests.examples import NOON, ORDER, a_cup, adjust_cups, cups_received, eur, list_cup, receive_cups


def test_a_product_is_listed() -> None:
    given().when(list_cup()).then(a_cup)


def test_listing_it_again_unchanged_is_ignored() -> None:
    given(a_cup).when(list_cup()).ignored()


def test_a_new_price_is_a_new_listing_and_the_stock_stays() -> None:
    repriced = ProductListed(NOON, "CUP", "A cup", {"EUR": 300}, tracked=True)
    given(a_cup, cups_received(3)).when(list_cup(price=300)).then(repriced)
    assert given(a_cup, cups_received(3), repriced).shelf["CUP"].on_hand == 3


def test_goods_that_arrive_are_counted() -> None:
    given(a_cup).when(receive_cups(3)).then(("CUP", StockReceived(NOON, 3)))


def test_goods_of_an_unknown_product_are_refused() -> None:
    given().when(receive_cups(3)).refused(NoSuchProduct)


def test_the_stock_of_an_untracked_product_is_not_counted() -> None:
    given(ProductListed(NOON, "CUP", "A cup", {}, tracked=False)).when(receive_cups(3)).refused(
        StockNotTracked, sku="CUP"
    )


def test_a_count_can_be_corrected_downwards() -> None:
    given(a_cup, cups_received(3)).when(adjust_cups(-3)).then(("CUP", StockAdjusted(NOON, -3)))


def test_what_is_kept_for_orders_cannot_be_corrected_away() -> None:
    given(a_cup, cups_received(3), ("CUP", StockReserved(NOON, ORDER, 2))).when(adjust_cups(-2)).refused(
        StockBelowReserved, on_hand=3, reserved=2, adjustment=-2
    )


def test_two_prices_in_one_currency_are_refused() -> None:
    with pytest.raises(ValidationError, match="two prices in one currency"):
        ListProduct.model_validate({"sku": "CUP", "at": NOON, "name": "A cup", "prices": [eur(1), eur(2)]})


@pytest.mark.parametrize("sku", ["", " CUP", "CUP ", "C\x00P", "C\nP", "X" * 65])
def test_a_sku_is_one_to_64_printable_characters(sku: str) -> None:
    with pytest.raises(ValidationError):
        ListProduct.model_validate({"sku": sku, "at": NOON, "name": "A cup", "prices": []})
