"""What the routes of the built-in issuer share: the issuer itself, bodies in, and answers that nobody keeps."""

from typing import Annotated, TypeVar

import msgspec
from fastapi import Depends, Request, Response
from pydantic import BaseModel, ValidationError

from api.answers import JSON, Answer, Headers
from api.documented import BEARER, BODY, Codes
from api.errors import Problem, invalid, places
from api.oauth import NOT_KEPT
from api.parts import Identity
from api.requests import Gone, json_object, read_body, single
from api.shapes import encode
from api.views import Given

M = TypeVar("M", bound=BaseModel)

LOOKS: Codes = (*BEARER, "forbidden", "not-found", "invalid-request", "unavailable")
CHANGES: Codes = (*LOOKS, *BODY, "insufficient-scope")
"""The problems of the routes that look at accounts, and of those that change them."""


class Operation(msgspec.Struct, frozen=True):
    """What the framework does not know of a route."""

    answer: type[msgspec.Struct]
    said: type[BaseModel] | None = None
    success: int = 200
    problems: Codes = CHANGES


async def issuer(parts: Given) -> Identity:
    if parts.identity is None:
        raise Problem("not-found", "Tokens and accounts are another issuer's here; ask that one.")
    return parts.identity


Issuer = Annotated[Identity, Depends(issuer)]


async def body(request: Request) -> bytes:
    try:
        return await read_body(request.receive, single(request.headers.raw))
    except Gone:
        return b""  # whatever it is answered, nobody reads it


async def said(request: Request, model: type[M]) -> M:
    """What the body says. Raises a `Problem` that names every place that is wrong."""
    fields = json_object(await body(request), single(request.headers.raw).get(b"content-type"))
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid(places(error)) from None


def kept_by_nobody(content: msgspec.Struct, status: int = 200, location: str | None = None) -> Response:
    headers: Headers = (JSON, *NOT_KEPT)
    if location is not None:
        headers = (*headers, (b"location", location.encode()))
    return sent(Answer(status, headers, encode(content)))


def sent(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    return response
