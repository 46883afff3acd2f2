"""What waits to be done by itself: since when, until when, and how it is taken."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from events.envelope import Cause, Recorded, order_stream
from events.order import OrderEvent
from projections.due_steps import due_steps, react
from projections.folding import fold
from projections.queries import DONE, DUE, NEXT_DUE, DueStep, Queries
from projections.statements import array
from projections.tables import Key
from tests.examples import (
    NOON,
    ORDER,
    an_order_amended,
    an_order_cancelled,
    an_order_completed,
    an_order_confirmed,
    an_order_placed,
    an_order_released,
    authorized,
    captured,
    cups,
    delivered,
    lines_cancelled,
    lost,
    refunded,
    return_received,
    shipped,
    voided,
)
from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide

PLACED = an_order_placed(cups(2))
RECORDED = datetime(2026, 7, 1, tzinfo=UTC)
CONFIRM, COMPLETE, EXPIRE = ("confirm", ""), ("complete", ""), ("expire", "")
FAR = datetime(9999, 1, 1, tzinfo=UTC)


def rows(*events: OrderEvent) -> dict[Key, dict[str, object]]:
    """What is left of the steps of an order after these facts."""
    changes = [
        change
        for number, event in enumerate(events, 1)
        for change in react(Recorded(order_stream(ORDER), number, 10 + number, event, Cause(RECORDED, "tests")))
    ]
    return fold(changes)[due_steps].puts if changes else {}


def waiting(*events: OrderEvent) -> set[tuple[str, str]]:
    """Each step that waits, with its reference."""
    return {(step, reference) for _, step, reference in rows(*events)}


def void(reference: str = "auth-1") -> tuple[str, str]:
    return "void", reference


def test_an_order_to_be_prepaid_waits_to_expire() -> None:
    assert waiting(PLACED) == {EXPIRE}


def test_an_order_on_invoice_terms_waits_for_nothing() -> None:
    assert waiting(an_order_placed(cups(2), payment_terms="invoice")) == set()


def test_an_order_that_costs_nothing_waits_to_be_confirmed() -> None:
    assert waiting(msgspec.structs.replace(PLACED, discount=500, total=0)) == {CONFIRM}


def test_an_authorization_may_confirm_the_order_and_waits_to_be_voided() -> None:
    assert waiting(PLACED, authorized(500)) == {EXPIRE, CONFIRM, void()}


def test_each_authorization_waits_by_itself() -> None:
    second = authorized(100, "auth-2")
    assert waiting(authorized(500), second, voided(500)) == {CONFIRM, void("auth-2")}


def test_an_order_with_a_capture_no_longer_expires() -> None:
    assert waiting(PLACED, authorized(500), captured(1)) == {CONFIRM, COMPLETE, void()}


def test_a_confirmed_order_neither_expires_nor_waits_to_be_confirmed() -> None:
    assert waiting(PLACED, authorized(500), an_order_confirmed) == {void()}


def test_a_cancelled_order_waits_for_nothing_but_its_authorizations() -> None:
    assert waiting(PLACED, authorized(500), captured(1), an_order_cancelled(("1", 2))) == {void()}


def test_a_late_capture_on_a_cancelled_order_leaves_nothing_that_a_refusal_does_not_end() -> None:
    assert waiting(PLACED, an_order_cancelled(("1", 2)), captured(1)) == {COMPLETE}


@pytest.mark.parametrize(
    "event",
    [
        delivered(1),
        lost(1),
        captured(500),
        refunded(1),
        lines_cancelled(("1", 1), amount=250),
        return_received(("1", 1), amount=250),
        an_order_amended(cups(1)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_may_have_been_the_last_thing_asks_for_completion(event: OrderEvent) -> None:
    assert COMPLETE in waiting(PLACED, an_order_confirmed, shipped(1), event)
    assert COMPLETE not in waiting(PLACED, an_order_confirmed, shipped(1), event, an_order_completed)


def test_a_released_order_may_be_confirmed_or_completed() -> None:
    assert waiting(an_order_released) == {CONFIRM, COMPLETE}


def test_a_step_waits_from_when_its_fact_was_recorded_whenever_it_happened() -> None:
    (row,) = rows(msgspec.structs.replace(PLACED, at=NOON - timedelta(days=4_000))).values()
    assert row == {"started_at": RECORDED, "position": 11}


def test_a_step_that_is_due_anew_waits_from_then() -> None:
    assert rows(PLACED, authorized(1), authorized(2))[str(ORDER), "confirm", ""]["position"] == 13


# Taking them -------------------------------------------------------------------------------------------------


@pytest.fixture
async def queries(on_the_log: ReadSide) -> AsyncIterator[Queries]:
    async with AsyncConnectionPool(on_the_log.url, min_size=1, max_size=3, open=False) as pool:
        yield Queries(pool)


async def shown(side: ReadSide, *events: OrderEvent) -> None:
    await side.record((order_stream(ORDER), event) for event in events)
    async with side.working():
        await side.shows_everything()


def named(steps: Iterable[DueStep]) -> list[tuple[str, str]]:
    return [(step.step, step.reference) for step in steps]


async def test_steps_come_in_the_order_in_which_they_began_to_wait(on_the_log: ReadSide, queries: Queries) -> None:
    await on_the_log.record([*a_catalogue(), *lives(60, random.Random(30))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    steps = await queries.due("void", FAR, 1_000)
    assert len(steps) > 20
    assert steps == sorted(steps, key=lambda step: step.started_at)
    until = steps[9].started_at
    assert await queries.due("void", until, 1_000) == steps[:10]
    assert await queries.due("void", until, 3) == steps[:3]
    assert await queries.due("void", steps[0].started_at - timedelta(microseconds=1), 3) == []


async def test_the_first_of_each_kind_is_known(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, PLACED, authorized(500))
    (expiring,), (voided,) = await queries.due("expire", FAR, 9), await queries.due("void", FAR, 9)
    assert await queries.next_due(["complete", "expire", "void"]) == {
        "expire": expiring.started_at,
        "void": voided.started_at,
    }


async def test_a_step_that_was_done_is_gone_and_the_others_are_there(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, PLACED, authorized(500), authorized(1, "auth-2"))
    first, _ = await queries.due("void", FAR, 9)
    await queries.done([first, *await queries.due("confirm", FAR, 9)])
    assert named(await queries.due("void", FAR, 9)) == [void("auth-2")]
    assert await queries.due("confirm", FAR, 9) == []
    assert named(await queries.due("expire", FAR, 9)) == [EXPIRE]
    await queries.done([first])
    await queries.done([])


async def test_a_step_made_due_anew_meanwhile_is_not_done_with_the_old_one(
    on_the_log: ReadSide, queries: Queries
) -> None:
    await shown(on_the_log, PLACED, authorized(1))
    old = await queries.due("confirm", FAR, 9)
    await shown(on_the_log, authorized(499, "auth-2"))
    await queries.done(old)
    (new,) = await queries.due("confirm", FAR, 9)
    assert new.position > old[0].position


async def test_a_step_that_a_worker_is_just_writing_is_left_and_not_waited_for(
    on_the_log: ReadSide, queries: Queries
) -> None:
    await shown(on_the_log, PLACED, authorized(1))
    steps = [*await queries.due("confirm", FAR, 9), *await queries.due("expire", FAR, 9)]
    async with await psycopg.AsyncConnection.connect(on_the_log.url) as worker:
        await worker.execute("UPDATE due_steps SET position = position WHERE step = 'confirm'")
        await asyncio.wait_for(queries.done(steps), 10)
    assert named(await queries.due("confirm", FAR, 9)) == [CONFIRM]
    assert await queries.due("expire", FAR, 9) == []


def test_however_much_waits_what_is_due_is_found_by_index(on_the_log: ReadSide) -> None:
    with psycopg.connect(on_the_log.url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(
            "INSERT INTO due_steps SELECT gen_random_uuid(), step, '', now() - n * interval '1 s', n "
            "FROM generate_series(1, 20000) n, unnest(ARRAY['expire', 'void']) step"
        )
        connection.execute("ANALYZE due_steps")
        done = [array([str(ORDER)] * 50), array(["void"] * 50), array([""] * 50), array(range(50))]
        asked: list[tuple[str, list[Any]]] = [(DUE, ["void", FAR, 100]), (NEXT_DUE, [["void", "expire"]]), (DONE, done)]
        for statement, parameters in asked:
            plan = str(connection.execute(f"EXPLAIN {statement}", parameters).fetchall())
            assert "Scan using due_steps" in plan
            assert "Seq Scan" not in plan
