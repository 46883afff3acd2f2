"""What follows by itself: each step at its time, once in effect, however many processes take them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api import measures
from api.automation import ACTOR, Automation
from api.measures import OfAutomation
from commands.processor import Processor
from events import codec
from events.envelope import Recorded, order_stream
from projections.queries import DUE, DueStep, Queries
from tests.api.edge import ALICE, Edge, Json, eur, projecting
from tests.commands.asking import Asking
from tests.events.test_relay_progress import END_OF_A_STANDBY
from tests.examples import ORDER, place_order, record_authorization, wanted

DAY = timedelta(days=1)


class Clock:
    """Stands at another time than it is."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Forgetful(Queries):
    """Dies each time it is about to forget a step: between the command and the deletion."""

    async def done(self, steps: Iterable[DueStep]) -> None:
        if list(steps):
            raise psycopg.OperationalError("killed")


@pytest.fixture
async def following(edge: Edge) -> AsyncIterator[Edge]:
    """An edge whose read models follow the log."""
    await edge.listed()
    await edge.listed("CUP", stock="tracked", received=1_000, price=250)
    async with projecting(edge):
        yield edge


def an_automation(edge: Edge, clock: Clock | None = None, **settings: Any) -> Automation:
    given: dict[str, Any] = {"processor": edge.parts.processor, "queries": edge.parts.queries} | settings
    return Automation(edge.log.url, edge.changes.waiter(), now=clock or Clock(), **given)


async def taken(edge: Edge, automation: Automation) -> bool:
    """Let the read models catch up, and take what is due."""
    await edge.projected()
    return await automation.take_due()


async def placed(edge: Edge, **more: Any) -> str:
    return f"/v1/orders/{(await edge.placed(**more))['order_id']}"


async def ordered(edge: Edge, path: str) -> Json:
    await edge.projected()
    order: Json = (await edge.get(path)).json()
    return order


async def paid(
    edge: Edge, path: str, amount: int = 3998, how: str = "record-authorization", reference: str = "auth-1"
) -> None:
    answer = await edge.post(f"{path}/{how}", {"amount": eur(amount), "reference": reference})
    assert answer.status_code == 200, answer.text


def recorded(edge: Edge) -> list[Recorded]:
    return [codec.decode(row) for row in edge.log.read(0, 100_000)]


def happened(edge: Edge, name: str) -> Counter[str]:
    """How often it happened, by order."""
    return Counter(one.key for one in recorded(edge) if codec.event_type(one.event) == f"orderlog.order.{name}.v1")


async def waiting(edge: Edge) -> list[tuple[str, str]]:
    async with await psycopg.AsyncConnection.connect(edge.log.url) as connection:
        rows = await connection.execute("SELECT step, reference FROM due_steps ORDER BY step, reference")
        return await rows.fetchall()


async def until(so: Callable[[], bool], within: float = 60) -> None:
    async with asyncio.timeout(within):
        while not so():  # noqa: ASYNC110  it is in the database
            await asyncio.sleep(0.02)


# Steps without a timer ---------------------------------------------------------------------------------------


async def test_an_order_is_confirmed_as_soon_as_it_is_covered(following: Edge) -> None:
    path = await placed(following)
    automation = an_automation(following)
    await paid(following, path, 3000, reference="auth-1")
    assert await taken(following, automation)
    assert (await ordered(following, path))["status"] == "placed"

    await paid(following, path, 998, reference="auth-2")
    assert await taken(following, automation)

    assert (await ordered(following, path))["status"] == "confirmed"
    history = (await following.get(f"{path}/events")).json()["items"]
    assert [entry["actor"] for entry in history if entry["type"] == "orderlog.order.confirmed.v1"] == [ACTOR]


async def test_an_order_on_hold_is_confirmed_when_it_is_released(following: Edge) -> None:
    path = await placed(following)
    await following.post(f"{path}/place-hold", {"reason": "fraud check"})
    await paid(following, path)
    automation = an_automation(following)
    assert await taken(following, automation)
    assert (await ordered(following, path))["status"] == "placed"
    assert ("confirm", "") not in await waiting(following)

    await following.post(f"{path}/release-hold")
    assert await taken(following, automation)

    assert (await ordered(following, path))["status"] == "confirmed"


