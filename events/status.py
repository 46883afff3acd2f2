"""What quantities and ledger amount to: the derived statuses of an order, never stored as decisions."""

from collections.abc import Iterable
from typing import Literal, Protocol

PaymentStatus = Literal["none", "unpaid", "authorized", "partly_paid", "paid", "refunded", "partly_refunded"]
FulfilmentStatus = Literal["unfulfilled", "partly_shipped", "shipped", "partly_delivered", "delivered", "none"]
ReturnStatus = Literal["none", "partly_returned", "returned"]


class Quantities(Protocol):
    """Of one line, or summed over all lines of an order; in pieces."""

    @property
    def quantity(self) -> int: ...
    @property
    def cancelled(self) -> int: ...
    @property
    def shipped(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def returned(self) -> int: ...


def open_quantity(line: Quantities) -> int:
    """What is still to be shipped: ordered - cancelled - shipped + lost."""
    return line.quantity - line.cancelled - line.shipped + line.lost


def payment_status(total: int, authorized: int, captured: int, refunded: int) -> PaymentStatus:
    """From what is owed, what is authorized and not voided, what was collected and what of it given back."""
    if refunded:
        return "refunded" if refunded >= captured else "partly_refunded"
    if captured:
        return "paid" if captured >= total else "partly_paid"
    if not total:
        return "none"
    return "authorized" if authorized >= total else "unpaid"


def fulfilment_status(lines: Iterable[Quantities]) -> FulfilmentStatus:
    wanted = shipped = delivered = 0
    for line in lines:
        wanted += line.quantity - line.cancelled
        shipped += line.shipped - line.lost
        delivered += line.delivered
    if not wanted:
        return "none"
    if delivered:
        return "delivered" if delivered >= wanted else "partly_delivered"
    if shipped:
        return "shipped" if shipped >= wanted else "partly_shipped"
    return "unfulfilled"


def return_status(lines: Iterable[Quantities]) -> ReturnStatus:
    returned = delivered = 0
    for line in lines:
        returned += line.returned
        delivered += line.delivered
    if not returned:
        return "none"
    return "returned" if returned >= delivered else "partly_returned"
