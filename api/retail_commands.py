"""What an invoice and a credit note ask of their orders.

All ids are made of their numbers, so that what was done already is known, and is no event.
"""

from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from api.retail_csv import CURRENCY, CreditLine, Invoice, InvoiceLine
from api.retail_returns import Return
from commands.order import (
    AnyOrderCommand,
    ConfirmDelivery,
    ConfirmOrder,
    DecideReturn,
    PlaceOrder,
    ReceiveReturn,
    RecordAuthorization,
    RecordCapture,
    RecordRefund,
    RequestReturn,
    ShipItems,
)
from commands.product import ListProduct

NAMESPACE = uuid5(NAMESPACE_URL, "orderlog:import:online-retail")


def order_id(invoice: str) -> UUID:
    """The same for the same invoice, so that a second run finds what the first one placed."""
    return uuid5(NAMESPACE, invoice)


def listed(line: InvoiceLine, at: datetime) -> ListProduct:
    return ListProduct.model_validate(
        {"at": at, "sku": line.sku, "name": line.name, "prices": [_pounds(line.unit_price)]}
    )


def order(invoice: Invoice) -> PlaceOrder:
    return PlaceOrder.model_validate(
        {
            "order_id": order_id(invoice.number),
            "at": invoice.at,
            "customer_id": invoice.customer or "guest",
            "currency": CURRENCY,
            "payment_terms": "invoice",
            "external_reference": invoice.number,
            "metadata": {"country": invoice.country} if invoice.country else {},
            "lines": [
                {"sku": line.sku, "quantity": line.quantity, "unit_price": _pounds(line.unit_price)}
                for line in invoice.lines.values()
            ],
        }
    )


def paid_and_delivered(invoice: Invoice) -> list[AnyOrderCommand]:
    """The file tells nothing of it, so at once: only what was delivered comes back, only what was paid is refunded.

    The capture has a reference of its own, not the authorization's: by it a repetition is known.
    """
    of = {"order_id": order_id(invoice.number), "at": invoice.at}
    total = _pounds(invoice.total)
    shipped = _pieces({str(number): line.quantity for number, line in enumerate(invoice.lines.values(), 1)})
    return [
        ConfirmOrder.model_validate(of),
        RecordAuthorization.model_validate(of | {"amount": total, "reference": f"{invoice.number}-authorization"}),
        RecordCapture.model_validate(of | {"amount": total, "reference": f"{invoice.number}-capture"}),
        ShipItems.model_validate(of | {"lines": shipped, "shipment_id": "S1"}),
        ConfirmDelivery.model_validate(of | {"shipment_id": "S1"}),
    ]


def given_back(line: CreditLine, one: Return) -> list[AnyOrderCommand]:
    known = f"{line.number}-{line.position}"
    of = {"order_id": order_id(one.invoice), "at": line.at}
    back = of | {"return_id": known}
    pieces = _pieces(one.lines)
    return [
        RequestReturn.model_validate(back | {"lines": pieces, "reason": f"credit note {line.number}"}),
        DecideReturn.model_validate(back | {"approved": True}),
        ReceiveReturn.model_validate(back | {"lines": pieces}),
        RecordRefund.model_validate(of | {"amount": _pounds(one.amount), "reference": known}),
    ]


def _pieces(quantities: dict[str, int]) -> list[dict[str, object]]:
    return [{"line_id": line_id, "quantity": quantity} for line_id, quantity in quantities.items()]


def _pounds(pence: int) -> dict[str, object]:
    return {"amount": pence, "currency": CURRENCY}
