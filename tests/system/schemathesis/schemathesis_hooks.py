"""What the document says in words only, for schemathesis, which reads its schemas: valid requests are made so."""

import re
from collections.abc import Callable, MutableMapping
from typing import Any
from unicodedata import category
from urllib.parse import quote, unquote
from uuid import uuid4

import schemathesis
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import CoveragePhaseData

Json = Any

RIGHT = {
    "If-Match": (re.compile('"[0-9]{1,18}"'), '"1"'),
    "consistency-token": (re.compile("c1-[0-9a-f]{1,15}-[0-9a-f]{1,8}"), "c1-1-1"),
}
"""Headers whose pattern needs more than letters and digits: of these, schemathesis 4.32 makes none in its coverage
phase, and sends one that breaks the pattern as a right one. What is sent instead."""


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    """Only of requests that shall be accepted: those that break a rule are sent as they are."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    _mend_headers(case.headers or {}, keep_version=isinstance(case.meta.phase.data, CoveragePhaseData))
    case.path_parameters = {name: _mended_in_path(value) for name, value in (case.path_parameters or {}).items()}
    if isinstance(case.body, dict):
        case.body = body = _mended(case.body)
        if case.operation.definition.raw.get("operationId") == "placeOrder":
            body.setdefault("customer_id", "alice")  # staff must say whose order it is
        _each_once(body, "lines", _line)
        _each_once(body, "prices", lambda price: price.get("currency"))


def _mend_headers(headers: MutableMapping[str, str], *, keep_version: bool) -> None:
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = uuid4().hex  # each request has a key of its own
    if not keep_version:
        headers.pop("If-Match", None)  # no version that is made up fits: with it, nothing would get further
    for name, (form, right) in RIGHT.items():
        if name in headers and not form.fullmatch(str(headers[name])):
            headers[name] = right


def _mended(value: Json) -> Json:
    """JSON Schema calls 1.0 an integer, as we do not, and its patterns do not say which letters Unicode has not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return "".join("0" if category(letter) == "Cn" or _is_far_out(letter) else letter for letter in value)
    if isinstance(value, dict):
        return {_mended(name): _mended(inner) for name, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value


def _mended_in_path(value: Json) -> Json:
    """It comes quoted already."""
    quoted = isinstance(value, str) and "%" in value
    return quote(_mended(unquote(value)), safe="") if quoted else _mended(value)


def _is_far_out(letter: str) -> bool:
    """Beyond what the pattern of printable text says."""
    return letter > "\uffff" and not letter.isprintable()


def _line(line: dict[str, Json]) -> object:
    return line.get("line_id") or (line.get("sku"), str(line.get("unit_price")))


def _each_once(body: dict[str, Json], name: str, key: Callable[[dict[str, Json]], object]) -> None:
    if isinstance(body.get(name), list):
        body[name] = [*{key(one): one for one in body[name]}.values()]
