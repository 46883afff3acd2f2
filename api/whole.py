"""Gives uvicorn an answer in one piece, where the application has it whole.

ASGI gives it in two, and uvicorn searches each header of each answer for what must not be in one: for an order that was
placed, that took longer than deciding it. Here the head is searched once, as one text.
"""

from collections.abc import Sequence

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Headers = Sequence[tuple[bytes, bytes]]

_NOT_IN_A_HEADER = b"\r\n\0"


def give(send: Send, status: int, headers: Headers, body: bytes) -> bool:
    """Answer a request, as its `send` would in two calls. False: it is to be answered in two.

    So it is where something stands between the server and the application, such as CORS, which adds to an answer; where
    another server serves; and where the client is slow or the connection ends. The headers are without content-length
    and connection.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or not _is_simple(cycle):
        return False
    told = [*cycle.default_headers, *headers, (b"content-length", b"%d" % len(body))]
    head = b"\r\n".join([b": ".join(header) for header in told])
    if len(head.translate(None, _NOT_IN_A_HEADER)) != len(head) - 2 * (len(told) - 1):
        raise ValueError(f"a header would have become two: {told}")
    cycle.transport.writelines((STATUS_LINE[status], head, b"\r\n\r\n", body))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    cycle.on_response()
    return True


def _is_simple(cycle: RequestResponseCycle) -> bool:
    return cycle.keep_alive and not (cycle.response_started or cycle.disconnected or cycle.flow.write_paused)
