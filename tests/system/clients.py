"""Clients of an installation: one caller over HTTP, one listener on a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
from websockets import ClientConnection, Subprotocol, connect

Json = dict[str, Any]

PATIENCE = 20.0
"""Seconds until a read model or a push must have come."""


class Caller:
    """Who holds a token, at one address."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self._token = url, token
        self.http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=20)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def post(self, path: str, body: Json, *, key: str | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers={"idempotency-key": key or uuid4().hex})

    async def asked(self, path: str, body: Json) -> Json:
        """POST what must be accepted; the state that it led to."""
        return _accepted(await self.post(path, body))

    async def put(self, path: str, body: Json) -> Json:
        return _accepted(await self.http.put(path, json=body))

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self.http.get(path, params=query)

    async def read(self, path: str, **query: str) -> Json:
        return _accepted(await self.get(path, **query))

    async def sees(self, path: str, so: Callable[[Json], bool], **query: str) -> Json:
        """GET until it is so: a read model is a moment behind."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            answer = await self.get(path, **query)
            if answer.status_code == httpx.codes.OK and so(answer.json()):
                return _accepted(answer)
            assert asyncio.get_running_loop().time() < deadline, answer.text
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def listening(self, begin: str = "now", **wanted: str) -> AsyncIterator["Listener"]:
        """A WebSocket that is told each change from now on, or from a cursor."""
        address = self.url.replace("http", "ws", 1) + "/v1/live"
        headers = [("Authorization", f"Bearer {self._token}")]
        async with connect(
            address, subprotocols=[Subprotocol("orderlog.v1")], additional_headers=headers, proxy=None
        ) as socket:
            listener = Listener(socket)
            await listener.hears("connected")
            await socket.send(json.dumps({"type": "subscribe", "id": "all", "filter": wanted, "from": begin}))
            listener.cursor = (await listener.hears("subscribed"))["cursor"]
            yield listener


class Listener:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.cursor = ""

    async def hears(self, kind: str = "event", within: float = PATIENCE) -> Json:
        """The next message, which must be of this kind; heartbeats aside."""
        while True:
            message: Json = json.loads(await asyncio.wait_for(self.socket.recv(), within))
            if message["type"] != "heartbeat":
                assert message["type"] == kind, message
                return message

    async def hears_nothing(self, seconds: float = 0.5) -> None:
        try:
            message = await self.hears(within=seconds)
        except TimeoutError:
            return
        raise AssertionError(message)


def eur(amount: int) -> Json:
    return {"amount": amount, "currency": "EUR"}


def _accepted(answer: httpx.Response) -> Json:
    assert answer.is_success, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    content: Json = answer.json()
    return content
