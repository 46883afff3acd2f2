"""The frame of every exchange but the lean commands': a request id, and a problem for whatever goes wrong."""

from http import HTTPStatus
from time import perf_counter
from urllib.parse import unquote_to_bytes

import psycopg
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.errors import PROBLEMS, Problem, unavailable
from api.ids import request_id_from, told_back
from api.metrics import Requests
from api.requests import check_host
from events.log import LogUnavailable

WITHOUT_HEAD = frozenset({"/v1/events"})
"""Streams: they have no end that a head could wait for."""

log = structlog.get_logger()

_BY_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}


def of(error: Exception) -> Problem:
    """The problem that an exception is; one that nobody foresaw is logged here, once."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _http(error)
        case LogUnavailable() | psycopg.OperationalError():
            log.warning("database unavailable", error=str(error))
            return unavailable()
        case _:
            log.error("request failed", exc_info=error)
            return Problem("internal-error", "The error was logged under this request_id.")


def _http(error: HTTPException) -> Problem:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    if error.status_code in _BY_STATUS:
        code = _BY_STATUS[error.status_code]
        return Problem(code, f"{PROBLEMS[code][1]}; /docs lists what there is.", headers=headers)
    title = HTTPStatus(error.status_code).phrase
    return Problem(
        title.lower().replace(" ", "-"), str(error.detail), headers=headers, status_and_title=(error.status_code, title)
    )


def as_response(request: Request, error: Exception) -> Response:
    """The handler that Starlette calls for every exception it knows of."""
    answer = of(error).answer(request.scope["request_id"])
    response = Response(answer.body, answer.status)
    response.raw_headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    return response


class Exchanges:
    """ASGI middleware: gives each request its id, and answers with a problem whatever was not foreseen.

    A route puts headers of its own that belong to every answer, a problem too, into the scope's `told`.
    """

    def __init__(self, app: ASGIApp, requests: Requests | None = None) -> None:
        self._app = app
        self._requests = requests or Requests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and scope["path"] not in WITHOUT_HEAD:
            # RFC 9110, 9.3.2: as GET; the server leaves the content away.
            scope = {**scope, "method": "GET"}
        begun = perf_counter()
        status = 0
        given = dict(scope["headers"])
        request_id = request_id_from(given)
        headers = told_back(given, request_id)
        told: dict[bytes, bytes] = {}
        scope["request_id"], scope["told"] = request_id, told

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers, *told.items()]
            await send(message)

        with bound_contextvars(**{name.decode().replace("-", "_"): value.decode() for name, value in headers}):
            try:
                check_host(scope, given)
                _check_encoding(scope)
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if status:
                    raise
                await of(error).answer(request_id).send(send_with_id)
        self._requests.answered(scope["method"], _route(scope), status, begun)


def _check_encoding(scope: Scope) -> None:
    """Raises a `Problem`: what is not UTF-8 would be taken for another text, with U+FFFD in it."""
    for part in (scope.get("raw_path") or b"", scope["query_string"]):
        if b"%" in part:
            try:
                unquote_to_bytes(part).decode()
            except UnicodeDecodeError:
                raise Problem("bad-request", "The path or the query is not UTF-8.") from None


def _route(scope: Scope) -> str:
    """The path of the route that answered, without what its parameters were."""
    return getattr(scope.get("route"), "path", "none")
