"""Commands over HTTP: what is answered, who may, and that a retried command is one command."""

import asyncio
from uuid import UUID, uuid4

import msgspec
import pytest

from api import answers, consistency
from api.answers import JSON, Answer
from commands.table import NAMES
from events import codec
from tests.api.edge import ALICE, BOB, STAFF, Edge, an_order, eur


async def test_an_order_is_answered_with_its_place_its_version_and_its_state(edge: Edge) -> None:
    await edge.listed()

    answer = await edge.post("/v1/orders", an_order(), by=ALICE)

    order = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/orders/{order['order_id']}"
    assert answer.headers["etag"] == '"1"'
    assert consistency.read(answer.headers["consistency-token"]).position == edge.log.head()
    assert UUID(order["order_id"]).version == 7
    assert (order["customer_id"], order["status"], order["total"]) == (ALICE, "placed", eur(3998))
    assert "cancel" in order["allowed_commands"]


async def test_an_order_goes_its_whole_way(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=5)
    order = await edge.placed(lines=[{"sku": "CUP", "quantity": 2}])
    path = f"/v1/orders/{order['order_id']}"

    money = {"amount": order["total"], "reference": "r"}
    assert (await edge.post(f"{path}/record-authorization", money)).status_code == 200
    assert (await edge.post(f"{path}/confirm")).json()["status"] == "confirmed"
    assert (await edge.post(f"{path}/record-capture", money)).json()["payment_status"] == "paid"
    shipped = await edge.post(f"{path}/ship-items", {"lines": [{"line_id": "1", "quantity": 2}]})

    assert shipped.json()["fulfilment_status"] == "shipped"
    assert shipped.headers["etag"] == '"5"'
    assert "location" not in shipped.headers


async def test_a_command_without_fields_needs_no_body(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed(by=STAFF, customer_id="c", payment_terms="invoice")

    answer = await edge.client.post(f"/v1/orders/{order['order_id']}/confirm", headers=edge.bearer(STAFF))

    assert answer.json()["status"] == "confirmed"


async def test_an_order_id_of_the_client_is_kept_and_taken_once(edge: Edge) -> None:
    await edge.listed()
    order_id = str(uuid4())

    first = await edge.post("/v1/orders", an_order(order_id=order_id), by=ALICE)
    second = await edge.post("/v1/orders", an_order(order_id=order_id), by=ALICE)

    assert first.json()["order_id"] == order_id
    assert (second.status_code, second.json()["code"]) == (409, "order-exists")


async def test_a_sku_may_have_a_slash_in_it(edge: Edge) -> None:
    card = {"name": "Half", "prices": [eur(5)], "stock": "tracked"}

    answer = await edge.put("/v1/products/1%2F2%20inch", card)
    received = await edge.post("/v1/products/1%2F2%20inch/receive-stock", {"quantity": 3})

    assert answer.json()["sku"] == received.json()["sku"] == "1/2 inch"
    assert received.json()["available"] == 3


# Refusals ----------------------------------------------------------------------------------------------------


async def test_a_refusal_says_where_the_order_stands_and_what_it_allows(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed()

    answer = await edge.post(f"/v1/orders/{order['order_id']}/confirm")

    problem = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "payment-required"
    assert (problem["current_status"], problem["current_version"]) == ("placed", 1)
    assert problem["allowed_commands"] == order["allowed_commands"]
    assert {"confirm", "record-authorization", "cancel"} < {*problem["allowed_commands"]}
    assert not {"place", "ship-items", "request-return", "release-hold"} & {*problem["allowed_commands"]}
    assert problem["total"] == 3998
    assert problem["request_id"] == answer.headers["request-id"]


async def test_every_unknown_product_is_named_with_its_place(edge: Edge) -> None:
    await edge.listed()
    lines = [{"sku": sku, "quantity": 1} for sku in ("NONE", "POSTER", "NIL")]

    answer = await edge.post("/v1/orders", an_order(lines=lines), by=ALICE)

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-products")
    assert answer.json()["skus"] == ["NIL", "NONE"]
    assert [place["pointer"] for place in answer.json()["errors"]] == ["/lines/0/sku", "/lines/2/sku"]


async def test_every_short_product_is_named_with_what_there_is(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=1)

    answer = await edge.post("/v1/orders", an_order(lines=[{"sku": "CUP", "quantity": 2}]), by=ALICE)

    assert (answer.status_code, answer.json()["code"]) == (409, "out-of-stock")
    assert answer.json()["short"] == {"CUP": {"asked": 2, "available": 1}}
    assert answer.json()["errors"][0]["pointer"] == "/lines/0/sku"


async def test_the_same_sku_twice_is_refused(edge: Edge) -> None:
    await edge.listed()
    before = edge.log.head()

    answer = await edge.post("/v1/orders", an_order(lines=[{"sku": "POSTER", "quantity": 1}] * 2), by=ALICE)

    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate-lines")
    assert edge.log.head() == before


async def test_a_command_for_an_older_version_is_refused(edge: Edge) -> None:
    await edge.listed()
    path = f"/v1/orders/{(await edge.placed())['order_id']}"

    stale = await edge.post(f"{path}/cancel", {"reason": "r"}, if_match='"7"')
    taken = await edge.post(f"{path}/cancel", {"reason": "r"}, if_match='"1"')

    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (412, "stale-version", 1)
    assert taken.status_code == 200


@pytest.mark.parametrize("tag", ["17", 'W/"17"', '"x"', '"1", "2"', '"' + "9" * 30 + '"'])
async def test_an_if_match_that_is_no_version_is_refused(edge: Edge, tag: str) -> None:
    answer = await edge.post(f"/v1/orders/{uuid4()}/cancel", {"reason": "r"}, if_match=tag)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")


# Who may -----------------------------------------------------------------------------------------------------


async def test_another_customers_order_does_not_exist(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed(by=ALICE)

    for headers in ({}, {"if_match": '"1"'}, {"if_match": '"9"'}):
        theirs = await edge.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "r"}, by=BOB, **headers)
        nobodys = await edge.post(f"/v1/orders/{uuid4()}/cancel", {"reason": "r"}, by=BOB, **headers)
        assert theirs.status_code == nobodys.status_code == (412 if headers else 404)
        assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}

    assert (await edge.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "r"}, by=ALICE)).status_code == 200


