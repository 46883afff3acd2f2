"""A log in which products are listed and their stock received, as 20,000 requests would leave it but at once."""

from datetime import UTC, datetime

from events import codec
from events.codec import Row
from events.envelope import Cause, product_stream
from events.log import Log
from events.product import ProductEvent, ProductListed, StockReceived

BATCH = 2_000
AT = datetime(2026, 1, 2, tzinfo=UTC)
CAUSE = Cause(AT, "bench")


def fill(url: str, products: int, on_hand: int) -> None:
    """Tracked SKU-1 … SKU-`products`, with so much of each, in a database that is empty."""
    log = Log(url)
    log.create()
    writer = log.writer()
    for first in range(1, products + 1, BATCH):
        rows = [row for number in range(first, min(first + BATCH, products + 1)) for row in shelved(number, on_hand)]
        writer.append_unlocked(rows, [])
    writer.close()
    log.close()


def shelved(number: int, on_hand: int) -> list[Row]:
    sku = f"SKU-{number}"
    facts: tuple[ProductEvent, ...] = (
        ProductListed(AT, sku, f"Product {number}", {"EUR": 100 + number}, tracked=True),
        StockReceived(AT, on_hand),
    )
    return [
        (product_stream(sku), version, 2 * (number - 1) + version, codec.event_type(fact), codec.encode(fact, CAUSE))
        for version, fact in enumerate(facts, 1)
    ]
