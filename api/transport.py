"""What a connection is written to: joins writes into one system call, and closes so that what was written is read.

uvicorn writes the head and the body of an answer apart, and each write costs more than what else is done to send it.
"""

import asyncio
import struct
from collections.abc import Iterable
from contextlib import suppress
from fcntl import ioctl
from socket import SO_LINGER, SOL_SOCKET
from sys import byteorder
from termios import TIOCOUTQ
from typing import Any

from api.requests import MOST_UNWANTED

LINGER = 2.0
"""Seconds that who is still sending has to read what was written; a stop must allow for them."""

SLOWEST_READER = 2_048
"""Bytes a second that a client must take of what waits for it."""


RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: what the system still has to send is dropped, instead of being kept for minutes."""


class Joined:
    """A transport; what is not said here is the transport's own.

    Who takes less than `SLOWEST_READER` of what waits for it, over `patience` seconds, is cut off: while it is watched,
    and always once the connection is closed.
    """

    owed = False
    """Whether the client may still be sending: its last request has not come whole, or nobody reads what follows."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._transport = transport
        self._loop = loop
        self._patience = patience
        self._waiting: list[bytes] = []
        self._lingering = False
        self._look_again: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Now: who has several parts waits for no other, and these are joined here."""
        self._flush()
        if not self.is_closing():
            self._transport.write(b"".join(parts))

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def is_closing(self) -> bool:
        return self._lingering or bool(self._transport.is_closing())

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            if not self.is_closing():  # the client may have gone meanwhile
                self._transport.write(data)

    # The end of it

    def close(self) -> None:
        """Write no more. A client that may still be sending is given the time to read what was written."""
        self._flush()
        if self.is_closing():
            return
        if self.owed or not self._transport.is_reading():
            self._linger()
        else:
            self.end()

    def end(self) -> None:
        """Write and read no more."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.watch()

    def _linger(self) -> None:
        self._lingering = True
        self._transport.set_protocol(Lingering(self, self._transport.get_protocol(), self._loop))
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, and we have not been told yet
            self._transport.abort()
            return
        self._transport.resume_reading()

    # Who does not read

    def watch(self) -> None:
        if self._look_again is None:
            self._look_again = self._loop.call_later(self._patience, self._look, self._unread())

    def unwatch(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def _look(self, before: int) -> None:
        self._look_again = None
        if not self._transport.get_write_buffer_size():
            return
        if before - self._unread() >= SLOWEST_READER * self._patience:
            self.watch()
        else:
            self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            self._transport.abort()

    def _unread(self) -> int:
        """Bytes that we hold for the client, and those that the system does: it takes megabytes of ours at a time."""
        ours: int = self._transport.get_write_buffer_size()
        with suppress(OSError):  # a system that does not tell
            return ours + int.from_bytes(ioctl(self._transport.get_extra_info("socket"), TIOCOUTQ, bytes(4)), byteorder)
        return ours


class Lingering(asyncio.Protocol):
    """Takes over a connection of which we have closed our side: drops what still comes (RFC 9112, 9.6).

    If a socket is closed before all that came was read, the kernel resets the connection, and the client may lose an
    answer that it has not read yet. So it ends when the client closes its side, or after `LINGER` seconds. Who sends a
    great deal meanwhile is not read any more, and waits for the end like the others.
    """

    def __init__(self, joined: Joined, protocol: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._joined, self._protocol = joined, protocol
        self._left = MOST_UNWANTED
        self._timer = loop.call_later(LINGER, joined.end)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._joined.pause_reading()

    def eof_received(self) -> None:
        self._joined.end()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._protocol.connection_lost(exc)
