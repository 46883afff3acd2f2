"""One source of example orders and products, for tests, README and demo data."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from commands.order import CancelOrder, ConfirmOrder, PlaceOrder, RecordAuthorization, RecordCapture, ShipItems
from commands.product import AdjustStock, ListProduct, ReceiveStock
from events.order import (
    Line,
    LineQuantity,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentTerms,
    ShipmentDispatched,
)
from events.product import ProductListed, StockReceived

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORDER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
CUSTOMER = "C-1"

a_cup = ProductListed(NOON, "CUP", "A cup", {"EUR": 250}, tracked=True)
a_poster = ProductListed(NOON, "POSTER", "A poster, printed on demand", {"EUR": 1999, "JPY": 3000}, tracked=False)


def cups_received(quantity: int) -> tuple[str, StockReceived]:
    return "CUP", StockReceived(NOON, quantity)


def cups(quantity: int, line_id: str = "1") -> Line:
    return Line(line_id, "CUP", "A cup", quantity, 250, reserved=True)


def posters(quantity: int, line_id: str = "1") -> Line:
    return Line(line_id, "POSTER", "A poster, printed on demand", quantity, 1999, reserved=False)


def an_order_placed(
    *lines: Line, payment_terms: PaymentTerms = "prepaid", order_id: UUID = ORDER, customer_id: str = CUSTOMER
) -> OrderPlaced:
    subtotal = sum(line.quantity * line.unit_price for line in lines)
    return OrderPlaced(
        NOON, order_id, customer_id, "EUR", lines, subtotal, 0, 0, 0, subtotal, payment_terms=payment_terms
    )


an_order_confirmed = OrderConfirmed(NOON)


def authorized(amount: int) -> PaymentAuthorized:
    return PaymentAuthorized(NOON, amount, "auth-1")


def captured(amount: int) -> PaymentCaptured:
    return PaymentCaptured(NOON, amount, "capture-1")


def shipped(quantity: int, line_id: str = "1", shipment_id: str = "S1") -> ShipmentDispatched:
    return ShipmentDispatched(NOON, shipment_id, (LineQuantity(line_id, quantity),))


def an_order_cancelled(*lines: tuple[str, int]) -> OrderCancelled:
    return OrderCancelled(NOON, "changed my mind", tuple(LineQuantity(*line) for line in lines))


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def place_order(*lines: dict[str, Any], **more: Any) -> PlaceOrder:
    given = {"order_id": ORDER, "at": NOON, "customer_id": CUSTOMER, "currency": "EUR", "lines": lines}
    return PlaceOrder.model_validate(given | more)


def wanted(sku: str, quantity: int, unit_price: int | None = None) -> dict[str, Any]:
    return {"sku": sku, "quantity": quantity} | ({"unit_price": eur(unit_price)} if unit_price is not None else {})


def confirm_order() -> ConfirmOrder:
    return ConfirmOrder(order_id=ORDER, at=NOON)


def record_authorization(amount: int, currency: str = "EUR") -> RecordAuthorization:
    money = {"amount": amount, "currency": currency}
    return RecordAuthorization.model_validate({"order_id": ORDER, "at": NOON, "amount": money, "reference": "auth-1"})


def record_capture(amount: int, currency: str = "EUR") -> RecordCapture:
    money = {"amount": amount, "currency": currency}
    return RecordCapture.model_validate({"order_id": ORDER, "at": NOON, "amount": money, "reference": "capture-1"})


def ship_items(quantity: int, line_id: str = "1", shipment_id: str | None = None) -> ShipItems:
    lines = [{"line_id": line_id, "quantity": quantity}]
    return ShipItems.model_validate({"order_id": ORDER, "at": NOON, "lines": lines, "shipment_id": shipment_id})


def cancel_order() -> CancelOrder:
    return CancelOrder(order_id=ORDER, at=NOON, reason="changed my mind")


def list_cup(stock: str = "tracked", price: int = 250, name: str = "A cup") -> ListProduct:
    return ListProduct.model_validate({"sku": "CUP", "at": NOON, "name": name, "prices": [eur(price)], "stock": stock})


def receive_cups(quantity: int) -> ReceiveStock:
    return ReceiveStock(sku="CUP", at=NOON, quantity=quantity)


def adjust_cups(quantity: int) -> AdjustStock:
    return AdjustStock(sku="CUP", at=NOON, quantity=quantity)
