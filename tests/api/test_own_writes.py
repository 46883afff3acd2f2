"""Who passes back the token of a write reads a state that includes it, or is told that it does not."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from api import consistency
from api.consistency import Preference, Token, preference
from api.shapes import encode, with_allowed_commands
from events.envelope import Recorded
from projections.catalogue import PROJECTIONS
from projections.tables import Change, Projection
from tests.api.edge import ALICE, BOB, STAFF, Edge, Json, an_edge, an_order, eur, projecting

TODAY = datetime.now(UTC).date().isoformat()


async def wrote(edge: Edge, by: str = ALICE, **more: object) -> tuple[Json, str]:
    """A new order, and the token of its command."""
    answer = await edge.post("/v1/orders", an_order(**more), by=by)
    assert answer.status_code == 201, answer.text
    return answer.json(), answer.headers["consistency-token"]


async def lagging(edge: Edge) -> None:
    """The read models know the catalogue, and nothing after it."""
    await edge.listed()
    async with projecting(edge):
        await edge.projected()


def told(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    return answer.status_code, answer.headers.get("consistency"), answer.headers.get("preference-applied")


# Waiting -----------------------------------------------------------------------------------------------------


async def test_every_read_waits_until_it_includes_the_write(edge: Edge) -> None:
    await lagging(edge)
    order, token = await wrote(edge)
    path = f"/v1/orders/{order['order_id']}"
    paths = [
        *("/v1/orders", f"/v1/orders?customer_id={ALICE}", path, f"{path}/events", "/v1/products"),
        *("/v1/products/POSTER", f"/v1/reports/daily-sales?from={TODAY}&to={TODAY}"),
    ]
    reads = [asyncio.create_task(edge.get(one, consistency_token=token, prefer="wait=10")) for one in paths]
    await asyncio.wait(reads, timeout=0.3)  # most of them cannot be answered yet

    async with projecting(edge):
        answers = dict(zip(paths, [await one for one in reads], strict=True))

    for one, answer in answers.items():
        assert told(answer) == (200, "current", "wait=10"), one
        assert "consistency-token" in answer.headers["vary"].lower(), one
    assert [one["order_id"] for one in answers["/v1/orders"].json()["items"]] == [order["order_id"]]
    assert [one["version"] for one in answers[f"{path}/events"].json()["items"]] == [1]
    assert [one["orders"] for one in answers[paths[-1]].json()["items"]] == [1]


async def test_a_reservation_is_a_write_to_the_product_too(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=9)
    _, token = await wrote(edge, lines=[{"sku": "CUP", "quantity": 2}])
    async with projecting(edge):
        one = await edge.get("/v1/products/CUP", consistency_token=token, prefer="wait=10, handling=strict")
        listed = await edge.get("/v1/products", consistency_token=token, prefer="wait=10, handling=strict")

    assert one.json()["reserved"] == listed.json()["items"][0]["reserved"] == 2


async def test_a_read_that_cannot_include_the_write_in_time_says_so(edge: Edge) -> None:
    await lagging(edge)
    order, token = await wrote(edge)

    for path in ("/v1/orders", f"/v1/orders/{order['order_id']}/events"):
        begun = time.monotonic()
        stale = await edge.get(path, by=ALICE, consistency_token=token, prefer="wait=1")
        waited = time.monotonic() - begun
        strict = await edge.get(path, by=ALICE, consistency_token=token, prefer="wait=0, handling=strict")

        assert told(stale) == (200, "stale", "wait=1")
        assert stale.json()["items"] == []
        assert waited >= 0.9
        assert told(strict) == (503, "stale", "wait=0, handling=strict")
        assert (strict.json()["code"], strict.headers["retry-after"]) == ("not-caught-up", "1")


async def test_who_does_not_prefer_to_wait_does_not_wait_but_is_told(edge: Edge) -> None:
    await lagging(edge)
    _, token = await wrote(edge)

    before = await edge.get("/v1/orders", consistency_token=token)
    async with projecting(edge):
        await edge.projected()
    after = await edge.get("/v1/orders", consistency_token=token)
    untold = await edge.get("/v1/orders", prefer="wait=5")

    assert told(before) == (200, "stale", None)
    assert told(after) == (200, "current", None)
    assert told(untold) == (200, None, None)


async def test_a_read_may_have_to_include_several_writes(edge: Edge) -> None:
    await lagging(edge)
    (first, one), (second, other) = await wrote(edge), await wrote(edge)

    for tokens in (f"{one}, {other}", f"{other},{one}"):
        behind = await edge.get("/v1/orders", consistency_token=tokens, prefer="wait=0")
        assert told(behind) == (200, "stale", "wait=0")
    async with projecting(edge):
        answer = await edge.get("/v1/orders", consistency_token=f"{other}, {one}", prefer="wait=10, handling=strict")

    assert {order["order_id"] for order in answer.json()["items"]} == {first["order_id"], second["order_id"]}


async def test_every_route_that_reads_what_commands_write_takes_their_tokens(edge: Edge) -> None:
    paths = (await edge.client.get("/openapi.json")).json()["paths"]
    reads = {path: operations["get"] for path, operations in paths.items() if "get" in operations}
    asked = {path for path, one in reads.items() if "consistency-token" in str(one.get("parameters")).lower()}

    assert asked == {path for path in reads if path.startswith("/v1/") and not path.startswith("/v1/auth/")}


async def test_a_thousand_waiting_readers_cost_one_connection_together(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consistency, "LONGEST_WAIT", 120)  # on a slow machine the thousandth comes late
    async with an_edge(database_url) as edge:
        await lagging(edge)
        orders = [await wrote(edge) for _ in range(10)]
        before = connections(database_url)
        reads = [
            asyncio.create_task(edge.get(path, consistency_token=token, prefer="wait=120, handling=strict"))
            for order, token in orders
            for path in ["/v1/orders", f"/v1/orders/{order['order_id']}/events"] * 50
        ]
        await wait_for(lambda: edge.parts.arrivals.waiting == 1_000)
        waiting = connections(database_url)
        async with projecting(edge):
            answers = await asyncio.gather(*reads)

    assert waiting <= before + 1  # the pool of the edge may have grown to its bound of two
    assert {told(answer) for answer in answers} == {(200, "current", "wait=120, handling=strict")}
    assert all(answer.json()["items"] for answer in answers)
    assert edge.parts.arrivals.waiting == 0


async def test_readers_are_woken_and_do_not_ask_again_and_again(database_url: str) -> None:
    async with an_edge(database_url) as edge:
        await lagging(edge)
        _, token = await wrote(edge)
        await edge.get("/v1/orders", consistency_token=token, prefer="wait=1")
        counted: list[int] = []
        while min(counted, default=10) >= 10 and len(counted) < 3:  # PostgreSQL counts earlier ones late, at times
            looked = statements(database_url)
            await edge.get("/v1/orders", consistency_token=token, prefer="wait=2")
            counted.append(statements(database_url) - looked)

        assert min(counted) < 10, counted


# What is not included is not said to be -----------------------------------------------------------------------


@pytest.fixture
def broken_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projections that cannot take an order."""
    for name in ("order_list", "timeline"):
        monkeypatch.setitem(PROJECTIONS, name, breaking(PROJECTIONS[name]))


