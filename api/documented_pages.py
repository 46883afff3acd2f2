"""What the OpenAPI document says of the pages and of what is measured: routes that answer whoever asks."""

import re
from typing import Any

import msgspec

from api.documented import ANY, PARAMETERS, Codes, responses
from api.documented_headers import told_by_read

Json = dict[str, Any]

_HTML = '<!doctype html>\n<html lang="en">…'
_METRICS = (
    "# HELP orderlog_commands_total Commands by name and what became of them.\n"
    "# TYPE orderlog_commands_total counter\n…"
)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    name: str  # the operation's id
    tag: str = "documentation"
    summary: str
    description: str
    media: str = "text/html"
    example: Json | str = _HTML
    problems: Codes = ANY


PAGES = (
    Page(path="/docs", name="docs", summary="The documentation", description="This document, for people."),
    Page(
        path="/openapi.json",
        name="openapi",
        summary="This document",
        description="OpenAPI 3.1, for tools.",
        media="application/json",
        example={"openapi": "3.1.0"},
    ),
    Page(path="/problems", name="problems", summary="The problems", description="What may go wrong, by status."),
    Page(
        path="/problems/{code}",
        name="problem",
        summary="A problem",
        description="What it means and what to do about it: the `type` of a problem leads here.",
        problems=(*ANY, "not-found"),
    ),
    Page(
        path="/metrics",
        name="metrics",
        tag="health",
        summary="What the process measures",
        description="For Prometheus: commands by name and outcome, answers by route, lag by projection, latencies.",
        media="text/plain",
        example=_METRICS,
    ),
)


def page_paths() -> dict[str, Json]:
    """For the document's paths."""
    return {page.path: {"get": _operation(page)} for page in PAGES}


def _operation(page: Page) -> Json:
    return {
        "operationId": page.name,
        "summary": page.summary,
        "description": page.description,
        "tags": [page.tag],
        "security": [],
        "parameters": [_parameter(name) for name in re.findall(r"{(\w+)}", page.path)],
        "responses": {"200": _answer(page), **responses(page.problems)},
    }


def _answer(page: Page) -> Json:
    kind = "string" if isinstance(page.example, str) else "object"
    content = {"schema": {"type": kind}, "examples": {"example 1": {"value": page.example}}}
    return {"description": "so it is", "headers": told_by_read(page.name), "content": {page.media: content}}


def _parameter(name: str) -> Json:
    told = PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "description": told, "schema": {"type": "string"}}
