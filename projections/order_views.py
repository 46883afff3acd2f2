"""From the tables of orders to the views that reads answer with: what is selected, and what becomes of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from events.order import Address, Line, PaymentTerms
from events.status import fulfilment_status, open_quantity, payment_status, return_status
from projections.shapes import LineView, Money, OrderSummary, OrderView, ReturnView, ShipmentView


class _OrderRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `ORDER`: its columns, in their order."""

    order_id: UUID
    version: int
    number: str
    customer_id: str
    status: str
    currency: str
    lines: str  # JSON, as other text is for which there is a decoder below
    subtotal: int
    discount: int
    shipping: int
    tax: int
    total: int
    authorized: int
    voided: int
    captured: int
    refunded: int
    hold_reason: str | None
    tags: str | None
    notes: int
    payment_terms: PaymentTerms
    payment_method: str | None
    external_reference: str | None
    email: str | None
    shipping_address: str | None
    metadata: str
    cancel_reason: str | None
    created_at: datetime
    placed_at: datetime | None
    updated_at: datetime
    quantities: str | None
    shipments: str | None
    returns: str | None


class _SummaryRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `SUMMARY_COLUMNS`: its columns, in their order."""

    order_id: UUID
    version: int
    number: str
    customer_id: str
    status: str
    currency: str
    total: int
    authorized: int
    voided: int
    captured: int
    refunded: int
    units: int
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int
    on_hold: bool
    tags: str | None
    external_reference: str | None
    created_at: datetime
    placed_at: datetime | None
    updated_at: datetime


_QUANTITIES = """
SELECT json_agg(json_build_object('line_id', line_id, 'cancelled', cancelled, 'shipped', shipped,
    'delivered', delivered, 'lost', lost, 'returned', returned))::text
FROM order_details_quantities q WHERE q.order_id = order_details.order_id"""
"""How many pieces of each line are where."""

_SHIPMENTS = """
SELECT json_agg(json_build_object('shipment_id', shipment_id, 'lines', lines, 'carrier', carrier,
    'tracking_number', tracking_number, 'status', status) ORDER BY version)::text
FROM order_details_shipments s WHERE s.order_id = order_details.order_id"""
"""The shipments, in the order in which they left."""

_RETURNS = """
SELECT json_agg(json_build_object('return_id', return_id, 'reason', reason, 'lines', lines,
    'received', received, 'status', status) ORDER BY version)::text