async def test_an_order_is_completed_when_all_is_delivered_and_paid(following: Edge) -> None:
    path = await placed(following)
    automation = an_automation(following)
    await paid(following, path)
    await following.post(f"{path}/confirm")
    for command, body in (
        ("ship-items", {"lines": [{"line_id": "1", "quantity": 2}], "shipment_id": "S1"}),
        ("confirm-delivery", {"shipment_id": "S1"}),
    ):
        assert (await following.post(f"{path}/{command}", body)).status_code == 200
    assert await taken(following, automation)
    assert (await ordered(following, path))["status"] == "confirmed", "it is not paid yet"

    await paid(following, path, 3998, "record-capture")
    assert await taken(following, automation)

    assert (await ordered(following, path))["status"] == "completed"
    assert not await waiting(following) or set(await waiting(following)) == {("void", "auth-1")}


async def test_a_commit_of_the_projection_wakes_the_automation(following: Edge) -> None:
    running = asyncio.create_task(an_automation(following, poll=3600).run())
    for _ in range(2):
        path = await placed(following)
        await paid(following, path)
        order_id = path.rpartition("/")[2]
        await until(lambda order_id=order_id: happened(following, "confirmed")[order_id] == 1)  # type: ignore[misc]
    await _ended(running)


# Timers ------------------------------------------------------------------------------------------------------


async def test_an_order_that_is_not_paid_expires_after_its_time_and_not_before(following: Edge) -> None:
    path = await placed(following, lines=[{"sku": "CUP", "quantity": 3}])
    clock = Clock()
    automation = an_automation(following, clock, order_expiry=DAY)
    for early in (timedelta(), DAY - timedelta(minutes=5)):
        clock.ahead = early
        assert await taken(following, automation)
    assert (await ordered(following, path))["status"] == "placed"
    assert (await following.get("/v1/products/CUP")).json()["reserved"] == 3

    clock.ahead = DAY + timedelta(seconds=1)
    assert await taken(following, automation)

    order = await ordered(following, path)
    assert (order["status"], order["cancel_reason"]) == ("cancelled", "expired")
    assert (await following.get("/v1/products/CUP")).json()["reserved"] == 0
    assert await waiting(following) == []


async def test_the_time_that_counts_is_the_one_that_is_set_now(following: Edge) -> None:
    path = await placed(following)
    clock = Clock(timedelta(hours=2))
    assert await taken(following, an_automation(following, clock, order_expiry=DAY))
    assert (await ordered(following, path))["status"] == "placed"

    assert await taken(following, an_automation(following, clock, order_expiry=timedelta(hours=1)))

    assert (await ordered(following, path))["status"] == "cancelled"


async def test_an_order_that_is_paid_or_on_invoice_terms_does_not_expire(following: Edge) -> None:
    captured = await placed(following)
    await paid(following, captured)
    await paid(following, captured, 1, "record-capture")
    invoice = await placed(following, by="sam", customer_id=ALICE, payment_terms="invoice")

    assert await taken(following, an_automation(following, Clock(30 * DAY)))

    assert (await ordered(following, captured))["status"] == "confirmed"
    assert (await ordered(following, invoice))["status"] == "placed"


async def test_an_authorization_is_voided_after_a_week(following: Edge) -> None:
    path = await placed(following)
    await paid(following, path)
    clock = Clock(7 * DAY - timedelta(minutes=5))
    automation = an_automation(following, clock)
    assert await taken(following, automation)
    assert (await ordered(following, path))["voided"] == eur(0)

    clock.ahead = 7 * DAY + timedelta(seconds=1)
    assert await taken(following, automation)

    assert (await ordered(following, path))["voided"] == eur(3998)
    (voided,) = [one for one in recorded(following) if codec.event_type(one.event).endswith("voided.v1")]
    assert (json.loads(codec.data(voided.event))["reason"], voided.cause.actor) == ("expired", ACTOR)


async def test_a_clock_that_jumps_makes_timers_early_or_late_but_never_twice(following: Edge) -> None:
    path = await placed(following)
    clock = Clock(-10 * DAY)
    automation = an_automation(following, clock)
    for ahead in (-10 * DAY, timedelta(), 2 * DAY, -10 * DAY, 30 * DAY, timedelta(), 9_000 * DAY):
        clock.ahead = ahead
        assert await taken(following, automation)

    assert happened(following, "cancelled") == {path.rpartition("/")[2]: 1}


async def test_a_clock_that_is_days_behind_holds_up_no_step_without_a_timer(following: Edge) -> None:
    path = await placed(following)
    await paid(following, path)

    assert await taken(following, an_automation(following, Clock(-10 * DAY)))

    assert (await ordered(following, path))["status"] == "confirmed"