def breaking(projection: Projection) -> Projection:
    def react(_: Recorded) -> Iterator[Change]:
        raise ValueError("this code has a defect")

    return replace(projection, react=react)


@pytest.mark.usefixtures("broken_list")
async def test_an_order_that_a_projection_has_left_aside_is_stale_there_and_only_there(edge: Edge) -> None:
    await edge.listed()
    order, token = await wrote(edge)
    path = f"/v1/orders/{order['order_id']}"
    async with projecting(edge):
        await edge.projected()
        for one in ("/v1/orders", f"{path}/events"):
            answer = await edge.get(one, consistency_token=token, prefer="wait=10")
            strict = await edge.get(one, consistency_token=token, prefer="wait=10, handling=strict")
            assert told(answer) == (200, "stale", "wait=10"), one
            assert strict.status_code == 503, one
        later = await edge.put("/v1/products/OTHER", {"name": "o", "prices": [eur(1)], "stock": "untracked"})
        anothers = later.headers["consistency-token"]
        for both in (f"{token}, {anothers}", f"{anothers}, {token}"):
            assert told(await edge.get("/v1/orders", consistency_token=both, prefer="wait=10"))[1] == "stale"
        for one in ("/v1/orders", "/v1/products", path, f"/v1/reports/daily-sales?from={TODAY}&to={TODAY}"):
            assert told(await edge.get(one, consistency_token=anothers, prefer="wait=10"))[1] == "current", one


