"""The OpenAPI 3.1 document: the reads as FastAPI knows them, the commands from their own table, and every problem."""

import re
from collections.abc import Sequence
from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api import batch, batch_document, identity, views
from api.account_examples import answers_of_route, bodies_of_route
from api.answer_examples import answer_of, read_answers
from api.answers import JSON
from api.documented import PARAMETERS, READS, TAGS, codes_of, responses, token_errors
from api.documented_headers import HEADERS, IF_NONE_MATCH, TAGGED, asked_of, told_by_command, told_by_read
from api.documented_pages import page_paths
from api.documented_shapes import OPERATIONS, SCHEMAS, shapes_of, token_error
from api.documented_stream import stream_paths
from api.examples import bodies_of
from api.issuing import Operation
from api.oauth import FORM
from api.problem_examples import problem_example
from api.routes import LIST, PLACE, ROUTES, Route
from api.views import ANSWERS
from commands.command import Sku
from commands.order import AmendOrder, PlaceOrder
from projections.shapes import OrderView, ProductView

Json = dict[str, Any]

VERSION = "1.0.0"
"""Of the interface (semantic versioning): a change that can break a client counts the first number up."""

_OPEN = ("/livez", "/readyz")

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "POST /v1/auth/token gives one for a password or a secret; `orderlog token` prints one",
}

DESCRIPTION = """An event-sourced order backend. Money is an integer count of minor units, times are RFC 3339 UTC, and
errors are problem details (RFC 9457). A command that is tried again with the same Idempotency-Key is one command.
Wherever there is GET there is HEAD, and Accept is not looked at: everything has one form. The live feed is a WebSocket
at /v1/live, for which OpenAPI has no words, or the server-sent events at GET /v1/events.

Within one first number of the version there may be more of everything: routes, members of answers, values of
enumerations, kinds of events, codes of problems. Read past what you do not know."""


@cache
def served() -> bytes:
    """The document as it is served: the same in every process."""
    return msgspec.json.encode(document())


def document() -> Json:
    """The whole document."""
    routes = [*views.router.routes, *batch.router.routes, *identity.router.routes]
    described = get_openapi(
        title="orderlog", version=VERSION, openapi_version="3.1.0", description=DESCRIPTION, routes=routes
    )
    described["info"]["contact"] = {"name": "Whoever operates the installation that serves this document"}
    described["servers"] = [{"url": "/", "description": "the installation that serves this document"}]
    described["tags"] = [{"name": name, "description": told} for name, told in TAGS.items()]
    schemas = shapes_of(described)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            _complete(path, method, operation, schemas)
    for route in ROUTES:
        described["paths"].setdefault(route.path, {})[route.method.lower()] = _command(route, schemas)
    batch_document.complete(described["paths"]["/v1/orders:batch"]["post"], schemas)
    described["paths"] |= stream_paths() | page_paths()
    described["components"]["examples"] = {code: problem_example(code) for code in _codes(described["paths"])}
    described["components"]["headers"] = HEADERS
    described["components"]["securitySchemes"] = {"bearer": _BEARER}
    described["security"] = [{"bearer": []}]
    return described


def _codes(paths: Json) -> list[str]:
    """The problems that the routes name."""
    answers = [answer for methods in paths.values() for one in methods.values() for answer in one["responses"].values()]
    problems = [answer.get("content", {}).get("application/problem+json", {}) for answer in answers]
    return sorted({code for problem in problems for code in problem.get("examples", ())})


def _complete(path: str, method: str, operation: Json, schemas: dict[str, Json]) -> None:
    """What the framework cannot know: the shape of the answer, examples, and that errors are problems."""
    name = operation["operationId"].removesuffix(_suffix(path, method))
    operation["operationId"] = name
    operation.pop("security", None)
    for parameter in operation.get("parameters", ()):
        parameter.setdefault("description", PARAMETERS.get(parameter["name"]))
    if name in OPERATIONS:
        _complete_identity(name, operation, OPERATIONS[name], schemas)
        return
    success = {
        "description": "so it is",
        "headers": told_by_read(name),
        "content": _content(ANSWERS[name].__name__, [read_answers()[name]]),
    }
    operation["responses"] = {"200": success, **responses(READS[name])}
    if name in TAGGED:
        operation["parameters"].append(IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "you have it", "headers": told_by_read(name)}
    if path in _OPEN:
        operation["security"] = []