async def test_an_order_of_a_later_time_waits_for_it(following: Edge) -> None:
    """Such as one that another machine recorded whose clock is ahead: its steps are not lost by being too early."""
    later = datetime.now(UTC) + 2 * DAY
    asking = Asking(following.parts.processor)
    for command in (place_order(wanted("POSTER", 1), at=later), record_authorization(1999)):
        assert (await asking.one(command.model_copy(update={"at": later}))).accepted

    assert not await taken(following, an_automation(following))
    assert ("confirm", "") in await waiting(following)

    assert await taken(following, an_automation(following, Clock(2 * DAY)))
    assert (await ordered(following, f"/v1/orders/{ORDER}"))["status"] == "confirmed"


async def test_the_next_look_is_when_the_next_timer_runs_out(following: Edge) -> None:
    automation = an_automation(following, poll=10.0**9)
    assert await automation._until_next_timer() == 10.0**9

    first = datetime.now(UTC)
    path = await placed(following)
    await following.projected()
    latest = DAY.total_seconds()
    waits = await automation._until_next_timer()
    assert latest - (datetime.now(UTC) - first).total_seconds() <= waits <= latest

    await paid(following, path)
    await following.projected()
    assert waits >= await automation._until_next_timer() > 0


async def test_a_timer_that_runs_out_wakes_the_automation(following: Edge) -> None:
    path = await placed(following)
    await following.projected()

    running = asyncio.create_task(an_automation(following, order_expiry=timedelta(seconds=3), poll=3600).run())
    await until(lambda: happened(following, "cancelled")[path.rpartition("/")[2]] == 1)
    await _ended(running)


# Once in effect ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def another_process(edge: Edge) -> AsyncIterator[Processor]:
    processor = Processor(edge.log)
    processor.start()
    yield processor
    await processor.stop()


async def test_two_that_both_believe_themselves_elected_expire_each_order_once(following: Edge) -> None:
    paths = await asyncio.gather(*(placed(following, lines=[{"sku": "CUP", "quantity": 1}]) for _ in range(150)))
    await following.projected()
    async with another_process(following) as processor:
        one = an_automation(following, Clock(2 * DAY))
        another = an_automation(following, Clock(2 * DAY), processor=processor)
        for _ in range(3):
            await asyncio.gather(one.take_due(), another.take_due(), one.take_due(), another.take_due())

    assert happened(following, "cancelled") == {path.rpartition("/")[2]: 1 for path in paths}
    await following.projected()
    assert (await following.get("/v1/products/CUP")).json()["reserved"] == 0


async def test_a_step_whose_process_died_before_it_was_forgotten_is_taken_again_and_changes_nothing(
    edge: Edge,
) -> None:
    await edge.listed()
    expiring, covered = await placed(edge), await placed(edge)
    await paid(edge, covered)
    async with projecting(edge):
        await edge.projected()
    # From here on no projection takes the steps away: only who has taken them can.
    steps = await waiting(edge)
    dying = an_automation(edge, Clock(30 * DAY), queries=Forgetful(edge.parts.queries._pool))
    for name in ("confirm", "expire", "void"):
        with pytest.raises(psycopg.OperationalError, match="killed"):
            await dying._take_all(name)
    assert await waiting(edge) == steps
    head = edge.log.head()

    assert await an_automation(edge, Clock(30 * DAY)).take_due()

    assert edge.log.head() == head
    assert await waiting(edge) == []
    for name, path in (("confirmed", covered), ("cancelled", expiring), ("payment-voided", covered)):
        assert happened(edge, name) == {path.rpartition("/")[2]: 1}


async def test_one_of_two_processes_is_elected_and_the_other_goes_on_when_it_is_gone(following: Edge) -> None:
    async with another_process(following) as processor:
        both = [an_automation(following, poll=1), an_automation(following, processor=processor, poll=1)]
        running = [asyncio.create_task(one.run()) for one in both]
        await until(lambda: any(one.leading for one in both))
        (leader,) = [number for number in (0, 1) if both[number].leading]

        await _ended(running[leader])
        path = await placed(following)
        await paid(following, path)
        await until(lambda: happened(following, "confirmed")[path.rpartition("/")[2]] == 1)

        assert both[1 - leader].leading
        await _ended(running[1 - leader])


# What does not go well ---------------------------------------------------------------------------------------


async def test_a_processor_without_time_is_asked_again(following: Edge) -> None:
    path = await placed(following)
    await paid(following, path)
    automation = an_automation(following)
    following.parts.processor._queue = 0

    assert not await taken(following, automation)
    assert ("confirm", "") in await waiting(following)

    following.parts.processor._queue = 5_000
    assert await taken(following, automation)
    assert (await ordered(following, path))["status"] == "confirmed"


