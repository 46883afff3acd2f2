"""Ids that are made or read at the edge: orders, requests, idempotency keys, traces."""

import os
import re
import time
from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID

Headers = Mapping[bytes, bytes]

LONGEST_REQUEST_ID = 128
_TRACEPARENT = re.compile(
    rb"((?!ff)[0-9a-f]{2})(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?", re.DOTALL
)
_OF_VERSION_00 = 55  # characters
_VISIBLE = bytes(range(0x21, 0x7F))


class _Random:
    """Random bytes for ids, fetched from the system many at a time: each call to it gives up the interpreter's lock."""

    def __init__(self) -> None:
        self._bytes, self._used = b"", 0

    def __call__(self, count: int) -> bytes:
        if self._used + count > len(self._bytes):
            self._bytes, self._used = os.urandom(8192), 0
        self._used += count
        return self._bytes[self._used - count : self._used]


_random = _Random()


def new_order_id() -> UUID:
    """A UUIDv7 (RFC 9562): ordered by the millisecond it was made in, and not to be guessed."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random(10))
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0x2 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    )


def is_visible_ascii(value: bytes, longest: int) -> bool:
    return 0 < len(value) <= longest and not value.translate(None, _VISIBLE)


def request_id_from(headers: Headers) -> str:
    """The request's own id where it has a usable one, or a new one."""
    given = headers.get(b"request-id")
    if given is not None and is_visible_ascii(given, LONGEST_REQUEST_ID):
        return given.decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    return _random(16).hex()


def traceparent_from(headers: Headers) -> str | None:
    """W3C Trace Context, as its version 00 has it; one that is not valid is left out, as the standard asks."""
    given = headers.get(b"traceparent")
    return _traceparent(given) if given is not None else None


def _traceparent(given: bytes) -> str | None:
    """What version 00 knows of it: a later one may have more behind it (W3C Trace Context, 3.2.4)."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None or (found[1] == b"00" and len(given) > _OF_VERSION_00):
        return None
    return "00" + found[2].decode("ascii")


def told_back(headers: Headers, request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers by which an answer is found again: in the log lines, in the history, in a trace."""
    mine = (b"request-id", request_id.encode())
    trace = traceparent_from(headers)
    return (mine, (b"traceparent", trace.encode())) if trace is not None else (mine,)


def stored_key(subject: str, key: bytes) -> str:
    """What an Idempotency-Key is kept under: each caller has keys of its own. A UUID in hexadecimal."""
    return blake2b(subject.encode() + b"\0" + key, digest_size=16).hexdigest()


def fingerprint(method: str, path: str, body: bytes) -> str:
    """What makes two requests the same request. A UUID in hexadecimal."""
    return blake2b(f"{method} {path}\0".encode() + body, digest_size=16).hexdigest()
