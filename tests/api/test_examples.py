"""The examples of the OpenAPI document, sent as they stand: each is answered as it says, and leads to its facts."""

import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import httpx
import msgspec

from api.account_examples import EXCHANGES
from api.automation import Automation
from api.examples import BATCHES, CATALOGUE, ORDERS, Example, bodies_of, facts
from api.openapi import served
from api.routes import LIST, ROUTES
from commands.order import AnyOrderCommand, CompleteOrder, ExpireOrder
from commands.product import AnyProductCommand
from events import codec
from events.order import OrderEvent
from tests.api.edge import ALICE, STAFF, Edge, Json, projecting

BY_THEMSELVES = {CompleteOrder, ExpireOrder}
"""Commands that nobody sends."""

MADE_UP = {
    *("at", "time", "date", "created_at", "placed_at", "updated_at", "expires"),
    *("order_id", "number", "position", "access_token", "client_secret", "Location", "Consistency-Token"),
}
"""What is another each time."""

ENDLESS = {"events"}
"""What is shown of it is looked at in test_openapi, and it is listened to in test_sse."""

OPERATIONS: dict[str, tuple[str, str, Json]] = {
    operation["operationId"]: (method, path, operation)
    for path, methods in json.loads(served())["paths"].items()
    for method, operation in methods.items()
}
"""By id: method, path, and what the document says."""


def test_every_command_has_a_route_and_an_example() -> None:
    commands = {*get_args(AnyOrderCommand), *get_args(AnyProductCommand)} - BY_THEMSELVES

    assert {route.command for route in ROUTES} == commands
    assert not [command.__name__ for command in commands if not bodies_of(command)]


def test_every_fact_has_an_example() -> None:
    assert {type(fact) for fact in facts()} == set(get_args(OrderEvent))


PLAIN = {"content-type", "content-length", "cache-control", "pragma", "vary"}
"""Headers that HTTP explains."""


async def test_every_example_of_the_document_is_answered_as_it_says(edge: Edge) -> None:
    shown = [without_what_is_made_up(msgspec.json.decode(codec.data(fact))) for fact in facts()]
    happened, sent = [], set()
    async with projecting(edge):
        for sku, story in CATALOGUE.items():
            for example in story:
                sent.add(await sent_about_a_product(edge, sku, example))
        await edge.projected()
        for name, path in {"product": "/v1/products/CUP", "products": "/v1/products"}.items():
            sent.add(await read(edge, name, path))
        for story in ORDERS.values():
            path = ""
            for example in story:
                path = await sent_in_turn(edge, example, path)
                sent.add(id_of(example))
            happened += (await edge.get(f"{path}/events")).json()["items"]
        async for name in reads(edge):
            sent.add(name)
        async for name in accounts(edge):
            sent.add(name)
        sent.add(await batches(edge))

    assert [without_what_is_made_up(entry["data"]) for entry in happened] == shown
    assert [entry["type"] for entry in happened] == [fact["type"] for fact in shown]
    assert sent - {"completeOrder"} == OPERATIONS.keys() - ENDLESS, "every route has an example, and each was sent"


# Commands ----------------------------------------------------------------------------------------------------


async def sent_about_a_product(edge: Edge, sku: str, example: Example) -> str:
    """The operation's id."""
    (route,) = [route for route in ROUTES if route.command is example.command]
    path = route.path.replace("{sku}", sku.replace("/", "%2F"))
    answer = await (edge.put(path, example.body) if route is LIST else edge.post(path, example.body))
    assert answer.status_code == route.success, answer.text
    is_as_shown(id_of(example), example.body, answer)
    return id_of(example)


async def sent_in_turn(edge: Edge, example: Example, path: str) -> str:
    """The path of the order, which is told by the first answer."""
    if example.command in BY_THEMSELVES:
        await edge.projected()
        changed, parts = edge.changes.waiter(), edge.parts
        assert await Automation(edge.log.url, changed, parts.processor, parts.queries).take_due()
        return path
    (route,) = [route for route in ROUTES if route.command is example.command]
    answer = await edge.post(route.path.format(order_id=path.rpartition("/")[2]), example.body)
    assert answer.status_code == route.success, f"{route.path}: {answer.text}"
    is_as_shown(id_of(example), example.body, answer)
    path = path or answer.headers["location"]
    await edge.projected()
    assert (await edge.get(path)).json() == answer.json(), f"{route.path}: the read side sees it otherwise"
    return path


def id_of(example: Example) -> str:
    name = example.command.__name__
    return name[0].lower() + name[1:]


def is_as_shown(name: str, body: Json, answer: httpx.Response) -> None:
    """The document shows this body; if it is the first of those it shows, it shows its answer too."""
    _, _, operation = OPERATIONS[name]
    has_headers_that_are_told(name, answer)
    bodies = [one["value"] for one in content_of(operation["requestBody"])["examples"].values()]
    assert body in bodies
    if body == bodies[0]:
        assert without_what_is_made_up(answer.json()) == without_what_is_made_up(shown_answers(name)[0]), name


