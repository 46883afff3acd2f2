"""The OpenAPI 3.1 document: the reads as FastAPI knows them, the commands from their own table, and every problem."""

import re
from collections.abc import Sequence
from inspect import cleandoc
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from api.answers import JSON
from api.errors import PROBLEMS, Place
from api.examples import bodies_of, facts
from api.identity import OPERATIONS
from api.issuing import Operation
from api.oauth import FORM, TITLES
from api.refusals import STATUS
from api.routes import LIST, PLACE, ROUTES, Route
from api.views import ANSWERS
from commands.command import Sku
from commands.order import AmendOrder, PlaceOrder
from events.order import OrderEvent
from projections.shapes import OrderView, ProductView

Json = dict[str, Any]

VERSION = "1"
_SCHEMAS = "#/components/schemas/"
_OPEN = ("/livez", "/readyz")

DESCRIPTION = """An event-sourced order backend. Money is an integer count of minor units, times are RFC 3339 UTC, and
errors are problem details (RFC 9457). A command that is tried again with the same Idempotency-Key is one command."""

_HEADERS: dict[str, Json] = {
    "Idempotency-Key": {
        "description": "your own name for this request: the same when you try it again",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    "If-Match": {
        "description": "the ETag that you have seen; refused with 412 when it is another by now",
        "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$', "examples": ['"17"']},
    },
    "Request-Id": {
        "description": "shown in the answer and in the history, if it is 1 to 128 visible ASCII characters",
        "schema": {"type": "string"},
    },
}

_ANSWERED: dict[str, Json] = {
    "ETag": {"description": "the version", "schema": {"type": "string"}},
    "Consistency-Token": {"description": "how far the log had come", "schema": {"type": "string"}},
    "Request-Id": {"schema": {"type": "string"}},
    "Idempotency-Replayed": {"description": "true when this answer was given before", "schema": {"type": "string"}},
}


def document(routes: Sequence[BaseRoute]) -> Json:
    described = get_openapi(
        title="orderlog", version=VERSION, openapi_version="3.1.0", description=DESCRIPTION, routes=routes
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _answer_schemas() | _fact_schemas() | {"Problem": _problem(), "Preview": _preview()}
    schemas["HistoryEntry"]["properties"]["data"] = _any_fact()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            _complete(path, method, operation, schemas)
    for route in ROUTES:
        described["paths"].setdefault(route.path, {})[route.method.lower()] = _command(route, schemas)
    described["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "POST /v1/auth/token gives one for a password or a secret; `orderlog token` prints one",
        }
    }
    described["security"] = [{"bearer": []}]
    return described


def _answer_schemas() -> dict[str, Json]:
    ours = [one.answer for one in OPERATIONS.values()]
    shapes = list(dict.fromkeys([*ANSWERS.values(), *ours, OrderView, ProductView]))
    _, schemas = msgspec.json.schema_components(shapes, ref_template=_SCHEMAS + "{name}")
    return dict(schemas)


def _fact_schemas() -> dict[str, Json]:
    """What the history's `data` can be, each with an example."""
    _, schemas = msgspec.json.schema_components([OrderEvent], ref_template=_SCHEMAS + "{name}")
    shown: dict[str, list[Any]] = {}
    for fact in facts():
        shown.setdefault(type(fact).__name__, []).append(msgspec.to_builtins(fact))
    return {
        name: {**schema, **({"examples": shown[name]} if name in shown else {})} for name, schema in schemas.items()
    }


def _any_fact() -> Json:
    (schema,), _ = msgspec.json.schema_components([OrderEvent], ref_template=_SCHEMAS + "{name}")
    return schema


def _preview() -> Json:
    """What AmendOrder answers to `dry_run`."""
    more = {
        "dry_run": {"const": True},
        "reservations": {
            "type": "object",
            "description": "SKU to the pieces that would be reserved; below zero: released",
            "additionalProperties": {"type": "integer"},
        },
    }
    own = {"type": "object", "properties": more, "required": list(more)}
    return {
        "description": "the order as it would be; nothing was changed, and version is that of the order as it is",
        "allOf": [{"$ref": _SCHEMAS + OrderView.__name__}, own],
    }


def _complete(path: str, method: str, operation: Json, schemas: dict[str, Json]) -> None:
    """What the framework cannot know: the shape of the answer, and that errors are problems."""
    name = operation["operationId"].removesuffix(_suffix(path, method))
    operation["operationId"] = name
    operation.pop("security", None)
    if name in OPERATIONS:
        _complete_identity(name, operation, OPERATIONS[name], schemas)
        return
    operation["responses"] = {
        "200": {"description": "so it is", "content": _content(ANSWERS[name].__name__)},
        **_problems([400, 401, 403, 404, 422, 429, 500, 503]),
    }
    if path in _OPEN:
        operation["security"] = []
        operation["responses"].pop("401")


def _complete_identity(name: str, operation: Json, known: Operation, schemas: dict[str, Json]) -> None:
    operation["responses"] = {
        str(known.success): {"description": "so it is", "content": _content(known.answer.__name__)},
        **_problems(known.problems),
    }
    if known.said is not None:
        schema = known.said.model_json_schema(ref_template=_SCHEMAS + "{model}Input")
        schemas[known.said.__name__] = schema
        operation["requestBody"] = {"required": "required" in schema, "content": _content(known.said.__name__)}
    if name == "token":
        operation["security"] = []
        operation["requestBody"]["content"] = {FORM.decode(): operation["requestBody"]["content"].popitem()[1]}
        operation["responses"] |= _token_errors()
        schemas["TokenError"] = _token_error()


def _token_errors() -> Json:
    by_status: dict[int, list[str]] = {}
    for error, (status, _) in TITLES.items():
        by_status.setdefault(status, []).append(error)
    content = _content("TokenError")
    return {str(status): {"description": ", ".join(codes), "content": content} for status, codes in by_status.items()}


def _token_error() -> Json:
    """Both shapes in one, as `api/oauth.py` says."""
    problem = _problem()
    return problem | {
        "description": "Why there is no token: a problem (RFC 9457) that has the members of RFC 6749, 5.2, as well.",
        "required": [*problem["required"], "error", "error_description"],
        "properties": problem["properties"]
        | {"error": {"type": "string", "enum": [*TITLES]}, "error_description": {"type": "string"}},
    }


def _suffix(path: str, method: str) -> str:
    """What FastAPI puts behind a function's name to make an id of it."""
    return re.sub(r"\W", "_", path) + f"_{method}"


def _command(route: Route, schemas: dict[str, Json]) -> Json:
    name = route.command.__name__
    schemas[name] = _body(route, schemas)
    view = OrderView if route.about == "order_id" else ProductView
    answered = _content(view.__name__)
    if route.command is AmendOrder:
        answered = {
            JSON[1].decode(): {"schema": {"anyOf": [{"$ref": _SCHEMAS + one} for one in ("OrderView", "Preview")]}}
        }
    headers = dict(_ANSWERED)
    if route is PLACE:
        headers["Location"] = {"schema": {"type": "string", "format": "uri-reference"}}
    told = cleandoc(route.command.__doc__ or "")
    return {
        "operationId": operation_id(route),
        "summary": told.split(":")[0].split(";")[0].rstrip("."),
        "description": f"{told} {'Customers (for themselves) and staff.' if route.customers else 'Staff only.'}",
        "tags": ["orders" if route.about == "order_id" else "products"],
        "parameters": [*_in_path(route), *_in_headers(route)],
        "requestBody": {
            "required": bool(schemas[name].get("required")),
            "content": _content(name, bodies_of(route.command)),
        },
        "responses": {
            str(route.success): {"description": "so it is", "headers": headers, "content": answered, **_links(route)},
            **_problems([400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503]),
        },
    }


def operation_id(route: Route) -> str:
    name = route.command.__name__
    return name[0].lower() + name[1:]


def _body(route: Route, schemas: dict[str, Json]) -> Json:
    """The command's schema without what rides in; its parts become components, named apart from the answers'."""
    schema = route.command.model_json_schema(ref_template=_SCHEMAS + "{model}Input")
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
    return [{"name": route.about, "in": "path", "required": True, "schema": kind}]


def _in_headers(route: Route) -> list[Json]:
    return [
        {"name": name, "in": "header", "required": name == "Idempotency-Key" and route.needs_key, **header}
        for name, header in _HEADERS.items()
    ]


def _content(name: str, examples: Sequence[Json] = ()) -> Json:
    shown = {f"example {number}": {"value": value} for number, value in enumerate(examples, 1)}
    return {JSON[1].decode(): {"schema": {"$ref": _SCHEMAS + name}, **({"examples": shown} if shown else {})}}


def _problems(statuses: Sequence[int]) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    return {str(status): {"description": _when(status), "content": content} for status in statuses}


def _when(status: int) -> str:
    codes = [code for code, (its_status, _) in PROBLEMS.items() if its_status == status]
    codes += [refusal.code for refusal, its_status in STATUS.items() if its_status == status]
    return ", ".join(codes) or "refused: the code says why"


def _problem() -> Json:
    place = msgspec.json.schema(Place)["$defs"]["Place"]
    return {
        "type": "object",
        "description": "What went wrong (RFC 9457). A refusal has further members, such as skus, that say about what.",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "leads to a page about it"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "description": "stable: programs decide by it"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": place},
            "current_status": {"type": "string"},
            "current_version": {"type": "integer"},
            "allowed_commands": {"type": "array", "items": {"type": "string"}},
        },
    }
