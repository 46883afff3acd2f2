"""Why a command was refused: a class is a state of affairs, its docstring the sentence people read, its code stable."""

import re
from typing import Any, ClassVar


class Refusal(Exception):
    """The command was refused."""

    code: ClassVar[str] = "refused"

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, **details: Any) -> None:
        super().__init__(self.__doc__)
        self.details = details


# About the order as it is ------------------------------------------------------------------------------------


class OrderExists(Refusal):
    """An order with this id exists already."""


class NoSuchOrder(Refusal):
    """There is no such order."""


class OrderCancelledAlready(Refusal):
    """The order is cancelled."""


class OrderCompletedAlready(Refusal):
    """The order is completed."""


class NotConfirmed(Refusal):
    """The order must be confirmed first."""


class StaleVersion(Refusal):
    """The order has changed since the version that the command names."""


# About lines and stock ---------------------------------------------------------------------------------------


class UnknownProducts(Refusal):
    """Some products of the order are not in the catalogue."""


class NoPrice(Refusal):
    """Some products have no price in the order's currency."""


class DuplicateLines(Refusal):
    """The same product stands twice in the order at the same price; ask for the sum in one line."""


class OutOfStock(Refusal):
    """Some products have less stock than the order asks for."""


class UnknownLines(Refusal):
    """The order has no such lines."""


class ExceedsOpen(Refusal):
    """More was asked for than is open on some lines."""


class ShipmentExists(Refusal):
    """A shipment with this id exists already, with other contents."""


class AlreadyShipped(Refusal):
    """Something was shipped already."""


# About money -------------------------------------------------------------------------------------------------


class CurrencyMismatch(Refusal):
    """An amount is in another currency than the order."""


class TotalMismatch(Refusal):
    """The order's total is not the total that was expected."""


class AmountOverflow(Refusal):
    """An amount is larger than orderlog can keep."""


class NegativeTotal(Refusal):
    """The discount is larger than the order."""


class PaymentRequired(Refusal):
    """The order must be paid or authorized in full before it is confirmed, or be on invoice terms."""


class OverCapture(Refusal):
    """More would be captured than is authorized."""


# About products ----------------------------------------------------------------------------------------------


class NoSuchProduct(Refusal):
    """There is no such product."""


class StockNotTracked(Refusal):
    """The stock of this product is not tracked."""


class StockBelowReserved(Refusal):
    """Less stock would be left than is reserved for orders."""
