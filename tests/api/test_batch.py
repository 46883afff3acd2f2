"""A batch: each item is answered as its own route would answer it, all of them cost one commit."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from api import consistency
from api.limits import Limits, Quota
from commands.order import AmendOrder
from tests.api.edge import ALICE, BOB, STAFF, Edge, Json, an_edge, an_order, eur
from tests.commands.test_processor import lock_waited_for

CREATED, OK, REFUSED, NOT_APPLIED = 201, 200, 409, 424


async def sent(edge: Edge, items: list[Json], *, by: str = STAFF, atomic: bool = False, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"atomic": atomic, "items": items}
    return await edge.client.post("/v1/orders:batch", json=body, headers=edge.bearer(by) | named)


async def results(edge: Edge, *items: Json, by: str = STAFF, atomic: bool = False, **headers: str) -> list[Json]:
    answer: httpx.Response = await sent(edge, [*items], by=by, atomic=atomic, **headers)
    assert answer.status_code == 207, answer.text
    found: list[Json] = answer.json()["items"]
    assert len(found) == len(items)
    return found


def statuses(found: list[Json]) -> list[int]:
    return [one["status"] for one in found]


def codes(found: list[Json]) -> list[str | None]:
    return [one["body"].get("code") for one in found]


def placing(key: str | None = None, **more: Any) -> Json:
    return {
        "command": "place",
        "idempotency_key": key or uuid4().hex,
        "body": an_order(**({"customer_id": ALICE} | more)),
    }


def on(order_id: str, command: str, key: str | None = None, **body: Any) -> Json:
    return {"command": command, "order_id": order_id, "body": body} | ({"idempotency_key": key} if key else {})


# One by one --------------------------------------------------------------------------------------------------


async def test_each_item_is_answered_as_its_own_route_answers(edge: Edge) -> None:
    await edge.listed()
    unknown = [{"sku": "POSTER", "quantity": 1}, {"sku": "NONE", "quantity": 1}]

    placed, refused, wrong = await results(
        edge, placing(), placing(lines=unknown), placing(lines=[{"sku": "POSTER", "quantity": 0}])
    )
    alone = await edge.post("/v1/orders", an_order(customer_id=ALICE, lines=unknown))

    assert placed["status"] == CREATED
    assert placed["headers"].keys() == {"Content-Type", "ETag", "Location", "Consistency-Token"}
    assert placed["headers"]["Location"] == f"/v1/orders/{placed['body']['order_id']}"
    assert placed["headers"]["ETag"] == '"1"'
    assert (await edge.get(placed["headers"]["Location"])).json() == placed["body"]
    assert refused["status"] == alone.status_code == 404
    assert refused["headers"] == {"Content-Type": "application/problem+json"}
    assert refused["body"] | {"request_id": ""} == alone.json() | {"request_id": ""}
    assert refused["body"]["errors"][0]["pointer"] == "/lines/1/sku"
    assert (wrong["status"], wrong["body"]["errors"][0]["pointer"]) == (422, "/lines/0/quantity")


async def test_items_on_one_order_are_decided_in_their_order(edge: Edge) -> None:
    await edge.listed()
    order_id, draft = str(uuid4()), str(uuid4())

    drafted = await results(edge, placing(order_id=draft, draft=True), on(draft, "place"))
    found = await results(
        edge,
        on(order_id, "confirm"),
        placing(order_id=order_id, payment_terms="invoice"),
        placing(order_id=order_id),
        on(order_id, "confirm") | {"expected_version": 1},
        on(order_id, "confirm") | {"expected_version": 1},
        on(order_id, "ship-items", uuid4().hex, lines=[{"line_id": "1", "quantity": 2}]),
        on(order_id, "cancel", reason="too late"),
    )

    assert codes(found) == ["no-such-order", None, "order-exists", None, "stale-version", None, "already-shipped"]
    assert [one["body"]["version"] for one in found if one["status"] < 300] == [1, 2, 3]
    assert [one["body"]["status"] for one in drafted] == ["draft", "placed"]


async def test_five_hundred_orders_cost_one_commit(edge: Edge, database_url: str) -> None:
    await edge.listed()
    with psycopg.connect(database_url, autocommit=True) as database:
        before, batches = transactions(database), edge.parts.processor.batches
        answer = await sent(edge, [placing() for _ in range(500)])
        after = transactions(database)

    assert {one["status"] for one in answer.json()["items"]} == {CREATED}
    assert after - before - 1 == 1, "the first count is a transaction as well"
    assert edge.parts.processor.batches - batches == 1
    assert len({one["body"]["number"] for one in answer.json()["items"]}) == 500


def transactions(database: psycopg.Connection) -> int:
    """How many have written something; this one counts."""
    found = database.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert found is not None
    return int(found[0])


async def test_the_token_of_a_batch_includes_each_of_its_writes(edge: Edge) -> None:
    await edge.listed()
    before = edge.log.head()
    order_id = str(uuid4())

    answer = await sent(edge, [placing(order_id=order_id), on(order_id, "confirm"), placing()])
    refused = await sent(edge, [on(order_id, "confirm")])

    token = consistency.read(answer.headers["consistency-token"])
    assert (token.position, token.recorded) == (before + 2, 2)
    assert answer.json()["items"][2]["headers"]["Consistency-Token"] == consistency.token(before + 2, 1)
    assert "consistency-token" not in refused.headers


# Keys --------------------------------------------------------------------------------------------------------


async def test_a_key_is_the_same_in_a_batch_and_alone(edge: Edge) -> None:
    await edge.listed()
    head = edge.log.head()
    body = an_order(customer_id=ALICE)

    (first,) = await results(edge, placing("in the batch".replace(" ", "-")))
    again = await edge.post("/v1/orders", body, key="in-the-batch")
    alone = await edge.post("/v1/orders", body, key="alone")
    repeated, other = await results(edge, placing("alone"), placing("alone", email="a@example.org"))

    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first["body"]
    assert repeated["body"] == alone.json()
    assert repeated["headers"]["Idempotency-Replayed"] == "true"
    assert repeated["headers"]["Consistency-Token"] == alone.headers["consistency-token"]
    assert (other["status"], other["body"]["code"]) == (422, "idempotency-key-reused")
    assert edge.log.head() == head + 2


async def test_a_key_of_a_command_on_an_order_is_the_same_alone(edge: Edge) -> None:
    await edge.listed()
    order_id = (await edge.placed())["order_id"]

    (first,) = await results(edge, on(order_id, "add-note", "k", note="mind the step"))
    again = await edge.post(f"/v1/orders/{order_id}/add-note", {"note": "mind the step"}, key="k")
    without_body = [on(order_id, "release-hold", "r")]
    del without_body[0]["body"]
    await results(edge, *without_body)
    bare = await edge.client.post(
        f"/v1/orders/{order_id}/release-hold", headers=edge.bearer(STAFF) | {"idempotency-key": "r"}
    )

    assert again.json() == first["body"]
    assert again.headers["idempotency-replayed"] == bare.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("atomic", [False, True])
async def test_the_same_key_twice_in_a_batch_is_one_command(edge: Edge, atomic: bool) -> None:  # noqa: FBT001
    await edge.listed()
    head = edge.log.head()

    first, second = await results(edge, placing("k"), placing("k"), atomic=atomic)
    third = (await results(edge, placing("k", email="a@example.org")))[0]

    assert (first["status"], second["status"]) == (CREATED, CREATED)
    assert second["body"] == first["body"]
    assert "Idempotency-Replayed" not in first["headers"]
    assert second["headers"]["Idempotency-Replayed"] == "true"
    assert third["body"]["code"] == "idempotency-key-reused"
    assert edge.log.head() == head + 1


async def test_a_key_is_asked_for_where_the_route_asks_for_it(edge: Edge) -> None:
    await edge.listed()
    order_id = (await edge.placed())["order_id"]
    keyless = placing() | {"idempotency_key": None}

    found = await results(edge, keyless, on(order_id, "add-note", note="n"), placing())

    assert statuses(found) == [400, OK, CREATED]
    assert found[0]["body"]["code"] == "idempotency-key-missing"


async def test_a_batchs_own_key_serves_the_items_without_one(edge: Edge) -> None:
    await edge.listed()
    order_id = (await edge.placed())["order_id"]
    keyless = placing() | {"idempotency_key": None}
    items = [keyless, on(order_id, "add-note", note="n"), keyless]

    first = await sent(edge, items, idempotency_key="whole")
    head = edge.log.head()
    again = await sent(edge, items, idempotency_key="whole")

    assert statuses(first.json()["items"]) == [CREATED, OK, CREATED]
    assert [one["body"] for one in again.json()["items"]] == [one["body"] for one in first.json()["items"]]
    assert all(one["headers"]["Idempotency-Replayed"] == "true" for one in again.json()["items"])
    assert edge.log.head() == head


async def test_a_key_in_flight_is_said_so_with_when_to_come_back(edge: Edge, database_url: str) -> None:
    await edge.listed()
    edge.parts.processor._repeat_wait = 0.1
    edge.parts.processor._decider._locked_batches = 9
    with psycopg.connect(database_url) as database:
        database.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        first = asyncio.create_task(edge.post("/v1/orders", an_order(customer_id=ALICE), key="k"))
        await lock_waited_for(database_url)
        alone = await edge.post("/v1/orders", an_order(customer_id=ALICE), key="k")
        in_batch, other = await results(edge, placing("k"), placing(), atomic=True)
        pages = [await edge.client.get(one["body"]["type"]) for one in (in_batch, other)]
    assert (await first).status_code == CREATED
    again = await edge.post("/v1/orders", an_order(customer_id=ALICE), key="k")

    assert (alone.status_code, alone.json()["code"]) == (409, "idempotency-key-in-flight")
    assert alone.headers["retry-after"] == in_batch["headers"]["Retry-After"] == "1"
    assert (in_batch["body"]["code"], other["body"]["code"]) == ("idempotency-key-in-flight", "batch-not-applied")
    assert [f"HTTP status {status}" in page.text for status, page in zip((409, 424), pages, strict=True)] == [True] * 2
    assert (again.status_code, again.content) == (CREATED, (await first).content)


# Who may -----------------------------------------------------------------------------------------------------


async def test_each_item_has_the_rights_of_its_own_route(edge: Edge) -> None:
    await edge.listed()
    mine = (await edge.placed(by=BOB))["order_id"]
    theirs = (await edge.placed(by=ALICE))["order_id"]

    found = await results(
        edge,
        placing(customer_id=BOB),
        placing(customer_id=ALICE),
        placing(customer_id=BOB, discount=eur(1)),
        on(mine, "confirm"),
        on(theirs, "cancel", reason="r"),
        on(str(uuid4()), "cancel", reason="r"),
        placing(customer_id=BOB, order_id=theirs),
        on(mine, "cancel", reason="r"),
        by=BOB,
    )

    assert statuses(found) == [CREATED, 403, 403, 403, 404, 404, REFUSED, OK]
    assert found[4]["body"] == found[5]["body"], "somebody else's order does not exist"
    assert found[6]["body"]["code"] == "order-id-unusable"
    assert "current_status" not in found[6]["body"]


async def test_who_writes_nothing_sends_no_batch(edge: Edge) -> None:
    answer = await sent(edge, [placing()], by="ann")
    nobody = await edge.client.post("/v1/orders:batch", json={"items": [placing()]})

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "token-missing")


# All or nothing ----------------------------------------------------------------------------------------------


async def test_an_atomic_batch_is_done_whole(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=5)
    lines = [{"sku": "CUP", "quantity": 2}]
    items = [placing("a", lines=lines), placing("b", lines=lines)]

    found = await results(edge, *items, atomic=True)
    again = await results(edge, *items, atomic=True)

    assert statuses(found) == [CREATED, CREATED]
    assert [one["body"] for one in again] == [one["body"] for one in found]
    assert {one["headers"]["Idempotency-Replayed"] for one in again} == {"true"}


async def test_an_atomic_batch_with_a_refusal_does_nothing_and_uses_no_key(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=5)
    order_id, kept = str(uuid4()), placing("kept", lines=[{"sku": "CUP", "quantity": 1}])
    assert statuses(await results(edge, kept)) == [CREATED]
    head = edge.log.head()
    too_much = placing("b", order_id=order_id, lines=[{"sku": "CUP", "quantity": 3}])
    items = [
        placing("a", lines=[{"sku": "CUP", "quantity": 2}]),
        too_much,
        on(order_id, "confirm"),
        kept,
        on(str(uuid4()), "confirm"),
    ]

    found = await results(edge, *items, atomic=True)
    untouched = edge.log.head()
    mended = await results(edge, items[0], placing("b", lines=[{"sku": "CUP", "quantity": 2}]), atomic=True)

    assert codes(found) == ["batch-not-applied", "out-of-stock", "batch-not-applied", None, "no-such-order"]
    assert statuses(found) == [NOT_APPLIED, REFUSED, NOT_APPLIED, CREATED, 404]
    assert found[1]["body"]["short"] == {"CUP": {"asked": 3, "available": 2}}, "decided on what the one before leaves"
    assert found[3]["headers"]["Idempotency-Replayed"] == "true", "it was done before"
    assert untouched == head
    assert statuses(mended) == [CREATED, CREATED]
    assert "Idempotency-Replayed" not in mended[0]["headers"]


async def test_an_item_that_is_not_valid_and_a_refusal_that_is_kept_refuse_an_atomic_batch(edge: Edge) -> None:
    assert statuses(await results(edge, placing("k"))) == [404]
    await edge.listed()
    head = edge.log.head()

    invalid = await results(edge, placing(), placing(currency="EURO"), placing(), atomic=True)
    kept = await results(edge, placing("k"), placing(), atomic=True)

    assert statuses(invalid) == [NOT_APPLIED, 422, NOT_APPLIED]
    assert statuses(kept) == [404, NOT_APPLIED]
    assert edge.log.head() == head


# Bad input ---------------------------------------------------------------------------------------------------

AN_ID = str(uuid4())
WRONG: dict[str, tuple[Any, list[str]]] = {
    "nothing": ({}, ["/items"]),
    "no items": ({"items": []}, ["/items"]),
    "501 items": ({"items": [placing()] * 501}, ["/items"]),
    "items that are no list": ({"items": {"0": placing()}}, ["/items"]),
    "more than items": ({"items": [placing()], "colour": 1}, ["/colour"]),
    "atomic as a text": ({"atomic": "yes", "items": [placing()]}, ["/atomic"]),
    "an item that is no object": ({"items": [placing(), 7, None]}, ["/items/1", "/items/2"]),
    "a command that there is not": ({"items": [{"command": "frobnicate", "order_id": AN_ID}]}, ["/items/0/command"]),
    "no command": ({"items": [placing(), {"body": {}}]}, ["/items/1/command"]),
    "no order": ({"items": [placing(), {"command": "cancel"}]}, ["/items/1/order_id"]),
    "a key with a space": ({"items": [placing("two words")]}, ["/items/0/idempotency_key"]),
    "a key too long": ({"items": [placing("x" * 256)]}, ["/items/0/idempotency_key"]),
    "a version as a text": (
        {"items": [on(AN_ID, "confirm") | {"expected_version": "1"}]},
        ["/items/0/expected_version"],
    ),
    "a version as a truth": (
        {"items": [on(AN_ID, "confirm") | {"expected_version": True}]},
        ["/items/0/expected_version"],
    ),
    "a body that is no object": ({"items": [placing() | {"body": [1]}]}, ["/items/0/body"]),
    "a body of nothing": ({"items": [placing() | {"body": None}]}, ["/items/0/body"]),
    "an item with more": ({"items": [placing() | {"if_match": '"1"'}]}, ["/items/0/if_match"]),
}


async def test_what_is_no_batch_is_refused_as_a_whole_with_every_place(edge: Edge) -> None:
    await edge.listed()
    head = edge.log.head()

    for name, (body, pointers) in WRONG.items():
        answer = await edge.client.post("/v1/orders:batch", json=body, headers=edge.bearer(STAFF))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), name
        assert [place["pointer"] for place in answer.json()["errors"]] == pointers, name

    assert edge.log.head() == head


UNREADABLE = [
    (b'{"items": [', 400, "not-json"),
    (b"[]", 400, "not-json"),
    (b'{"items": [{"command": "place", "body": {"discount": 1e400}}]}', 422, "invalid-request"),
    (json.dumps({"items": [placing(email="x" * 1_100_000)]}).encode(), 413, "too-large"),
]


async def test_a_batch_is_read_as_other_bodies_are(edge: Edge) -> None:
    sent_as = edge.bearer(STAFF) | {"content-type": "application/json"}

    for content, status, code in UNREADABLE:
        answer = await edge.client.post("/v1/orders:batch", content=content, headers=sent_as)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    for_one = await sent(edge, [placing()], if_match='"1"')
    read = await edge.get("/v1/orders:batch")

    assert (for_one.status_code, for_one.json()["code"]) == (400, "bad-header")
    assert (read.status_code, read.headers["allow"]) == (405, "POST")


async def test_an_order_id_that_is_none_is_its_items_own_problem(edge: Edge) -> None:
    await edge.listed()

    found = await results(edge, on("mine", "cancel", reason="r"), placing() | {"body": {"at": 1}}, placing())

    assert statuses(found) == [422, 422, CREATED]
    assert [place["pointer"] for place in found[0]["body"]["errors"]] == ["/order_id"]
    assert "/at" in [place["pointer"] for place in found[1]["body"]["errors"]]


# Limits ------------------------------------------------------------------------------------------------------


async def test_a_batch_for_which_there_is_no_room_is_turned_away_whole(edge: Edge) -> None:
    await edge.listed()
    head = edge.log.head()
    edge.parts.processor._queue = 2

    answer = await sent(edge, [placing(), placing(), placing()])
    smaller = await sent(edge, [placing(), placing()])

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "busy", "1")
    assert statuses(smaller.json()["items"]) == [CREATED, CREATED]
    assert edge.log.head() == head + 2


async def test_a_batch_counts_as_many_requests_as_it_has_items(database_url: str) -> None:
    async with an_edge(database_url, limits=Limits(Quota(10, 3600))) as edge:
        ten = await sent(edge, [on(AN_ID, "confirm")] * 6)
        eleven = await sent(edge, [on(AN_ID, "confirm")] * 6)
        never = await sent(edge, [on(AN_ID, "confirm")] * 11, by=ALICE)

    assert (ten.status_code, ten.headers["ratelimit"].split(";")[1]) == (207, "r=4")
    assert (eleven.status_code, eleven.json()["code"]) == (429, "too-many-requests")
    assert (never.status_code, never.json()["errors"][0]["pointer"]) == (422, "/items")


async def test_the_answer_of_a_batch_has_an_end(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred commands on an order of two thousand lines would fill half a gigabyte."""
    monkeypatch.setattr("commands.batch.LARGEST_ANSWERS", 100)
    await edge.listed()
    head = edge.log.head()

    found = await results(edge, placing("a"), placing("b"))
    later = await results(edge, placing("b"))
    atomic = await results(edge, placing(), placing(), atomic=True)

    assert (statuses(found), found[1]["body"]["code"]) == ([CREATED, 413], "batch-answer-full")
    assert statuses(later) == [CREATED]
    assert statuses(atomic) == [NOT_APPLIED, 413]
    assert edge.log.head() == head + 2


