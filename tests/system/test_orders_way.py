"""The way of an order, from the command to the log, Kafka, the read models and the sockets, in both ways to run it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from tests.events.test_relay_reader import assert_published_once, read_topics
from tests.services.kafka import Cluster
from tests.system.clients import Caller, Json, eur
from tests.system.conftest import DISTRIBUTED, EMBEDDED
from tests.system.installation import Installation
from tests.system.topics import assert_each_stream_counts_from_one, messages
from tests.texts import HOSTILE


class People:
    """Staff and two customers. Where there are two APIs, the customers use the second one."""

    def __init__(self, installation: Installation) -> None:
        first, *others = installation.urls
        second = others[0] if others else first
        self.staff = Caller(first, installation.token("staff"))
        self.anne = Caller(second, installation.token("customer", "anne"))
        self.bob = Caller(second, installation.token("customer", "bob"))


@pytest.fixture
async def people(installation: Installation) -> AsyncIterator[People]:
    people = People(installation)
    async with AsyncExitStack() as stack:
        for one in (people.staff, people.anne, people.bob):
            await stack.enter_async_context(one)
        yield people


async def a_cup_in_stock(staff: Caller, received: int = 100) -> str:
    sku = f"CUP-{uuid4().hex[:8]}"
    await staff.put(f"/v1/products/{sku}", {"name": "A cup", "prices": [eur(250)], "stock": "tracked"})
    await staff.asked(f"/v1/products/{sku}/receive-stock", {"quantity": received})
    return sku


def an_order(sku: str, quantity: int = 2, **more: object) -> Json:
    return {"currency": "EUR", "lines": [{"sku": sku, "quantity": quantity}], **more}


async def test_an_order_is_placed_paid_confirmed_and_shipped_and_everybody_concerned_sees_it(people: People) -> None:
    staff, anne = people.staff, people.anne
    sku = await a_cup_in_stock(staff)
    async with anne.listening() as listener:
        order = await anne.asked("/v1/orders", an_order(sku))
        path = f"/v1/orders/{order['order_id']}"
        assert (order["status"], order["version"], order["total"]) == ("placed", 1, eur(500))
        assert await anne.sees(path, lambda seen: seen["version"] == 1) == order
        pushed = await listener.hears()
        assert (pushed["event"], pushed["order_id"]) == ("orderlog.order.placed.v1", order["order_id"])
        assert (pushed["version"], pushed["order"]) == (1, order)

        await staff.asked(f"{path}/record-authorization", {"amount": eur(500), "reference": "A-1"})
        confirmed = await staff.asked(f"{path}/confirm", {})
        assert (confirmed["status"], confirmed["payment_status"]) == ("confirmed", "authorized")
        shipped = await staff.asked(f"{path}/ship-items", {"lines": [{"line_id": "1", "quantity": 2}]})
        assert (shipped["version"], shipped["fulfilment_status"]) == (4, "shipped")
        assert await anne.sees(path, lambda seen: seen["version"] == 4) == shipped
        heard = [await listener.hears() for _ in range(3)]
        assert [message["event"] for message in heard] == [
            "orderlog.order.payment-authorized.v1",
            "orderlog.order.confirmed.v1",
            "orderlog.order.shipment-dispatched.v1",
        ]
        assert [message["version"] for message in heard] == [2, 3, 4]
        assert heard[-1]["order"] == shipped

    history = await anne.sees(f"{path}/events", lambda seen: len(seen["items"]) == 4)
    assert [entry["version"] for entry in history["items"]] == [1, 2, 3, 4]
    anne_s, authorized, confirmed_by, shipped_by = [entry["actor"] for entry in history["items"]]
    assert (anne_s, authorized, shipped_by) == ("anne", "staff", "staff")
    assert confirmed_by in {"staff", "automation"}, "whichever comes first"
    listed = await anne.sees("/v1/orders", lambda seen: order["order_id"] in ids(seen), status="confirmed")
    assert listed["items"][0]["fulfilment_status"] == "shipped"
    product = await anne.sees(f"/v1/products/{sku}", lambda seen: seen["on_hand"] == 98)
    assert (product["reserved"], product["available"]) == (0, 98)


async def test_the_answer_of_a_write_is_what_is_read_later(people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    everything = an_order(
        sku,
        customer_id="anne",
        order_id=str(uuid4()),
        external_reference="PO-7 ☕",
        email="anne@example.org",
        payment_terms="invoice",
        payment_method="card",
        shipping_address={"name": "Anne", "line1": "1 Road\\", "city": "Bern", "country": "CH"},
        metadata={"gift": 'yes, "wrapped"'},
        shipping=eur(490),
        discount=eur(10),
        tax=eur(7),
    )
    answer = await people.staff.post("/v1/orders", everything)
    order = answer.json()
    path = f"/v1/orders/{order['order_id']}"
    assert answer.headers["location"] == path

    read = await people.anne.sees(path, lambda _: True)
    again = await people.anne.get(path)

    assert read == order
    assert again.headers["etag"] == answer.headers["etag"] == '"1"'
    for command, body in (("confirm", {}), ("cancel", {"reason": "not needed"})):
        written = await people.staff.asked(f"{path}/{command}", body)
        await people.anne.sees(path, written.__eq__)


async def test_another_customer_sees_nothing_of_it(people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    async with people.bob.listening() as bob, people.staff.listening() as staff:
        order = await people.anne.asked("/v1/orders", an_order(sku))
        path = f"/v1/orders/{order['order_id']}"
        await people.anne.sees(path, lambda _: True)
        assert (await staff.hears())["order_id"] == order["order_id"]
        await bob.hears_nothing()

    unknown = await people.bob.get(f"/v1/orders/{uuid4()}")
    for other in (path, f"{path}/events"):
        answer = await people.bob.get(other)
        assert (answer.status_code, answer.json()["code"]) == (404, unknown.json()["code"])
    assert (await people.bob.read("/v1/orders"))["items"] == []
    assert (await people.bob.get("/v1/orders", customer_id="anne")).status_code == 403
    refused = await people.bob.post(f"{path}/cancel", {"reason": "mine!"})
    assert (refused.status_code, refused.json()["code"]) == (404, unknown.json()["code"])
    assert (await people.anne.read(path))["status"] == "placed"


async def test_a_listener_that_comes_back_with_its_cursor_misses_nothing(people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    async with people.anne.listening() as listener:
        await people.anne.asked("/v1/orders", an_order(sku))
        cursor = (await listener.hears())["cursor"]
    missed = [(await people.anne.asked("/v1/orders", an_order(sku, 1)))["order_id"] for _ in range(5)]

    async with people.anne.listening(cursor) as listener:
        heard: list[str] = []
        caught_up = False
        while len(heard) < len(missed) or not caught_up:
            message = json.loads(await asyncio.wait_for(listener.socket.recv(), 20))
            if message["type"] == "event":
                heard.append(message["order_id"])
            caught_up = caught_up or message["type"] == "caught_up"

    assert sorted(heard) == sorted(missed)


async def test_daily_sales_count_the_orders_of_a_day(people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    today = datetime.now(UTC).date()
    days = {"from": str(today), "to": str(today)}
    before = total(await people.staff.read("/v1/reports/daily-sales", **days))
    for quantity in (1, 2, 3):
        order = await people.anne.asked("/v1/orders", an_order(sku, quantity))
    if order["placed_at"][:10] != str(today):
        pytest.skip("midnight came between")

    expected = (before[0] + 3, before[1] + 6, before[2] + 1_500)
    await people.staff.sees("/v1/reports/daily-sales", lambda seen: total(seen) == expected, **days)


async def test_a_repeated_request_is_answered_alike_by_any_process(installation: Installation, people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    async with Caller(installation.urls[0], installation.token("customer", "anne")) as elsewhere:
        first = await people.anne.post("/v1/orders", an_order(sku), key="once")
        second = await elsewhere.post("/v1/orders", an_order(sku), key="once")
        other = await elsewhere.post("/v1/orders", an_order(sku, 3), key="once")

    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 422)
    assert second.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


@DISTRIBUTED
async def test_the_topic_holds_each_event_as_a_cloud_event(installation: Installation, people: People) -> None:
    assert installation.bootstrap_servers is not None
    sku = await a_cup_in_stock(people.staff)
    order = await people.anne.asked("/v1/orders", an_order(sku))
    await people.staff.asked(f"/v1/orders/{order['order_id']}/cancel", {"reason": "test"})

    rows = installation.log()
    found = await asyncio.to_thread(messages, installation.bootstrap_servers, len(rows))

    assert len(found) == len(rows)
    placed, cancelled = [one for one in found if one.key == order["order_id"]]
    headers = placed.headers
    assert (headers["ce_specversion"], headers["ce_type"]) == ("1.0", "orderlog.order.placed.v1")
    assert (headers["ce_subject"], headers["content-type"]) == (order["order_id"], "application/json")
    assert UUID(placed.value["order_id"]) == UUID(order["order_id"])
    assert (headers["ce_sequence"], cancelled.headers["ce_sequence"]) == ("1", "2")
    assert datetime.fromisoformat(headers["ce_time"]).tzinfo is not None
    assert {"ce_id", "ce_source", "ce_position", "ce_dataschema"} <= headers.keys()
    assert len({one.headers["ce_id"] for one in found}) == len(found)
    assert {one.topic for one in found} == {"orders.events.v1", "products.events.v1"}
    assert {one.partition for one in found if one.key == order["order_id"]} == {placed.partition}
    assert_each_stream_counts_from_one(found)


@DISTRIBUTED
async def test_the_topic_is_the_log(installation: Installation, people: People) -> None:
    assert installation.bootstrap_servers is not None
    await a_cup_in_stock(people.staff)
    rows = installation.log()

    found = await asyncio.to_thread(read_topics, Cluster(installation.bootstrap_servers), len(rows))

    assert_published_once(found, rows)


@EMBEDDED
async def test_a_second_start_finds_the_data_of_the_first(installation: Installation, people: People) -> None:
    sku = await a_cup_in_stock(people.staff)
    order = await people.anne.asked("/v1/orders", an_order(sku))
    path = f"/v1/orders/{order['order_id']}"
    await people.anne.sees(path, lambda _: True)
    before = len(installation.log())

    await asyncio.to_thread(installation.end)
    await asyncio.to_thread(installation.start)

    async with Caller(installation.urls[0], installation.token("customer", "anne")) as anne:
        assert await anne.read(path) == order
        assert (await anne.asked(f"{path}/cancel", {"reason": "later"}))["version"] == 2
    assert installation.log()[before][:2] == (f"order-{order['order_id']}", 2)


def ids(page: Json) -> list[str]:
    return [item["order_id"] for item in page["items"]]


def total(report: Json) -> tuple[int, int, int]:
    """Orders, units and gross of a report in euros."""
    of_euros = [item for item in report["items"] if item["currency"] == "EUR"]
    return (
        sum(item["orders"] for item in of_euros),
        sum(item["units"] for item in of_euros),
        sum(item["gross"] for item in of_euros),
    )


async def test_hostile_text_comes_through_the_log_the_topics_and_the_views_as_it_is(
    people: People, installation: Installation
) -> None:
    sku = f"🦄/ß?# {uuid4().hex[:8]}"
    orders = {}
    async with people.staff.listening() as listener:
        for text in HOSTILE.values():
            await people.staff.put(f"/v1/products/{quote(sku, safe='')}", {"name": text, "prices": [eur(1)]})
            said: Json = {"customer_id": text, "external_reference": text, "metadata": {text: text}}
            order = await people.staff.asked("/v1/orders", an_order(sku, **said))
            orders[order["order_id"]] = text
            assert (await listener.hears())["order"] == order
            assert {name: order[name] for name in said} == said
    for order_id, text in orders.items():
        history = await people.staff.sees(f"/v1/orders/{order_id}/events", lambda seen: bool(seen["items"]))
        assert history["items"][0]["data"]["metadata"] == {text: text}
        listed = await people.staff.sees("/v1/orders", lambda seen: bool(seen["items"]), customer_id=text)
        assert ids(listed) == [order_id]
    if installation.bootstrap_servers is not None:
        rows = len(await asyncio.to_thread(installation.log))
        told = {one.key: one.value for one in await asyncio.to_thread(messages, installation.bootstrap_servers, rows)}
        assert {one: told[one]["customer_id"] for one in orders} == orders
        assert told[sku]["name"] == text
