"""What quantities and ledger amount to."""

from types import SimpleNamespace
from typing import Any

import pytest

from events.status import fulfilment_status, open_quantity, payment_status, return_status


def line(quantity: int, **counts: int) -> Any:
    return SimpleNamespace(
        quantity=quantity, **(dict.fromkeys(("cancelled", "shipped", "delivered", "lost", "returned"), 0) | counts)
    )


@pytest.mark.parametrize(
    ("total", "authorized", "captured", "refunded", "status"),
    [
        (100, 0, 0, 0, "unpaid"),
        (100, 99, 0, 0, "unpaid"),
        (100, 100, 0, 0, "authorized"),
        (100, 100, 99, 0, "partly_paid"),
        (100, 100, 100, 0, "paid"),
        (100, 120, 120, 0, "paid"),
        (100, 100, 100, 1, "partly_refunded"),
        (0, 100, 100, 100, "refunded"),
        (0, 0, 0, 0, "none"),
        (0, 100, 100, 0, "paid"),
    ],
)
def test_the_payment_status(total: int, authorized: int, captured: int, refunded: int, status: str) -> None:
    assert payment_status(total, authorized, captured, refunded) == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([line(2)], "unfulfilled"),
        ([line(2, shipped=1)], "partly_shipped"),
        ([line(2, shipped=2)], "shipped"),
        ([line(2, shipped=2), line(1)], "partly_shipped"),
        ([line(2, shipped=1, cancelled=1)], "shipped"),
        ([line(2, shipped=2, lost=2)], "unfulfilled"),
        ([line(2, shipped=2, delivered=1)], "partly_delivered"),
        ([line(2, shipped=3, delivered=2, lost=1)], "delivered"),
        ([line(2, cancelled=2)], "none"),
    ],
)
def test_the_fulfilment_status(lines: list[Any], status: str) -> None:
    assert fulfilment_status(lines) == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([line(2, shipped=2, delivered=2)], "none"),
        ([line(2, shipped=2, delivered=2, returned=1)], "partly_returned"),
        ([line(1, shipped=1, delivered=1, returned=1), line(1, shipped=1, delivered=1)], "partly_returned"),
        ([line(2, shipped=2, delivered=2, returned=2)], "returned"),
    ],
)
def test_the_return_status(lines: list[Any], status: str) -> None:
    assert return_status(lines) == status


def test_what_was_lost_is_open_again() -> None:
    assert open_quantity(line(5, cancelled=1, shipped=3, lost=2)) == 3
