"""Nobody reads or changes what is not theirs: each route by each caller, and somebody else's order in every form."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from fastapi import FastAPI
from websockets import ClientConnection, Subprotocol, connect

from api import serving
from api.accounts import NewClient, NewUser
from api.app import create_app
from api.live import SUBPROTOCOL, Live
from api.orders import Commands
from api.shapes import with_allowed_commands
from api.sse import Events
from projections.changes import Changes
from tests.api.edge import ALICE, BOB, Edge, Json, an_edge, projecting
from tests.api.ownership import (
    BODIES,
    CALLERS,
    CLIENT,
    OPERATIONS,
    PASSWORD,
    PATHS,
    QUERIES,
    RULES,
    USER,
    an_order_for,
    body_of,
    callers,
    command_of,
    is_documented,
    orders_for,
    routes_of,
    stocked,
)
from tests.services.postgres import DatabaseServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OF_ONE_ORDER = [route for route in RULES if "{order_id}" in route]
OVER_HTTP = [route for route in RULES if not route.startswith(("WS ", "SSE "))]
STREAM = "GET /v1/events"


class Installation:
    """The whole edge, live feed included, in this process and on a port."""

    def __init__(self, edge: Edge, app: FastAPI, port: int) -> None:
        self.edge, self.app, self.port = edge, app, port
        self.callers = callers(edge)

    async def ask(
        self, route: str, by: str, about: str = "", body: Json | None = None, **headers: str
    ) -> httpx.Response:
        """One request; `about` is whom or what the path names, if it names anything."""
        method, _, template = route.partition(" ")
        named = {"order_id": about, "sku": "CUP", "name": PATHS.get(route, USER), "code": "out-of-stock"}
        given = dict(self.callers[by]) | {"idempotency-key": uuid4().hex}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        said = body_of(route) if body is None else body
        if route == "POST /v1/orders" and by == "other":
            said = BODIES[route] | {"customer_id": BOB}
        sent: dict[str, Any] = {} if said is None else {"data" if route.endswith("/token") else "json": said}
        path = template.format(**named) + QUERIES.get(route, "")
        return await self.edge.client.request(method, path, headers=given, **sent)

    @asynccontextmanager
    async def listening(self, by: str) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.port}/v1/live"
        headers = dict(self.callers[by])
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers) as listener:
            yield listener


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(postgres: DatabaseServer) -> AsyncIterator[Installation]:
    url = postgres.create_database()
    async with an_edge(url) as edge, projecting(edge):
        await stocked(edge)
        assert edge.parts.identity is not None
        accounts = edge.parts.identity.accounts
        await accounts.add_user(NewUser(name=USER, password=PASSWORD, roles=["staff"]), "ada")
        await accounts.add_client(NewClient(name=CLIENT, roles=["staff"]), "ada")
        async with listened_to(edge) as installation:
            yield installation
    postgres.drop_database(url)


@asynccontextmanager
async def listened_to(edge: Edge) -> AsyncIterator[Installation]:
    """With the live feed, behind our own server."""
    queries = edge.parts.queries
    live = Live(
        Changes(edge.changes.waiter(), queries._pool, queries, complete=with_allowed_commands),
        edge.tokens,
        queries,
        arrivals=edge.parts.arrivals,
    )
    live.start()
    app = create_app(edge.parts, routes=[*live.routes, Events(live).route])
    assert isinstance(app, Commands)
    assert isinstance(app._app, FastAPI)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = serving.http_server(serving.Edge(app))
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  the server offers no event to wait for
            await asyncio.sleep(0.01)
        yield Installation(edge, app._app, listening.getsockname()[1])
        await live.stop()
        server.should_exit = True
        await running


# Each route by each caller -----------------------------------------------------------------------------------


async def test_each_route_has_a_rule_and_each_rule_a_route(here: Installation) -> None:
    assert routes_of(here.app) == RULES.keys()
    assert OPERATIONS.keys() == {*OVER_HTTP, STREAM}, "a route is not in the document"
    assert {len(rule) for rule in RULES.values()} == {len(CALLERS)}


async def test_a_route_without_a_rule_is_found(here: Installation) -> None:
    app = FastAPI(routes=here.app.routes)
    app.add_api_route("/v1/orders/{order_id}/secrets", lambda: None)

    assert routes_of(app) - RULES.keys() >= {"GET /v1/orders/{order_id}/secrets"}


@pytest.mark.parametrize("route", OVER_HTTP)
async def test_each_caller_is_answered_by_the_rule(here: Installation, route: str) -> None:
    rule = dict(zip(CALLERS, RULES[route], strict=True))
    orders = await orders_for(here.edge, route)
    version = await version_of(here, orders["nobody"])

    for caller, status in rule.items():
        answer = await here.ask(route, caller, orders[caller])
        code = None if status < 400 else answer.json()["code"]
        assert answer.status_code == status, f"{caller}: {answer.text}"
        assert is_documented(route, status, code), f"{caller}: the document does not know {status} {code}"
    assert await version_of(here, orders["nobody"]) == version, "somebody was refused, but changed the order"


async def version_of(here: Installation, order_id: str) -> int:
    if not order_id:
        return 0
    return int((await here.ask("GET /v1/orders/{order_id}", "staff", order_id)).json()["version"])


async def test_each_caller_may_listen_by_the_rule(here: Installation) -> None:
    for caller in CALLERS:
        async with here.listening(caller) as listener:
            if caller == "nobody":
                await listener.send('{"type": "subscribe", "id": "s", "from": "now"}')
                assert (await told(listener))["type"] == "error"
                await listener.wait_closed()
                assert listener.close_code == 4400
            else:
                assert (await told(listener))["type"] == "connected"


async def test_each_caller_may_have_events_sent_by_the_rule(here: Installation) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.port}", trust_env=False) as client:
        for caller, status in zip(CALLERS, RULES["SSE /v1/events"], strict=True):
            async with client.stream("GET", "/v1/events", headers=here.callers[caller]) as answer:
                assert answer.status_code == status, caller
                code = None if status < 400 else json.loads(await answer.aread())["code"]
                assert is_documented(STREAM, status, code), f"{caller}: the document does not know {status} {code}"


# Somebody else's order ---------------------------------------------------------------------------------------

FORMS: dict[str, dict[str, str]] = {
    "as it is": {},
    "if it has changed": {"if_none_match": '"1"'},
    "if it is there": {"if_none_match": "*"},
    "if it has not changed": {"if_match": '"1"'},
    "with patience": {"prefer": "wait=1"},
    "with patience and no other answer": {"prefer": "wait=1, handling=strict"},
}


@pytest.mark.parametrize("route", OF_ONE_ORDER)
async def test_somebody_elses_order_is_answered_as_one_that_is_not_there(here: Installation, route: str) -> None:
    theirs = str(await an_order_for(here.edge, command_of(route)))
    written = await here.ask("POST /v1/orders", "owner")
    token = {"consistency_token": written.headers["consistency-token"]}
    method = route.partition(" ")[0]

    for form, headers in FORMS.items():
        given = headers | (token if "prefer" in headers else {})
        answers = [await here.ask(route, "other", order, None, **given) for order in (theirs, str(uuid4()))]
        assert shown(answers[0]) == shown(answers[1]), form
        assert answers[0].status_code in {403, 404, 412}, form
    if method != "GET":
        wrong = [await here.ask(route, "other", order, {"nonsense": 1}) for order in (theirs, str(uuid4()))]
        assert shown(wrong[0]) == shown(wrong[1])


@pytest.mark.parametrize("route", OF_ONE_ORDER)
async def test_an_order_that_is_not_there_is_404_for_who_may_see_all(here: Installation, route: str) -> None:
    reads = route.startswith("GET ")
    for caller in ("reader", "analyst", "staff", "admin") if reads else ("staff", "admin"):
        answer = await here.ask(route, caller, str(uuid4()))
        assert (answer.status_code, answer.json()["code"]) == (404, "no-such-order")


@pytest.mark.parametrize("atomic", [False, True])
async def test_in_a_batch_too(here: Installation, atomic: bool) -> None:  # noqa: FBT001  a case
    theirs, results = str(await an_order_for(here.edge, None)), []
    for order in (theirs, str(uuid4())):
        items = [
            {"command": "cancel", "order_id": order, "body": {"reason": "r"}},
            {"command": "cancel", "order_id": order, "body": {"reason": "r"}, "expected_version": 1},
            {"command": "confirm", "order_id": order},
        ]
        answer = await here.ask("POST /v1/orders:batch", "other", body={"atomic": atomic, "items": items})
        results.append(
            [(one["status"], one["headers"], one["body"] | {"request_id": ""}) for one in answer.json()["items"]]
        )

    assert results[0] == results[1]
    assert all(status >= 400 for status, _, _ in results[0])
    assert (await here.edge.get(f"/v1/orders/{theirs}", by=ALICE)).json()["version"] == 1


async def test_the_answer_that_is_kept_for_one_caller_is_not_given_to_another(here: Installation) -> None:
    order, key = str(await an_order_for(here.edge, None)), uuid4().hex
    route = "POST /v1/orders/{order_id}/cancel"
    own = await here.ask(route, "owner", order, idempotency_key=key)
    theirs = await here.ask(route, "other", order, idempotency_key=key)
    nobodys = await here.ask(route, "other", str(uuid4()), idempotency_key=key + "2")

    assert own.status_code == 200
    assert theirs.status_code == 404
    assert shown(theirs) == shown(nobodys)


async def test_the_id_of_somebody_elses_order_tells_nothing_to_whom_it_would_cost_nothing(here: Installation) -> None:
    """Who sends an id may be told that it cannot be used, but only where an order would have been placed otherwise."""
    theirs, nobodys = str(await an_order_for(here.edge, None)), str(uuid4())
    bodies: dict[str, Json] = {
        "unknown-products": {"lines": [{"sku": "NONE", "quantity": 1}]},
        "out-of-stock": {"lines": [{"sku": "CUP", "quantity": 900_000_000}]},
        "total-mismatch": {"expected_total": {"amount": 1, "currency": "EUR"}},
        "invalid-request": {"lines": []},
    }
    for code, wrong in bodies.items():
        said = {name: value for name, value in BODIES["POST /v1/orders"].items() if name != "customer_id"} | wrong
        answers = [
            await here.edge.post("/v1/orders", said | {"order_id": order}, by=BOB) for order in (theirs, nobodys)
        ]
        assert answers[0].json()["code"] == code
        assert shown(answers[0]) == shown(answers[1])

    said = BODIES["POST /v1/orders"] | {"customer_id": BOB, "order_id": theirs}
    answer = await here.edge.post("/v1/orders", said, by=BOB)
    assert (answer.status_code, answer.json()["code"]) == (409, "order-id-unusable")
    assert answer.json().keys() == {"type", "title", "status", "detail", "code", "request_id"}
    assert (await here.edge.get(f"/v1/orders/{theirs}", by=ALICE)).json()["version"] == 1


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """An answer without what is another each time."""
    headers = {name: value for name, value in answer.headers.items() if name != "request-id"}
    body = answer.json() if answer.content else None
    return answer.status_code, headers, {**body, "request_id": ""} if isinstance(body, dict) else body


# In lists ----------------------------------------------------------------------------------------------------

FOUND_BY: dict[str, dict[str, str]] = {
    "cursor": {},  # says where, not what
    "limit": {},
    "customer_id": {},  # 403 for another's, whoever that is
    "sku": {"sku": "CUP"},
    "tag": {"tag": "gift"},
    "text": {"text": "berlin"},
    "total_from": {"total_from": "1", "currency": "EUR"},
    "total_to": {"total_to": "999999", "currency": "EUR"},
    "placed_from": {"placed_from": "2026-01-01"},
    "placed_to": {"placed_to": "2999-01-01"},
    "refund_due": {"refund_due": "false"},
}
"""What finds Alice's order by a parameter of the list that is no member of an order, or another one; nothing: none."""


