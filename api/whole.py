"""Gives uvicorn an answer in one piece, to an application that has it whole.

ASGI gives it in two, and uvicorn searches each header of each answer for what must not be in one: for an order that was
placed, that took longer than deciding it. Here the head is searched once, as one text.
"""

from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

EXTENSION = "orderlog.whole"
"""Where a scope has a `Give`, by the manner of ASGI's extensions."""

Headers = Sequence[tuple[bytes, bytes]]

Give = Callable[[int, Headers, bytes], bool]
"""Status, headers without content-length and connection, body: False where the answer is to be sent as ASGI has it."""


def give(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> bool:
    """Answer the request of a cycle, as its `send` would in two calls."""
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive:
        return False
    told = [*cycle.default_headers, *headers]
    head = b"".join([b"%b: %b\r\n" % header for header in told])
    if head.count(b"\n") != len(told) or head.count(b"\r") != len(told) or b"\0" in head:
        raise ValueError(f"a header would have become two: {told}")
    cycle.transport.write(b"".join((STATUS_LINE[status], head, b"content-length: %d\r\n\r\n" % len(body), body)))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    cycle.on_response()
    return True


def of(scope: Any) -> Give | None:
    """What the server of a request offers, if it does."""
    found: Give | None = scope.get("extensions", {}).get(EXTENSION)
    return found
