"""Ids that are made or read at the edge: orders, requests, idempotency keys, traces."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from struct import iter_unpack
from uuid import UUID

import msgspec

Headers = Mapping[bytes, bytes]

LONGEST_REQUEST_ID = 128
_TRACEPARENT = re.compile(
    rb"((?!ff)[0-9a-f]{2})(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?", re.DOTALL
)
_OF_VERSION_00 = 55  # characters
_VERSION_AND_VARIANT, _RANDOM_BITS = 0x7000_8000_0000_0000_0000, 0x0FFF_3FFF_FFFF_FFFF_FFFF  # RFC 9562, 5.7
_VISIBLE = bytes(range(0x21, 0x7F))


def _pieces() -> Iterator[bytes]:
    """Sixteen random bytes each, fetched from the system many at a time: a call to it gives up the interpreter's lock.

    For one thread.
    """
    while True:
        for (piece,) in iter_unpack("16s", os.urandom(8192)):
            yield piece


_random = _pieces()


def new_order_id() -> UUID:
    """A UUIDv7 (RFC 9562): ordered by the millisecond it was made in, and not to be guessed."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(next(_random)) & _RANDOM_BITS
    made = milliseconds << 80 | _VERSION_AND_VARIANT | random
    return msgspec.convert(made.to_bytes(16), UUID)  # costs half of what UUID's own constructor does


def is_visible_ascii(value: bytes, longest: int) -> bool:
    return 0 < len(value) <= longest and not value.translate(None, _VISIBLE)


def request_id_from(headers: Headers) -> str:
    """The request's own id where it has a usable one, or a new one."""
    given = headers.get(b"request-id")
    if given is not None and is_visible_ascii(given, LONGEST_REQUEST_ID):
        return given.decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    return next(_random).hex()


def traceparent_from(headers: Headers, request_id: str) -> str | None:
    """W3C Trace Context, as its version 00 has it; where none is given, none is made up.

    One that is not valid gives way to a new trace, as the standard asks (3.3): of this request, and not recorded here.
    """
    given = headers.get(b"traceparent")
    if given is None:
        return None
    return _traceparent(given) or _traceparent_of(request_id)


def _traceparent(given: bytes) -> str | None:
    """What version 00 knows of it: a later one may have more behind it (W3C Trace Context, 3.2.4)."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None or (found[1] == b"00" and len(given) > _OF_VERSION_00):
        return None
    return "00" + found[2].decode("ascii")


def _traceparent_of(request_id: str) -> str:
    made = blake2b(request_id.encode(), digest_size=24, person=b"traceparent").hexdigest()
    return f"00-{made[:32]}-{made[32:]}-00"


def told_back(headers: Headers, request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers by which an answer is found again: in the log lines, in the history, in a trace."""
    mine = (b"request-id", request_id.encode())
    trace = traceparent_from(headers, request_id)
    return (mine, (b"traceparent", trace.encode())) if trace is not None else (mine,)


def stored_key(subject: str, key: bytes) -> str:
    """What an Idempotency-Key is kept under: each caller has keys of its own. A UUID in hexadecimal."""
    return _hashed(subject.encode() + b"\0" + key)


def fingerprint(method: str, path: str, body: bytes) -> str:
    """What makes two requests the same request. A UUID in hexadecimal."""
    return _hashed(f"{method} {path}\0".encode() + body)


_HASH = blake2b(digest_size=16)


def _hashed(text: bytes) -> str:
    made = _HASH.copy()  # costs less than to begin one of another size than usual
    made.update(text)
    return made.hexdigest()
