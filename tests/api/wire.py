"""Our own server on a port, and connections on which bytes are written by hand."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api.app import create_app
from api.protocol import ClientLimits
from api.serving import Edge as Served
from api.serving import http_server
from tests.api.edge import ALICE, Edge

PATIENCE = 30.0
"""Seconds, on a machine that is busy with other things."""

NEXT = b"GET /livez HTTP/1.1\r\nHost: orderlog\r\nConnection: close\r\n\r\n"


class Answer:
    """One answer as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        self.body = body

    def header(self, name: str) -> str | None:
        values = [value for one, value in self.headers if one == name]
        assert len(values) < 2, f"{name} is there twice"
        return values[0] if values else None

    @property
    def problem(self) -> Any:
        assert self.header("content-type") == "application/problem+json", self.body
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """What the server does not take any more is not sent."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def answer(self) -> Answer | None:
        """The next answer; None when the connection is closed instead."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            answer = Answer(head.removesuffix(b"\r\n\r\n"), b"")
            answer.body = await self.reader.readexactly(int(answer.header("content-length") or 0))
            return answer

    async def closed(self) -> None:
        """Wait until the server has closed it."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass


class Port(int):
    """Where the server listens, as a number; `token` is alice's header."""

    token = b""

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self)
        try:
            yield Wire(reader, writer)
        finally:
            writer.transport.abort()

    async def one(self, data: bytes) -> Answer | None:
        """The first answer to some bytes on a connection of their own."""
        async with self.wire() as wire:
            await wire.send(data)
            return await wire.answer()

    async def serves(self) -> bool:
        """Whether the next request is served."""
        answer = await self.one(NEXT)
        return answer is not None and answer.status == 200

    def request(self, first: bytes, *headers: bytes, body: bytes | None = None) -> bytes:
        """A request of alice's."""
        length = [b"Content-Length: %d" % len(body)] if body is not None else []
        lines = [first, b"Host: orderlog", self.token, *headers, *length]
        return b"\r\n".join([*lines, b"", body or b""])

    def order(self, *headers: bytes, body: bytes | None = None) -> bytes:
        return self.request(b"POST /v1/orders HTTP/1.1", b"Idempotency-Key: k", JSON, *headers, body=body)


JSON = b"Content-Type: application/json"


@asynccontextmanager
async def serving(edge: Edge, limits: ClientLimits | None = None, *, sends: int | None = None) -> AsyncIterator[Port]:
    """With `sends`, the system takes at most about so many bytes from the server that a client has not read."""
    with socket.socket() as listening:
        if sends is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sends)
        listening.bind(("127.0.0.1", 0))
        server = http_server(Served(create_app(edge.parts)), limits or ClientLimits())
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  the server offers no event to wait for
            await asyncio.sleep(0.01)
        port = Port(listening.getsockname()[1])
        port.token = f"Authorization: {edge.bearer(ALICE)['authorization']}".encode()
        yield port
        server.should_exit = True
        await running