async def batches(edge: Edge) -> str:
    for body, shown in zip(BATCHES, shown_answers("batch"), strict=True):
        answer = await edge.client.post("/v1/orders:batch", json=body, headers=edge.bearer(STAFF))
        assert answer.status_code == 207, answer.text
        has_headers_that_are_told("batch", answer)
        assert without_what_is_made_up(answer.json()) == without_what_is_made_up(shown)
    return "batch"


# Reads -------------------------------------------------------------------------------------------------------


async def reads(edge: Edge) -> AsyncIterator[str]:
    """All but those of products; by the second order, which has the shorter history."""
    listed = (await edge.get("/v1/orders")).json()["items"]
    short, long = (f"/v1/orders/{one['order_id']}" for one in listed)
    day = listed[0]["placed_at"][:10]
    yield await read(edge, "order", long)
    yield await read(edge, "orders", "/v1/orders")
    first = await edge.get("/v1/orders?limit=1", consistency_token="c1-1-1", prefer="wait=1")
    has_headers_that_are_told("orders", first)
    assert {"link", "consistency", "preference-applied"} <= first.headers.keys()
    has_headers_that_are_told("order", await edge.get(long, if_none_match="*"))
    yield await read(edge, "history", f"{short}/events")
    yield await read(edge, "daily_sales", f"/v1/reports/daily-sales?from={day}&to={day}")
    yield await read(edge, "me", "/v1/auth/me", by=ALICE)
    yield await read(edge, "livez", "/livez")
    yield await read(edge, "readyz", "/readyz")
    for name, path in {
        "metrics": "/metrics",
        "openapi": "/openapi.json",
        "docs": "/docs",
        "problems": "/problems",
        "problem": "/problems/out-of-stock",
    }.items():
        answer = await edge.client.get(path)
        (media,) = OPERATIONS[name][2]["responses"]["200"]["content"]
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media)
        (example,) = OPERATIONS[name][2]["responses"]["200"]["content"][media]["examples"].values()
        if isinstance(example["value"], str):
            assert answer.text.startswith(example["value"].partition("…")[0])
        else:
            assert example["value"].items() <= answer.json().items()
        yield name


async def read(edge: Edge, name: str, path: str, **by: str) -> str:
    answer = await edge.get(path, **by)
    assert answer.status_code == 200, answer.text
    has_headers_that_are_told(name, answer)
    (shown,) = shown_answers(name)
    assert without_what_is_made_up(answer.json()) == without_what_is_made_up(shown), name
    return name


# Accounts ----------------------------------------------------------------------------------------------------


async def accounts(edge: Edge) -> AsyncIterator[str]:
    """In turn, each with the token or the secret that the ones before it gave."""
    given: dict[str, str] = {}
    for exchange in EXCHANGES:
        method, path, operation = OPERATIONS[exchange.name]
        token = given["access_token"] if exchange.name == "password" else None
        headers = {"authorization": f"Bearer {token}"} if token else edge.bearer("ada")
        said = exchange.said and {name: given.get(name, value) for name, value in exchange.said.items()}
        sent: Json = {} if said is None else {"data" if exchange.name == "token" else "json": said}
        answer = await edge.client.request(method, path.format(name=exchange.about), headers=headers, **sent)
        assert answer.status_code == int(min(operation["responses"])), f"{exchange.name}: {answer.text}"
        assert without_what_is_made_up(answer.json()) == without_what_is_made_up(exchange.answer), exchange.name
        assert exchange.answer in shown_answers(exchange.name)
        has_headers_that_are_told(exchange.name, answer)
        given |= {name: value for name, value in answer.json().items() if name in {"access_token", "client_secret"}}
        yield exchange.name


# What the document shows -------------------------------------------------------------------------------------


def shown_answers(name: str) -> list[Json]:
    responses = OPERATIONS[name][2]["responses"]
    return [one["value"] for one in content_of(responses[min(responses)])["examples"].values()]


def has_headers_that_are_told(name: str, answer: httpx.Response) -> None:
    told = OPERATIONS[name][2]["responses"][str(answer.status_code)]["headers"]
    assert {*answer.headers} - PLAIN <= {one.lower() for one in told}, name


def content_of(holder: Json) -> Json:
    (content,) = holder["content"].values()
    shown: Json = content
    return shown


def without_what_is_made_up(shown: Any) -> Any:
    if isinstance(shown, list):
        return [without_what_is_made_up(one) for one in shown]
    if isinstance(shown, dict):
        return {name: without_what_is_made_up(value) for name, value in shown.items() if name not in MADE_UP}
    return shown
