"""One source of example orders and products, for tests, README and demo data."""

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from commands.command import OrderCommand
from commands.order import (
    AddNote,
    AmendOrder,
    CancelLines,
    CancelOrder,
    CompleteOrder,
    ConfirmDelivery,
    ConfirmOrder,
    DecideReturn,
    ExpireOrder,
    PlaceDraft,
    PlaceHold,
    PlaceOrder,
    ReceiveReturn,
    RecordAuthorization,
    RecordCapture,
    RecordRefund,
    ReleaseHold,
    ReportLost,
    RequestReturn,
    SetMetadata,
    SetTags,
    ShipItems,
    UpdateTracking,
    VoidAuthorization,
)
from commands.product import AdjustStock, ListProduct, ReceiveStock
from events.order import (
    Line,
    LineQuantity,
    LinesCancelled,
    OrderAmended,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderDrafted,
    OrderHeld,
    OrderPlaced,
    OrderReleased,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentTerms,
    PaymentVoided,
    RefundRequired,
    ReturnApproved,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    TrackingUpdated,
)
from events.product import ProductListed, StockReceived

AnOrderCommand = TypeVar("AnOrderCommand", bound=OrderCommand)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORDER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
NUMBER = f"N-{ORDER}"
CUSTOMER = "C-1"

a_cup = ProductListed(NOON, "CUP", "A cup", {"EUR": 250}, tracked=True)
a_poster = ProductListed(NOON, "POSTER", "A poster, printed on demand", {"EUR": 1999, "JPY": 3000}, tracked=False)

# What happened -----------------------------------------------------------------------------------------------


def cups_received(quantity: int) -> tuple[str, StockReceived]:
    return "CUP", StockReceived(NOON, quantity)


def cups(quantity: int, line_id: str = "1", price: int = 250) -> Line:
    return Line(line_id, "CUP", "A cup", quantity, price, reserved=True)


def posters(quantity: int, line_id: str = "1") -> Line:
    return Line(line_id, "POSTER", "A poster, printed on demand", quantity, 1999, reserved=False)


def an_order_placed(
    *lines: Line, payment_terms: PaymentTerms = "prepaid", order_id: UUID = ORDER, customer_id: str = CUSTOMER
) -> OrderPlaced:
    return OrderPlaced(
        NOON, order_id, f"N-{order_id}", customer_id, "EUR", lines, *_sums(lines), payment_terms=payment_terms
    )


def an_order_drafted(*lines: Line, order_id: UUID = ORDER, customer_id: str = CUSTOMER) -> OrderDrafted:
    return OrderDrafted(NOON, order_id, f"N-{order_id}", customer_id, "EUR", lines, *_sums(lines))


def an_order_amended(*lines: Line) -> OrderAmended:
    return OrderAmended(NOON, lines, *_sums(lines))


def _sums(lines: tuple[Line, ...]) -> tuple[int, int, int, int, int]:
    """Subtotal, discount, shipping, tax, total."""
    subtotal = sum(line.quantity * line.unit_price for line in lines)
    discount, shipping, tax = (sum(getattr(line, name) for line in lines) for name in ("discount", "shipping", "tax"))
    return subtotal, discount, shipping, tax, subtotal - discount + shipping + tax


an_order_confirmed = OrderConfirmed(NOON)
an_order_completed = OrderCompleted(NOON)
an_order_held = OrderHeld(NOON, "looks odd")
an_order_released = OrderReleased(NOON)


def authorized(amount: int, reference: str = "auth-1") -> PaymentAuthorized:
    return PaymentAuthorized(NOON, amount, reference)


def captured(amount: int, reference: str = "capture-1") -> PaymentCaptured:
    return PaymentCaptured(NOON, amount, reference)


def voided(amount: int, reason: Any = "voided", reference: str = "auth-1") -> PaymentVoided:
    return PaymentVoided(NOON, amount, reference, reason)


def refund_required(amount: int, reason: str) -> RefundRequired:
    return RefundRequired(NOON, amount, reason)


def refunded(amount: int, reference: str = "refund-1") -> PaymentRefunded:
    return PaymentRefunded(NOON, amount, reference, "EUR")


def pieces(*lines: tuple[str, int]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(*line) for line in lines)


def shipped(quantity: int, line_id: str = "1", shipment_id: str = "S1") -> ShipmentDispatched:
    return ShipmentDispatched(NOON, shipment_id, pieces((line_id, quantity)))


def tracked(carrier: str | None = None, tracking_number: str | None = None) -> TrackingUpdated:
    return TrackingUpdated(NOON, "S1", carrier, tracking_number)


def delivered(quantity: int, line_id: str = "1", shipment_id: str = "S1") -> ShipmentDelivered:
    return ShipmentDelivered(NOON, shipment_id, pieces((line_id, quantity)))


def lost(quantity: int, line_id: str = "1", shipment_id: str = "S1") -> ShipmentLost:
    return ShipmentLost(NOON, shipment_id, pieces((line_id, quantity)))


def lines_cancelled(*lines: tuple[str, int], amount: int = 0) -> LinesCancelled:
    return LinesCancelled(NOON, "changed my mind", pieces(*lines), amount)


def an_order_cancelled(*lines: tuple[str, int], amount: int = 0, reason: str = "changed my mind") -> OrderCancelled:
    return OrderCancelled(NOON, reason, pieces(*lines), amount)


