"""The domain a second time, as plain numbers: what an order should come to, worked out from DESIGN section 3 alone.

It shares nothing with the code it is compared with: dictionaries instead of facts, fractions instead of its integer
arithmetic, and what is owed is added up from the lines anew each time. Each command is a method that says whether it is
taken, and then does it.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Literal

PRICES = {"CUP": 250, "BOWL": 999, "POSTER": 1999, "PIN": 0, "DOT": 1, "DASH": 1, "RING": 1}
COUNTED = {"CUP", "BOWL"}  # the others are not tracked

Asked = dict[str, int]  # line id to pieces


@dataclass
class Line:
    sku: str
    quantity: int
    price: int
    counted: bool
    discount: int = 0
    shipping: int = 0
    tax: int = 0
    kept: int = 0
    cancelled: int = 0
    shipped: int = 0
    delivered: int = 0
    lost: int = 0
    returned: int = 0

    @property
    def open(self) -> int:
        return self.quantity - self.cancelled - self.shipped + self.lost

    @property
    def goods(self) -> int:
        return self.quantity * self.price

    @property
    def total(self) -> int:
        return self.goods - self.discount + self.shipping + self.tax

    @property
    def owed(self) -> int:
        """For the pieces the customer keeps; `round` is half-even."""
        return self.total - round(Fraction(self.total * (self.cancelled + self.returned), self.quantity))


@dataclass
class Parcel:
    pieces: Asked
    state: str = "dispatched"
    carrier: str | None = None


@dataclass
class GoodsBack:
    pieces: Asked
    state: str = "requested"
    came: Asked = field(default_factory=dict)


@dataclass
class Wanted:
    """A line that an amendment asks for: of a known line (`line_id`) or a new one (`sku`)."""

    line_id: str | None
    sku: str | None
    quantity: int
    price: int | None = None


@dataclass
class Order:
    status: Literal["draft", "placed", "confirmed", "completed", "cancelled"]
    invoice: bool
    lines: dict[str, Line]
    extras: dict[str, int]  # discount, shipping, tax
    last: int
    held: str | None = None
    open_auths: dict[str, int] = field(default_factory=dict)  # what is left, by reference, oldest first
    asked_auths: dict[str, int] = field(default_factory=dict)
    voided_auths: set[str] = field(default_factory=set)
    voided: int = 0
    captured: int = 0
    refunded: int = 0
    captures: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)
    backs: dict[str, GoodsBack] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    notes: int = 0

    @property
    def authorized(self) -> int:
        return sum(self.asked_auths.values())

    @property
    def owed(self) -> int:
        return 0 if self.status == "cancelled" else sum(line.owed for line in self.lines.values())

    @property
    def balance(self) -> int:
        return self.owed - (self.captured - self.refunded)

    @property
    def derived(self) -> tuple[str, str, str]:
        """Payment, fulfilment and return status."""
        return self._payment(), self._fulfilment(), self._return()

    def _payment(self) -> str:
        if self.refunded:
            return "partly_refunded" if self.refunded < self.captured else "refunded"
        if self.captured:
            return "partly_paid" if self.captured < self.owed else "paid"
        if self.owed == 0:
            return "none"
        return "unpaid" if self.authorized - self.voided < self.owed else "authorized"

    def _fulfilment(self) -> str:
        wanted = sum(line.quantity - line.cancelled for line in self.lines.values())
        arrived = sum(line.delivered for line in self.lines.values())
        sent = sum(line.shipped - line.lost for line in self.lines.values())
        if wanted == 0:
            return "none"
        if arrived:
            return "partly_delivered" if arrived < wanted else "delivered"
        return ("partly_shipped" if sent < wanted else "shipped") if sent else "unfulfilled"

    def _return(self) -> str:
        came = sum(line.returned for line in self.lines.values())
        if came == 0:
            return "none"
        return "partly_returned" if came < sum(line.delivered for line in self.lines.values()) else "returned"


def in_parts(amount: int, weights: list[int]) -> list[int]:
    """By largest remainder, the earlier of equals first; evenly where nothing weighs."""
    if sum(weights) == 0:
        weights = [1 for _ in weights]
    exact = [Fraction(amount * weight, sum(weights)) for weight in weights]
    parts = [floor(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in by_remainder[: amount - sum(parts)]:
        parts[index] += 1
    return parts


class Model:
    def __init__(self, on_hand: dict[str, int]) -> None:
        self.on_hand = dict(on_hand)
        self.orders: dict[int, Order] = {}

    def reserved(self, sku: str) -> int:
        return sum(line.kept for order in self.orders.values() for line in order.lines.values() if line.sku == sku)

    def available(self, sku: str) -> int:
        return self.on_hand[sku] - self.reserved(sku)

    # Placing and amending ------------------------------------------------------------------------------------

    def place(
        self, key: int, lines: list[tuple[str, int]], extras: dict[str, int], *, draft: bool, invoice: bool
    ) -> bool:
        made = {
            str(number): Line(sku, quantity, PRICES[sku], sku in COUNTED)
            for number, (sku, quantity) in enumerate(lines, 1)
        }
        if key in self.orders or len({sku for sku, _ in lines}) < len(lines) or not _shared(made, extras, {}):
            return False
        if not draft and not self._keep({}, made):
            return False
        self.orders[key] = Order("draft" if draft else "placed", invoice, made, dict(extras), len(made))
        return True

    def place_draft(self, order: Order) -> bool:
        if order.status != "draft" or not self._keep({}, order.lines):
            return False
        order.status = "placed"
        return True

    def amend(self, order: Order, lines: list[Wanted] | None, extras: dict[str, int]) -> bool:
        if order.status not in {"draft", "placed", "confirmed"}:
            return False
        changed = {line_id: Line(**vars(line)) for line_id, line in order.lines.items()}
        if lines is not None and not _relined(order, changed, lines):
            return False
        settled = {line_id: line for line_id, line in changed.items() if line.cancelled or line.returned}
        loose = [(line.sku, line.price) for line_id, line in changed.items() if line_id not in settled]
        if len(set(loose)) < len(loose):
            return False
        wanted = order.extras | extras
        if not _shared(changed, wanted, settled):
            return False
        if order.status != "draft" and not self._keep(order.lines, changed):
            return False
        order.last = max([order.last, *map(int, changed)])
        order.lines, order.extras = changed, wanted
        return True

    def _keep(self, before: dict[str, Line], after: dict[str, Line]) -> bool:
        """Stock for lines as they become, all of it or nothing."""
        kept = {}
        for line_id, line in after.items():
            was = before.get(line_id)
            more = line.quantity - (was.quantity if was else 0)
            had = was.kept if was else 0
            kept[line_id] = had + more if more > 0 and line.counted else min(had, line.open)
        for sku in COUNTED:
            was_kept = sum(line.kept for line in before.values() if line.sku == sku)
            now_kept = sum(kept[line_id] for line_id, line in after.items() if line.sku == sku)
            if now_kept > was_kept and now_kept - was_kept > self.available(sku):
                return False
        for line_id, line in after.items():
            line.kept = kept[line_id]
        return True

    # Steps ---------------------------------------------------------------------------------------------------

    def confirm(self, order: Order) -> bool:
        if order.status in {"draft", "cancelled"}:
            return False
        if order.status == "placed":
            cover = order.captured - order.refunded + sum(order.open_auths.values())
            if order.held or (not order.invoice and cover < order.owed):
                return False
            order.status = "confirmed"
        return True

    def complete(self, order: Order) -> bool:
        if order.status == "completed":
            return True
        if order.status != "confirmed" or order.held or order.balance:
            return False
        if any(line.open or line.shipped != line.delivered + line.lost for line in order.lines.values()):
            return False
        order.status = "completed"
        return True

    def hold(self, order: Order, reason: str) -> bool:
        if order.status not in {"placed", "confirmed"}:
            return False
        order.held = reason
        return True

    def release(self, order: Order) -> bool:
        if order.status not in {"placed", "confirmed"}:
            return False
        order.held = None
        return True

    # Payment -------------------------------------------------------------------------------------------------

    def authorize(self, order: Order, amount: int, reference: str) -> bool:
        if order.status in {"draft", "cancelled"}:
            return False
        if amount == 0:
            return True
        if reference in order.asked_auths:
            return order.asked_auths[reference] == amount
        if order.status == "completed" and order.balance <= 0:
            return False
        order.asked_auths[reference] = order.open_auths[reference] = amount
        return True

    def capture(self, order: Order, amount: int, reference: str) -> bool:
        if order.status == "draft":
            return False
        if amount == 0:
            return True
        if reference in order.captures:
            return order.captures[reference] == amount
        if order.status == "completed" and order.balance <= 0:
            return False
        late = order.status == "cancelled"
        if amount > (order.authorized - order.captured if late else sum(order.open_auths.values())):
            return False
        order.captured += amount
        if reference not in order.asked_auths:
            order.captures[reference] = amount
        for own in sorted(order.open_auths, key=lambda known: known != reference):
            drawn = min(amount, order.open_auths[own])
            order.open_auths[own] -= drawn
            amount -= drawn
        return True

    def void(self, order: Order, reference: str) -> bool:
        if order.status == "draft":
            return False
        if reference in order.voided_auths:
            return True
        if not order.open_auths.get(reference):
            return False
        self._give_up(order, reference)
        return True

    def refund(self, order: Order, amount: int, reference: str) -> bool:
        if order.status == "draft":
            return False
        if amount == 0:
            return True
        if reference in order.refunds:
            return order.refunds[reference] == amount
        if order.refunded + amount > order.captured:
            return False
        order.refunded += amount
        order.refunds[reference] = amount
        return True

    def _give_up(self, order: Order, reference: str) -> None:
        order.voided += order.open_auths[reference]
        order.open_auths[reference] = 0
        order.voided_auths.add(reference)

    # Shipment ------------------------------------------------------------------------------------------------

    def ship(self, order: Order, pieces: Asked, parcel: str | None) -> bool:
        if order.status == "draft":
            return False
        if parcel in order.parcels:
            return order.parcels[parcel].pieces == pieces
        if order.status != "confirmed" or order.held or not self._are_open(order, pieces):
            return False
        unkept = dict.fromkeys(COUNTED, 0)
        for line_id, count in pieces.items():
            line = order.lines[line_id]
            if line.counted:
                unkept[line.sku] += max(0, count - line.kept)
        if any(count > self.available(sku) for sku, count in unkept.items() if count):
            return False
        for line_id, count in pieces.items():
            line = order.lines[line_id]
            line.shipped += count
            if line.counted:
                line.kept -= min(count, line.kept)
                self.on_hand[line.sku] -= count
        order.parcels[parcel or _next("S", order.parcels)] = Parcel(pieces)
        return True

    def track(self, order: Order, parcel: str, carrier: str) -> bool:
        if not self._has_parcel(order, parcel):
            return False
        if order.status == "confirmed":
            order.parcels[parcel].carrier = carrier
        return True

    def deliver(self, order: Order, parcel: str) -> bool:
        return self._arrives(order, parcel, "delivered")

    def lose(self, order: Order, parcel: str) -> bool:
        return self._arrives(order, parcel, "lost")

    def _arrives(self, order: Order, parcel: str, state: Literal["delivered", "lost"]) -> bool:
        if not self._has_parcel(order, parcel):
            return False
        if order.status == "completed" or order.parcels[parcel].state == state:
            return True
        if order.parcels[parcel].state != "dispatched":
            return False
        order.parcels[parcel].state = state
        for line_id, count in order.parcels[parcel].pieces.items():
            line = order.lines[line_id]
            line.delivered += count if state == "delivered" else 0
            line.lost += count if state == "lost" else 0
        return True

    def _has_parcel(self, order: Order, parcel: str) -> bool:
        return order.status in {"confirmed", "completed"} and parcel in order.parcels

    # Cancelling ----------------------------------------------------------------------------------------------

    def cancel_lines(self, order: Order, pieces: Asked) -> bool:
        if order.status not in {"placed", "confirmed"} or not self._are_open(order, pieces):
            return False
        for line_id, count in pieces.items():
            line = order.lines[line_id]
            line.cancelled += count
            line.kept = min(line.kept, line.open)
        return True

    def cancel(self, order: Order) -> bool:
        if order.status == "cancelled":
            return True
        if order.status == "completed" or order.parcels:
            return False
        self._call_off(order)
        return True

    def expire(self, order: Order) -> bool:
        if order.status == "placed" and not order.invoice and not order.captured:
            self._call_off(order)
        return True

    def _call_off(self, order: Order) -> None:
        for line in order.lines.values():
            line.cancelled += line.open
            line.kept = 0
        for reference, left in order.open_auths.items():
            if left:
                self._give_up(order, reference)
        order.status = "cancelled"

    def _are_open(self, order: Order, pieces: Asked) -> bool:
        return all(line_id in order.lines and count <= order.lines[line_id].open for line_id, count in pieces.items())

    # Returns -------------------------------------------------------------------------------------------------

    def request_return(self, order: Order, pieces: Asked, back: str | None) -> bool:
        if order.status not in {"confirmed", "completed"} or not set(pieces) <= set(order.lines):
            return False
        if back in order.backs:
            return order.backs[back].pieces == pieces
        coming = [one.pieces for one in order.backs.values() if one.state in {"requested", "approved"}]
        for line_id, count in pieces.items():
            line = order.lines[line_id]
            if count > line.delivered - line.returned - sum(one.get(line_id, 0) for one in coming):
                return False
        order.backs[back or _next("R", order.backs)] = GoodsBack(pieces)
        return True

    def decide_return(self, order: Order, back: str, *, approved: bool) -> bool:
        if order.status not in {"confirmed", "completed"} or back not in order.backs:
            return False
        known = order.backs[back]
        if known.state == "requested":
            known.state = "approved" if approved else "rejected"
        return approved == (known.state != "rejected")

    def receive_return(self, order: Order, back: str, pieces: Asked, *, restock: bool) -> bool:
        if order.status not in {"confirmed", "completed"} or back not in order.backs:
            return False
        known = order.backs[back]
        if not set(pieces) <= set(order.lines):
            return False
        if known.state == "received":
            return known.came == pieces
        if known.state != "approved" or any(count > known.pieces.get(line, 0) for line, count in pieces.items()):
            return False
        known.state, known.came = "received", pieces
        for line_id, count in pieces.items():
            line = order.lines[line_id]
            line.returned += count
            if restock and line.counted:
                self.on_hand[line.sku] += count
        return True


def _next(letter: str, taken: object) -> str:
    assert isinstance(taken, dict)
    number = len(taken) + 1
    while f"{letter}{number}" in taken:
        number += 1
    return f"{letter}{number}"


def _relined(order: Order, changed: dict[str, Line], wanted: list[Wanted]) -> bool:
    """The lines of an amendment; says whether they can be had."""
    named = {one.line_id for one in wanted}
    for line_id, line in order.lines.items():
        if line_id not in named and line.open:
            if line.cancelled or line.shipped:
                return False
            del changed[line_id]
    new = order.last
    for one in wanted:
        if one.line_id is None:
            assert one.sku is not None
            new += 1
            price = PRICES[one.sku] if one.price is None else one.price
            changed[str(new)] = Line(one.sku, one.quantity, price, one.sku in COUNTED)
        elif one.line_id not in order.lines or not _changeable(changed[one.line_id], one):
            return False
    return True


def _changeable(line: Line, one: Wanted) -> bool:
    """Does it, too."""
    price = line.price if one.price is None else one.price
    other = (one.quantity, price) != (line.quantity, line.price)
    if one.sku not in {None, line.sku} or (other and (line.cancelled or line.returned)):
        return False
    if (line.shipped and price != line.price) or one.quantity < line.quantity - line.open:
        return False
    line.quantity, line.price = one.quantity, price
    return True


def _shared(lines: dict[str, Line], extras: dict[str, int], settled: dict[str, Line]) -> bool:
    """Discount, shipping and tax onto the lines, past what settled ones carry; says whether they can carry it."""
    loose = [line for line_id, line in lines.items() if line_id not in settled]
    left = {name: amount - sum(getattr(line, name) for line in settled.values()) for name, amount in extras.items()}
    gross = sum(line.goods for line in lines.values()) + extras["shipping"] + extras["tax"]
    if extras["discount"] > gross or min(left.values()) < 0 or (not loose and any(left.values())):
        return False
    goods = [line.goods for line in loose]
    shipping, tax = in_parts(left["shipping"], goods), in_parts(left["tax"], goods)
    weights = (
        goods if left["discount"] <= sum(goods) else [sum(parts) for parts in zip(goods, shipping, tax, strict=True)]
    )
    if left["discount"] > sum(weights):
        return False
    discount = in_parts(left["discount"], weights)
    for index, line in enumerate(loose):
        line.discount, line.shipping, line.tax = discount[index], shipping[index], tax[index]
    return True
