"""What the OpenAPI document says of a route that its code does not: its problems, its parameters, its tag."""

from collections.abc import Iterable
from typing import Any

from api.documented_headers import told_with
from api.oauth import TITLES, Error
from api.problem_examples import token_error
from api.problems import every_problem
from api.refusable import refusals_of
from api.routes import PLACE, Route

Json = dict[str, Any]
Codes = tuple[str, ...]

TAGS: dict[str, str] = {
    "orders": "Placing, changing and reading orders. Somebody else's order is 404 in every form.",
    "products": "The catalogue and its stock.",
    "reports": "Sums over all orders, for those who read everything.",
    "auth": "The built-in issuer: tokens, users and machine clients. With another issuer set, all but `me` are 404.",
    "health": "For whoever operates an installation.",
    "documentation": "For whoever builds on it.",
}

PARAMETERS: dict[str, str] = {
    "order_id": "the order's id, a UUID",
    "sku": "the product's SKU; a slash in it is sent as %2F",
    "name": "of the account",
    "code": "of the problem, as its `code` says it",
}
"""What a parameter means that does not say so itself."""

# The problems of each route ----------------------------------------------------------------------------------

ANY: Codes = ("bad-request", "too-slow", "headers-too-large", "internal-error")
"""Of every route."""

BEARER: Codes = (
    *ANY,
    *("bad-header", "token-missing", "token-expired", "token-invalid", "token-revoked"),
    *("too-many-requests", "issuer-unavailable"),
)
"""Of every route that wants a token."""

BODY: Codes = ("not-json", "too-large", "unsupported-media-type", "invalid-request")

READ: Codes = (*BEARER, "forbidden", "invalid-request", "not-caught-up", "unavailable")

READS: dict[str, Codes] = {
    "order": (*READ, "no-such-order"),
    "orders": (*READ, "bad-cursor", "bad-number"),
    "history": (*READ, "no-such-order"),
    "product": (*READ, "no-such-product"),
    "products": (*READ, "bad-cursor"),
    "daily_sales": READ,
    "me": BEARER,
    "livez": ANY,
    "readyz": (*ANY, "not-ready"),
}
"""Name of a read to the problems that it may answer."""

_COMMAND: Codes = (
    *BEARER,
    *BODY,
    *("forbidden", "insufficient-scope", "idempotency-key-reused", "idempotency-key-in-flight"),
    *("busy", "unavailable"),
)


def codes_of(route: Route) -> list[str]:
    """The problems that a command may be answered with."""
    needs_key = ["idempotency-key-missing"] if route.needs_key else []
    # What may be demanded to be for one version (RFC 6585) is what changes an order that is there.
    needs_version = ["if-match-missing"] if route.about == "order_id" and route is not PLACE else []
    return [*_COMMAND, *needs_key, *needs_version, *(refusal.code for refusal in refusals_of(route.command))]


def responses(codes: Iterable[str]) -> Json:
    """By status: the problems that there may be, each with an example."""
    known = every_problem()
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(known[code][0], []).append(code)
    return {str(status): _response(status, by_status[status]) for status in sorted(by_status)}


def _response(status: int, codes: list[str]) -> Json:
    shown = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": shown}
    return {
        "description": ", ".join(codes),
        **told_with(status),
        "content": {"application/problem+json": content},
    }


def token_errors() -> Json:
    """What the token endpoint answers in the form of RFC 6749, by status."""
    by_status: dict[int, list[Error]] = {}
    for error, (status, _) in TITLES.items():
        by_status.setdefault(status, []).append(error)
    return {str(status): _token_error(status, errors) for status, errors in by_status.items()}


def _token_error(status: int, errors: list[Error]) -> Json:
    shown = {error: {"value": token_error(error)} for error in errors}
    content = {"schema": {"$ref": "#/components/schemas/TokenError"}, "examples": shown}
    return {"description": ", ".join(errors), **told_with(status), "content": {"application/json": content}}