async def test_an_order_id_of_another_customer_cannot_be_used_and_says_nothing_more(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed(by=ALICE)

    answer = await edge.post("/v1/orders", an_order(order_id=order["order_id"]), by=BOB)

    assert (answer.status_code, answer.json()["code"]) == (409, "order-id-unusable")
    assert not {"current_status", "current_version"} & answer.json().keys()


async def test_a_customer_orders_for_itself_only(edge: Edge) -> None:
    await edge.listed()

    for_bob = await edge.post("/v1/orders", an_order(customer_id=BOB), by=ALICE)

    assert (for_bob.status_code, for_bob.json()["errors"][0]["pointer"]) == (403, "/customer_id")
    assert (await edge.placed(by=ALICE, customer_id=ALICE))["customer_id"] == ALICE


async def test_staff_must_say_for_whom_it_orders_and_may_set_prices(edge: Edge) -> None:
    await edge.listed()
    lines = [{"sku": "POSTER", "quantity": 1, "unit_price": eur(5)}]

    for_nobody = await edge.post("/v1/orders", an_order(), by=STAFF)
    order = await edge.placed(by=STAFF, customer_id=BOB, lines=lines, discount=eur(2), payment_terms="invoice")

    assert (for_nobody.status_code, for_nobody.json()["errors"][0]["pointer"]) == (422, "/customer_id")
    assert (order["total"], order["payment_terms"]) == (eur(3), "invoice")


async def test_a_customer_may_not_set_prices_or_terms(edge: Edge) -> None:
    await edge.listed()
    lines = [{"sku": "POSTER", "quantity": 1}, {"sku": "POSTER", "quantity": 1, "unit_price": eur(5)}]
    terms = {"discount": eur(1), "shipping": eur(0), "tax": eur(0), "payment_terms": "invoice"}

    answer = await edge.post("/v1/orders", an_order(lines=lines, **terms), by=ALICE)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    pointers = [place["pointer"] for place in answer.json()["errors"]]
    assert pointers == ["/lines/1/unit_price", "/discount", "/shipping", "/tax", "/payment_terms"]


CUSTOMERS_MAY = {"place", "amend", "cancel", "cancel-lines", "request-return"}


@pytest.mark.parametrize("command", sorted(NAMES.values()))
async def test_a_customer_may_what_is_its_own_to_decide_and_no_more(edge: Edge, command: str) -> None:
    await edge.listed()
    order = await edge.placed()

    answer = await edge.post(f"/v1/orders/{order['order_id']}/{command}", by=ALICE)

    assert (answer.status_code == 403) == (command not in CUSTOMERS_MAY)
    assert (await edge.put("/v1/products/POSTER", {}, by=ALICE)).status_code == 403


async def test_an_analyst_writes_nothing(edge: Edge) -> None:
    await edge.listed()
    before = edge.log.head()

    for path in ("/v1/orders", f"/v1/orders/{uuid4()}/cancel", "/v1/products/POSTER/receive-stock"):
        assert (await edge.post(path, {}, by="ann")).status_code == 403

    assert edge.log.head() == before


# Once --------------------------------------------------------------------------------------------------------


async def test_a_retried_command_is_one_command(edge: Edge) -> None:
    await edge.listed()

    first = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")
    again = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["request-id"] != first.headers["request-id"]
    for name in ("etag", "location", "consistency-token", "content-type"):
        assert again.headers[name] == first.headers[name]


async def test_a_retried_refusal_is_the_same_refusal(edge: Edge) -> None:
    first = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")
    await edge.listed()
    again = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")

    assert first.status_code == again.status_code == 404
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_key_is_for_one_request_of_one_caller(edge: Edge) -> None:
    await edge.listed()
    await edge.post("/v1/orders", an_order(), by=ALICE, key="k")

    other = await edge.post("/v1/orders", an_order(email="a@example.org"), by=ALICE, key="k")
    bobs = await edge.post("/v1/orders", an_order(), by=BOB, key="k")

    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (bobs.status_code, bobs.json()["customer_id"]) == (201, BOB)


async def test_two_hundred_retries_at_once_make_one_order(edge: Edge) -> None:
    await edge.listed()
    before = edge.log.head()

    answers = await asyncio.gather(*(edge.post("/v1/orders", an_order(), by=ALICE, key="k") for _ in range(200)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert edge.log.head() == before + 1


NEED_A_KEY = {
    *("record-authorization", "record-capture", "record-refund"),
    *("ship-items", "cancel-lines", "request-return", "receive-return"),
}


@pytest.mark.parametrize("command", ["", *sorted(NAMES.values())])
async def test_what_is_not_the_same_when_it_is_done_twice_needs_a_key(edge: Edge, command: str) -> None:
    path = f"/v1/orders/{uuid4()}/{command}" if command else "/v1/orders"

    answer = await edge.client.post(path, json={}, headers=edge.bearer(STAFF))

    needs = answer.status_code == 400
    assert needs == (not command or command in NEED_A_KEY)
    assert needs == (answer.json()["code"] == "idempotency-key-missing")


@pytest.mark.parametrize("key", ["", "two words", "ä", "x" * 256, "tab\there"])
async def test_a_key_that_is_not_visible_ascii_is_refused(edge: Edge, key: str) -> None:
    sent = {"Idempotency-Key": key.encode()} | {n: v.encode() for n, v in edge.bearer(ALICE).items()}

    answer = await edge.client.post("/v1/orders", json=an_order(), headers=sent)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")


# Traces ------------------------------------------------------------------------------------------------------


async def test_the_request_id_and_the_trace_reach_the_log(edge: Edge) -> None:
    await edge.listed()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    answer = await edge.post("/v1/orders", an_order(), by=ALICE, request_id="mine-1", traceparent=trace)

    cause = codec.decode(edge.log.read(edge.log.head() - 1, 1)[0]).cause
    assert answer.headers["request-id"] == cause.request_id == "mine-1"
    assert (cause.traceparent, cause.actor) == (trace, ALICE)


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 129, "a\x01b"])
async def test_a_request_id_that_cannot_be_kept_is_replaced(edge: Edge, request_id: str) -> None:
    answer = await edge.get("/livez", request_id=request_id)
    placed = await edge.post("/v1/orders", {}, request_id=request_id)

    for one in (answer, placed):
        assert one.headers["request-id"] != request_id
        assert len(one.headers["request-id"]) == 32


async def test_a_processor_with_too_much_to_do_says_when_to_come_back(edge: Edge) -> None:
    edge.parts.processor._queue = 0

    answer = await edge.post("/v1/orders", an_order(), by=ALICE)

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "busy", "1")


def test_the_consistency_token_of_a_kept_answer_is_made_of_where_it_stands() -> None:
    kept = answers.encode(Answer(201, (JSON,), b"{}", recorded=2))
    assert answers.read(kept, 47) == Answer(201, (JSON, (b"consistency-token", b"c1-2f-2")), b"{}")


def test_an_answer_that_was_kept_with_its_token_is_read_as_it_is() -> None:
    """As they were before tokens were made when they are told."""
    headers = (JSON, (b"consistency-token", b"c1-2a-1"))
    kept = msgspec.msgpack.encode((201, headers, b"{}"))
    assert answers.read(kept, 47) == Answer(201, headers, b"{}")
