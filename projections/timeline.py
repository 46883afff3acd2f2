"""What happened to this order, and what has happened since? One row an event, as it is in the log."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Index, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

from events import codec
from events.envelope import Recorded
from projections.tables import Change, Projection, Put, metadata

timeline = Table(
    "timeline",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("partition", SmallInteger, nullable=False),  # -1: straight from the log
    Column("position", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),  # when it was recorded
    Column("actor", Text, nullable=False),
    Column("data", JSON, nullable=False),
    # Within a partition, rows become visible in the order of their positions: a listener follows each by itself.
    Index("timeline_partition", "partition", "position"),
)


def react(recorded: Recorded) -> Iterator[Change]:
    event, cause = recorded.event, recorded.cause
    values = {
        "position": recorded.position,
        "type": codec.event_type(event),
        "time": cause.time,
        "actor": cause.actor,
        "data": msgspec.Raw(codec.data(event)),
    }
    yield Put(timeline, (recorded.key, recorded.version), values)


PROJECTION = Projection("timeline", "order", (timeline,), react, arrived_by="partition")