# The version that is demanded --------------------------------------------------------------------------------


async def test_where_it_is_demanded_a_command_says_which_version_it_is_for(database_url: str) -> None:
    async with an_edge(database_url, versioned=frozenset({AmendOrder})) as edge:
        await edge.listed()
        order_id = (await edge.placed())["order_id"]
        path = f"/v1/orders/{order_id}/amend"
        body: Json = {"lines": [{"line_id": "1", "quantity": 3}]}
        head = edge.log.head()

        alone = await edge.post(path, body, by=ALICE)
        in_batch, stale, noted = await results(
            edge,
            on(order_id, "amend", **body),
            on(order_id, "amend", **body) | {"expected_version": 9},
            on(order_id, "add-note", note="any version will do"),
        )
        amended = await edge.post(path, body, by=ALICE, if_match='"2"')
        whichever = await edge.post(path, {"lines": [{"line_id": "1", "quantity": 4}]}, by=ALICE, if_match="*")
        page = await edge.client.get(alone.json()["type"])

    assert (alone.status_code, alone.json()["code"]) == (428, "if-match-missing")
    assert (in_batch["status"], in_batch["body"]["code"]) == (428, "if-match-missing")
    assert (stale["status"], noted["status"]) == (412, OK)
    assert (amended.status_code, amended.json()["version"]) == (OK, 3)
    assert (whichever.status_code, whichever.json()["version"]) == (OK, 4)
    assert "HTTP status 428" in page.text
    assert head == 2
