"""What may stand between a client and orderlog: passes requests on, and does to some answers what networks do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Mishap = Callable[[bytes], bytes]
"""What the client gets in place of an answer, after which its connection is closed."""


def cut(_: bytes) -> bytes:
    """The answer is lost whole."""
    return b""


def half(answer: bytes) -> bytes:
    """The answer breaks off in its body."""
    return answer[: -len(answer.partition(b"\r\n\r\n")[2]) // 2]


class Between:
    """Listens on a port of its own. `mishaps` happen to the next answers, in order; then all are passed on whole."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.port = 0
        self.mishaps: list[Mishap | bytes] = []
        """A mishap happens after the request was carried out; bytes are answered in place of asking."""
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _message(reader)
                self.requests.append(request)
                mishap = self.mishaps.pop(0) if self.mishaps else None
                if isinstance(mishap, bytes):
                    writer.write(mishap)
                    continue
                answer = await self._asked(request)
                writer.write(mishap(answer) if mishap else answer)
                await writer.drain()
                if mishap:
                    break
        writer.close()

    async def _asked(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        writer.write(request)
        try:
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


@asynccontextmanager
async def between(upstream: int) -> AsyncIterator[Between]:
    one = Between(upstream)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()
