"""What whoever operates an installation sees and does: deploys under load, measurements, own writes over every path."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from events import codec
from tests.services.parts import SECRET_KEY, Part
from tests.system.clients import Caller, eur
from tests.system.installation import Installation, until
from tests.system.test_starting import close_code
from tests.system.topics import messages

DRAIN = 3.0


@pytest.fixture
def drained(home: Path) -> Iterator[Installation]:
    """`orderlog serve` that goes on for a while when it is asked to stop."""
    settings = {"ORDERLOG_DATA_DIR": str(home / "drained"), "ORDERLOG_DRAIN": str(DRAIN)}
    one = Installation(home, settings, [Part("serve", home, settings)])
    try:
        one.start()
        yield one
    finally:
        one.parts[0].end(within=20)


async def test_a_process_that_is_asked_to_stop_under_load_loses_nothing_that_it_accepted(drained: Installation) -> None:
    part = drained.parts[0]
    async with Caller(drained.urls[0], drained.token("staff")) as staff:
        await staff.put("/v1/products/CUP", {"name": "A cup", "prices": [eur(250)], "stock": "untracked"})
        load = [asyncio.create_task(orders_until_the_end(staff)) for _ in range(8)]
        async with staff.listening() as listener, staff.http.stream("GET", "/v1/events") as stream:
            lines = stream.aiter_lines()
            while await asyncio.wait_for(anext(lines), 20) != "event: event":
                pass
            streamed = asyncio.create_task(rest(lines))
            await listener.hears()
            asked = time.monotonic()
            ending = asyncio.create_task(asyncio.to_thread(part.end, within=20))
            unready = await asyncio.to_thread(until, lambda: reason(part), 5)
            still = await staff.post("/v1/orders", an_order())
            assert unready == {"process": "is shutting down"}
            assert still.status_code == httpx.codes.CREATED
            assert await close_code(listener.socket.recv) == 1012
            assert time.monotonic() - asked > DRAIN - 0.5
            assert await streamed, "it came to an orderly end"
            await ending
            assert time.monotonic() - asked < DRAIN + 5
        accepted = {one for orders in await asyncio.gather(*load) for one in orders} | {still.json()["order_id"]}
    assert part.exit_code == 0
    assert "Traceback" not in part.log.read_text()
    await asyncio.to_thread(part.start)
    rows = await asyncio.to_thread(drained.log)
    placed = {row[0] for row in rows if row[3] == "orderlog.order.placed.v1"}
    assert {f"order-{one}" for one in accepted} == placed, "what was accepted was answered, to the last one"
    assert len(accepted) > 8


async def rest(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


async def test_a_read_that_waits_does_not_hold_up_the_end_of_its_process(home: Path, database_url: str) -> None:
    settings = {"ORDERLOG_DATABASE_URL": database_url, "ORDERLOG_SECRET_KEY": SECRET_KEY}
    alone = Installation(home, settings, [Part("api", home, settings)])  # nobody keeps the read models
    alone.start()
    part = alone.parts[0]
    async with Caller(part.url, alone.token("staff")) as staff:
        card = {"name": "A cup", "prices": [eur(250)], "stock": "untracked"}
        written = await staff.http.put("/v1/products/CUP", json=card)
        headers = {"consistency-token": written.headers["consistency-token"], "prefer": "wait=10"}
        asked = time.monotonic()
        reading = asyncio.create_task(staff.http.get("/v1/products", headers=headers))
        async with asyncio.timeout(5):
            while sums((await staff.http.get("/metrics")).text)["orderlog_readers_waiting"] != 1:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.05)
        await asyncio.to_thread(part.end, within=5)
        assert time.monotonic() - asked < 10, "it ended before the read had waited for as long as it would"
        assert (await reading).headers["consistency"] == "stale"
    assert part.exit_code == 0


def reason(part: Part) -> dict[str, str]:
    answer = httpx.get(f"{part.url}/readyz")
    return {} if answer.is_success else dict(answer.json()["parts"])


def an_order() -> dict[str, object]:
    return {"currency": "EUR", "customer_id": "anne", "lines": [{"sku": "CUP", "quantity": 1}]}


async def orders_until_the_end(staff: Caller) -> list[str]:
    """The orders that were accepted; each that was not answered is given up."""
    accepted: list[str] = []
    while True:
        try:
            answer = await staff.post("/v1/orders", an_order())
        except httpx.TransportError:
            return accepted
        assert answer.status_code == httpx.codes.CREATED, answer.text
        accepted.append(answer.json()["order_id"])


# Own writes --------------------------------------------------------------------------------------------------


async def test_whoever_passes_the_token_on_reads_its_write_at_every_process(installation: Installation) -> None:
    sku = f"CUP-{uuid4().hex[:8]}"
    async with (
        Caller(installation.urls[0], installation.token("staff")) as writer,
        Caller(installation.urls[-1], installation.token("staff")) as reader,
    ):
        await writer.put(f"/v1/products/{sku}", {"name": "A cup", "prices": [eur(250)], "stock": "tracked"})
        await writer.asked(f"/v1/products/{sku}/receive-stock", {"quantity": 100})
        for _ in range(20):
            answer = await writer.post("/v1/orders", an_order() | {"lines": [{"sku": sku, "quantity": 1}]})
            order = answer.json()
            headers = {
                "consistency-token": answer.headers["consistency-token"],
                "prefer": "wait=10, handling=strict",
            }
            path = f"/v1/orders/{order['order_id']}"
            listed = await reader.http.get("/v1/orders", headers=headers, params={"limit": 1})
            history = await reader.http.get(f"{path}/events", headers=headers)
            product = await reader.http.get(f"/v1/products/{sku}", headers=headers)
            one = await reader.http.get(path, headers=headers)
            assert [got.headers["consistency"] for got in (listed, history, product, one)] == ["current"] * 4
            assert listed.json()["items"][0]["order_id"] == order["order_id"]
            assert [entry["version"] for entry in history.json()["items"]] == [1]
            assert product.json()["version"] >= 3
            assert one.json() == order


# Requests and traces -----------------------------------------------------------------------------------------


async def test_a_request_is_found_again_in_the_answer_the_log_lines_the_event_and_its_record(
    installation: Installation,
) -> None:
    sku, mine = f"CUP-{uuid4().hex[:8]}", f"mine-{uuid4().hex}"
    trace = f"00-{uuid4().hex}-{uuid4().hex[:15]}1-01"
    about = {"request-id": mine, "traceparent": trace}
    async with Caller(installation.urls[0], installation.token("staff")) as staff:
        await staff.put(f"/v1/products/{sku}", {"name": "A cup", "prices": [eur(250)], "stock": "untracked"})
        order = an_order() | {"lines": [{"sku": sku, "quantity": 1}]}
        placed = await staff.http.post("/v1/orders", json=order, headers={"idempotency-key": mine, **about})
        nobody = {"grant_type": "password", "username": mine, "password": "x"}
        refused = await staff.http.post("/v1/auth/token", data=nobody, headers=about)
    told = [{name: answer.headers.get(name) for name in about} for answer in (placed, refused)]
    assert told == [about, about]

    lines = installation.parts[0].log.read_text().splitlines()
    assert [line for line in lines if "sign-in refused" in line and mine in line and trace in line]

    rows = await asyncio.to_thread(installation.log)
    [event] = [one for one in map(codec.decode, rows) if one.cause.request_id == mine]
    assert (event.cause.traceparent, event.key) == (trace, placed.json()["order_id"])
    if installation.bootstrap_servers is not None:
        records = await asyncio.to_thread(messages, installation.bootstrap_servers, len(rows))
        [record] = [one for one in records if one.headers.get("ce_requestid") == mine]
        assert (record.headers["ce_traceparent"], record.key) == (trace, event.key)


# Measurements ------------------------------------------------------------------------------------------------


async def test_every_process_measures_its_part(installation: Installation) -> None:
    async with Caller(installation.urls[0], installation.token("staff")) as staff:
        await staff.put("/v1/products/CUP", {"name": "A cup", "prices": [eur(250)], "stock": "untracked"})
        for _ in range(5):
            await staff.asked("/v1/orders", an_order())
    for part in installation.parts:
        found = await asyncio.to_thread(measured, part)
        if part.command in {"serve", "api", "project"}:
            await asyncio.to_thread(until, lambda part=part: lags(part) == {0}, 60)
        if part is installation.parts[0]:
            assert found["orderlog_commands_total"] >= 6
            assert found["orderlog_batch_commands_count"] >= 1
            assert "orderlog_sockets" in found
            assert "orderlog_automation_elected" in found
        if part.command == "api":
            await asyncio.to_thread(until, lambda part=part: measured(part).get("orderlog_relay_lag_events") == 0, 60)
        if part.command == "relay":
            assert found["orderlog_relay_elected"] == 1
            await asyncio.to_thread(until, lambda part=part: measured(part)["orderlog_relay_lag_events"] == 0, 60)
            assert measured(part)["orderlog_relay_lag_seconds"] < 10


def measured(part: Part) -> dict[str, float]:
    return sums(httpx.get(f"{part.url}/metrics").text)


def sums(metrics: str) -> dict[str, float]:
    """Over all labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def lags(part: Part) -> set[float]:
    families = text_string_to_metric_families(httpx.get(f"{part.url}/metrics").text)
    return {one.value for family in families for one in family.samples if one.name == "orderlog_projection_lag_events"}