async def test_a_token_that_is_ahead_of_the_log_is_never_reached(edge: Edge) -> None:
    await edge.listed()
    order, _ = await wrote(edge)
    ahead = consistency.token(edge.log.head() + 1, 1)
    async with projecting(edge):
        await edge.projected()
        for path in ("/v1/orders", f"/v1/orders/{order['order_id']}", f"/v1/orders/{order['order_id']}/events"):
            answer = await edge.get(path, consistency_token=ahead, prefer="wait=10, handling=strict")
            assert (answer.status_code, answer.json()["code"]) == (503, "not-caught-up"), path


async def test_who_may_not_see_an_order_learns_nothing_from_waiting_for_it(edge: Edge) -> None:
    await lagging(edge)
    order, token = await wrote(edge)

    for path in ("", "/events"):
        answers = [
            await edge.get(
                f"/v1/orders/{one}{path}", by=BOB, consistency_token=token, prefer="wait=10, handling=strict"
            )
            for one in (order["order_id"], uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert [told(answer) for answer in answers] == [told(answers[0])] * 2


# One order never lags ----------------------------------------------------------------------------------------


async def test_an_order_is_read_as_it_is_while_the_read_models_lag(edge: Edge) -> None:
    await lagging(edge)
    order, token = await wrote(edge)
    path = f"/v1/orders/{order['order_id']}"

    placed = await edge.get(path, by=ALICE, consistency_token=token, prefer="handling=strict")
    cancelled = await edge.post(f"{path}/cancel", {"reason": "r"}, by=ALICE)
    read = await edge.get(path, by=ALICE)

    assert placed.json() == order
    assert told(placed) == (200, "current", "handling=strict")
    assert read.content == cancelled.content
    assert read.headers["etag"] == '"2"'
    assert (await edge.get(path, by=ALICE, if_none_match='"2"')).status_code == 304


async def test_the_read_model_answers_the_same_order_to_the_byte(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=9)
    order, _ = await wrote(edge, by=STAFF, customer_id=ALICE, lines=[{"sku": "CUP", "quantity": 3}])
    async with projecting(edge):
        await edge.projected()
    view = await edge.parts.queries.order(UUID(order["order_id"]))

    assert view is not None
    assert encode(with_allowed_commands(view)) == (await edge.get(f"/v1/orders/{order['order_id']}")).content


# What is sent ------------------------------------------------------------------------------------------------


NONE = [
    *("", "c1", "c1-", "c1-zz-1", "c1-1", "c2-1-1", "c1-1-1-1", "c1-" + "f" * 16 + "-1", "ä"),
    *("c1-1-1,", "c1-1-1 c1-1-1", "c1-1-1,x", "c1-1-1," * 50 + "c1-1-1"),
]


async def test_a_token_that_is_none_is_refused(edge: Edge) -> None:
    for token in NONE:
        for path in ("/v1/orders", f"/v1/orders/{uuid4()}/events", "/v1/products"):
            headers = [*edge.bearer(STAFF).items(), ("consistency-token", token)]
            answer = await edge.client.get(path, headers=httpx.Headers(headers, encoding="utf-8"))
            assert (answer.status_code, answer.json()["code"]) == (400, "bad-header"), (token, path)


def test_a_token_says_what_it_was_made_of() -> None:
    assert consistency.read(consistency.token(4711, 3)) == Token(4711, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preference()),
        (["wait=2"], Preference(2)),
        (["wait=2, handling=strict"], Preference(2, strict=True)),
        (["respond-async, WAIT = 3 ; x=1", "Handling=Strict"], Preference(3, strict=True)),
        (["wait=1, wait=9"], Preference(1)),
        (["wait=60"], Preference(10)),
        (["wait=" + "9" * 5_000], Preference(10)),
        (['foo="a, wait=9", wait="4"'], Preference(4)),
        (["wait=-1"], Preference()),
        (["wait=1.5"], Preference()),
        (["wait=²"], Preference()),
        (["wait"], Preference()),
        (["handling=lenient"], Preference()),
        ([',,=;"'], Preference()),
        (["x" * 100_000 + '"' * 99], Preference()),
    ],
)
def test_what_is_preferred_is_read_as_rfc_7240_says(values: list[str], expected: Preference) -> None:
    assert preference(values) == expected


# The database's own view -------------------------------------------------------------------------------------


def connections(url: str) -> int:
    return _number(url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


def statements(url: str) -> int:
    """Transactions of the database so far: each statement of the edge is one."""
    return _number(url, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")


def _number(url: str, query: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


async def wait_for(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not so():  # noqa: ASYNC110  what ends the wait is no event
            await asyncio.sleep(0.01)
