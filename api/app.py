"""The HTTP application: the lean command routes in front of FastAPI's reads, and the pages that document both."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp

from api import batch, identity, views
from api.cors import Cors
from api.errors import TYPES, Place, Problem, invalid, pointer, sentence
from api.exchanges import WITHOUT_HEAD, Exchanges, as_response
from api.health import measured
from api.metrics import Requests, exposition
from api.openapi import served
from api.orders import Commands
from api.page import DOCS
from api.parts import Parts
from api.problems import problem_list, problem_page
from api.routes import methods_of

METHODS = {method: method for method in ("GET", "POST", "PUT", "PATCH", "DELETE")} | {"HEAD": "GET"}
"""The methods that a route may have, and as which each is answered."""

PAGE_POLICY = "default-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What our pages may do in a browser: nothing but show themselves and read from here."""


def create_app(parts: Parts, *, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The application on these parts; whoever gives them starts and stops them."""
    requests = Requests()
    edge: ASGIApp = Commands(
        _reads(parts, routes, requests),
        parts.processor,
        parts.tokens,
        requests,
        limits=parts.limits,
        versioned=parts.versioned,
    )
    if parts.cors_origins:
        edge = Cors(edge, parts.cors_origins)
    return edge


def _reads(parts: Parts, routes: Sequence[BaseRoute], requests: Requests) -> FastAPI:
    """All that is not a command, by FastAPI."""
    app = FastAPI(
        title="orderlog", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, routes=list(routes)
    )
    app.state.parts, app.state.requests = parts, requests
    app.include_router(views.router)
    app.include_router(batch.router)
    app.include_router(identity.router)
    described = served()  # now: it takes too long to be made while others wait for their answers

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(described, media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(DOCS, headers={"content-security-policy": PAGE_POLICY})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return measured(await exposition([requests.measure, *parts.sources]))

    app.add_route(TYPES, problem_list, include_in_schema=False)
    app.add_route(f"{TYPES}/{{code}}", problem_page, include_in_schema=False)
    for kind in (HTTPException, RequestValidationError, Problem):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(Exchanges, requests=requests)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """A path that takes another method is not missing; the framework knows one route's methods, and no command's."""
    if isinstance(error, RequestValidationError):
        error = invalid([_parameter(one) for one in error.errors()])
    missed = isinstance(error, HTTPException) and error.status_code in (404, 405)
    if missed and (allowed := methods_of(request.scope) | _read_methods(request)):
        error = HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})
    return as_response(request, error)


def _parameter(error: dict[str, Any]) -> Place:
    where, *path = error["loc"]
    if where == "query":  # which of its values it is, if it has several, says the sentence
        path = path[:1]
    return Place(pointer(path), sentence(error["msg"]), str(where))


def _read_methods(request: Request) -> set[str]:
    asked = [(method, {**request.scope, "method": answered_as}) for method, answered_as in METHODS.items()]
    routes = request.app.routes
    found = {method for method, scope in asked if any(one.matches(scope)[0] is Match.FULL for one in routes)}
    return found - {"HEAD"} if request.url.path in WITHOUT_HEAD else found
