"""Serves HTTP and WebSocket with uvicorn, as a part of a process that has others."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
from starlette.types import ASGIApp

from api.answers import SECURITY_HEADERS
from api.protocol import ClientLimits, within
from api.running import freeze
from api.settings import Settings
from api.websocket import WebSocket

GRACE = 3
"""Seconds that requests under way have to finish when the process is asked to stop."""


class Edge(msgspec.Struct, frozen=True):
    """What is served, and what must be told first that the server ends."""

    app: ASGIApp
    work: tuple[Callable[[], Awaitable[None]], ...] = ()  # beside it, for whoever opens it to run
    closing: tuple[Callable[[], Awaitable[None]], ...] = ()


class Server(uvicorn.Server):
    """uvicorn, but for signals, which are the process's own, and for what is told first that the server ends."""

    def __init__(self, config: uvicorn.Config, edge: Edge) -> None:
        super().__init__(config)
        self._edge = edge

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = [asyncio.ensure_future(close()) for close in self._edge.closing]
        await super().shutdown(sockets)
        await asyncio.gather(*closing)


def client_limits(settings: Settings) -> ClientLimits:
    return ClientLimits(
        settings.header_timeout.total_seconds(), settings.body_timeout.total_seconds(), settings.connections
    )


def http_server(edge: Edge, limits: ClientLimits = ClientLimits()) -> Server:  # noqa: B008  it is frozen
    return Server(
        uvicorn.Config(
            edge.app,
            loop="none",
            http=within(limits),
            ws=WebSocket,
            ws_per_message_deflate=False,
            ws_max_size=1024 * 1024,
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            headers=[(name.decode(), value.decode()) for name, value in SECURITY_HEADERS],
            backlog=4096,
            timeout_graceful_shutdown=GRACE,
        ),
        edge,
    )


async def serve(server: Server, listener: socket.socket, asked: asyncio.Event, drain: float = 0) -> None:
    """Until asked to stop; then, after so many seconds of being served but not ready, what is under way is finished."""
    freeze()
    serving = asyncio.create_task(server.serve([listener]))
    asking = asyncio.create_task(asked.wait())
    await asyncio.wait([serving, asking], return_when=asyncio.FIRST_COMPLETED)
    if drain and asking.done():
        await asyncio.wait([serving], timeout=drain)
    server.should_exit = True
    asking.cancel()
    await serving
