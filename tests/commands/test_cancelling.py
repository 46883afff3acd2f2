"""Calling an order off, in part or whole."""

import pytest

from commands.refusals import AlreadyShipped, ExceedsOpen, UnknownLines
from events.order import OrderPlaced
from events.product import StockReleased
from tests.commands.given import Fact, given
from tests.commands.table import a_confirmed, a_paid, a_placed, a_shipped
from tests.examples import (
    NOON,
    ORDER,
    a_cup,
    authorized,
    cancel_lines,
    cancel_order,
    cups_received,
    eur,
    expire_order,
    lines_cancelled,
    lost,
    place_order,
    refund_required,
    shipped,
    wanted,
)


def test_a_part_that_is_called_off_gives_its_stock_back() -> None:
    given(*a_placed).when(cancel_lines(("1", 2))).then(
        lines_cancelled(("1", 2), amount=500), ("CUP", StockReleased(NOON, ORDER, 2))
    )


def test_no_more_than_is_open_is_called_off() -> None:
    given(*a_confirmed, shipped(2)).when(cancel_lines(("1", 2))).refused(
        ExceedsOpen, lines={"1": {"asked": 2, "open": 1}}
    )


def test_unknown_lines_are_named() -> None:
    given(*a_placed).when(cancel_lines(("7", 1), ("6", 1))).refused(UnknownLines, line_ids=["6", "7"])


def test_what_was_captured_for_what_is_called_off_is_to_be_given_back() -> None:
    given(*a_paid).when(cancel_lines(("1", 1))).then(
        lines_cancelled(("1", 1), amount=250),
        refund_required(250, "lines cancelled"),
        ("CUP", StockReleased(NOON, ORDER, 1)),
    )


def test_what_was_lost_is_called_off_without_stock_to_give_back() -> None:
    given(*a_shipped, lost(3)).when(cancel_lines(("1", 3))).then(
        lines_cancelled(("1", 3), amount=750), refund_required(750, "lines cancelled")
    )


def test_a_shipped_order_cannot_be_cancelled() -> None:
    given(*a_confirmed, shipped(1)).when(cancel_order()).refused(AlreadyShipped, shipments=["S1"])


def test_an_order_that_is_authorized_only_expires() -> None:
    assert given(*a_placed, authorized(750)).when(expire_order()).outcome


@pytest.mark.parametrize("total", [0, 1, 2, 5, 15, 1000])
def test_all_pieces_of_a_line_come_to_its_total_whatever_the_steps(total: int) -> None:
    """Ten pieces, called off one by one: at 15 in all, each is worth 1.5, rounded half-even on the way."""
    command = place_order(wanted("CUP", 10, unit_price=0), shipping=eur(total))
    (placed,) = given(a_cup, cups_received(10)).when(command).outcome[:1]
    assert isinstance(placed, OrderPlaced)
    story: list[Fact] = [a_cup, cups_received(10), placed]
    amounts = []
    for _ in range(10):
        fact = given(*story).when(cancel_lines(("1", 1))).outcome[0]
        story.append(fact)
        amounts.append(getattr(fact, "amount", -1))
    assert sum(amounts) == total
    assert min(amounts) >= total // 10
    assert max(amounts) <= -(-total // 10)
