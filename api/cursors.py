"""Opaque cursors of lists: where the next page begins, signed, and good only for the list that they were given for."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from api.errors import Problem

_SIGNATURE = 16  # bytes

T = TypeVar("T")


class Cursors:
    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, person=b"orderlog-cursor").digest()

    def after(self, listing: tuple[Any, ...], last: Any) -> str:
        """The cursor behind the last item of a page; `listing` is what the list is filtered by."""
        where = msgspec.json.encode(last)
        return urlsafe_b64encode(self._signature(listing, where) + where).rstrip(b"=").decode()

    def read(self, cursor: str, listing: tuple[Any, ...], shape: type[T]) -> T:
        """Raises a `Problem` for a cursor that was tampered with or belongs to another list."""
        try:
            signed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            signed = b""
        signature, where = signed[:_SIGNATURE], signed[_SIGNATURE:]
        if not hmac.compare_digest(signature, self._signature(listing, where)):
            raise Problem(
                "bad-cursor",
                "Give a cursor as next_cursor had it, with the same filters; or none, to begin at the first page.",
            )
        return msgspec.json.decode(where, type=shape)

    def _signature(self, listing: tuple[Any, ...], where: bytes) -> bytes:
        return blake2b(msgspec.json.encode(listing) + b"\0" + where, key=self._key, digest_size=_SIGNATURE).digest()