def _complete_identity(name: str, operation: Json, known: Operation, schemas: dict[str, Json]) -> None:
    answered = _content(known.answer.__name__, answers_of_route(name))
    operation["responses"] = {
        str(known.success): {"description": "so it is", "headers": told_by_read(name), "content": answered},
        **responses(known.problems),
    }
    if known.said is not None:
        schema = known.said.model_json_schema(ref_template=SCHEMAS + "{model}Input")
        schemas[known.said.__name__] = schema
        content = _content(known.said.__name__, bodies_of_route(name))
        operation["requestBody"] = {"required": "required" in schema, "content": content}
    if name == "token":
        operation["security"] = []
        operation["requestBody"]["content"] = {FORM.decode(): operation["requestBody"]["content"].popitem()[1]}
        for status, refused in token_errors().items():
            operation["responses"].setdefault(status, refused)["content"] |= refused["content"]
        schemas["TokenError"] = token_error()


def _suffix(path: str, method: str) -> str:
    """What FastAPI puts behind a function's name to make an id of it."""
    return re.sub(r"\W", "_", path) + f"_{method}"


def _command(route: Route, schemas: dict[str, Json]) -> Json:
    name = route.command.__name__
    schemas[name] = _body(route, schemas)
    told = cleandoc(route.command.__doc__ or "")
    return {
        "operationId": operation_id(route),
        "summary": told.split(":")[0].split(";")[0].rstrip("."),
        "description": f"{told} {'Customers (for themselves) and staff.' if route.customers else 'Staff only.'}",
        "tags": ["orders" if route.about == "order_id" else "products"],
        "parameters": [*_in_path(route), *asked_of(route)],
        "requestBody": {
            "required": bool(schemas[name].get("required")),
            "content": _content(name, bodies_of(route.command)),
        },
        "responses": {
            str(route.success): {
                "description": "so it is",
                "headers": told_by_command(route),
                "content": _answered(route),
                **_links(route),
            },
            **responses(codes_of(route)),
        },
    }


def _answered(route: Route) -> Json:
    view = OrderView if route.about == "order_id" else ProductView
    content = _content(view.__name__, [answer_of(route.command)])
    if route.command is AmendOrder:
        content[JSON[1].decode()]["schema"] = {"anyOf": [{"$ref": SCHEMAS + one} for one in ("OrderView", "Preview")]}
    return content


def operation_id(route: Route) -> str:
    name = route.command.__name__
    return name[0].lower() + name[1:]


def _body(route: Route, schemas: dict[str, Json]) -> Json:
    """The command's schema without what rides in; its parts become components, named apart from the answers'."""
    schema = route.command.model_json_schema(ref_template=SCHEMAS + "{model}Input")
    for name, part in schema.pop("$defs", {}).items():
        schemas[f"{name}Input"] = part
    made_up = {"order_id", "customer_id"} if route.command is PlaceOrder else set()
    for name in route.rides_in:
        schema["properties"].pop(name)
    schema["required"] = [name for name in schema.get("required", []) if name not in route.rides_in | made_up]
    if made_up:
        schema["properties"]["order_id"]["description"] = "made unless given"
        schema["properties"]["customer_id"]["description"] = "the caller's own for a customer; staff must give it"
    return schema


def _links(route: Route) -> Json:
    """Where to go on from an order that was placed or a product that was listed: to each command about it."""
    if route not in (PLACE, LIST):
        return {}
    given = {route.about: f"$response.body#/{route.about}"}
    others = [one for one in ROUTES if one.about == route.about and one is not PLACE]
    names = [*map(operation_id, others), *(["order", "history"] if route is PLACE else ["product"])]
    return {"links": {name: {"operationId": name, "parameters": given} for name in names}}


def _in_path(route: Route) -> list[Json]:
    if f"{{{route.about}}}" not in route.path:
        return []
    kind = {"type": "string", "format": "uuid"} if route.about == "order_id" else TypeAdapter(Sku).json_schema()
    told = PARAMETERS[route.about]
    return [{"name": route.about, "in": "path", "required": True, "description": told, "schema": kind}]


def _content(name: str, examples: Sequence[Json] = ()) -> Json:
    shown = {f"example {number}": {"value": value} for number, value in enumerate(examples, 1)}
    return {JSON[1].decode(): {"schema": {"$ref": SCHEMAS + name}, **({"examples": shown} if shown else {})}}