async def test_somebody_elses_order_is_in_no_list_whatever_it_is_asked_for(here: Installation) -> None:
    order_id = str(await an_order_for(here.edge, command_of("POST /v1/orders/{order_id}/confirm")))
    await here.edge.projected()
    order = (await here.ask("GET /v1/orders/{order_id}", "owner", order_id)).json()
    mine = {one["order_id"] for one in (await here.edge.get("/v1/orders?limit=200", by=BOB)).json()["items"]}

    assert order_id not in mine
    for parameter in [one["name"] for one in OPERATIONS["GET /v1/orders"]["parameters"] if one["in"] == "query"]:
        assert parameter in FOUND_BY or parameter in order, f"{parameter}: say in FOUND_BY how it finds Alice's order"
        wanted = FOUND_BY[parameter] if parameter in FOUND_BY else {parameter: spelt(order[parameter])}
        if not wanted:
            continue
        seen = {by: await here.edge.get(f"/v1/orders?limit=200&{urlencode(wanted)}", by=by) for by in (ALICE, BOB)}
        assert order_id in seen[ALICE].text, f"{wanted} does not find it for its owner either"
        assert {one["order_id"] for one in seen[BOB].json()["items"]} <= mine, wanted


def spelt(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def test_whose_orders_there_are_is_not_told_to_another_customer(here: Installation) -> None:
    answers = [await here.edge.get(f"/v1/orders?customer_id={name}", by=BOB) for name in (ALICE, "nobody-at-all")]

    assert [one.status_code for one in answers] == [403, 403]
    assert shown(answers[0]) == shown(answers[1])


# On the socket -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["now", "snapshot"])
async def test_somebody_elses_order_is_not_heard_of(here: Installation, begin: str) -> None:
    theirs = str(await an_order_for(here.edge, None))
    await here.edge.projected()
    async with here.listening("other") as listener:
        assert (await told(listener))["type"] == "connected"
        heard = {}
        for name, order in {"theirs": theirs, "nobodys": str(uuid4())}.items():
            wanted = {"type": "subscribe", "id": name, "filter": {"order_id": order}, "from": begin}
            await listener.send(json.dumps(wanted))
            heard[name] = [(await told(listener))["type"] for _ in range(1 if begin == "now" else 2)]
        await listener.send('{"type": "subscribe", "id": "all", "filter": {}, "from": "now"}')
        assert (await told(listener))["id"] == "all"

        assert (await here.ask("POST /v1/orders/{order_id}/add-note", "staff", theirs)).status_code == 200
        mine = (await here.ask("POST /v1/orders", "other")).json()["order_id"]
        first = await told(listener)

    assert heard["theirs"] == heard["nobodys"]
    assert "snapshot" not in heard["theirs"]
    assert (first["id"], first["order_id"]) == ("all", mine), "what came before it in the log was not told"


async def test_to_listen_to_somebody_elses_orders_is_refused_as_to_nobodys(here: Installation) -> None:
    problems = []
    for name in (ALICE, "nobody-at-all"):
        async with here.listening("other") as listener:
            assert (await told(listener))["type"] == "connected"
            wanted = {"type": "subscribe", "id": "s", "filter": {"customer_id": name}, "from": "now"}
            await listener.send(json.dumps(wanted))
            problems.append((await told(listener))["problem"] | {"request_id": ""})
            await listener.wait_closed()
            assert listener.close_code == 4403

    assert problems[0] == problems[1]


async def test_no_events_of_somebody_elses_order_are_sent(here: Installation) -> None:
    theirs = str(await an_order_for(here.edge, None))
    await here.edge.projected()
    begun = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.port}", trust_env=False) as client:
        for order in (theirs, str(uuid4())):
            path = f"/v1/events?from=snapshot&order_id={order}"
            async with client.stream("GET", path, headers=here.callers["other"]) as answer:
                lines = answer.aiter_lines()
                seen = [line async for line in _until_caught_up(lines) if line.startswith("event: ")]
                begun.append((answer.status_code, seen))

    assert begun[0] == begun[1] == (200, ["event: subscribed", "event: caught_up"])


async def _until_caught_up(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == "event: caught_up":
            return


async def told(listener: ClientConnection) -> Json:
    """The next message that is no heartbeat."""
    while True:
        message: Json = msgspec.json.decode(await asyncio.wait_for(listener.recv(), 20))
        if message["type"] != "heartbeat":
            return message
