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


class OrderIdUnusable(Refusal):
    """An order cannot have this id; leave order_id out, and one is made."""


class NoSuchOrder(Refusal):
    """There is no such order."""


class NotPlaced(Refusal):
    """The order is a draft: it can be amended, placed or cancelled."""


class OrderPlacedAlready(Refusal):
    """The order is placed already."""


class NotConfirmed(Refusal):
    """The order must be confirmed first."""


class OrderConfirmedAlready(Refusal):
    """The order is confirmed already."""


class OrderCompletedAlready(Refusal):
    """The order is completed."""


class OrderCancelledAlready(Refusal):
    """The order is cancelled."""


class OrderUnfinished(Refusal):
    """Something is open or under way, or somebody owes something."""


class OnHold(Refusal):
    """The order is on hold."""


class StaleVersion(Refusal):
    """The order has changed since the version that the command names."""


class BeforeOrder(Refusal):
    """The command's time is before the order was there."""


class TooManyEvents(Refusal):
    """The order has as many events as an order may have; what brings it to an end is still taken."""


# About lines and stock ---------------------------------------------------------------------------------------


class UnknownProducts(Refusal):
    """Some products of the order are not in the catalogue."""


class NoPrice(Refusal):
    """Some products have no price in the order's currency."""


class DuplicateLines(Refusal):
    """The same product stands twice in the order at the same price; ask for the sum in one line."""


class OutOfStock(Refusal):
    """Some products have less stock than the order asks for."""


class NotReserved(Refusal):
    """Some lines have no stock reserved for all that is open of them."""


class UnknownLines(Refusal):
    """The order has no such lines."""


class TooManyLines(Refusal):
    """The order would have more lines than an order may have."""


class ExceedsOpen(Refusal):
    """More was asked for than is open on some lines."""


class LineFixed(Refusal):
    """A line keeps its product, its price once shipped, and all once part was cancelled; add a line instead."""


class BelowFulfilled(Refusal):
    """Fewer pieces would be ordered of some lines than were shipped or cancelled."""


class AddressFixed(Refusal):
    """Something was shipped: the address stands."""


# About shipments ---------------------------------------------------------------------------------------------


class ShipmentExists(Refusal):
    """A shipment with this id exists already, with other contents."""


class AlreadyShipped(Refusal):
    """Something was shipped already."""


class UnknownShipment(Refusal):
    """The order has no such shipment."""


class DeliveredAlready(Refusal):
    """The shipment was delivered."""


class LostAlready(Refusal):
    """The shipment was lost, and its pieces are open again."""


# About returns -----------------------------------------------------------------------------------------------


class UnknownReturn(Refusal):
    """The order has no such return."""


class ReturnExists(Refusal):
    """A return with this id exists already, with other contents."""


class ExceedsDelivered(Refusal):
    """More would come back than was delivered and is not on its way back yet."""


class ReturnDecided(Refusal):
    """The return was decided otherwise."""


class ReturnNotApproved(Refusal):
    """The return is not one that is approved and awaited."""


class ExceedsReturn(Refusal):
    """More came back than the return was approved for."""


# About money -------------------------------------------------------------------------------------------------


class CurrencyMismatch(Refusal):
    """An amount is in another currency than the order."""


class TotalMismatch(Refusal):
    """The order's total is not the total that was expected."""


class AmountOverflow(Refusal):
    """An amount is larger than orderlog can keep."""


class NegativeTotal(Refusal):
    """The discount is larger than the order."""


class AmountsSettled(Refusal):
    """Cancelled and returned lines keep their shares of discount, shipping and tax; other lines must carry the rest."""


class PaymentRequired(Refusal):
    """The order must be paid or authorized in full before it is confirmed, or be on invoice terms."""


class OverCapture(Refusal):
    """More would be captured than is authorized."""


class OverRefund(Refusal):
    """More would be given back than was captured."""


class NothingToVoid(Refusal):
    """Nothing is left of such an authorization."""


class NothingOwed(Refusal):
    """The order is completed, and nothing is owed for it."""


class ReferenceUsed(Refusal):
    """Another amount was recorded by this reference."""


# About products ----------------------------------------------------------------------------------------------


class NoSuchProduct(Refusal):
    """There is no such product."""


class StockNotTracked(Refusal):
    """The stock of this product is not tracked."""


class StockBelowReserved(Refusal):
    """Less stock would be left than is reserved for orders."""
