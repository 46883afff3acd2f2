"""What whoever operates orderlog is told: measurements, ids of requests, and what a line of the log belongs to."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api import relay_measures, wiring
from api.measures import OfWrites
from api.operating import FAR_BEHIND, OfChecks, operated
from api.projection_measures import OfProjections
from api.relay_measures import OfRelayElsewhere
from api.settings import Settings
from api.starting import database
from events import codec
from events.log import Log
from events.relay_progress import NOTE
from projections.catalogue import PROJECTIONS
from tests.api.edge import ALICE, BOB, STAFF, Edge, an_edge, an_order, projecting
from tests.api.test_own_writes import breaking

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def measured(edge: Edge) -> "Measurements":
    answer = await edge.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Measurements(answer.text)


class Measurements:
    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value with these labels; None where there is none."""
        found = [one.value for one in self._samples if one.name == name and one.labels == labels]
        return found[0] if found else None

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [one.labels for one in self._samples if one.name == name]


# Measurements ------------------------------------------------------------------------------------------------


async def test_commands_are_counted_by_name_and_outcome(edge: Edge) -> None:
    await edge.listed()
    await edge.placed()
    for _ in range(3):
        await edge.post("/v1/orders", an_order(), by=BOB, key="k")
    await edge.post("/v1/orders", an_order(lines=[{"sku": "NONE", "quantity": 1}]), by=BOB)
    await edge.post("/v1/orders", an_order(lines=7), by=BOB)
    await edge.post(f"/v1/orders/{uuid4()}/confirm")

    found = await measured(edge)

    counted = {
        ("PlaceOrder", "accepted"): 2,
        ("PlaceOrder", "replayed"): 2,
        ("PlaceOrder", "unknown-products"): 1,
        ("PlaceOrder", "invalid-request"): 1,
        ("ConfirmOrder", "no-such-order"): 1,
        ("ListProduct", "accepted"): 1,
    }
    for (command, outcome), count in counted.items():
        assert found("orderlog_commands_total", command=command, outcome=outcome) == count, (command, outcome)


