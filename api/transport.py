"""Joins what is written to a connection in one turn of the event loop into one system call.

uvicorn writes the head and the body of an answer apart, and each write costs more than what else is done to send it.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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
    """uvicorn's HTTP/1.1, on such a transport; a WebSocket takes it over."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, Joined(transport, self.loop)))
