"""HTTP/1.1 as uvicorn speaks it, with limits: on heads, on slow and on too many clients; what goes wrong is a problem.

A request that comes whole in one read, as nearly all do, costs two comparisons. A timer runs only while a client owes
us the rest of one, or does not read what we owe it.
"""

import asyncio
from asyncio import TimerHandle
from collections.abc import Iterable
from typing import Any, Literal, cast

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import Problem
from api.ids import new_request_id
from api.requests import CLOSE, MOST_UNWANTED, check_host
from api.transport import Joined

LARGEST_HEAD = 65_536
"""Bytes of a request line and its headers that are waited for."""


class ClientLimits(msgspec.Struct, frozen=True):
    """What clients may take of the server; times in seconds."""

    head: float = 10.0  # from the first byte of a request, or from connecting, to the end of its headers
    body: float = 30.0  # for a body to come; and to read enough of what waits to be read
    connections: int = 10_000  # more are answered that they are too many; twice as many are not taken


class Http(HttpToolsProtocol):
    """One connection; a WebSocket takes it over."""

    limits = ClientLimits()

    _head = 0  # bytes so far of a head that has not ended
    _unwanted = 0  # bytes of a body whose request is answered
    _whole: object = ()  # the last request that has come whole
    _awaited: tuple[Literal["head", "body"], object] | None = None  # what of which request the timer runs for
    _timer: TimerHandle | None = None
    _joined: Joined

    # What comes

    def connection_made(self, transport: Any) -> None:
        self._joined = Joined(transport, self.loop, self.limits.body)
        super().connection_made(cast(asyncio.Transport, self._joined))
        if len(self.connections) > self.limits.connections:
            self.app = cast(Any, overloaded(cast(ASGIApp, self.app)))
            if len(self.connections) > 2 * self.limits.connections:
                self.transport.abort()
                return
        self._await("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._whole is self.scope:
            if self._timer is not None:
                self._forget()
            self._head = 0
        elif not self.transport.is_closing():
            self._incomplete(len(data))

    def on_message_complete(self) -> None:
        self._whole = self.scope
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._forget()
        self._whole = self.scope
        try:
            check_host(cast(Scope, self.scope), dict(self.headers))
        except Problem as problem:
            self._refuse(problem)
            return
        super().handle_websocket_upgrade()

    def eof_received(self) -> None:
        self._joined.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._joined.unwatch()
        super().connection_lost(exc)

    def _incomplete(self, size: int) -> None:
        """The last request has not come whole."""
        if self.cycle is None or self.cycle.scope is not self.scope:
            self._head += size
            if self._head > LARGEST_HEAD:
                self._refuse(Problem("headers-too-large", f"Request line and headers may have {LARGEST_HEAD} bytes."))
                return
            self._await("head")
            return
        self._head = 0
        self._await("body")
        if self.cycle.response_complete:
            self._unwanted += size
            if self._unwanted > MOST_UNWANTED:
                self.transport.close()

    # Who is slow

    def _await(self, part: Literal["head", "body"]) -> None:
        if self._awaited is None or self._awaited[0] != part or self._awaited[1] is not self.scope:
            self._forget()
            self._awaited = (part, self.scope)
            self._joined.owed = self.scope is not None
            self._timer = self.loop.call_later(getattr(self.limits, part), self._too_slow)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._awaited = None
        self._joined.owed = False

    def _too_slow(self) -> None:
        assert self._awaited is not None
        part, request = self._awaited
        self._forget()
        if self.transport.is_closing():
            return
        if self.flow.read_paused or (part == "head" and self._is_answering()):
            self._await(part)  # it is we who are slow
        elif request is None:
            self.transport.close()  # nothing was asked
        else:
            limit = getattr(self.limits, part)
            self._refuse(Problem("too-slow", f"The {part} of the request did not come within {limit:g} s."))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._joined.watch()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._joined.unwatch()
        super().resume_writing()

    # What is no request

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as if it had not asked for another protocol; whatever comes next is not read."""
        self.cycle.keep_alive = False
        self._forget()
        self._joined.owed = True
        if self.cycle.response_complete:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("bad-request", msg))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_answered(self) -> bool:
        """Whether the last request is, though it has not come whole."""
        cycle = self.cycle
        return cycle is not None and cycle.scope is self.scope is not self._whole and cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Answer and close. What was asked whole before that is answered in its place, and last."""
        if self.transport.is_closing():
            return
        if self._is_answered():
            pass  # it is its body that is wrong
        elif not self._is_answering():
            self._write(problem)
        elif self._whole is self.scope or self.cycle.scope is not self.scope:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        elif self.pipeline:  # it waits for its turn
            cycle, _ = self.pipeline.popleft()
            cycle.keep_alive = False
            self.pipeline.appendleft((cycle, cast(Any, refusing(problem))))
            return
        else:
            self.cycle.disconnected = True  # who waits for the rest of this one's body need not answer any more
            self.cycle.message_event.set()
            if not self.cycle.response_started:
                self._write(problem)
        self._joined.owed = True
        self.transport.close()

    def _write(self, problem: Problem) -> None:
        request_id = new_request_id()
        answer = problem.answer(request_id)
        headers: Iterable[tuple[bytes, bytes]] = [
            *self.server_state.default_headers,
            *answer.headers,
            (b"content-length", b"%d" % len(answer.body)),
            (b"request-id", request_id.encode()),
            CLOSE,
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body]))


def within(limits: ClientLimits) -> type[Http]:
    """The protocol with these limits."""
    return type("Http", (Http,), {"limits": limits})


def overloaded(app: ASGIApp) -> ASGIApp:
    """What a connection gets that is one too many. That the process lives, it is told all the same."""

    too_many = Problem(
        "busy", "Too many connections are open here; try again.", headers=[(b"retry-after", b"2"), CLOSE]
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/livez":
            await app(scope, receive, send)
            return
        await refusing(too_many)(scope, receive, send)

    return answer


def refusing(problem: Problem) -> ASGIApp:
    """What answers every request with the problem."""

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        request_id = new_request_id()
        await problem.answer(request_id).send(send, [(b"request-id", request_id.encode())])

    return answer
