"""The problems that people read in place of an answer: RFC 9457, each with a stable code."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError

from api.answers import PROBLEM_JSON, Answer

TYPES = "/problems"
"""Where a problem's type leads: to the page of its code. A reference, since an answer that is kept knows no host."""

PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not valid HTTP"),
    "not-json": (400, "The body is not JSON"),
    "bad-header": (400, "A header is not valid"),
    "bad-cursor": (400, "The cursor is not valid here"),
    "cors-refused": (400, "A page of this origin may not ask so"),
    "bad-number": (400, "This is not an order number"),
    "malformed-message": (400, "The message is not valid"),
    "snapshot-too-large": (400, "The snapshot is too large"),
    "idempotency-key-missing": (400, "This request needs an Idempotency-Key"),
    "token-missing": (401, "A bearer token is needed"),
    "token-expired": (401, "The bearer token has expired"),
    "token-invalid": (401, "The bearer token is not valid"),
    "token-revoked": (401, "The bearer token was revoked"),
    "forbidden": (403, "This is not yours to do"),
    "insufficient-scope": (403, "The token's scope does not allow it"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "account-exists": (409, "The name is taken"),
    "too-slow": (408, "The request took too long to come"),
    "idempotency-key-in-flight": (409, "The first request with this Idempotency-Key is not answered yet"),
    "batch-answer-full": (413, "The answer of the batch is full"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "invalid-request": (422, "The request is not valid"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used for another request"),
    "batch-not-applied": (424, "Nothing of the batch was applied"),
    "if-match-missing": (428, "This command needs an If-Match"),
    "too-many-requests": (429, "Too many requests of one caller"),
    "headers-too-large": (431, "The headers are too large"),
    "too-many-subscriptions": (429, "Too many subscriptions on one connection"),
    "too-many-attempts": (429, "Too many attempts failed"),
    "internal-error": (500, "Something went wrong on our side"),
    "not-caught-up": (503, "What is read does not include the write yet"),
    "not-ready": (503, "Not every part is ready"),
    "issuer-unavailable": (503, "The issuer's keys cannot be read"),
    "busy": (503, "Too many requests wait"),
    "unavailable": (503, "The database does not answer"),
}
"""Code to status and title of the edge's own problems; a refusal brings its own code and title."""

MOST_PLACES = 1_000
"""A problem names at most so many places; it then says how many more there are."""

JsonPath = Sequence[int | str]


class Place(msgspec.Struct, frozen=True, rename={"where": "in"}):
    """One thing that is wrong, and where: a JSON pointer (RFC 6901) into the body, or the name of a parameter."""

    pointer: str
    detail: str
    where: str = "body"  # body, path, query or header


class Problem(Exception):
    """The request gets a problem for an answer."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Place] = (),
        headers: Iterable[tuple[bytes, bytes]] = (),
        status_and_title: tuple[int, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors, self.more = code, detail, errors, more
        self.status, self.title = status_and_title or PROBLEMS[code]
        self.headers = tuple(headers)

    def answer(self, request_id: str) -> Answer:
        shown = self.errors[:MOST_PLACES]
        left_out = len(self.errors) - len(shown)
        content = {
            "type": f"{TYPES}/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **({"errors": shown} if shown else {}),
            **({"errors_left_out": left_out} if left_out else {}),
            **self.more,
        }
        return Answer(self.status, (PROBLEM_JSON, *self.headers), msgspec.json.encode(content))


def pointer(path: JsonPath) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def invalid(errors: Sequence[Place]) -> Problem:
    first = errors[0]
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    where = first.pointer or f"the {first.where}"
    return Problem("invalid-request", f"{where}: {first.detail}{more}", errors=errors)


def places(error: ValidationError) -> list[Place]:
    """Every place that pydantic finds wrong."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # A list whose items are all wrong is called too short as well: it is not.
    with_wrong_items = {one["loc"][:-depth] for one in found for depth in range(1, len(one["loc"]))}
    return [
        Place(_body_pointer(one["loc"]), sentence(one["msg"]))
        for one in found
        if one["type"] != "too_short" or one["loc"] not in with_wrong_items
    ]


def _body_pointer(path: JsonPath) -> str:
    # pydantic marks a wrong key of an object by a last step of its own
    return pointer(path[:-1] if path and path[-1] == "[key]" else path)


def sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def unavailable() -> Problem:
    return Problem("unavailable", "Try again, with the same Idempotency-Key.", headers=[(b"retry-after", b"2")])
