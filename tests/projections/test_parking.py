"""An event that a projection cannot digest stops only the order it belongs to, and only for that projection."""

import random
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from psycopg.rows import tuple_row
from structlog.testing import capture_logs

from events.codec import Row
from events.envelope import Recorded
from events.order import OrderConfirmed
from projections.catalogue import PROJECTIONS
from projections.tables import Change, Projection
from tests.projections.fold import difference, folded, written
from tests.projections.lives import lives
from tests.projections.logs import Recording, a_catalogue
from tests.projections.reading import ReadSide, until


def of_one_order(recordings: list[Recording]) -> str:
    """An order in the middle of the recordings that gets confirmed and more."""
    last = {stream: number for number, (stream, _) in enumerate(recordings)}
    confirmed = [
        stream
        for number, (stream, event) in enumerate(recordings)
        if isinstance(event, OrderConfirmed) and number < last[stream]
    ]
    return confirmed[len(confirmed) // 2]


def failing(name: str, stream: str) -> Projection:
    """A projection that cannot take the confirmation of one order."""
    real = PROJECTIONS[name]

    def react(recorded: Recorded) -> Iterator[Change]:
        if recorded.stream == stream and isinstance(recorded.event, OrderConfirmed):
            raise ValueError("a confirmation is too much")
        yield from real.react(recorded)

    return msgspec.structs.replace(real, react=react)


def without(rows: list[Row], stream: str, *, from_version: int) -> list[Row]:
    return [row for row in rows if row[0] != stream or row[1] < from_version]


def parked(url: str) -> list[tuple[str, str, int, str | None]]:
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        return connection.execute(
            "SELECT projection, stream, version, error FROM parked ORDER BY projection, version"
        ).fetchall()


async def test_an_event_that_a_projection_cannot_take_parks_its_order_and_no_other(read_side: ReadSide) -> None:
    recordings = list(lives(100, random.Random(20)))
    poisoned = of_one_order(recordings)
    await read_side.record([*a_catalogue(), *recordings])
    confirmed = next(row[1] for row in read_side.rows if row[0] == poisoned and row[3].endswith("confirmed.v1"))
    last = max(row[1] for row in read_side.rows if row[0] == poisoned)
    assert last > confirmed, "the order goes on after the event in question"
    whole, short = folded(read_side.rows), folded(without(read_side.rows, poisoned, from_version=confirmed))
    projections = [failing(name, poisoned) if name == "order_list" else one for name, one in PROJECTIONS.items()]
    with capture_logs() as logs:
        async with read_side.working(projections):
            await until(lambda: difference(whole | {"order_list": short["order_list"]}, written(read_side.url)))
    left = parked(read_side.url)
    assert [(one[0], one[1], one[2]) for one in left] == [
        ("order_list", poisoned, version) for version in range(confirmed, last + 1)
    ]
    assert "a confirmation is too much" in str(left[0][3])
    assert [one[3] for one in left[1:]] == [None] * (last - confirmed)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["event"].startswith("event parked")
    assert line["projection"] == "order_list"


async def test_a_parked_order_stays_parked_after_a_restart(on_the_log: ReadSide) -> None:
    recordings = list(lives(30, random.Random(21)))
    poisoned = of_one_order(recordings)
    middle = next(
        number
        for number, (stream, event) in enumerate(recordings)
        if stream == poisoned and isinstance(event, OrderConfirmed)
    )
    projections = [failing("order_list", poisoned)]
    await on_the_log.record([*a_catalogue(), *recordings[: middle + 1]])
    async with on_the_log.working(projections):
        await until(lambda: not parked(on_the_log.url))
    await on_the_log.record(recordings[middle + 1 :])
    async with on_the_log.working(projections):
        expected = folded(without(on_the_log.rows, poisoned, from_version=parked(on_the_log.url)[0][2]))["order_list"]
        await until(lambda: difference({"order_list": expected}, {"order_list": written(on_the_log.url)["order_list"]}))
    assert len(parked(on_the_log.url)) == sum(stream == poisoned for stream, _ in recordings[middle:])


@pytest.mark.parametrize("state", [b"{", b'{"cause":{"time":"2026-01-01T00:00:00Z","actor":"a"},"data":{"type":"x"}}'])
async def test_an_event_that_cannot_be_read_parks_its_order_everywhere(on_the_log: ReadSide, state: bytes) -> None:
    recordings = list(lives(30, random.Random(22)))
    poisoned = of_one_order(recordings)
    await on_the_log.record([*a_catalogue(), *recordings])
    with psycopg.connect(on_the_log.url) as connection:
        connection.execute(
            "UPDATE events SET state = %s WHERE originator_id = %s AND originator_version = 2", (state, poisoned)
        )
    expected = folded(without(on_the_log.rows, poisoned, from_version=2))
    async with on_the_log.working():
        await until(lambda: difference(expected, written(on_the_log.url)))
    left = [one for one in parked(on_the_log.url) if one[2] == 2]
    assert [one[0] for one in left] == [
        *("daily_sales", "due_steps", "order_details", "order_list", "order_search", "timeline")
    ]
    assert all(f"event 2 of stream '{poisoned}'" in str(one[3]) for one in left)


async def test_an_event_that_the_database_refuses_parks_its_order(on_the_log: ReadSide) -> None:
    recordings = list(lives(30, random.Random(23)))
    stream, placed = recordings[0]
    nul = msgspec.structs.replace(placed, customer_id="C-\0")
    await on_the_log.record([*a_catalogue(), (stream, nul), *recordings[1:]])
    expected = folded(without(on_the_log.rows, stream, from_version=1))["order_list"]
    async with on_the_log.working():
        await until(lambda: difference({"order_list": expected}, {"order_list": written(on_the_log.url)["order_list"]}))
    assert {(one[0], one[1]) for one in parked(on_the_log.url)} >= {("order_details", stream), ("order_list", stream)}


async def test_an_event_that_changes_a_row_that_is_not_there_names_the_row(on_the_log: ReadSide) -> None:
    stream, confirmed = next(one for one in lives(9, random.Random(24)) if isinstance(one[1], OrderConfirmed))
    await on_the_log.record([*a_catalogue(), (stream, confirmed)])
    async with on_the_log.working([PROJECTIONS["order_list"]]):
        await until(lambda: not parked(on_the_log.url))
    ((_, _, _, error),) = parked(on_the_log.url)
    assert error is not None
    assert "table order_list has no row for " + stream.removeprefix("order-") in error


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON order_list EXECUTE FUNCTION full_disk()
"""


async def test_a_database_without_room_is_waited_for_and_no_event_is_to_blame(on_the_log: ReadSide) -> None:
    with psycopg.connect(on_the_log.url) as connection:
        connection.execute(FULL)
    await on_the_log.record([*a_catalogue(), *lives(5, random.Random(25))])
    async with on_the_log.working() as worker:
        await until(lambda: "could not extend file" not in (worker.problem or ""))
        assert parked(on_the_log.url) == []
        with psycopg.connect(on_the_log.url) as connection:
            connection.execute("DROP TRIGGER full_disk ON order_list")
        await on_the_log.shows_everything()
    assert parked(on_the_log.url) == []
