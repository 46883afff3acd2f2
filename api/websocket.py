"""WebSockets as uvicorn speaks them; a handshake that is refused is answered a problem."""

import asyncio
import logging
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.server import ServerProtocol

from api.answers import SECURITY_HEADERS
from api.errors import Problem
from api.ids import new_request_id
from api.transport import Joined

_NO_ROUTE = (403, "")
"""What uvicorn refuses with when the application closes a WebSocket that it has not accepted."""


_NO_HANDSHAKE = "A WebSocket begins with a GET without a body (RFC 6455, 4.1)."


def _problem(status: HTTPStatus, text: str) -> Problem:
    if (status, text) == _NO_ROUTE:
        return Problem("not-found", "No WebSocket is spoken here; /v1/live does.")
    code = status.phrase.lower().replace(" ", "-")
    return Problem(code, text.partition("\n")[0], status_and_title=(status.value, status.phrase))


class _Handshake(ServerProtocol):
    def reject(self, status: Any, text: str) -> Response:
        problem = _problem(HTTPStatus(status), text)
        request_id = new_request_id()
        answer = problem.answer(request_id)
        told = [*SECURITY_HEADERS, *answer.headers, (b"request-id", request_id.encode()), (b"connection", b"close")]
        headers = Headers([(name.decode(), value.decode()) for name, value in told])
        headers["Content-Length"] = str(len(answer.body))
        return Response(answer.status, HTTPStatus(answer.status).phrase, headers, answer.body)


class WebSocket(WebSocketsSansIOProtocol):
    """One connection, from the handshake on."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error"))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # but its head has come whole: it is no handshake, or has too many headers
            refusal = b"".join(self.conn.data_to_send())
            self.transport.write(refusal or self.conn.reject(HTTPStatus.BAD_REQUEST, _NO_HANDSHAKE).serialize())
            cast(Joined, self.transport).owed = True  # such as the rest of its body
            self.transport.close()

    def eof_received(self) -> None:
        cast(Joined, self.transport).end()


async def refuse(scope: Scope, send: Send, problem: Problem, request_id: str) -> None:
    """Refuse the handshake with the problem; a server that cannot send one refuses with 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return

    async def as_denial(message: MutableMapping[str, Any]) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await problem.answer(request_id).send(as_denial, [*SECURITY_HEADERS, (b"request-id", request_id.encode())])
    await asyncio.sleep(0)  # uvicorn takes the handshake for unfinished, and logs an error, until its socket is closed