FROM order_details_returns r WHERE r.order_id = order_details.order_id"""
"""The returns, in the order in which they were asked for."""

_SELECTED = {
    "lines": "lines::text",
    "tags": "tags::text",
    "shipping_address": "shipping_address::text",
    "metadata": "metadata::text",
    "quantities": f"({_QUANTITIES})",
    "shipments": f"({_SHIPMENTS})",
    "returns": f"({_RETURNS})",
}
"""The columns of a view that are more than a column of the table."""


def _columns(row: type[msgspec.Struct]) -> str:
    return ", ".join(_SELECTED.get(name, name) for name in row.__struct_fields__)


ORDER = f"SELECT {_columns(_OrderRow)} FROM order_details"
"""Orders whole."""

SUMMARY_COLUMNS = _columns(_SummaryRow)
"""Of `order_list`: orders as a list shows them."""


def order_view(columns: tuple[Any, ...]) -> OrderView:
    """The view of a row of `ORDER`."""
    row = _OrderRow(*columns)
    currency, authorized = row.currency, row.authorized - row.voided
    lines = _line_views(row)
    return OrderView(
        order_id=row.order_id,
        number=row.number,
        customer_id=row.customer_id,
        status=row.status,
        payment_status=payment_status(row.total, authorized, row.captured, row.refunded),
        fulfilment_status=fulfilment_status(lines),
        return_status=return_status(lines),
        version=row.version,
        currency=currency,
        lines=lines,
        subtotal=Money(row.subtotal, currency),
        discount=Money(row.discount, currency),
        shipping=Money(row.shipping, currency),
        tax=Money(row.tax, currency),
        total=Money(row.total, currency),
        balance=Money(row.total - row.captured + row.refunded, currency),
        authorized=Money(row.authorized, currency),
        voided=Money(row.voided, currency),
        captured=Money(row.captured, currency),
        refunded=Money(row.refunded, currency),
        refund_due=_refund_due(row),
        on_hold=row.hold_reason is not None,
        hold_reason=row.hold_reason,
        tags=_tags(row.tags) if row.tags else (),
        metadata=_metadata(row.metadata),
        shipments=_shipments(row.shipments) if row.shipments else (),
        returns=_returns(row.returns) if row.returns else (),
        notes=row.notes,
        payment_terms=row.payment_terms,
        payment_method=row.payment_method,
        external_reference=row.external_reference,
        email=row.email,
        shipping_address=_address(row.shipping_address) if row.shipping_address else None,
        cancel_reason=row.cancel_reason,
        created_at=row.created_at,
        placed_at=row.placed_at,
        updated_at=row.updated_at,
    )


def order_summary(columns: tuple[Any, ...]) -> OrderSummary:
    """The view of a row of `SUMMARY_COLUMNS`."""
    row = _SummaryRow(*columns)
    currency, authorized = row.currency, row.authorized - row.voided
    sums = (_Sums(row.units, row.cancelled, row.shipped, row.delivered, row.lost, row.returned),)
    return OrderSummary(
        order_id=row.order_id,
        number=row.number,
        customer_id=row.customer_id,
        status=row.status,
        payment_status=payment_status(row.total, authorized, row.captured, row.refunded),
        fulfilment_status=fulfilment_status(sums),
        return_status=return_status(sums),
        version=row.version,
        currency=currency,
        total=Money(row.total, currency),
        refund_due=_refund_due(row),
        units=row.units,
        on_hold=row.on_hold,
        tags=_tags(row.tags) if row.tags else (),
        external_reference=row.external_reference,
        created_at=row.created_at,
        placed_at=row.placed_at,
        updated_at=row.updated_at,
    )


class _Sums(msgspec.Struct, frozen=True, gc=False):
    """The quantities of all lines of an order together."""

    quantity: int
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int


class _Quantities(msgspec.Struct, frozen=True, gc=False):
    """What became of the pieces of one line."""

    line_id: str
    cancelled: int = 0
    shipped: int = 0
    delivered: int = 0
    lost: int = 0
    returned: int = 0


_lines = msgspec.json.Decoder(tuple[Line, ...]).decode
_quantities = msgspec.json.Decoder(tuple[_Quantities, ...]).decode
_shipments = msgspec.json.Decoder(tuple[ShipmentView, ...]).decode
_returns = msgspec.json.Decoder(tuple[ReturnView, ...]).decode
_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_address = msgspec.json.Decoder(Address).decode
_metadata = msgspec.json.Decoder(dict[str, str]).decode


def _refund_due(row: _OrderRow | _SummaryRow) -> Money:
    return Money(max(0, row.captured - row.refunded - row.total), row.currency)


def _line_views(row: _OrderRow) -> tuple[LineView, ...]:
    counted = {one.line_id: one for one in _quantities(row.quantities)} if row.quantities else {}
    return tuple([_line_view(line, counted, row.currency) for line in _lines(row.lines)])


def _line_view(line: Line, counted: Mapping[str, _Quantities], currency: str) -> LineView:
    its = counted.get(line.line_id) or _Quantities(line.line_id)
    sums = _Sums(line.quantity, its.cancelled, its.shipped, its.delivered, its.lost, its.returned)
    return LineView(
        line_id=line.line_id,
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=Money(line.unit_price, currency),
        discount=Money(line.discount, currency),
        shipping=Money(line.shipping, currency),
        tax=Money(line.tax, currency),
        total=Money(line.total, currency),
        cancelled=its.cancelled,
        shipped=its.shipped,
        delivered=its.delivered,
        lost=its.lost,
        returned=its.returned,
        open=open_quantity(sums),
    )
