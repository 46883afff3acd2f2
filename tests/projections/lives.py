"""Lives of orders at random: lawful enough for a read side, and rich in everything that can happen."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from events import order as facts
from events.envelope import Event, order_stream, product_stream
from events.order import Address, Line, LineQuantity, OrderEvent
from events.product import StockDispatched, StockReleased, StockReserved, StockReturned
from tests.projections.logs import BEGIN, PRODUCTS, Recording

Move = Callable[[], None]


def lives(orders: int, dice: random.Random, at_once: int = 20) -> Iterator[Recording]:
    """Many orders' lives, some of them at the same time, each in its own order."""
    begun = 0
    going: list[list[Recording]] = []
    while begun < orders or going:
        while begun < orders and len(going) < at_once:
            going.append(the_life_of_an_order(dice))
            begun += 1
        life = dice.choice(going)
        yield life.pop(0)
        if not life:
            going.remove(life)


def the_life_of_an_order(dice: random.Random) -> list[Recording]:
    """Drafted or placed, and what may come after that."""
    life = _Life(dice)
    for _ in range(dice.randrange(25)):
        dice.choice(life.moves())()
    return life.recordings


class _Life:
    """One order: what was told of it, and as much of its state as it takes to go on."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.order_id = UUID(int=dice.getrandbits(128), version=4)
        self.at = BEGIN + timedelta(minutes=dice.randrange(120))
        self.recordings: list[Recording] = []
        self.lines: tuple[Line, ...] = ()
        self.counted: dict[str, Counter[str]] = {name: Counter() for name in ("cancelled", "shipped", "delivered")}
        self.authorized: list[str] = []  # references
        self.under_way: dict[str, tuple[LineQuantity, ...]] = {}  # shipments that have not arrived
        self.wanted_back: dict[str, tuple[LineQuantity, ...]] = {}  # returns that are asked for
        self.given = 0  # ids
        self.status = "draft" if dice.random() < 0.3 else "placed"
        self._change_lines(dice.randint(1, 3))
        self._tell(self._content(facts.OrderDrafted if self.status == "draft" else facts.OrderPlaced))
        if self.status == "placed":
            self._reserve()

    def moves(self) -> list[Move]:
        """What may happen now; what is to happen oftener is there oftener."""
        money = [self.authorize, self.capture, self.void, self.refund]
        before_the_end = [self.remark, *money, self.amend, self.hold, self.release, self.cancel_lines]
        match self.status:
            case "draft":
                return [self.remark, self.amend, self.place, self.place, self.cancel]
            case "placed":
                return [*before_the_end, *[self.confirm] * 3, self.cancel]
            case "confirmed":
                return [*before_the_end, *[self.ship] * 3, self.complete, *self._under_way(), *self._back()]
            case "completed":
                return [self.remark, *money, *self._back()]
            case _:
                return [self.remark, *money, self.owe]

    def _under_way(self) -> list[Move]:
        return [self.track, self.lose, *[self.deliver] * 4] if self.under_way else []

    def _back(self) -> list[Move]:
        asking = [self.ask_back] * 3 if +self.counted["delivered"] else []
        return [*asking, self.approve, self.reject, self.receive, self.receive] if self.wanted_back else asking

    # The order

    def place(self) -> None:
        self.status = "placed"
        self._tell(self._content(facts.OrderPlaced))
        self._reserve()

    def amend(self) -> None:
        """Lines that nothing has happened to go, others come; an address is forgotten or found."""
        touched = {line_id for counter in self.counted.values() for line_id in counter}
        self.lines = tuple(line for line in self.lines if line.line_id in touched)
        self._change_lines(self.dice.randint(1, 2))
        placed = self._content(facts.OrderPlaced)
        same = ("lines", "subtotal", "discount", "shipping", "tax", "total", "email", "shipping_address")
        self._tell(facts.OrderAmended(at=self.at, **{name: getattr(placed, name) for name in same}))

    def confirm(self) -> None:
        self.status = "confirmed"
        self._tell(facts.OrderConfirmed(self.at))

    def cancel_lines(self) -> None:
        if some := self._some(self._open()):
            self.counted["cancelled"].update(_by_line(some))
            self._tell(facts.LinesCancelled(self.at, "sold out", some, self.dice.randrange(100)))

    def cancel(self) -> None:
        left = tuple(LineQuantity(line_id, quantity) for line_id, quantity in self._open().items())
        self.status = "cancelled"
        self._tell(facts.OrderCancelled(self.at, "changed my mind", left, self.dice.randrange(1_000)))
        for one in left:
            self._stock(one, StockReleased)

    def complete(self) -> None:
        self.status = "completed"
        self._tell(facts.OrderCompleted(self.at))

    def hold(self) -> None:
        self._tell(facts.OrderHeld(self.at, f"looks odd {self.dice.random()}"))

    def release(self) -> None:
        self._tell(facts.OrderReleased(self.at))

    # Its payment

    def authorize(self) -> None:
        self.authorized.append(self._id("auth"))
        self._tell(facts.PaymentAuthorized(self.at, self.dice.randint(1, 2_000), self.authorized[-1]))

    def capture(self) -> None:
        self._tell(facts.PaymentCaptured(self.at, self.dice.randint(1, 2_000), self._id("capture")))

    def void(self) -> None:
        if self.authorized:
            reference = self.authorized.pop(self.dice.randrange(len(self.authorized)))
            self._tell(facts.PaymentVoided(self.at, self.dice.randint(1, 500), reference, "expired"))

    def owe(self) -> None:
        self._tell(facts.RefundRequired(self.at, self.dice.randint(1, 500), "late capture"))

    def refund(self) -> None:
        amount = self.dice.randint(1, 500)
        self._tell(facts.PaymentRefunded(self.at, amount, self._id("refund"), self.currency))

    # Its shipments and returns

    def ship(self) -> None:
        if some := self._some(self._open()):
            shipment_id = self._id("S")
            self.under_way[shipment_id] = some
            self.counted["shipped"].update(_by_line(some))
            self._tell(facts.ShipmentDispatched(self.at, shipment_id, some, self.dice.choice([None, "Swiss Post"])))
            for one in some:
                self._stock(one, StockDispatched)

    def track(self) -> None:
        shipment_id = self.dice.choice([*self.under_way])
        self._tell(facts.TrackingUpdated(self.at, shipment_id, None, f"T-{self.dice.randrange(100)}"))

    def deliver(self) -> None:
        shipment_id, lines = self.under_way.popitem()
        self.counted["delivered"].update(_by_line(lines))
        self._tell(facts.ShipmentDelivered(self.at, shipment_id, lines))

    def lose(self) -> None:
        shipment_id, lines = self.under_way.popitem()
        self.counted["shipped"].subtract(_by_line(lines))
        self._tell(facts.ShipmentLost(self.at, shipment_id, lines))

    def ask_back(self) -> None:
        return_id = self._id("R")
        self.wanted_back[return_id] = self._some(+self.counted["delivered"])
        self._tell(facts.ReturnRequested(self.at, return_id, self.wanted_back[return_id], "too small"))

    def approve(self) -> None:
        self._tell(facts.ReturnApproved(self.at, self.dice.choice([*self.wanted_back])))

    def reject(self) -> None:
        return_id, _ = self.wanted_back.popitem()
        self._tell(facts.ReturnRejected(self.at, return_id))

    def receive(self) -> None:
        """All of it or some."""
        return_id, lines = self.wanted_back.popitem()
        came = lines[: self.dice.randint(1, len(lines))]
        self._tell(facts.ReturnReceived(self.at, return_id, came, restock=True, amount=self.dice.randrange(300)))
        for one in came:
            self._stock(one, StockReturned)

    # Remarks

    def remark(self) -> None:
        tags = self.dice.sample(["vip", "gift", "o'clock", '"x"'], self.dice.randrange(4))
        remarks: list[OrderEvent] = [
            facts.NoteAdded(self.at, 'call before noon \\ "quoted", {x}, ☕'),
            facts.TagsSet(self.at, tuple(sorted(tags))),
            facts.MetadataSet(self.at, {"k": f"v, {{{self.dice.random()}}}"}),
        ]
        self._tell(self.dice.choice(remarks))

    # What the above are made of

    def _tell(self, event: OrderEvent) -> None:
        self.recordings.append((order_stream(self.order_id), event))
        self.at += timedelta(minutes=self.dice.randrange(90))

    def _stock(self, one: LineQuantity, kind: "Callable[[datetime, UUID, int], Event]") -> None:
        sku = next(line.sku for line in self.lines if line.line_id == one.line_id)
        self.recordings.append((product_stream(sku), kind(self.at, self.order_id, one.quantity)))

    def _reserve(self) -> None:
        for line in self.lines:
            self._stock(LineQuantity(line.line_id, line.quantity), StockReserved)

    def _change_lines(self, more: int) -> None:
        """Add lines under ids that were never used."""
        for sku in self.dice.sample(range(PRODUCTS), more):
            self.given += 1
            quantity, price = self.dice.randint(1, 9), 100 + sku
            line = Line(str(self.given), f"SKU-{sku}", f"Product {sku} ☕", quantity, price, reserved=True, tax=2)
            self.lines += (line,)

    def _content(
        self, kind: "type[facts.OrderDrafted | facts.OrderPlaced]"
    ) -> "facts.OrderDrafted | facts.OrderPlaced":
        subtotal = sum(line.quantity * line.unit_price for line in self.lines)
        free = self.dice.random() < 0.05
        address = Address('Ann O\'Neil "x"', "1 Road\\", "Bern", "CH") if self.dice.random() < 0.7 else None
        return kind(
            at=self.at,
            order_id=self.order_id,
            number=f"N-{self.order_id.hex}",
            customer_id=f"C-{self.order_id.int % 10}",
            currency=self.currency,
            lines=self.lines,
            subtotal=subtotal,
            discount=subtotal + 497 if free else 5,
            shipping=490,
            tax=7,
            total=0 if free else subtotal + 492,
            payment_terms=self.dice.choice(["prepaid", "prepaid", "invoice"]),
            payment_method="card",
            external_reference=f"PO-{self.dice.randrange(10**6)}",
            email=self.dice.choice([None, "a@example.org"]),
            shipping_address=address,
            metadata={"k": "v, {x}"},
        )

    @property
    def currency(self) -> str:
        return ("EUR", "JPY")[self.order_id.int % 2]

    def _id(self, prefix: str) -> str:
        self.given += 1
        return f"{prefix}{self.given}"

    def _open(self) -> Counter[str]:
        ordered = Counter({line.line_id: line.quantity for line in self.lines})
        return ordered - self.counted["cancelled"] - self.counted["shipped"]

    def _some(self, there: Counter[str]) -> tuple[LineQuantity, ...]:
        chosen = self.dice.sample(sorted(there), self.dice.randint(min(1, len(there)), len(there)))
        return tuple(LineQuantity(line_id, self.dice.randint(1, there[line_id])) for line_id in chosen)


def _by_line(quantities: tuple[LineQuantity, ...]) -> dict[str, int]:
    return {one.line_id: one.quantity for one in quantities}
