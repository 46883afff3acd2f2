"""The decisions alone, without a log: what `decide` and `evolve` cost.

`python -m tests.benchmarks.deciding` prints JSON: placing an order of three lines of tracked products, and taking an
order of 100 and one of 10,000 events from its rows.
"""

import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from commands import order as orders
from commands import product as products
from commands.order import Order
from events import codec
from events.codec import Row
from events.envelope import Cause, order_stream
from events.order import NoteAdded, OrderEvent
from events.product import ProductListed, StockReceived
from tests.examples import (
    NOON,
    ORDER,
    an_order_confirmed,
    an_order_placed,
    authorized,
    captured,
    cups,
    place_order,
    posters,
    shipped,
    wanted,
)

CAUSE = Cause(datetime(2026, 1, 2, tzinfo=UTC), "bench")
ROUNDS = 5


def measure() -> dict[str, float]:
    hundred, many = rows(100), rows(10_000)
    gc.collect()
    gc.freeze()
    gc.disable()
    return {
        "place_three_lines_us": fastest(placing(), 2_000) * 1e6,
        "load_100_events_ms": fastest(lambda: load(hundred), 50) * 1e3,
        "load_10000_events_ms": fastest(lambda: load(many), 1) * 1e3,
    }


def fastest(work: Callable[[], object], times: int) -> float:
    """Seconds of one call, in the fastest round."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            work()
        seconds.append((time.perf_counter() - start) / times)
    return min(seconds)


def placing() -> Callable[[], object]:
    """What the processor does for an order but for the log: its products are moved, too."""
    shelf = {}
    for number in range(3):
        listed = ProductListed(NOON, f"SKU-{number}", "Something", {"EUR": 250}, tracked=True)
        product = products.evolve(None, listed)
        shelf[listed.sku] = products.evolve(product, StockReceived(NOON, 1_000))
    command = place_order(*(wanted(sku, 2) for sku in shelf))

    def place() -> None:
        needed = {sku: shelf[sku] for sku in orders.skus_of(command, None)}
        decision = orders.decide(command, None, needed, "7K3M-9Q2X-J")
        for fact in decision.order:
            orders.evolve(None, fact)
        for sku, facts in decision.products.items():
            for moved in facts:
                products.evolve(shelf[sku], moved)

    return place


def rows(count: int) -> list[Row]:
    """An order that is paid, confirmed and shipped, and then much written about."""
    facts: list[OrderEvent] = [
        an_order_placed(cups(3), posters(2, "2")),
        authorized(4748),
        captured(4748),
        an_order_confirmed,
        shipped(1),
    ]
    facts += [NoteAdded(NOON, f"note {number}") for number in range(len(facts), count)]
    return [
        (order_stream(ORDER), version, version, codec.event_type(fact), codec.encode(fact, CAUSE))
        for version, fact in enumerate(facts, 1)
    ]


def load(stored: list[Row]) -> Order | None:
    order = None
    for row in stored:
        event = codec.decode(row).event
        assert isinstance(event, OrderEvent)
        order = orders.evolve(order, event)
    return order


if __name__ == "__main__":
    print(json.dumps(measure()))
