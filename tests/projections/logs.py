"""Logs for the read side to follow, written as the processor writes them."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from events import codec
from events.codec import Row
from events.envelope import Cause, Event, order_stream, product_stream
from events.log import Log, Writer
from events.order import (
    Address,
    Line,
    LineQuantity,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    ShipmentDispatched,
)
from events.product import ProductListed, StockDispatched, StockReceived, StockReleased, StockReserved

Recording = tuple[str, Event]
"""A stream, and what happened in it."""

BEGIN = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
RECORDED = datetime(2026, 2, 1, 12, tzinfo=UTC)


class Book:
    """Appends to a log."""

    def __init__(self, log: Log) -> None:
        log.create()
        self.log = log
        self._versions: dict[str, int] = defaultdict(int)

    def append(self, recordings: Iterable[Recording]) -> list[Row]:
        writer = self.log.writer()
        try:
            return list(self._append(writer, list(recordings)))
        finally:
            writer.close()

    def _append(self, writer: Writer, recordings: list[Recording]) -> Iterator[Row]:
        for first in range(0, len(recordings), 1000):
            writer.begin(10**12, [])
            position = writer.head()
            rows = []
            for stream, event in recordings[first : first + 1000]:
                position += 1
                self._versions[stream] += 1
                rows.append(self._row(stream, position, event))
            writer.append(rows, [])
            yield from rows

    def _row(self, stream: str, position: int, event: Event) -> Row:
        cause = Cause(RECORDED + timedelta(milliseconds=position), "tests", request_id=f"r-{position}")
        return stream, self._versions[stream], position, codec.event_type(event), codec.encode(event, cause)


def orders_uuid(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128), version=4)


def a_catalogue(products: int = 5) -> Iterator[Recording]:
    for number in range(products):
        sku = f"SKU-{number}"
        listed = ProductListed(BEGIN, sku, f"Product {number} ☕", {"EUR": 100 + number, "JPY": 90}, tracked=True)
        yield product_stream(sku), listed
        yield product_stream(sku), StockReceived(BEGIN, 1_000_000)


def the_life_of_an_order(dice: random.Random) -> list[Recording]:
    """Placed, and what may come after that."""
    order_id = orders_uuid(dice)
    stream = order_stream(order_id)
    at = BEGIN + timedelta(minutes=dice.randrange(120))
    lines = tuple(
        Line(str(number), f"SKU-{sku}", f"Product {sku} ☕", dice.randint(1, 9), 100 + sku, reserved=True)
        for number, sku in enumerate(dice.sample(range(5), dice.randint(1, 3)), 1)
    )
    subtotal = sum(line.quantity * line.unit_price for line in lines)
    placed = OrderPlaced(
        at, order_id, f"C-{dice.randrange(10)}", dice.choice(["EUR", "JPY"]), lines, subtotal, 5, 490, 7,
        subtotal + 492, "prepaid", "card", f"PO-{dice.randrange(10**6)}", "a@example.org",
        Address("Ann O'Neil \"x\"", "1 Road\\", "Bern", "CH"), {"k": "v, {x}"},
    )  # fmt: skip
    life: list[Recording] = [(stream, placed)]
    life += [(product_stream(line.sku), StockReserved(at, order_id, line.quantity)) for line in lines]
    if dice.random() < 0.2:
        open_lines = tuple(LineQuantity(line.line_id, line.quantity) for line in lines)
        life.append((stream, OrderCancelled(at, "changed my mind", open_lines)))
        life += [(product_stream(line.sku), StockReleased(at, order_id, line.quantity)) for line in lines]
        return life
    life.append((stream, PaymentAuthorized(at, placed.total, "auth-1")))
    life.append((stream, OrderConfirmed(at)))
    for line in lines:
        if dice.random() < 0.7:
            quantity = dice.randint(1, line.quantity)
            shipped = ShipmentDispatched(at, f"S{line.line_id}", (LineQuantity(line.line_id, quantity),))
            life.append((stream, shipped))
            life.append((product_stream(line.sku), StockDispatched(at, order_id, quantity)))
            life.append((stream, PaymentCaptured(at, quantity * line.unit_price, "capture-1")))
    return life


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
