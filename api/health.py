"""Whether a process lives, whether its parts are ready, and what it measures: for whoever operates it."""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
import psycopg
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from api.errors import Problem
from api.exchanges import Exchanges, as_response
from api.metrics import CONTENT_TYPE, Source, exposition
from api.operating import Check

CHECKED_WITHIN = 2.0  # seconds

log = structlog.get_logger()

_json = msgspec.json.Encoder().encode


class Health(msgspec.Struct, frozen=True):
    """What a part has to say, by its name; empty when all is well."""

    status: str
    parts: dict[str, str] = {}


async def readiness(checks: Mapping[str, Check], notes: Mapping[str, Check]) -> Health:
    """That every part is ready, with what is worth a note. Raises a `Problem` that names the parts that are not."""
    waiting, told = await asyncio.gather(_reasons(checks), _reasons(notes))
    if waiting:
        parts = told | waiting
        raise Problem("not-ready", f"Not ready: {', '.join(waiting)}.", headers=[(b"retry-after", b"1")], parts=parts)
    return Health("ready", told)


async def _reasons(checks: Mapping[str, Check]) -> dict[str, str]:
    reasons = await asyncio.gather(*(_reason(name, check) for name, check in checks.items()))
    return {name: reason for name, reason in zip(checks, reasons, strict=True) if reason is not None}


async def _reason(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECKED_WITHIN):
            return await check()
    except TimeoutError:
        return f"did not answer within {CHECKED_WITHIN:g} s"
    except psycopg.Error as error:  # a pool that has no connection to give says so in an error of this kind too
        return f"the database does not answer: {error}"
    except Exception as error:
        log.exception("readiness check failed", part=name)
        return type(error).__name__


def measured(text: bytes) -> Response:
    return Response(text, headers={"content-type": CONTENT_TYPE.decode(), "cache-control": "no-store"})


def health(checks: Mapping[str, Check], sources: Iterable[Source]) -> ASGIApp:
    """/livez, /readyz and /metrics for a part that has no other HTTP."""
    sources = list(sources)

    async def livez(_: Request) -> Response:
        return Response(_json(Health("ok")), media_type="application/json")

    async def readyz(_: Request) -> Response:
        return Response(_json(await readiness(checks, {})), media_type="application/json")

    async def metrics(_: Request) -> Response:
        return measured(await exposition(sources))

    app = Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)],
        exception_handlers={HTTPException: as_response, Problem: as_response},
    )
    return Exchanges(app)
