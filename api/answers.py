"""An answer to an HTTP request, whole: what is sent, and what is kept for a retry to be answered with."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from api import consistency

Headers = tuple[tuple[bytes, bytes], ...]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")
SECURITY_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
"""Of every answer, the server's own included: it puts them in front of each without looking at it. Strict-Transport-
Security is said by what ends TLS, which is not us."""

PROBLEM_JSON = (b"content-type", b"application/problem+json")


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Without the headers that belong to one exchange only, such as Request-Id."""

    status: int
    headers: Headers
    body: bytes
    recorded: int | None = None  # of a command that was accepted: so many events are its own

    async def send(self, send: Send, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
        length = (b"content-length", b"%d" % len(self.body))
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, length, *more]})
        await send({"type": "http.response.body", "body": self.body})


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Answer).decode


def read(kept: bytes, position: int) -> Answer:
    """The answer to a command, as it was kept; `position` is the log's head right after the command."""
    answer = decode(kept)
    if answer.recorded is None:
        return answer
    how_far = (b"consistency-token", consistency.token(position, answer.recorded).encode())
    return Answer(answer.status, (*answer.headers, how_far), answer.body)
