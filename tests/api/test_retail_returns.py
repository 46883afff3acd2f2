"""Which earlier orders a line of a credit note is of."""

from datetime import UTC, datetime
from itertools import count

import pytest

from api.retail_csv import CreditLine, Invoice, InvoiceLine, Reject
from api.retail_returns import Return, match

LINES = count(2)
"""Of the file: what is made first stands above."""


def invoice(number: str, *lines: tuple[str, int, int], day: int = 1, customer: str | None = "17850") -> Invoice:
    """Of lines of code, quantity and price."""
    bought = {(sku, price): InvoiceLine(sku, sku, quantity, price) for sku, quantity, price in lines}
    return Invoice(number, customer, "", at(day), bought, [Reject(next(LINES), "", [])])


def credit(
    quantity: int, price: int = 100, *, sku: str = "CUP", day: int = 9, customer: str | None = "17850"
) -> CreditLine:
    line = next(LINES)
    return CreditLine(f"C{line}", 1, customer, at(day), sku, quantity, price, Reject(line, "", [f"C{line}"]))


def at(day: int) -> datetime:
    return datetime(2010, 12, day, tzinfo=UTC)


def matched(invoices: list[Invoice], *lines: CreditLine) -> list[list[Return]]:
    """What each line gives back; all must be of orders."""
    found, rejects = match(invoices, list(lines))
    assert rejects == []
    return [one.returns for one in found]


def refused(invoices: list[Invoice], *lines: CreditLine) -> str:
    """Why the last of them is of no order; only it may be."""
    found, rejects = match(invoices, list(lines))
    (reject,) = rejects
    assert [one.line for one in found] == list(lines[:-1])
    assert (reject.line, reject.fields) == (lines[-1].source.line, lines[-1].source.fields)
    return reject.reason


def test_a_return_is_of_the_newest_earlier_order() -> None:
    invoices = [invoice("A", ("CUP", 6, 100), day=1), invoice("B", ("CUP", 6, 100), day=3)]
    later = invoice("D", ("CUP", 6, 100), day=5)

    assert matched([*invoices, later], credit(2, day=4)) == [[Return("B", {"1": 2}, 200)]]


def test_what_the_newest_order_has_not_is_of_the_one_before() -> None:
    invoices = [invoice("A", ("CUP", 6, 100), day=1), invoice("B", ("POT", 1, 300), ("CUP", 6, 100), day=2)]

    assert matched(invoices, credit(8)) == [[Return("B", {"2": 6}, 600), Return("A", {"1": 2}, 200)]]


def test_what_came_back_once_does_not_come_back_again() -> None:
    invoices = [invoice("A", ("CUP", 6, 100), day=1), invoice("B", ("CUP", 6, 100), day=2)]

    assert matched(invoices, credit(5), credit(5)) == [
        [Return("B", {"1": 5}, 500)],
        [Return("B", {"1": 1}, 100), Return("A", {"1": 4}, 400)],
    ]
    assert "gives back 3, and this customer's earlier orders have 2 left" in refused(invoices, credit(10), credit(3))


def test_within_an_order_what_was_bought_at_the_same_price_comes_back_first() -> None:
    bought = invoice("A", ("CUP", 2, 120), ("CUP", 2, 100), ("CUP", 2, 110))

    assert matched([bought], credit(5)) == [[Return("A", {"2": 2, "1": 2, "3": 1}, 500)]]


def test_on_the_same_day_the_order_that_stands_above_in_the_file_is_earlier() -> None:
    above = invoice("A", ("CUP", 6, 100), day=1)
    line = credit(1, day=1)
    below = invoice("B", ("CUP", 6, 100), day=1)

    assert matched([above, below], line) == [[Return("A", {"1": 1}, 100)]]


def test_credit_notes_are_matched_by_time_whatever_their_place_in_the_file() -> None:
    invoices = [invoice("A", ("CUP", 3, 100))]
    late, early = credit(2, day=5), credit(2, day=4)

    found, rejects = match(invoices, [late, early])

    assert [one.line for one in found] == [early]
    assert [reject.line for reject in rejects] == [late.source.line]


def test_what_comes_later_in_time_changes_nothing() -> None:
    invoices = [invoice("A", ("CUP", 3, 100), day=1), invoice("B", ("CUP", 3, 100), day=2)]
    line = credit(5, day=3)

    assert matched([*invoices, invoice("D", ("CUP", 9, 100), day=4)], line, credit(9, day=5))[:1] == matched(
        invoices, line
    )


def test_no_more_is_refunded_than_was_paid_for_the_order() -> None:
    invoices = [invoice("A", ("CUP", 6, 100), day=1), invoice("B", ("CUP", 6, 100), day=2)]

    assert matched(invoices, credit(4, 250)) == [[Return("B", {"1": 2}, 500), Return("A", {"1": 2}, 500)]]
    assert "gives back 1250 pence, and less is left of what was paid" in refused(invoices, credit(5, 250))


def test_what_a_refund_leaves_of_the_money_bounds_the_next_one() -> None:
    invoices = [invoice("A", ("CUP", 6, 100), ("POT", 1, 50))]

    assert matched(invoices, credit(2, 325)) == [[Return("A", {"1": 2}, 650)]]
    assert "less is left of what was paid" in refused(invoices, credit(2, 325), credit(1, 50, sku="POT"))


def test_a_refused_line_takes_nothing_from_the_ones_after_it() -> None:
    invoices = [invoice("A", ("CUP", 3, 100))]

    found, rejects = match(invoices, [credit(4), credit(3)])

    assert [one.returns for one in found] == [[Return("A", {"1": 3}, 300)]]
    assert len(rejects) == 1


def test_goods_without_a_price_come_back_without_a_refund() -> None:
    assert matched([invoice("A", ("CUP", 3, 0))], credit(3, 0)) == [[Return("A", {"1": 3}, 0)]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"customer": None}, "names no customer"),
        ({"customer": "13047"}, "no earlier order of this customer has this code"),
        ({"sku": "POT"}, "no earlier order of this customer has this code"),
        ({"day": 1}, "no earlier order of this customer has this code"),
    ],
)
def test_what_is_of_no_order_is_refused(line: dict[str, object], reason: str) -> None:
    invoices = [invoice("A", ("CUP", 6, 100), day=2), invoice("B", ("CUP", 6, 100), customer=None)]

    assert reason in refused(invoices, credit(1, **line))  # type: ignore[arg-type]
