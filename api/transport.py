"""Joins what is written to a connection in one turn of the event loop into one system call.

uvicorn writes the head and the body of an answer apart, and each write costs more than what else is done to send it.
"""

import asyncio
from typing import Any


class Joined:
    """A transport; what is not said here is the transport's own.

    Closed, it is kept for `linger` seconds at most for a client that does not read what is still to be sent.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, linger: float) -> None:
        self._transport = transport
        self._loop = loop
        self._linger = linger
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
        if self._transport.get_write_buffer_size():
            self._loop.call_later(self._linger, self._transport.abort)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            if not self._transport.is_closing():  # the client may have gone meanwhile
                self._transport.write(data)