async def test_requests_are_timed_by_route_and_not_by_what_is_in_their_path(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed()
    await edge.get(f"/v1/orders/{order['order_id']}")
    await edge.get(f"/v1/orders/{uuid4()}")
    await edge.get("/nothing/here")
    await edge.get("/v1/products/1%2F2")

    found = await measured(edge)

    one = {"method": "GET", "route": "/v1/orders/{order_id}"}
    assert found("orderlog_http_requests_total", **one, status="200") == 1
    assert found("orderlog_http_requests_total", **one, status="404") == 1
    assert found("orderlog_http_request_duration_seconds_count", **one) == 2
    assert found("orderlog_http_request_duration_seconds_bucket", **one, le="+Inf") == 2
    assert 0 < (found("orderlog_http_request_duration_seconds_sum", **one) or 0) < 60
    routes = {labels["route"] for labels in found.labels("orderlog_http_requests_total")}
    assert routes == {"/v1/orders", "/v1/orders/{order_id}", "/v1/products/{sku}", "none"}


async def test_batches_and_what_waits_are_measured(edge: Edge) -> None:
    edge.sources.append(OfWrites(edge.parts.processor).measure)
    await edge.listed()
    await asyncio.gather(*(edge.placed() for _ in range(20)))

    found = await measured(edge)

    assert found("orderlog_batch_commands_sum") == 21
    batches = found("orderlog_batch_commands_count")
    assert batches is not None
    assert 2 <= batches <= 21
    assert found("orderlog_batch_commands_bucket", le="+Inf") == batches
    assert found("orderlog_commands_waiting") == 0


async def test_the_lag_of_each_projection_is_measured_and_a_long_one_is_a_problem(edge: Edge) -> None:
    await edge.listed()
    progress = OfProjections(edge.parts.queries, edge.parts.arrivals, list(PROJECTIONS))
    edge.sources.append(progress.measure)
    async with projecting(edge):
        await edge.projected()
    await edge.placed()
    await edge.placed()

    behind = await measured(edge)
    async with projecting(edge):
        await edge.projected()
    caught_up = await measured(edge)

    for name in PROJECTIONS:
        assert behind("orderlog_projection_lag_events", projection=name) == 2
        assert caught_up("orderlog_projection_lag_events", projection=name) == 0
        assert caught_up("orderlog_projection_parked_streams", projection=name) == 0
    assert caught_up("orderlog_log_position") == 3
    assert await progress.problem() is None
    writer = edge.log.writer()
    writer.begin(3, [])
    writer.append([(f"product-{n}", 1, 4 + n, "t", b"{}") for n in range(FAR_BEHIND + 1)], [])
    writer.close()
    assert f"order_list is {FAR_BEHIND + 1} events behind the log" in (await progress.problem() or "")


async def test_streams_that_a_projection_has_left_aside_are_counted_and_told(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = OfProjections(edge.parts.queries, edge.parts.arrivals, list(PROJECTIONS))
    edge.sources.append(progress.measure)
    monkeypatch.setitem(PROJECTIONS, "order_list", breaking(PROJECTIONS["order_list"]))
    await edge.listed()
    for _ in range(2):
        await edge.placed()
    assert await progress.left_aside() is None
    async with projecting(edge):
        await edge.projected()

    found = await measured(edge)

    left = {name: found("orderlog_projection_parked_streams", projection=name) for name in PROJECTIONS}
    assert left == dict.fromkeys(PROJECTIONS, 0) | {"order_list": 2}
    assert await progress.left_aside() == "order_list has left 2 streams aside"


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """At a whole edge, as a process has it."""
    settings = Settings(database_url=url, secret_key="of the tests, 32 bytes or more of it")
    with database(settings) as prepared, closing(Log(prepared)) as log:
        async with wiring.http(settings, log, operated(asyncio.Event(), {})) as served:
            transport = httpx.ASGITransport(served.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://orderlog") as client:
                yield client


async def test_changes_that_cannot_be_read_are_no_secret(database_url: str) -> None:
    async with wired(database_url) as client:
        await reads_parts(client, lambda parts: "live feed" not in parts)
        with psycopg.connect(database_url) as connection:
            connection.execute("ALTER TABLE checkpoints RENAME TO elsewhere")
            connection.execute("NOTIFY changes")
        told = await reads_parts(client, lambda parts: "live feed" in parts)
        assert told["live feed"].startswith('changes cannot be read: relation "checkpoints" does not exist')
        with psycopg.connect(database_url) as connection:
            connection.execute("ALTER TABLE elsewhere RENAME TO checkpoints")
        await reads_parts(client, lambda parts: "live feed" not in parts)


async def test_a_process_says_what_was_parked_and_stays_ready(database_url: str) -> None:
    async with wired(database_url) as client:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO parked (projection, stream, version, position) VALUES ('timeline', 'order-1', 1, 1)"
            )
        told = await reads_parts(client, lambda parts: "parked" in parts)
    assert told["parked"] == "timeline has left 1 streams aside"


async def reads_parts(client: httpx.AsyncClient, so: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """What /readyz says of the parts of a process that is ready, when it is so."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get("/readyz")
            assert answer.status_code == 200
            parts: dict[str, str] = answer.json()["parts"]
            if so(parts):
                return parts
            await asyncio.sleep(0.05)


async def noted(edge: Edge, position: int, complete: float, silent: float) -> None:
    """A relay said so many seconds ago that all was published which the log had so many seconds ago."""
    statement = "UPDATE relay_progress SET noted_at = now() - make_interval(secs => %(silent)s)"
    async with await psycopg.AsyncConnection.connect(edge.log.url, autocommit=True) as connection:
        await connection.execute(NOTE, {"position": position, "age": complete})
        await connection.execute(statement, {"silent": silent})


async def test_a_process_without_a_relay_tells_how_far_the_one_elsewhere_is(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = edge.parts.queries._pool
    elsewhere = OfRelayElsewhere(pool)
    assert await elsewhere.problem() == "no relay has published anything yet"
    assert await elsewhere.measure() == []
    edge.sources.append(elsewhere.measure)
    await edge.listed()
    await edge.placed()

    for position, complete, silent, lag, waited, told in (
        (2, 5_000, 1, 0, 0, None),
        (1, 30, 1, 1, 30, None),
        (1, 90, 1, 1, 90, "the relay is 1 events behind the log, and up to 90 s"),
        (1, 90, 600, 1, 90, "no relay has noted where it is for 600 s; 1 events wait"),
    ):
        await noted(edge, position, complete, silent)
        assert await elsewhere.problem() == told
        found = await measured(edge)
        assert found("orderlog_relay_lag_events") == lag
        assert abs((found("orderlog_relay_lag_seconds") or 0) - waited) < 20
        assert abs((found("orderlog_relay_silent_seconds") or 0) - silent) < 20
    await noted(edge, 1, 30, 1)
    monkeypatch.setattr(relay_measures, "FAR_BEHIND", 0)
    assert "the relay is 1 events behind the log" in (await elsewhere.problem() or "")


async def test_a_part_that_cannot_be_measured_hides_no_other(edge: Edge) -> None:
    async def broken() -> list[Metric]:
        raise OSError("no route")

    async def fails() -> str | None:
        raise OSError("no route")

    async def unready() -> str:
        return "waits"

    async def ready() -> None:
        return None

    edge.sources += [broken, OfChecks({"one": unready, "other": ready, "third": fails}).measure]
    await edge.get("/livez")

    found = await measured(edge)

    assert found("orderlog_http_requests_total", method="GET", route="/livez", status="200") == 1
    assert [found("orderlog_ready", part=part) for part in ("one", "other", "third")] == [0, 1, 0]
    assert found("process_open_fds")


# Requests and traces -----------------------------------------------------------------------------------------


async def test_request_id_and_trace_go_in_and_out_and_into_the_events(edge: Edge) -> None:
    await edge.listed()
    sent = {"request_id": "mine-1", "traceparent": TRACE}

    placed = await edge.post("/v1/orders", an_order(), by=ALICE, **sent)
    read = await edge.get("/v1/orders", **sent)
    refused = await edge.post("/v1/orders", an_order(currency="x"), by=ALICE, **sent)
    missing = await edge.get("/v1/nothing", **sent)

    for answer in (placed, read, refused, missing):
        assert (answer.headers["request-id"], answer.headers["traceparent"]) == ("mine-1", TRACE)
    assert refused.json()["request_id"] == missing.json()["request_id"] == "mine-1"
    cause = codec.decode(edge.log.read(1, 1)[0]).cause
    assert (cause.request_id, cause.traceparent) == ("mine-1", TRACE)


WRONG = [
    "x",
    TRACE.upper(),
    TRACE.replace("00-", "ff-", 1),
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    TRACE[:-1],
    TRACE + "\u00e9",
]


async def test_a_trace_that_is_not_valid_gives_way_to_one_that_is(edge: Edge) -> None:
    await edge.listed()
    for wrong in WRONG:
        sent = edge.bearer(ALICE) | {"idempotency-key": str(WRONG.index(wrong)), "traceparent": wrong}
        headers = httpx.Headers(sent, encoding="latin-1").raw
        placed, other = [
            await edge.client.post("/v1/orders", json=an_order(), headers=[*headers, (b"request-id", one)])
            for one in (b"one", b"two")
        ]
        assert (placed.status_code, other.headers["idempotency-replayed"]) == (201, "true")
        traces = [answer.headers["traceparent"] for answer in (placed, other)]
        assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace) for trace in traces), wrong
        assert len({wrong, *traces}) == 3
        assert codec.decode(edge.log.read(edge.log.head() - 1, 1)[0]).cause.traceparent == traces[0]


async def test_no_trace_is_made_up_where_none_is_given(edge: Edge) -> None:
    await edge.listed()

    assert "traceparent" not in (await edge.post("/v1/orders", an_order(), by=ALICE)).headers
    assert codec.decode(edge.log.read(1, 1)[0]).cause.traceparent is None


async def test_a_line_of_the_log_says_which_request_it_is_about(database_url: str) -> None:
    async with an_edge(database_url) as edge:
        await edge.listed()
        await edge.parts.queries._pool.close()
        edge.parts.processor.submit = None  # type: ignore[method-assign, assignment]
        with capture_logs(processors=[merge_contextvars]) as lines:
            await edge.get("/v1/orders", by=STAFF, request_id="read-1", traceparent=TRACE)
            await edge.post("/v1/orders", an_order(), by=ALICE, request_id="write-1", traceparent=TRACE)

    about = {line["request_id"]: (line["event"], line["traceparent"]) for line in lines}
    assert about == {"read-1": ("database unavailable", TRACE), "write-1": ("request failed", TRACE)}
