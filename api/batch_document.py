"""What the OpenAPI document says of a batch beyond the framework's knowledge: what an item is, and what is answered."""

from typing import Any

from api.answer_examples import batch_answers
from api.examples import BATCHES
from api.routes import ON_ORDER, PLACE

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"


def complete(operation: Json, schemas: dict[str, Json]) -> None:
    """Raises KeyError where the document does not have the operation's shapes yet."""
    for name, part in schemas["Batch"].pop("$defs").items():
        schemas[f"{name}Input"] = part
    bodies = [route.command.__name__ for route in (PLACE, *ON_ORDER.values())]
    schemas["BatchItemInput"]["properties"]["body"] = {
        "description": schemas["BatchItemInput"]["properties"]["body"]["description"],
        "anyOf": _references(bodies),
        "default": {},
    }
    schemas["BatchResult"]["properties"]["body"] = {
        "description": "the order, or what a dry run previews, or the problem",
        "anyOf": _references(["OrderView", "Preview", "Problem"]),
    }
    schemas["BatchResult"]["properties"]["headers"]["description"] = (
        "Content-Type, ETag, Location, Consistency-Token, Idempotency-Replayed, Retry-After, where the command's own "
        "route would send them"
    )
    content = operation["requestBody"]["content"]["application/json"]
    content["examples"] = {f"example {number}": {"value": value} for number, value in enumerate(BATCHES, 1)}
    answered = operation["responses"]["207"]
    answered["content"]["application/json"]["examples"] = {
        f"example {number}": {"value": value} for number, value in enumerate(batch_answers(), 1)
    }
    answered["headers"]["Consistency-Token"] = {
        "description": "includes every write of the batch",
        "schema": {"type": "string"},
    }
    operation.setdefault("parameters", []).append(
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "a key for those items that have none of their own, each with its place in the batch",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
    )


def _references(names: list[str]) -> list[Json]:
    return [{"$ref": _SCHEMAS + name} for name in names]