async def test_a_step_that_cannot_be_decided_is_left_aside_and_holds_up_no_other(following: Edge) -> None:
    broken, sound = await placed(following), await placed(following)
    for path in (broken, sound):
        await paid(following, path)
    await following.projected()
    _spoil(following, UUID(broken.rpartition("/")[2]))
    async with another_process(following) as processor:  # one that has yet to read the order
        automation = an_automation(following, processor=processor)

        assert not await automation.take_due()
        assert await automation.take_due(), "what was left aside is not tried again at once"

        assert automation.aside == 1
        told = await OfAutomation(automation).problem()
        assert told == "1 steps could not be decided; they are tried again every 60 s"

    assert happened_where_readable(following, "confirmed") == {sound.rpartition("/")[2]: 1}
    assert ("confirm", "") in await waiting(following)


async def test_steps_that_are_left_over_for_long_are_told(following: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    automation = an_automation(following)
    measured = OfAutomation(automation)
    monkeypatch.setattr(measures, "LATE", 0.5)
    monkeypatch.setattr("api.automation.RETRY", 0.05)
    path = await placed(following)
    await paid(following, path)
    await following.projected()
    following.parts.processor._queue = 0
    running = asyncio.create_task(automation.run())
    await until(lambda: automation.left_over_for > 0.5)

    assert "steps that are due have been left over for" in (await measured.problem() or "")

    following.parts.processor._queue = 5_000
    await until(lambda: automation.left_over_for == 0)
    assert await measured.problem() is None
    found = {one.name: one.samples[0].value for one in await measured.measure()}
    assert found == {
        "orderlog_automation_elected": 1,
        "orderlog_automation_steps": 1,
        "orderlog_automation_steps_aside": 0,
    }
    await _ended(running)


async def test_an_automation_that_lost_its_database_says_so_until_it_waits_for_its_turn_again(
    following: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.automation.RETRY", 0.5)
    leader, standby = an_automation(following), an_automation(following)
    running = [asyncio.create_task(leader.run())]
    await until(lambda: leader.leading)
    running.append(asyncio.create_task(standby.run()))
    with psycopg.connect(following.log.url, autocommit=True) as connection:
        await until(lambda: connection.execute(END_OF_A_STANDBY).fetchall() != [])

    await until(lambda: standby.problem is not None)
    assert "wait for the database" in (await OfAutomation(standby).problem() or "")
    await until(lambda: standby.problem is None)
    assert (leader.leading, standby.leading) == (True, False)
    for one in running:
        await _ended(one)


def _spoil(edge: Edge, order_id: UUID) -> None:
    """Append what this code cannot read to an order."""
    writer = edge.log.writer()
    head = edge.log.head()
    writer.begin(head, ())
    writer.append([(order_stream(order_id), 3, head + 1, "orderlog.order.teleported.v1", b"{}")], ())
    writer.close()


def happened_where_readable(edge: Edge, name: str) -> Counter[str]:
    rows = edge.log.read(0, 100_000)
    return Counter(stream.removeprefix("order-") for stream, _, _, kind, _ in rows if kind.endswith(f".{name}.v1"))


# What it costs -----------------------------------------------------------------------------------------------


async def test_what_it_costs_grows_with_what_is_due_not_with_what_waits(following: Edge) -> None:
    """10,000 wait, 3 are due: 3 rows are read to find them, and 3 commands are sent."""
    now = datetime.now(UTC)
    async with await psycopg.AsyncConnection.connect(following.log.url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO due_steps (order_id, step, started_at, position) "
            "SELECT gen_random_uuid(), 'expire', %s, number FROM generate_series(1, 10000) AS number",
            (now,),
        )
        for number in range(3):
            await connection.execute(
                "INSERT INTO due_steps (order_id, step, started_at, position) VALUES (%s, 'expire', %s, %s)",
                (uuid4(), now - 2 * DAY, 20_000 + number),
            )
        await connection.execute("ANALYZE due_steps")
        cursor = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {DUE}", ("expire", now - DAY, 100))
        ((plan,),) = await cursor.fetchall()
        scans = list(_scans(plan[0]["Plan"]))
        before = following.parts.processor.commands

        assert await an_automation(following).take_due()

        (left,) = await (await connection.execute("SELECT count(*) FROM due_steps")).fetchone() or (None,)
    assert [(scan["Actual Rows"], scan.get("Rows Removed by Filter", 0)) for scan in scans] == [(3, 0)]
    assert all("Index" in scan["Node Type"] for scan in scans)
    assert following.parts.processor.commands - before == 3
    assert left == 10_000


def _scans(plan: Json) -> Iterable[Json]:
    if "Scan" in plan["Node Type"]:
        yield plan
    for inner in plan.get("Plans", ()):
        yield from _scans(inner)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    (end,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(end, asyncio.CancelledError), end
