"""Which pages of other origins may ask and read (CORS); one that may not is told so by a problem."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.errors import Problem
from api.ids import new_request_id

EXPOSED = (
    "ETag",
    "Location",
    "Link",
    "Consistency-Token",
    "Consistency",
    "Preference-Applied",
    "Idempotency-Replayed",
    "Request-Id",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "WWW-Authenticate",
)
"""Response headers that a page of another origin may read."""


class Cors(CORSMiddleware):
    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:  # noqa: PLR2004  it may
            return response
        request_id = new_request_id()
        answer = Problem("cors-refused", f"{bytes(response.body).decode()}.").answer(request_id)
        names = {name.decode() for name, _ in answer.headers} | {"content-length"}
        refused = Response(answer.body, answer.status, {"request-id": request_id})
        kept = [(name, value) for name, value in response.raw_headers if name.decode() not in names]
        refused.raw_headers = [*kept, *answer.headers, *refused.raw_headers]
        return refused
