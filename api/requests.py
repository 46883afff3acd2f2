"""What a command's HTTP request carries, read and checked: body, idempotency key, expected version."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from api.errors import Place, Problem, invalid, pointer
from api.ids import is_visible_ascii

LARGEST_BODY = 1_048_576
MOST_UNWANTED = 32 * LARGEST_BODY
"""So much of a body that nobody wants is read and dropped, so that the sender gets to read the answer."""

LONGEST_KEY = 255
LONGEST_HOST = 300  # with its port; a name of the DNS has 253
LONGEST_NUMBER = 40
"""Characters. Numbers of more digits have no use in an order, and cost time to read."""

CLOSE = (b"connection", b"close")

Headers = Mapping[bytes, bytes]

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|([\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(:\d*)?")
"""RFC 3986, 3.2.2 and 3.2.3; it may be empty."""

_ONCE = (
    b"host", b"authorization", b"idempotency-key", b"if-match", b"content-type", b"content-length", b"content-encoding",
    b"consistency-token",
)  # fmt: skip

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Gone(Exception):
    """The client hung up before its request was whole."""


def single(given: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name. Raises a `Problem` when one that decides something is there twice."""
    headers = dict(given)
    check_once(given, headers)
    return headers


def check_once(given: list[tuple[bytes, bytes]], headers: Headers, wanted: tuple[bytes, ...] = _ONCE) -> None:
    """Raises a `Problem` when a header that decides something is there twice; `headers` are those given, by name."""
    if len(headers) < len(given):
        names = [name for name, _ in given]
        for name in wanted:
            if names.count(name) > 1:
                raise Problem("bad-header", f"The header {name.decode().title()} is there more than once; send one.")


def check_host(scope: Scope, headers: Headers) -> None:
    """Raises a `Problem` unless the request says once, and as a host is written, for which it is (RFC 9112, 3.2).

    Nothing is decided by it here; but whoever stands before us may decide by it, and understand something else.
    HTTP/1.0 knew no Host.
    """
    host = headers.get(b"host")
    if not _is_host(host):
        _refuse_host(host, scope["http_version"])
    check_once(scope["headers"], headers, (b"host",))


@lru_cache(100)
def _is_host(value: bytes | None) -> bool:
    return value is not None and len(value) <= LONGEST_HOST and _HOST.fullmatch(value) is not None


def _refuse_host(host: bytes | None, http_version: str) -> None:
    if host is not None:
        raise Problem(
            "bad-header", "The header Host must be a host, with or without a port, such as orders.example:80."
        )
    if http_version != "1.0":
        raise Problem("bad-header", "Send the header Host, such as Host: orders.example (RFC 9112, 3.2).")


async def read_body(receive: Receive, headers: Headers) -> bytes:
    """The whole body, as it was sent. Raises `Gone`, or a `Problem`.

    It may have a mebibyte, however long it says it is, and must not be compressed.
    """
    if (encoding := headers.get(b"content-encoding", b"identity")) != b"identity":
        raise _encoded(encoding)
    declared = headers.get(b"content-length")
    if declared is not None and int(declared) > LARGEST_BODY:
        if b"expect" not in headers and int(declared) <= MOST_UNWANTED:
            await _drain(receive, 0)
        raise _too_large()
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= LARGEST_BODY:
        return body
    return await _rest_of_body(receive, message)


