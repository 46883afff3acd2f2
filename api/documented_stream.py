"""What the OpenAPI document says of GET /v1/events, whose answer has no end: how to ask for it, and what it tells."""

from typing import Any, get_args

from api.documented import BEARER, PARAMETERS, Codes, responses
from api.documented_headers import told_by_read
from api.live import ORDER_EVENTS, Status
from api.sse import PATH

Json = dict[str, Any]

PROBLEMS: Codes = (
    *BEARER,
    *("forbidden", "bad-cursor", "malformed-message", "snapshot-too-large", "not-caught-up", "busy", "unavailable"),
)

DESCRIPTION = """Server-sent events, for EventSource and its like, of the same messages as on the WebSocket at /v1/live:
first `subscribed`; then, from a snapshot or a cursor, `snapshot` for each order as it is, `event` for what happened
since, and `caught_up`; then `event` for every change that is committed, with what happened and the order as it became,
and `heartbeat` every 15 seconds. `error` has a problem, and ends the stream. The id of an event is a cursor: who comes
back with it as Last-Event-ID misses nothing. A customer is told of its own orders."""

EXAMPLE = """\
retry: 2000

event: subscribed
data: {"type":"subscribed","id":"events","cursor":"AQAR"}

id: AQAR
event: heartbeat
data: {"type":"heartbeat","cursor":"AQAR"}

"""

_ASKED: tuple[tuple[str, str, str, Json], ...] = (
    ("from", "query", "now, snapshot, or a cursor", {"type": "string", "default": "now"}),
    ("order_id", "query", PARAMETERS["order_id"], {"type": "string", "format": "uuid"}),
    ("customer_id", "query", "a customer's own, unless the caller may read all", {"type": "string", "maxLength": 200}),
    ("status", "query", "orders that are so now", {"type": "string", "enum": list(get_args(Status))}),
    ("event", "query", "events of this type", {"type": "string", "enum": sorted(ORDER_EVENTS)}),
    ("Last-Event-ID", "header", "the cursor to go on from, in the place of `from`", {"type": "string"}),
    ("Consistency-Token", "header", "of writes that the snapshot shall include", {"type": "string"}),
)


def stream_paths() -> dict[str, Json]:
    """For the document's paths."""
    return {
        PATH: {
            "get": {
                "operationId": "events",
                "summary": "What happens to orders, as it happens",
                "description": DESCRIPTION,
                "tags": ["orders"],
                "parameters": [_parameter(*asked) for asked in _ASKED],
                "responses": {"200": _answer(), **responses(PROBLEMS)},
            }
        }
    }


def _parameter(name: str, where: str, told: str, schema: Json) -> Json:
    return {"name": name, "in": where, "required": False, "description": told, "schema": schema}


def _answer() -> Json:
    content = {"schema": {"type": "string"}, "examples": {"example 1": {"value": EXAMPLE}}}
    headers = told_by_read("events")
    return {"description": "as long as both sides stay", "headers": headers, "content": {"text/event-stream": content}}
