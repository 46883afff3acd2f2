"""Logs for the read side to follow, written as the processor writes them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from events import codec
from events.codec import Row
from events.envelope import Cause, Event, product_stream
from events.log import Log, Writer
from events.product import ProductListed, StockReceived

Recording = tuple[str, Event]
"""A stream, and what happened in it."""

BEGIN = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
PRODUCTS = 5
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


def a_catalogue(products: int = PRODUCTS) -> Iterator[Recording]:
    for number in range(products):
        sku = f"SKU-{number}"
        listed = ProductListed(BEGIN, sku, f"Product {number} ☕", {"EUR": 100 + number, "JPY": 90}, tracked=True)
        yield product_stream(sku), listed
        yield product_stream(sku), StockReceived(BEGIN, 1_000_000)
