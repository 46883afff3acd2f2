"""What is in the catalogue, and how much of it is there? One row a product."""

from collections.abc import Iterator
from typing import assert_never

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Table, Text
from sqlalchemy.dialects.postgresql import JSON

from events.envelope import Recorded
from events.product import (
    ProductEvent,
    ProductListed,
    StockAdjusted,
    StockDispatched,
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
)
from projections.tables import Change, Projection, Put, Set, counter, metadata

stock_levels = Table(
    "stock_levels",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("prices", JSON, nullable=False),  # ISO 4217 currency to minor units
    Column("tracked", Boolean, nullable=False),
    counter("on_hand"),
    counter("reserved"),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)


def react(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    assert isinstance(event, ProductEvent)
    key = (recorded.key,)
    moved = {"version": recorded.version, "updated_at": event.at}
    match event:
        case ProductListed():
            card = moved | {"name": event.name, "prices": event.prices, "tracked": event.tracked}
            first = recorded.version == 1
            yield (
                Put(stock_levels, key, card | {"on_hand": 0, "reserved": 0}) if first else Set(stock_levels, key, card)
            )
        case StockReceived() | StockAdjusted() | StockReturned():
            yield Set(stock_levels, key, moved, {"on_hand": event.quantity})
        case StockReserved():
            yield Set(stock_levels, key, moved, {"reserved": event.quantity})
        case StockReleased():
            yield Set(stock_levels, key, moved, {"reserved": -event.quantity})
        case StockDispatched():
            yield Set(stock_levels, key, moved, {"on_hand": -event.quantity, "reserved": -event.quantity})
        case _:
            assert_never(event)


PROJECTION = Projection("stock_levels", "product", (stock_levels,), react)
