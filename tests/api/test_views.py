"""The reads over HTTP: what is seen, by whom, page by page."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.api.edge import ALICE, BOB, STAFF, Edge, an_edge, an_order, eur, projecting

A_NUMBER = "7K3M-9Q2X-J"


@pytest.fixture
async def edge(edge: Edge) -> AsyncIterator[Edge]:
    """One whose read models follow the log."""
    async with projecting(edge):
        yield edge


async def pages(edge: Edge, path: str, by: str) -> list[list[Any]]:
    """Every page from this one on, by the Link header."""
    found: list[list[Any]] = []
    while path:
        answer = await edge.get(path, by=by)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        path = answer.links.get("next", {}).get("url", "")
        assert bool(path) == (answer.json()["next_cursor"] is not None)
    return found


# One order ---------------------------------------------------------------------------------------------------


async def test_an_order_reads_as_its_command_answered(edge: Edge) -> None:
    await edge.listed("CUP", stock="tracked", received=9, price=250)
    everything = {
        "lines": [{"sku": "CUP", "quantity": 2}, {"sku": "CUP", "quantity": 1, "unit_price": eur(199)}],
        "shipping": eur(490),
        "discount": eur(10),
        "tax": eur(7),
        "email": "a@example.org",
        "shipping_address": {"name": "A", "line1": "B", "city": "C", "country": "DE"},
        "metadata": {"z": "1", "a": "ä"},
        "external_reference": "PO-1",
        "payment_method": "card",
    }
    order = await edge.placed(by=STAFF, customer_id=ALICE, **everything)
    path = f"/v1/orders/{order['order_id']}"
    money = {"amount": order["total"], "reference": "r"}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("record-authorization", money),
        ("confirm", {}),
        ("record-capture", {"amount": eur(100), "reference": "r"}),
        ("ship-items", {"lines": [{"line_id": "2", "quantity": 1}]}),
    ]

    await edge.projected()
    assert (await edge.get(path)).json() == order
    for name, body in steps:
        answer = await edge.post(f"{path}/{name}", body)
        await edge.projected()
        read = await edge.get(path)
        assert read.content == answer.content, name
        assert read.headers["etag"] == answer.headers["etag"]


async def test_a_cancelled_order_reads_as_its_command_answered(edge: Edge) -> None:
    await edge.listed()
    path = f"/v1/orders/{(await edge.placed())['order_id']}"

    answer = await edge.post(f"{path}/cancel", {"reason": "changed my mind"}, by=ALICE)

    await edge.projected()
    assert (await edge.get(path, by=ALICE)).content == answer.content


async def test_a_product_reads_as_its_command_answered(edge: Edge) -> None:
    prices = [{"amount": 5, "currency": "USD"}, {"amount": 4, "currency": "EUR"}]
    card = {"name": "A cup", "prices": prices, "stock": "tracked"}
    for path, body in (("", card), ("/receive-stock", {"quantity": 5}), ("/adjust-stock", {"quantity": -2})):
        send = edge.post if path else edge.put
        answer = await send(f"/v1/products/1%2F2{path}", body)
        await edge.projected()
        assert (await edge.get("/v1/products/1%2F2", by=ALICE)).content == answer.content


async def test_another_customers_order_does_not_exist(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed(by=ALICE)
    await edge.projected()

    for path in ("", "/events"):
        theirs = await edge.get(f"/v1/orders/{order['order_id']}{path}", by=BOB)
        nobodys = await edge.get(f"/v1/orders/{uuid4()}{path}", by=BOB)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
        for reader in (ALICE, STAFF, "ann", "ada"):
            assert (await edge.get(f"/v1/orders/{order['order_id']}{path}", by=reader)).status_code == 200


async def test_who_has_the_version_is_not_sent_it_again(edge: Edge) -> None:
    await edge.listed()
    path = f"/v1/orders/{(await edge.placed())['order_id']}"
    await edge.projected()

    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = await edge.get(path, if_none_match=tag)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"'), tag
    assert (await edge.get(path, if_none_match='"2"')).status_code == 200


async def test_an_orders_history_is_read_in_order(edge: Edge) -> None:
    await edge.listed()
    path = f"/v1/orders/{(await edge.placed())['order_id']}"
    await edge.post(f"{path}/cancel", {"reason": "r"}, by=STAFF)
    await edge.projected()

    items = (await edge.get(f"{path}/events", by=ALICE)).json()["items"]

    assert [item["type"] for item in items] == ["orderlog.order.placed.v1", "orderlog.order.cancelled.v1"]
    assert [(item["version"], item["actor"]) for item in items] == [(1, ALICE), (2, STAFF)]
    assert items[1]["data"]["reason"] == "r"


# Lists -------------------------------------------------------------------------------------------------------


async def test_orders_are_listed_newest_first_page_by_page(edge: Edge) -> None:
    await edge.listed()
    placed = [(await edge.placed(by=by))["order_id"] for by in (ALICE, BOB, ALICE, ALICE, BOB)]
    await edge.projected()

    alices = await pages(edge, "/v1/orders?limit=2", ALICE)
    all_of_them = await pages(edge, "/v1/orders?limit=5", STAFF)
    bobs = await pages(edge, f"/v1/orders?limit=1&customer_id={BOB}", STAFF)

    assert [[one["order_id"] for one in page] for page in alices] == [[placed[3], placed[2]], [placed[0]]]
    assert [[one["order_id"] for one in page] for page in all_of_them] == [placed[::-1]]
    assert [[one["order_id"] for one in page] for page in bobs] == [[placed[4]], [placed[1]]]


@pytest.mark.parametrize("write", [str, str.lower, lambda number: number.replace("-", "").lower()])
async def test_an_order_is_found_by_its_number_however_it_is_written(edge: Edge, write: Callable[[str], str]) -> None:
    await edge.listed()
    orders = [await edge.placed() for _ in range(3)]
    await edge.projected()

    found = (await edge.get(f"/v1/orders?number={write(orders[1]['number'])}", by=ALICE)).json()["items"]
    another = (await edge.get(f"/v1/orders?number={write(orders[1]['number'])}", by=BOB)).json()["items"]
    none = (await edge.get(f"/v1/orders?number={A_NUMBER}")).json()["items"]

    assert [one["order_id"] for one in found] == [orders[1]["order_id"]]
    assert another == none == []


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (A_NUMBER[:-1] + "K", "does not fit"),
        (A_NUMBER[:-1], "has 9 symbols, and this one has 8"),
        ("", "has 9 symbols, and this one has 0"),
        ("order 7", "is not among the symbols"),
    ],
)
async def test_a_number_that_was_miswritten_is_told_and_is_no_empty_list(edge: Edge, number: str, why: str) -> None:
    answer = await edge.client.get("/v1/orders", params={"number": number}, headers=edge.bearer(STAFF))

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-number")
    assert why in answer.json()["detail"]
    assert [(one["pointer"], one["in"]) for one in answer.json()["errors"]] == [("/number", "query")]


async def test_every_single_slip_of_the_pen_in_a_number_is_told(edge: Edge) -> None:
    await edge.listed()
    number = (await edge.placed())["number"]
    slips = [number[:place] + ("2" if number[place] != "2" else "3") + number[place + 1 :] for place in (0, 6, 10)]
    slips += [number[1] + number[0] + number[2:]] if number[0] != number[1] else []

    for slip in slips:
        assert (await edge.get(f"/v1/orders?number={slip}")).status_code == 400


async def test_orders_with_money_to_be_given_back_are_listed(edge: Edge) -> None:
    await edge.listed()
    orders = [await edge.placed() for _ in range(3)]
    paths = [f"/v1/orders/{order['order_id']}" for order in orders]
    money = {"amount": orders[0]["total"], "reference": "r"}
    for path in paths[:2]:
        await edge.post(f"{path}/record-authorization", money)
        await edge.post(f"{path}/cancel", {"reason": "r"})
        late = await edge.post(f"{path}/record-capture", money)
        assert (late.status_code, late.json()["refund_due"], late.json()["balance"]) == (200, eur(3998), eur(-3998))
    await edge.post(f"{paths[0]}/record-refund", money)
    await edge.projected()

    found = (await edge.get("/v1/orders?refund_due=true")).json()["items"]

    assert [(one["order_id"], one["refund_due"]) for one in found] == [(orders[1]["order_id"], eur(3998))]
    assert (await edge.get("/v1/orders?refund_due=maybe")).status_code == 422


async def test_orders_are_filtered_by_tag(edge: Edge) -> None:
    await edge.listed()
    tagged, _ = await edge.placed(), await edge.placed()
    await edge.post(f"/v1/orders/{tagged['order_id']}/set-tags", {"tags": ["gift", "rush"]})
    await edge.projected()

    found = (await edge.get("/v1/orders?tag=rush")).json()["items"]

    assert [one["order_id"] for one in found] == [tagged["order_id"]]
    assert (await edge.get("/v1/orders?tag=rus")).json()["items"] == []


async def test_orders_are_filtered_by_status(edge: Edge) -> None:
    await edge.listed()
    first, _ = await edge.placed(), await edge.placed()
    await edge.post(f"/v1/orders/{first['order_id']}/cancel", {"reason": "r"})
    await edge.projected()

    listed = (await edge.get("/v1/orders?status=cancelled", by=ALICE)).json()["items"]

    assert [(one["order_id"], one["status"]) for one in listed] == [(first["order_id"], "cancelled")]


async def test_a_customer_cannot_list_anothers_orders(edge: Edge) -> None:
    assert (await edge.get(f"/v1/orders?customer_id={BOB}", by=ALICE)).status_code == 403
    assert (await edge.get(f"/v1/orders?customer_id={ALICE}", by=ALICE)).status_code == 200


async def test_a_cursor_is_good_for_its_own_list_only(edge: Edge) -> None:
    await edge.listed()
    for _ in range(3):
        await edge.placed(by=ALICE)
    await edge.projected()
    cursor = (await edge.get("/v1/orders?limit=1", by=ALICE)).json()["next_cursor"]
    other = "A" if cursor[0] != "A" else "Q"

    assert (await edge.get(f"/v1/orders?limit=2&cursor={cursor}", by=ALICE)).status_code == 200
    for path, by in (
        (f"/v1/orders?cursor={cursor}&status=placed", ALICE),
        (f"/v1/orders?cursor={cursor}", BOB),
        (f"/v1/orders?cursor={cursor}", STAFF),
        (f"/v1/products?cursor={cursor}", ALICE),
        (f"/v1/orders?cursor={other}{cursor[1:]}", ALICE),
        (f"/v1/orders?cursor={cursor[:-1]}", ALICE),
        ("/v1/orders?cursor=%C3%A4", ALICE),
        ("/v1/orders?cursor=x", ALICE),
    ):
        answer = await edge.get(path, by=by)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor"), path


async def test_products_are_listed_by_sku_page_by_page(edge: Edge) -> None:
    for sku in ("C", "A", "B"):
        await edge.listed(sku)
    await edge.projected()

    listed = await pages(edge, "/v1/products?limit=2", ALICE)

    assert [[one["sku"] for one in page] for page in listed] == [["A", "B"], ["C"]]


@pytest.mark.parametrize(
    ("path", "pointer", "where"),
    [
        ("/v1/orders?limit=201", "/limit", "query"),
        ("/v1/orders?limit=0", "/limit", "query"),
        ("/v1/orders?limit=" + "9" * 5_000, "/limit", "query"),
        ("/v1/orders?status=lost", "/status", "query"),
        ("/v1/orders?statsu=placed", "/statsu", "query"),
        ("/v1/orders?customer_id=%00", "/customer_id", "query"),
        ("/v1/orders/mine", "/order_id", "path"),
        ("/v1/orders/mine/events", "/order_id", "path"),
        ("/v1/products/%00", "/sku", "path"),
        ("/v1/reports/daily-sales?from=2026-01-01", "/to", "query"),
        ("/v1/reports/daily-sales?from=2026-02-30&to=2026-03-01", "/from", "query"),
        ("/v1/reports/daily-sales?from=2026-03-02&to=2026-03-01", "/to", "query"),
    ],
)
async def test_a_wrong_parameter_is_named(edge: Edge, path: str, pointer: str, where: str) -> None:
    answer = await edge.get(path)

    assert answer.status_code == 422
    assert [(one["pointer"], one["in"]) for one in answer.json()["errors"]] == [(pointer, where)]


# Reports and health ------------------------------------------------------------------------------------------


async def test_daily_sales_are_for_those_who_read_everything(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed()
    day = order["placed_at"][:10]
    await edge.projected()

    for by in (STAFF, "ann", "ada"):
        report = (await edge.get(f"/v1/reports/daily-sales?from={day}&to={day}", by=by)).json()
        assert [(one["date"], one["currency"], one["orders"]) for one in report["items"]] == [(day, "EUR", 1)]
    assert (await edge.get(f"/v1/reports/daily-sales?from={day}&to={day}", by=ALICE)).status_code == 403


async def test_a_token_without_roles_reads_nothing(edge: Edge) -> None:
    given = edge.bearer("x") | {"authorization": f"Bearer {edge.tokens.issue('x', [])}"}

    for path in (
        "/v1/orders",
        "/v1/products",
        f"/v1/orders/{uuid4()}",
        "/v1/reports/daily-sales?from=2026-01-01&to=2026-01-01",
    ):
        assert (await edge.client.get(path, headers=given)).status_code == 403
    assert (await edge.client.get("/v1/auth/me", headers=given)).json()["roles"] == []


async def test_the_parts_that_are_not_ready_are_named(database_url: str) -> None:
    async def ready() -> None:
        return None

    async def waits() -> str:
        return "is 7 events behind"

    async def hangs() -> None:
        await asyncio.sleep(60)

    async def breaks() -> None:
        raise OSError("no route")

    checks: dict[str, Any] = {"log": ready, "views": waits, "kafka": hangs, "disk": breaks}
    async with an_edge(database_url, checks) as edge:
        answer = await edge.client.get("/readyz")
        assert (await edge.client.get("/livez")).json()["status"] == "ok"

    assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
    assert answer.json()["parts"] == {
        "views": "is 7 events behind",
        "kafka": "did not answer within 2 s",
        "disk": "OSError",
    }


async def test_a_database_that_does_not_answer_is_a_503(database_url: str) -> None:
    async with an_edge(database_url) as edge:
        await edge.parts.queries._pool.close()

        answer = await edge.get("/v1/orders")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_an_error_that_nobody_foresaw_is_a_problem_without_its_trace(edge: Edge) -> None:
    edge.parts.cursors.after = None  # type: ignore[assignment, method-assign]
    await edge.listed()
    await edge.placed(), await edge.placed()
    await edge.projected()

    answer = await edge.get("/v1/orders?limit=1")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert "NoneType" not in answer.text


async def test_pages_of_named_origins_may_ask(database_url: str) -> None:
    async with an_edge(database_url, cors_origins=("https://shop.example",)) as edge:
        allowed = await edge.client.options(
            "/v1/orders", headers={"origin": "https://shop.example", "access-control-request-method": "POST"}
        )
        refused = await edge.post("/v1/orders", an_order(), origin="https://evil.example")
        answered = await edge.post("/v1/orders", an_order(), origin="https://shop.example")

    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert answered.headers["access-control-allow-origin"] == "https://shop.example"
    assert "ETag" in answered.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in refused.headers
