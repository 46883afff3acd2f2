"""How an order's content changes after the fact: all of it in one go, or nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec.structs import replace
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from commands.command import (
    MOST_LINES,
    Email,
    LineId,
    Model,
    Money,
    OrderCommand,
    Quantity,
    Sku,
    in_currency,
    one_of,
)
from commands.decision import NOTHING, Decision
from commands.lines import Lines, OrderLine, reservations
from commands.order_state import AMENDABLE, Order, Status, evolve
from commands.payment import refund_required
from commands.placing import Address, kept_address
from commands.pricing import each_product_once, expect, new_lines, price_of, shared, summed
from commands.product import Product
from commands.refusals import AddressFixed, BelowFulfilled, LineFixed, OrderConfirmedAlready, TooManyLines, UnknownLines
from events.order import Content, Line, OrderAmended

# What may be asked -------------------------------------------------------------------------------------------


class AmendedLine(Model):
    """A line that is there, by its id, or a new one, by its SKU."""

    model_config = ConfigDict(json_schema_extra=one_of("line_id", "sku"))

    line_id: LineId | None = None
    sku: Sku | None = Field(default=None, description="of a new line; beside a line_id it must be that line's")
    quantity: Quantity = Field(description="of all pieces, those that were shipped or cancelled included")
    unit_price: Money | None = Field(
        default=None, description="staff only; the line's own price, or the catalogue's, unless given"
    )

    @model_validator(mode="after")
    def says_which(self) -> "AmendedLine":
        if self.line_id is None and self.sku is None:
            raise ValueError("needs a line_id (of a line that is there) or a sku (for a new one)")
        return self


def _each_line_once(lines: tuple[AmendedLine, ...]) -> tuple[AmendedLine, ...]:
    ids = [line.line_id for line in lines if line.line_id is not None]
    if len(set(ids)) < len(ids):
        raise ValueError("names the same line twice")
    return lines


class AmendOrder(OrderCommand):
    """Change what is given; what is left out stays as it is. One change, all of it or nothing."""

    lines: (
        Annotated[tuple[AmendedLine, ...], Field(min_length=1, max_length=MOST_LINES), AfterValidator(_each_line_once)]
        | None
    ) = Field(default=None, description="all of them: an open line that is left out is taken out of the order")
    shipping: Money | None = None
    discount: Money | None = None
    tax: Money | None = None
    email: Email | None = None
    shipping_address: Address | None = None
    expected_total: Money | None = Field(default=None, description="refused (total-mismatch) when it is another")
    dry_run: bool = Field(default=False, strict=True, description="say what would follow, and change nothing")
    before_confirmation: bool = Field(default=False, description="set by the edge: refused once the order is confirmed")


# What is decided ---------------------------------------------------------------------------------------------


def amend(command: AmendOrder, order: Order, products: Mapping[str, Product]) -> Decision:
    if command.before_confirmation and order.status is Status.CONFIRMED:
        raise OrderConfirmedAlready
    fact = _amended(command, order, products)
    expect(command.expected_total, fact.total - order.ledger.taken_off, order.currency)
    if order.shipments and fact.shipping_address != order.content.shipping_address:
        raise AddressFixed(pointer="/shipping_address")
    if all(getattr(fact, name) == getattr(order.content, name) for name in AMENDABLE):
        return NOTHING
    due = refund_required(order.ledger, (fact,), command.at, "order amended")
    stock = reservations(command, order.lines, evolve(order, fact).lines, products)
    return Decision((fact, *due), stock)


def _amended(command: AmendOrder, order: Order, products: Mapping[str, Product]) -> OrderAmended:
    """The content as it shall be."""
    content, lines = order.content, order.lines
    ordered = [line.ordered for line in lines.values()]
    if command.lines is not None:
        ordered = _ordered(command.lines, order, products)
    sums = summed(ordered, *(_amount(command, content, name) for name in ("discount", "shipping", "tax")))
    settled = [line.ordered for line in lines.values() if line.settled]
    free = [line for line in ordered if line.line_id not in lines or not lines[line.line_id].settled]
    shares = shared(free, sums, settled)
    return OrderAmended(
        command.at,
        tuple(sorted([*settled, *shares], key=_number)),
        sums.subtotal,
        sums.discount,
        sums.shipping,
        sums.tax,
        sums.total,
        command.email or content.email,
        kept_address(command.shipping_address) if command.shipping_address else content.shipping_address,
    )


def _number(line: Line) -> int:
    return int(line.line_id)


def _amount(command: AmendOrder, content: Content, name: str) -> int:
    wanted: Money | None = getattr(command, name)
    standing: int = getattr(content, name)
    return standing if wanted is None else in_currency(wanted, content.currency, f"/{name}")


def _ordered(wanted: Sequence[AmendedLine], order: Order, products: Mapping[str, Product]) -> list[Line]:
    currency, lines = order.currency, order.lines
    changed = _changed(wanted, currency, lines)
    _nothing_lost(changed, lines)
    new = [(place, line.sku, line) for place, line in enumerate(wanted) if line.line_id is None and line.sku]
    ordered = [*changed.values(), *new_lines(new, order.last_line + 1, currency, products)]
    ordered += [line.ordered for line_id, line in lines.items() if line_id not in changed and not line.untouched]
    each_product_once([line for line in ordered if line.line_id not in lines or not lines[line.line_id].settled])
    if len(ordered) > MOST_LINES:
        raise TooManyLines(lines=len(ordered), most=MOST_LINES)
    return sorted(ordered, key=_number)


def _changed(wanted: Sequence[AmendedLine], currency: str, lines: Lines) -> dict[str, Line]:
    """The lines that are there and stay."""
    named = [(place, line.line_id, line) for place, line in enumerate(wanted) if line.line_id is not None]
    if unknown := sorted(line_id for _, line_id, _ in named if line_id not in lines):
        raise UnknownLines(line_ids=unknown)
    changed, fixed = {}, []
    for place, line_id, line in named:
        known = lines[line_id].ordered
        price = price_of(line, place, currency, known.unit_price)
        assert price is not None
        changed[line_id] = replace(known, quantity=line.quantity, unit_price=price)
        if _is_fixed(lines[line_id], changed[line_id], line.sku):
            fixed.append(line_id)
    if fixed:
        raise LineFixed(line_ids=sorted(fixed))
    return changed


def _is_fixed(line: OrderLine, wanted: Line, sku: str | None) -> bool:
    """A line keeps its product; from its first shipment its price; and all, when something was taken off its cost."""
    if sku is not None and sku != line.sku:
        return True
    if line.settled:
        return (wanted.quantity, wanted.unit_price) != (line.quantity, line.unit_price)
    return not line.untouched and wanted.unit_price != line.unit_price


def _nothing_lost(changed: Mapping[str, Line], lines: Lines) -> None:
    """Only what is open can go, and only a line of which nothing else became can go whole. Raises `BelowFulfilled`."""
    below = {}
    for line_id, line in lines.items():
        asked = changed[line_id].quantity if line_id in changed else 0
        left_as_it_is = line_id not in changed and not line.open
        least = line.quantity - line.open if line.untouched else max(line.quantity - line.open, 1)
        if asked < least and not left_as_it_is:
            below[line_id] = {"asked": asked, "least": least}
    if below:
        raise BelowFulfilled(lines=below)
