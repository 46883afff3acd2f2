"""Who may do what: the rule of each route, callers, and orders in the state that each command needs."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route, WebSocketRoute

from api.examples import CUP, ORDERS, POSTER, Example
from api.openapi import served
from api.roles import READ
from api.routes import ROUTES
from api.sse import PATH
from commands.command import Command
from commands.exchange import AnyCommand
from commands.order import PlaceOrder
from tests.api.edge import ALICE, BOB, STAFF, Edge, Json
from tests.commands.asking import Asking

CALLERS = ("nobody", "owner", "other", "reader", "analyst", "staff", "admin")
"""Nobody brings no token; owner and other are customers; reader is a machine of staff whose token is for reading."""

_READ_ORDER = (401, 200, 404, 200, 200, 200, 200)
_READ = (401, 200, 200, 200, 200, 200, 200)
_READ_ALL = (401, 403, 403, 200, 200, 200, 200)
_CUSTOMERS = (401, 200, 404, 403, 403, 200, 200)
_STAFF = (401, 403, 403, 403, 403, 200, 200)
_ADMIN = (401, 403, 403, 403, 403, 403, 200)
_ADDED = (401, 403, 403, 403, 403, 403, 201)
_ANYBODY = (200, 200, 200, 200, 200, 200, 200)

RULES: dict[str, tuple[int, ...]] = {
    #                                                    nobody owner other reader analyst staff admin
    "POST /v1/orders": (401, 201, 201, 403, 403, 201, 201),  # other: an order of its own
    "POST /v1/orders/{order_id}/place": _CUSTOMERS,
    "POST /v1/orders/{order_id}/amend": _CUSTOMERS,
    "POST /v1/orders/{order_id}/cancel": _CUSTOMERS,
    "POST /v1/orders/{order_id}/cancel-lines": _CUSTOMERS,
    "POST /v1/orders/{order_id}/request-return": _CUSTOMERS,
    "POST /v1/orders/{order_id}/confirm": _STAFF,
    "POST /v1/orders/{order_id}/record-authorization": _STAFF,
    "POST /v1/orders/{order_id}/record-capture": _STAFF,
    "POST /v1/orders/{order_id}/void-authorization": _STAFF,
    "POST /v1/orders/{order_id}/record-refund": _STAFF,
    "POST /v1/orders/{order_id}/ship-items": _STAFF,
    "POST /v1/orders/{order_id}/update-tracking": _STAFF,
    "POST /v1/orders/{order_id}/confirm-delivery": _STAFF,
    "POST /v1/orders/{order_id}/report-lost": _STAFF,
    "POST /v1/orders/{order_id}/decide-return": _STAFF,
    "POST /v1/orders/{order_id}/receive-return": _STAFF,
    "POST /v1/orders/{order_id}/place-hold": _STAFF,
    "POST /v1/orders/{order_id}/release-hold": _STAFF,
    "POST /v1/orders/{order_id}/add-note": _STAFF,
    "POST /v1/orders/{order_id}/set-tags": _STAFF,
    "POST /v1/orders/{order_id}/set-metadata": _STAFF,
    "POST /v1/orders:batch": (401, 207, 207, 403, 403, 207, 207),  # each item by the rule of its own route
    "GET /v1/orders/{order_id}": _READ_ORDER,
    "GET /v1/orders/{order_id}/events": _READ_ORDER,
    "GET /v1/orders": _READ,
    "PUT /v1/products/{sku}": _STAFF,
    "POST /v1/products/{sku}/receive-stock": _STAFF,
    "POST /v1/products/{sku}/adjust-stock": _STAFF,
    "GET /v1/products/{sku}": _READ,
    "GET /v1/products": _READ,
    "GET /v1/reports/daily-sales": _READ_ALL,
    "POST /v1/auth/token": _ANYBODY,
    "GET /v1/auth/me": _READ,
    "POST /v1/auth/password": (401, 403, 403, 403, 403, 403, 403),  # of tokens that a password was given for
    "GET /v1/auth/users": _ADMIN,
    "POST /v1/auth/users": _ADDED,
    "GET /v1/auth/users/{name}": _ADMIN,
    "PATCH /v1/auth/users/{name}": _ADMIN,
    "GET /v1/auth/clients": _ADMIN,
    "POST /v1/auth/clients": _ADDED,
    "GET /v1/auth/clients/{name}": _ADMIN,
    "PATCH /v1/auth/clients/{name}": _ADMIN,
    "POST /v1/auth/clients/{name}/secret": _ADMIN,
    "GET /livez": _ANYBODY,
    "GET /readyz": _ANYBODY,
    "GET /metrics": _ANYBODY,
    "GET /docs": _ANYBODY,
    "GET /openapi.json": _ANYBODY,
    "GET /problems": _ANYBODY,
    "GET /problems/{code}": _ANYBODY,
    "SSE /v1/events": _READ,
    "WS /v1/live": (101, 101, 101, 101, 101, 101, 101),  # nobody: it has yet to say who it is, or is sent away
}
"""What each caller is answered. A route that is not here fails a test, and so does a row without a route."""

USER, CLIENT, PASSWORD = "bert@shop.example", "robot", "correct horse battery staple"

PATHS: dict[str, str] = {
    "POST /v1/auth/clients/{name}/secret": CLIENT,
    "GET /v1/auth/clients/{name}": CLIENT,
    "PATCH /v1/auth/clients/{name}": CLIENT,
}
"""Whom a path names, other than the user."""

BODIES: dict[str, Json] = {
    "POST /v1/orders": {"customer_id": ALICE, "currency": "EUR", "lines": [{"sku": CUP, "quantity": 2}]},
    "POST /v1/orders/{order_id}/amend": {"lines": [{"line_id": "1", "quantity": 3}, {"line_id": "2", "quantity": 1}]},
    "POST /v1/orders:batch": {"items": [{"command": "place", "idempotency_key": "k", "body": {"currency": "EUR"}}]},
    "POST /v1/auth/token": {"grant_type": "password", "username": USER, "password": PASSWORD},
    "PATCH /v1/auth/users/{name}": {"active": True},
    "PATCH /v1/auth/clients/{name}": {"active": True},
}
"""What is sent, where it is not the first example of the document."""

QUERIES: dict[str, str] = {"GET /v1/reports/daily-sales": "?from=2026-01-01&to=2026-01-02"}


# The routes there are ----------------------------------------------------------------------------------------


def routes_of(app: FastAPI) -> set[str]:
    """The commands, and whatever else answers on the application."""
    return {f"{route.method} {route.path}" for route in ROUTES} | {*_named(app.routes)}


def _named(routes: list[BaseRoute]) -> Iterator[str]:
    for route in routes:
        path = getattr(route, "path", repr(route)).replace(":path}", "}")
        if isinstance(route, WebSocketRoute):
            yield f"WS {path}"
        elif path == PATH:
            yield f"SSE {path}"
        elif isinstance(route, Route | APIRoute):
            yield from (f"{method} {path}" for method in (route.methods or ()) if method != "HEAD")
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from _named(included.routes)
        else:
            yield f"? {path}"


OPERATIONS: dict[str, Json] = {
    f"{method.upper()} {path}": operation
    for path, methods in json.loads(served())["paths"].items()
    for method, operation in methods.items()
}
"""What the document says of each route."""


def is_documented(route: str, status: int, code: str | None) -> bool:
    answer = OPERATIONS[route]["responses"].get(str(status), {})
    return bool(answer) and (code is None or code in answer["content"]["application/problem+json"]["examples"])


def body_of(route: str) -> Json | None:
    content = OPERATIONS[route].get("requestBody", {}).get("content", {})
    examples = [one["value"] for media in content.values() for one in media["examples"].values()]
    return BODIES.get(route) or (examples[0] if examples else None)


def command_of(route: str) -> type[Command] | None:
    return next((one.command for one in ROUTES if f"{one.method} {one.path}" == route), None)


# Callers -----------------------------------------------------------------------------------------------------


def callers(edge: Edge) -> dict[str, Mapping[str, str]]:
    """The headers of each."""
    reading = edge.tokens.issue("machine", ["staff"], scopes=[READ])
    return {
        "nobody": {},
        "owner": edge.bearer(ALICE),
        "other": edge.bearer(BOB),
        "reader": {"authorization": f"Bearer {reading}"},
        "analyst": edge.bearer("ann"),
        "staff": edge.bearer(STAFF),
        "admin": edge.bearer("ada"),
    }


# Orders ------------------------------------------------------------------------------------------------------


async def an_order_for(edge: Edge, command: type[Command] | None) -> UUID:
    """A new order of Alice's, as it must be for the first example of a command to be accepted."""
    order_id = uuid4()
    ask = Asking(edge.parts.processor)
    for example in _before(command):
        fields: dict[str, Any] = {"order_id": order_id, "at": datetime.now(UTC)} | example.body
        asked = await ask.one(cast(AnyCommand, example.command.model_validate(fields)))
        assert asked.accepted, f"{example}: {asked}"
    return order_id


def _before(command: type[Command] | None) -> list[Example]:
    """What happens in the examples up to a command; the placing alone, where it is none of an order's."""
    for story in ORDERS.values():
        commands = [example.command for example in story]
        if command in commands and command is not PlaceOrder:
            return list(story[: commands.index(command)])
    return [Example(PlaceOrder, BODIES["POST /v1/orders"] | {"customer_id": ALICE})]


async def orders_for(edge: Edge, route: str) -> dict[str, str]:
    """An order for each caller that may do something to it; those that are refused share one."""
    if "{order_id}" not in route:
        return dict.fromkeys(CALLERS, "")
    may = [caller for caller, status in zip(CALLERS, RULES[route], strict=True) if status < 400]
    shared, *own = await asyncio.gather(*(an_order_for(edge, command_of(route)) for _ in ["", *may]))
    return dict.fromkeys(CALLERS, str(shared)) | dict(zip(may, map(str, own), strict=True))


async def stocked(edge: Edge) -> None:
    """The example products, with enough of them."""
    await edge.listed(CUP, stock="tracked", received=1_000_000, price=250)
    await edge.listed(POSTER.replace("/", "%2F"))
