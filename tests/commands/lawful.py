"""What is always so of an order, and what of it a model is compared with."""

from typing import Any

from commands.order import Order
from events.order import OrderEvent, RefundRequired
from events.status import fulfilment_status, payment_status, return_status
from tests.commands import model as numbers


def lawful(order: Order) -> None:
    """What DESIGN section 3 says is always so."""
    for line in order.lines.values():
        assert 0 <= line.delivered + line.lost <= line.shipped
        assert 0 <= line.returned <= line.delivered
        assert 0 <= line.kept <= line.open
        assert line.open == line.quantity - line.cancelled - line.shipped + line.lost
        assert line.total >= 0
    ledger, content = order.ledger, order.content
    assert 0 <= ledger.captured <= ledger.authorized
    assert 0 <= ledger.refunded <= ledger.captured
    assert ledger.capturable >= 0
    assert ledger.total >= 0
    assert ledger.balance == ledger.total - (ledger.captured - ledger.refunded)
    assert content.total == sum(line.total for line in content.lines)
    assert content.total == content.subtotal - content.discount + content.shipping + content.tax
    assert [line.ordered for line in order.lines.values()] == list(content.lines)


def says_what_is_to_be_given_back(before: Order | None, after: Order, facts: tuple[OrderEvent, ...]) -> None:
    """Exactly when more is due, and how much more."""
    more = after.refund_due - (before.refund_due if before else 0)
    assert [fact.amount for fact in facts if isinstance(fact, RefundRequired)] == ([more] if more > 0 else [])


def shown(order: Order) -> dict[str, Any]:
    return {
        "status": order.status,
        "held": order.held,
        "owed": (order.total, order.balance, order.refund_due),
        "paid": (order.authorized, order.voided, order.captured, order.refunded, order.ledger.capturable),
        "lines": {
            line.line_id: (
                *(line.sku, line.quantity, line.unit_price, line.reserved, line.kept, line.total),
                *(line.cancelled, line.shipped, line.delivered, line.lost, line.returned),
            )
            for line in order.lines.values()
        },
        "parcels": {known: (one.status, one.carrier) for known, one in order.shipments.items()},
        "backs": {known: one.status for known, one in order.returns.items()},
        "remarks": (order.tags, order.notes),
        "derived": (
            payment_status(order.total, order.authorized - order.voided, order.captured, order.refunded),
            fulfilment_status(order.lines.values()),
            return_status(order.lines.values()),
        ),
    }


def as_the_model_has_it(order: numbers.Order) -> dict[str, Any]:
    return {
        "status": order.status,
        "held": order.held,
        "owed": (order.owed, order.balance, max(0, -order.balance)),
        "paid": (order.authorized, order.voided, order.captured, order.refunded, sum(order.open_auths.values())),
        "lines": {
            line_id: (
                *(line.sku, line.quantity, line.price, line.counted, line.kept, line.total),
                *(line.cancelled, line.shipped, line.delivered, line.lost, line.returned),
            )
            for line_id, line in order.lines.items()
        },
        "parcels": {known: (one.state, one.carrier) for known, one in order.parcels.items()},
        "backs": {known: one.state for known, one in order.backs.items()},
        "remarks": (tuple(sorted(order.tags)), order.notes),
        "derived": order.derived,
    }
