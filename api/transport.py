"""Joins what is written to a connection in one turn of the event loop into one system call.

uvicorn writes the head and the body of an answer apart, and each write costs more than what else is done to send it.
"""

import asyncio
from functools import partial
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import whole
from api.errors import Problem
from api.ids import new_request_id

LARGEST_HEAD = 65_536
"""Bytes of a request line and its headers that are waited for."""


class Joined:
    """A transport; what is not said here is the transport's own."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._transport.write(data)


class Http(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, on such a transport; a WebSocket takes it over. What is not HTTP is answered a problem."""

    _head = 0  # bytes so far of a head that has not ended

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, Joined(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.scope is None or (self.cycle is not None and self.cycle.scope is self.scope):
            self._head = 0
            return
        self._head += len(data)
        if self._head > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(Problem("headers-too-large", f"Request line and headers may have {LARGEST_HEAD} bytes."))

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            cast(Scope, self.scope)["extensions"] = {whole.EXTENSION: partial(whole.give, self.cycle)}

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("bad-request", msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; only close where another answer is under way, which this would be taken for a part of."""
        if self.cycle is None or self.cycle.response_complete:
            request_id = new_request_id()
            answer = problem.answer(request_id)
            headers = [
                *self.server_state.default_headers,
                *answer.headers,
                (b"content-length", b"%d" % len(answer.body)),
                (b"request-id", request_id.encode()),
                (b"connection", b"close"),
            ]
            lines = [b"%b: %b\r\n" % header for header in headers]
            self.transport.write(b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body]))
        self.transport.close()
