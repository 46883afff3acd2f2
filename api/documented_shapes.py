"""The shapes that the OpenAPI document describes: answers, what happened to orders, and problems."""

from typing import Any

import msgspec

from api import batch, identity
from api.errors import Place
from api.examples import facts
from api.oauth import TITLES
from api.views import ANSWERS
from events.order import OrderEvent
from projections.shapes import OrderView, ProductView

Json = dict[str, Any]

OPERATIONS = identity.OPERATIONS | batch.OPERATIONS
"""What the framework does not know of routes, by their names."""

SCHEMAS = "#/components/schemas/"


def shapes_of(described: Json) -> dict[str, Json]:
    """The shapes of answers and of what happened; those of bodies come with their routes."""
    schemas: dict[str, Json] = described.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _answer_schemas() | _fact_schemas() | {"Problem": problem(), "Preview": _preview()}
    schemas["HistoryEntry"]["properties"]["data"] = _any_fact()
    return schemas


def _answer_schemas() -> dict[str, Json]:
    ours = [one.answer for one in OPERATIONS.values()]
    shapes = list(dict.fromkeys([*ANSWERS.values(), *ours, OrderView, ProductView]))
    _, schemas = msgspec.json.schema_components(shapes, ref_template=SCHEMAS + "{name}")
    return dict(schemas)


def _fact_schemas() -> dict[str, Json]:
    """What the history's `data` can be, each with an example."""
    _, schemas = msgspec.json.schema_components([OrderEvent], ref_template=SCHEMAS + "{name}")
    shown: dict[str, list[Any]] = {}
    for fact in facts():
        shown.setdefault(type(fact).__name__, []).append(msgspec.to_builtins(fact))
    return {
        name: {**schema, **({"examples": shown[name]} if name in shown else {})} for name, schema in schemas.items()
    }


def _any_fact() -> Json:
    (schema,), _ = msgspec.json.schema_components([OrderEvent], ref_template=SCHEMAS + "{name}")
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
        "allOf": [{"$ref": SCHEMAS + OrderView.__name__}, own],
    }


def token_error() -> Json:
    """Both shapes in one, as `api/oauth.py` says."""
    shown = problem()
    return shown | {
        "description": "Why there is no token: a problem (RFC 9457) that has the members of RFC 6749, 5.2, as well.",
        "required": [*shown["required"], "error", "error_description"],
        "properties": shown["properties"]
        | {"error": {"type": "string", "enum": [*TITLES]}, "error_description": {"type": "string"}},
    }


def problem() -> Json:
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
            "errors_left_out": {"type": "integer", "description": "so many more are wrong than errors names"},
            "current_status": {"type": "string"},
            "current_version": {"type": "integer"},
            "allowed_commands": {"type": "array", "items": {"type": "string"}},
        },
    }