async def _rest_of_body(receive: Receive, message: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            if message.get("more_body"):
                await _drain(receive, size)
            raise _too_large()
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone


async def _drain(receive: Receive, size: int) -> None:
    more = True
    while more and size <= MOST_UNWANTED:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def _encoded(encoding: bytes) -> Problem:
    accepted = [(b"accept-encoding", b"identity"), CLOSE]  # RFC 9110, 15.5.16
    detail = f"The body is sent as {encoding.decode('latin-1')!r}; send it as it is, without Content-Encoding."
    return Problem("unsupported-media-type", detail, headers=accepted)


def _too_large() -> Problem:
    return Problem("too-large", f"The body may have {LARGEST_BODY} bytes at most.", headers=[CLOSE])


# The body as JSON --------------------------------------------------------------------------------------------


def json_object(body: bytes, content_type: bytes | None) -> dict[str, Any]:
    """The fields of a body; an empty body has none. Raises a `Problem` that says what is not JSON, and where."""
    if not body:
        return {}
    if content_type != b"application/json":
        _check_content_type(content_type)
    try:
        fields = _decode(body)
    except msgspec.ValidationError:  # JSON, but a number is out of range
        raise _out_of_range(body) from None
    except UnicodeDecodeError as error:
        raise Problem("not-json", f"The body is not UTF-8: {error.reason}.") from None
    except msgspec.DecodeError as error:
        raise Problem("not-json", f"{error}.") from None
    except RecursionError:
        raise _too_deep() from None
    if type(fields) is not dict:
        raise Problem("not-json", "The body must be a JSON object, such as {}.")
    try:
        if _encode(fields).count(b":") != body.count(b":") or (b"\\" in body and b"\\u003" in body):
            _check_names(body)
    except RecursionError:
        raise _too_deep() from None
    return fields


def _check_names(body: bytes) -> None:
    """Read the body again, slowly: each name may be in an object once (RFC 8259, 4). Raises a `Problem`.

    Only where that may be so: a name that was read twice and kept once has taken a colon with it.
    """
    repeated: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in fields if names.count(name) > 1)
        return fields

    json.loads(body, object_pairs_hook=once, parse_int=len, parse_float=len)
    if repeated:
        raise invalid([Place("", f"has the name {name!r} twice in one object") for name in repeated])


def _check_content_type(content_type: bytes | None) -> None:
    kind, *parameters = (part.strip().lower() for part in (content_type or b"").split(b";"))
    charsets = [parameter for parameter in parameters if parameter.startswith(b"charset=")]
    if kind != b"application/json" or any(one.replace(b'"', b"") != b"charset=utf-8" for one in charsets):
        raise Problem("unsupported-media-type", "Send JSON in UTF-8, with the header Content-Type: application/json.")


def _too_deep() -> Problem:
    return Problem("not-json", "The body is nested too deeply; no command needs more than four levels.")


class _OutOfRange:
    """Stands where a number stood that nobody can use."""


def _out_of_range(body: bytes) -> Problem:
    """Read the body again, slowly, to say where the numbers stand that are out of range."""
    try:
        fields = json.loads(body, parse_int=_bounded(int), parse_float=_bounded(float))
    except RecursionError:
        return _too_deep()
    except ValueError as error:
        return Problem("not-json", f"{error}.")
    found = [Place(pointer(path), "is a number out of range") for path in _marked(fields)]
    return invalid(found or [Place("", "holds a number out of range")])


def _bounded(read: Callable[[str], float]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if len(text) > LONGEST_NUMBER:
            return _OutOfRange()
        value = read(text)
        return _OutOfRange() if value in (float("inf"), float("-inf")) else value

    return number


def _marked(fields: Any) -> Iterator[tuple[int | str, ...]]:
    waiting: deque[tuple[tuple[int | str, ...], Any]] = deque([((), fields)])
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, _OutOfRange):
            yield path
        elif isinstance(value, dict):
            waiting += [((*path, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, number), inner) for number, inner in enumerate(value)]


# Headers -----------------------------------------------------------------------------------------------------


def idempotency_key(headers: Headers, *, needed: bool) -> bytes | None:
    """The Idempotency-Key. Raises a `Problem` when it is missing where it is needed, or not usable."""
    key = headers.get(b"idempotency-key")
    if key is None:
        if needed:
            raise Problem(
                "idempotency-key-missing",
                "Send the header Idempotency-Key: a text of your own, the same when you try again, such as a UUID.",
            )
        return None
    if not is_visible_ascii(key, LONGEST_KEY):
        raise Problem(
            "bad-header", f"The Idempotency-Key must have 1 to {LONGEST_KEY} visible ASCII characters, and no space."
        )
    return key


def expected_version(headers: Headers) -> int | None:
    """The version that If-Match names; None when it names none. Raises a `Problem`."""
    tag = headers.get(b"if-match")
    if tag is None or tag == b"*":
        return None
    digits = tag[1:-1]
    if tag[:1] + tag[-1:] != b'""' or not digits.isdigit() or len(digits) > 18:  # noqa: PLR2004  fits 64 bits
        raise Problem("bad-header", 'If-Match must be one ETag as an answer had it, such as "17".')
    return int(digits)
