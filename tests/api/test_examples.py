"""The examples of the OpenAPI document, sent as they stand: each is accepted, and leads to the facts that are shown."""

from typing import Any, get_args

import msgspec

from api.automation import Automation
from api.examples import BATCHES, CATALOGUE, ORDERS, Example, bodies_of, facts
from api.routes import LIST, PLACE, ROUTES
from commands.order import AnyOrderCommand, CompleteOrder, ExpireOrder
from commands.product import AnyProductCommand
from events import codec
from events.order import OrderEvent
from tests.api.edge import STAFF, Edge, Json, projecting

BY_THEMSELVES = {CompleteOrder, ExpireOrder}
"""Commands that nobody sends."""

MADE_UP = {"at", "order_id", "number"}
"""What is another each time."""


def test_every_command_has_a_route_and_an_example() -> None:
    commands = {*get_args(AnyOrderCommand), *get_args(AnyProductCommand)} - BY_THEMSELVES

    assert {route.command for route in ROUTES} == commands
    assert not [command.__name__ for command in commands if not bodies_of(command)]


def test_every_fact_has_an_example() -> None:
    assert {type(fact) for fact in facts()} == set(get_args(OrderEvent))


async def test_the_examples_are_accepted_and_lead_to_the_facts_that_are_shown(edge: Edge) -> None:
    shown = [without_what_is_made_up(msgspec.json.decode(codec.data(fact))) for fact in facts()]
    happened = []
    async with projecting(edge):
        for sku, story in CATALOGUE.items():
            for example in story:
                await sent_about_a_product(edge, sku, example)
        for story in ORDERS.values():
            path = await sent_in_turn(edge, story)
            await edge.projected()
            happened += (await edge.get(f"{path}/events")).json()["items"]

    assert [without_what_is_made_up(entry["data"]) for entry in happened] == shown
    assert [entry["type"] for entry in happened] == [fact["type"] for fact in shown]


async def test_the_example_batches_are_accepted(edge: Edge) -> None:
    for sku, story in CATALOGUE.items():
        for example in story:
            await sent_about_a_product(edge, sku, example)

    for batch in BATCHES:
        answer = await edge.client.post("/v1/orders:batch", json=batch, headers=edge.bearer(STAFF))
        assert {item["status"] // 100 for item in answer.json()["items"]} == {2}, answer.text


async def sent_about_a_product(edge: Edge, sku: str, example: Example) -> None:
    (route,) = [route for route in ROUTES if route.command is example.command]
    path = route.path.replace("{sku}", sku.replace("/", "%2F"))
    answer = await (edge.put(path, example.body) if route is LIST else edge.post(path, example.body))
    assert answer.status_code == route.success, answer.text


async def sent_in_turn(edge: Edge, story: tuple[Example, ...]) -> str:
    """The path of the order."""
    path = ""
    for example in story:
        if example.command in BY_THEMSELVES:
            await edge.projected()
            assert await Automation(edge.log.url, edge.parts.processor, edge.parts.queries).take_due()
            continue
        (route,) = [route for route in ROUTES if route.command is example.command]
        order_id = path.rpartition("/")[2]
        answer = await edge.post(route.path.format(order_id=order_id), example.body)
        assert answer.status_code == route.success, f"{route.path}: {answer.text}"
        if route is PLACE:
            path = answer.headers["location"]
        await edge.projected()
        assert (await edge.get(path)).json() == answer.json(), f"{route.path}: the read side sees it otherwise"
    return path


def without_what_is_made_up(data: Json) -> Any:
    return {name: value for name, value in data.items() if name not in MADE_UP}
