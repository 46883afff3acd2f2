"""The push over plain HTTP: GET /v1/events is the socket's handler with server-sent events for messages.

A client such as EventSource comes back by itself with the id of the last event, which is its cursor: it misses nothing.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from api.answers import PROBLEM_JSON, Answer
from api.live import Live
from api.requests import single

PATH = "/v1/events"

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a client whose stream has ended comes back."""

_NAME = "events"  # of the one subscription that a stream is

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front shall not gather events
]


class _Told(msgspec.Struct):
    type: str
    cursor: str | None = None
    catching_up: list[str] = []
    problem: msgspec.Raw = msgspec.Raw()


class _Failed(msgspec.Struct):
    status: int


_told = msgspec.json.Decoder(_Told).decode
_failed = msgspec.json.Decoder(_Failed).decode
_json = msgspec.json.Encoder().encode


class Events:
    """The route. Raises a `Problem` for who may not listen; what is wrong with what is wanted is a problem too."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.route = Route(PATH, self, methods=["GET"], name="events")
        assert self.route.methods is not None
        self.route.methods.discard("HEAD")  # a stream has no end that its head could wait for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = await self._live.admitted(single(scope["headers"]).get(b"authorization"))
        if self._live.rate is not None:
            self._live.rate.take(caller.subject, scope["told"])
        stream = _Stream(_wanted(QueryParams(scope["query_string"]), Headers(scope=scope)), receive, send)
        await self._live.listen(caller, stream.receive, stream.send, scope["request_id"], rate=None)


def _wanted(query: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
    """The `subscribe` that the request stands for; the handler finds what is wrong with it."""
    wish = dict(query)
    begin = wish.pop("from", "now")
    token = headers.get("consistency-token")
    return {
        "type": "subscribe",
        "id": _NAME,
        "from": headers.get("last-event-id") or begin,
        "filter": wish,
        **({"consistency_token": token} if token is not None else {}),
    }


class _Stream:
    """Stands for a socket: has said `subscribe`, and what it is told goes out as events."""

    def __init__(self, wanted: dict[str, Any], receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._said: bytes | None = _json(wanted)
        self._begin = wanted["from"]
        self._held: list[tuple[_Told, str]] = []
        """That it is subscribed, until it is known whether that goes well: a stream that has begun has no status."""
        self._begun = False
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        """What the client says, and then that it is gone: by itself, or because there is nothing more to tell it."""
        if self._said is not None:
            text, self._said = self._said.decode(), None
            return {"type": "websocket.receive", "text": text}
        gone = asyncio.ensure_future(self._until_gone())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait([gone, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            over.cancel()
        return {"type": "websocket.disconnect"}

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            await self._end()
            return
        text = message["text"]
        told = _told(text)
        if told.type == "error" and not self._begun:
            await self._refuse(bytes(told.problem))
        elif told.type != "connected" and not self._over.is_set():
            self._held.append((told, text))
            if told.type != "subscribed" or self._begin == "now":
                await self._tell()
            if told.type == "error":
                await self._end()

    async def _tell(self) -> None:
        if not self._begun:
            self._begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._send({"type": "http.response.body", "body": RETRY, "more_body": True})
        frames = "".join(self._frame(told, text) for told, text in self._held)
        self._held.clear()
        await self._send({"type": "http.response.body", "body": frames.encode(), "more_body": True})

    def _frame(self, told: _Told, text: str) -> str:
        name = f"id: {told.cursor}\n" if self._is_place(told) else ""
        return f"{name}event: {told.type}\ndata: {text}\n\n"

    def _is_place(self, told: _Told) -> bool:
        """Whether who goes on from this cursor misses nothing: not of a state that was told in part."""
        if told.cursor is None or told.catching_up:
            return False
        return not (told.type == "subscribed" and self._begin == "snapshot")

    async def _refuse(self, problem: bytes) -> None:
        self._begun = True
        self._over.set()
        status = _failed(problem).status
        later = ((b"retry-after", b"2"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        await Answer(status, (PROBLEM_JSON, *later), problem).send(self._send)

    async def _end(self) -> None:
        if self._begun and not self._over.is_set():
            await self._send({"type": "http.response.body", "body": b""})
        self._over.set()
