"""What the OpenAPI document says of headers: which a request may have, and which an answer has."""

from collections.abc import Iterable
from typing import Any

from api.routes import PLACE, Route

Json = dict[str, Any]

_ASKED: dict[str, Json] = {
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

_TOLD: dict[str, str] = {
    "ETag": "the version, in quotes",
    "Location": "where it is read",
    "Link": "to the next page and the one before, if there are any, and to the first: rel=next, prev, first (RFC 8288)",
    "Consistency-Token": "how far the log had come: send it with a read that shall include this write",
    "Consistency": "current or stale: whether the answer includes the write of the Consistency-Token that was sent",
    "Preference-Applied": "what was heeded of Prefer (RFC 7240)",
    "Idempotency-Replayed": "true when this answer was given before",
    "Request-Id": "of this exchange, as it was sent or as it was made here",
    "Retry-After": "seconds",
    "WWW-Authenticate": "which token is wanted, and what is wrong with this one (RFC 6750)",
    "RateLimit": "what is left, where requests are limited",
    "RateLimit-Policy": "what a caller may ask, where requests are limited",
}
"""Of answers, by name."""

_OF_STATUS: dict[int, tuple[str, ...]] = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
"""Of problems."""

_ALWAYS = ("Request-Id", "RateLimit", "RateLimit-Policy")
_COMMAND = ("ETag", "Consistency-Token", "Idempotency-Replayed")
_OWN = ("Consistency", "Preference-Applied")
_READS: dict[str, tuple[str, ...]] = {
    "order": ("ETag", *_OWN),
    "orders": ("Link", *_OWN),
    "history": _OWN,
    "product": ("ETag", *_OWN),
    "products": ("Link", *_OWN),
    "daily_sales": _OWN,
    "add_user": ("Location",),
    "add_client": ("Location",),
}

TAGGED = ("order", "product")
"""Reads that have an ETag, and answer 304 to who has that version."""

IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "the ETag of the version that you have: answered with 304 when it is the present one",
    "schema": {"type": "string", "examples": ['"17"']},
}


def asked_of(route: Route) -> list[Json]:
    """The parameters of a command that are headers."""
    return [
        {"name": name, "in": "header", "required": name == "Idempotency-Key" and route.needs_key, **header}
        for name, header in _ASKED.items()
    ]


def told_by_command(route: Route) -> Json:
    return _headers([*_COMMAND, *(["Location"] if route is PLACE else []), *_ALWAYS])


def told_by_read(name: str) -> Json:
    return _headers((*_READS.get(name, ()), *_ALWAYS))


def told_with(status: int) -> Json:
    """With a problem of this status, but for what every answer has."""
    names = _OF_STATUS.get(status)
    return {"headers": _headers(names)} if names else {}


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


HEADERS: dict[str, Json] = {name: {"description": told, "schema": {"type": "string"}} for name, told in _TOLD.items()}
"""The document's components that the answers refer to."""
