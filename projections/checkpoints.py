"""How far each projection has come in each place, and which streams it had to leave aside."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Column, DateTime, SmallInteger, Table, Text, func

from projections.feed import LOG, CannotFollow, Place
from projections.statements import array, unfolded
from projections.tables import metadata

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("source", Text, primary_key=True),  # "log", or a topic
    Column("partition", SmallInteger, primary_key=True),  # -1: the log
    Column("next_offset", BigInteger, nullable=False),  # everything before it is in the tables
    Column("position", BigInteger, nullable=False),  # in the log, of the newest event that is in the tables
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    postgresql_with={"fillfactor": 50},  # rows that change with every batch find room on their own page
)

parked = Table(
    "parked",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("error", Text),  # none: it waits behind an earlier event of its stream
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

CLOSED = -1
"""The next offset of a log that is no longer to be followed, because Kafka has taken over."""

_NEW = ", ".join(
    unfolded(column, kind)
    for column, kind in {
        "projection": "text",
        "source": "text",
        "partition": "smallint",
        "believed": "bigint",
        "next_offset": "bigint",
        "position": "bigint",
    }.items()
)

CREATE = f"""
INSERT INTO checkpoints (projection, source, partition, next_offset, position)
SELECT {unfolded("projection", "text")}, {unfolded("source", "text")}, {unfolded("partition", "smallint")}, 0, 0
ON CONFLICT DO NOTHING
"""
"""The beginning, for places that a projection has never seen."""

CLOSE_LOG = f"""
INSERT INTO checkpoints (projection, source, partition, next_offset, position)
SELECT {unfolded("projection", "text")}, 'log', -1, {CLOSED}, 0
ON CONFLICT (projection, source, partition) DO UPDATE SET next_offset = {CLOSED}
WHERE checkpoints.next_offset <> {CLOSED}
"""
"""From now on Kafka delivers: a worker that still follows the log finds that it has lost it."""

LOAD = "SELECT projection, source, partition, next_offset, position FROM checkpoints WHERE projection = ANY(%s)"
"""The checkpoints of some projections."""

LOAD_PARKED = "SELECT DISTINCT projection, stream FROM parked WHERE projection = ANY(%s)"
"""The streams that some projections have left aside."""

MOVE = f"""
UPDATE checkpoints SET next_offset = new.next_offset, position = greatest(checkpoints.position, new.position),
    updated_at = now()
FROM (SELECT {_NEW}) AS new
WHERE checkpoints.projection = new.projection AND checkpoints.source = new.source
    AND checkpoints.partition = new.partition AND checkpoints.next_offset = new.believed
"""
"""Move checkpoints from where the worker believes them to be; one that somebody else has moved stays."""

PARK = f"""
INSERT INTO parked (projection, stream, version, position, error)
SELECT {unfolded("projection", "text")}, {unfolded("stream", "text")}, {unfolded("version", "bigint")},
    {unfolded("position", "bigint")}, {unfolded("error", "text")}
ON CONFLICT DO NOTHING
"""
"""Leave events aside, to be applied when the code is mended; those without an error wait behind one with."""

Connection = AsyncConnection[tuple[Any, ...]]


class Lost(Exception):
    """Somebody else has moved a checkpoint: the partition is theirs now."""


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    projection: str
    source: str
    partition: int
    next_offset: int
    position: int


class Move(msgspec.Struct, frozen=True, gc=False):
    """From the offset where a checkpoint is believed to be to another."""

    projection: str
    place: Place
    believed: int
    end: int
    position: int


class Parked(msgspec.Struct, frozen=True, gc=False):
    projection: str
    stream: str
    version: int
    position: int
    error: str | None  # none: it waits


class Checkpoints:
    """What one worker believes about its projections. Whether it is true is decided by each commit."""

    def __init__(self, projections: Iterable[str]) -> None:
        self._projections = list(projections)
        self._known: dict[tuple[str, Place], int] = {}
        self._from_log: dict[str, int] = {}
        self._parked: dict[str, set[str]] = {}

    def offset(self, projection: str, place: Place) -> int | None:
        """Where the projection goes on; None for a place that it does not follow."""
        return self._known.get((projection, place))

    def from_log(self, projection: str, place: Place) -> int:
        """Up to which position the projection had its events from the log, before Kafka took over; else 0."""
        return 0 if place == LOG else self._from_log.get(projection, 0)

    def parked(self, projection: str) -> set[str]:
        """The streams that it has left aside."""
        return self._parked[projection]

    async def load(self, connection: Connection, wanted: Mapping[Place, Sequence[str]]) -> dict[Place, int]:
        """Take over these places, each for some projections; the least offset that one of them needs of each.

        Raises `CannotFollow` for the log when Kafka has taken over from it.
        """
        pairs = [(projection, place) for place, projections in wanted.items() for projection in projections]
        async with connection.transaction():
            await _take_over(connection, pairs)
            rows = await (await connection.execute(LOAD, (self._projections,))).fetchall()
            left = await (await connection.execute(LOAD_PARKED, (self._projections,))).fetchall()
        found = {(row[0], (row[1], row[2])): Checkpoint(*row) for row in rows}
        if closed := [name for name, place in pairs if found[name, place].next_offset == CLOSED]:
            raise CannotFollow(
                f"{', '.join(sorted(closed))} had events from Kafka before, and cannot go back to the log: set "
                "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS, or build anew from the log with `orderlog rebuild`"
            )
        self._from_log = {name: one.position for (name, place), one in found.items() if place == LOG}
        self._parked = {name: set() for name in self._projections}
        for projection, stream in left:
            self._parked[projection].add(stream)
        self._known.update({pair: found[pair].next_offset for pair in pairs})
        return {place: min(self._known[name, place] for name in names) for place, names in wanted.items()}

    def moved(self, moves: Iterable[Move], left: Iterable[Parked]) -> None:
        """These moves were committed."""
        for move in moves:
            self._known[move.projection, move.place] = move.end
        for event in left:
            self._parked[event.projection].add(event.stream)


async def _take_over(connection: Connection, pairs: Sequence[tuple[str, Place]]) -> None:
    columns = zip(*((projection, *place) for projection, place in sorted(pairs)), strict=True)
    await connection.execute(CREATE, [array(column) for column in columns])
    if from_kafka := sorted({projection for projection, place in pairs if place != LOG}):
        await connection.execute(CLOSE_LOG, [array(from_kafka)])


def move_parameters(moves: Iterable[Move]) -> list[str]:
    """For `MOVE`; in one order for all workers, so that two of them never wait for each other in a circle."""
    rows = sorted((one.projection, *one.place, one.believed, one.end, one.position) for one in moves)
    return [array(column) for column in zip(*rows, strict=True)]


def park_parameters(events: Iterable[Parked]) -> list[str]:
    """For `PARK`."""
    rows = [(one.projection, one.stream, one.version, one.position, one.error) for one in events]
    return [array(column) for column in zip(*rows, strict=True)]