def return_requested(*lines: tuple[str, int], return_id: str = "R1") -> ReturnRequested:
    return ReturnRequested(NOON, return_id, pieces(*lines), "too small")


return_approved = ReturnApproved(NOON, "R1")
return_rejected = ReturnRejected(NOON, "R1")


def return_received(*lines: tuple[str, int], amount: int = 0, restock: bool = True) -> ReturnReceived:
    return ReturnReceived(NOON, "R1", pieces(*lines), restock, amount)


# What is asked -----------------------------------------------------------------------------------------------


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def asked(kind: type[AnOrderCommand], **fields: Any) -> AnOrderCommand:
    return kind.model_validate({"order_id": ORDER, "at": NOON} | fields)


def place_order(*lines: dict[str, Any], **more: Any) -> PlaceOrder:
    given = {"order_id": ORDER, "at": NOON, "customer_id": CUSTOMER, "currency": "EUR", "lines": lines}
    return PlaceOrder.model_validate(given | more)


def wanted(sku: str, quantity: int, unit_price: int | None = None) -> dict[str, Any]:
    return {"sku": sku, "quantity": quantity} | ({"unit_price": eur(unit_price)} if unit_price is not None else {})


def place_draft() -> PlaceDraft:
    return asked(PlaceDraft)


def amend_order(*lines: dict[str, Any], **more: Any) -> AmendOrder:
    return asked(AmendOrder, **({"lines": lines} if lines else {}), **more)


def amended(line_id: str, quantity: int, unit_price: int | None = None) -> dict[str, Any]:
    price = {"unit_price": eur(unit_price)} if unit_price is not None else {}
    return {"line_id": line_id, "quantity": quantity} | price


def confirm_order() -> ConfirmOrder:
    return asked(ConfirmOrder)


def complete_order() -> CompleteOrder:
    return asked(CompleteOrder)


def place_hold(reason: str = "looks odd") -> PlaceHold:
    return asked(PlaceHold, reason=reason)


def release_hold() -> ReleaseHold:
    return asked(ReleaseHold)


def record_authorization(amount: int, currency: str = "EUR", reference: str = "auth-1") -> RecordAuthorization:
    return asked(RecordAuthorization, amount={"amount": amount, "currency": currency}, reference=reference)


def record_capture(amount: int, currency: str = "EUR", reference: str = "capture-1") -> RecordCapture:
    return asked(RecordCapture, amount={"amount": amount, "currency": currency}, reference=reference)


def void_authorization(reference: str = "auth-1", reason: str = "voided") -> VoidAuthorization:
    return asked(VoidAuthorization, reference=reference, reason=reason)


def record_refund(amount: int, reference: str = "refund-1", currency: str = "EUR") -> RecordRefund:
    return asked(RecordRefund, amount={"amount": amount, "currency": currency}, reference=reference)


def ship_items(quantity: int, line_id: str = "1", shipment_id: str | None = None, **more: Any) -> ShipItems:
    return asked(ShipItems, lines=[{"line_id": line_id, "quantity": quantity}], shipment_id=shipment_id, **more)


def update_tracking(shipment_id: str = "S1", **more: Any) -> UpdateTracking:
    return asked(UpdateTracking, shipment_id=shipment_id, **more)


def confirm_delivery(shipment_id: str = "S1") -> ConfirmDelivery:
    return asked(ConfirmDelivery, shipment_id=shipment_id)


def report_lost(shipment_id: str = "S1") -> ReportLost:
    return asked(ReportLost, shipment_id=shipment_id)


def cancel_lines(*lines: tuple[str, int]) -> CancelLines:
    return asked(CancelLines, lines=_wanted(lines), reason="changed my mind")


def cancel_order() -> CancelOrder:
    return asked(CancelOrder, reason="changed my mind")


def expire_order() -> ExpireOrder:
    return asked(ExpireOrder)


def request_return(*lines: tuple[str, int], return_id: str | None = None) -> RequestReturn:
    return asked(RequestReturn, lines=_wanted(lines), reason="too small", return_id=return_id)


def decide_return(return_id: str = "R1", *, approved: bool) -> DecideReturn:
    return asked(DecideReturn, return_id=return_id, approved=approved)


def receive_return(*lines: tuple[str, int], return_id: str = "R1", restock: bool = True) -> ReceiveReturn:
    return asked(ReceiveReturn, lines=_wanted(lines), return_id=return_id, restock=restock)


def add_note(note: str = "rang twice") -> AddNote:
    return asked(AddNote, note=note)


def set_tags(*tags: str) -> SetTags:
    return asked(SetTags, tags=tags)


def set_metadata(**metadata: str) -> SetMetadata:
    return asked(SetMetadata, metadata=metadata)


def _wanted(lines: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"line_id": line_id, "quantity": quantity} for line_id, quantity in lines]


def list_cup(stock: str = "tracked", price: int = 250, name: str = "A cup") -> ListProduct:
    return ListProduct.model_validate({"sku": "CUP", "at": NOON, "name": name, "prices": [eur(price)], "stock": stock})


def receive_cups(quantity: int) -> ReceiveStock:
    return ReceiveStock(sku="CUP", at=NOON, quantity=quantity)


def adjust_cups(quantity: int) -> AdjustStock:
    return AdjustStock(sku="CUP", at=NOON, quantity=quantity)
