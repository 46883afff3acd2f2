"""What a long stream came to, kept so that loading it reads only what happened since.

A snapshot can always be thrown away: it is taken for as good as the stream only by code whose states have the same
shape. Whoever changes what `evolve` makes of an old fact, without changing a shape, raises `EDITION`.
"""

from hashlib import blake2b

import msgspec

from commands.order import Order
from commands.product import Product
from events.envelope import kind_of

EVERY = 500
"""A stream is kept when it has grown by so many events: the most that are folded when it is loaded."""

EDITION = 1

_KINDS: dict[str, type[Order | Product]] = {"order": Order, "product": Product}


def _shape() -> str:
    schemas = msgspec.json.encode([EDITION, *(msgspec.json.schema(kind) for kind in _KINDS.values())])
    return blake2b(schemas, digest_size=8).hexdigest()


SHAPE = _shape()
"""Names the states' fields and their types: other code does not take its snapshots for ours."""

_encode = msgspec.json.Encoder().encode
_decoders = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}


def are_due(before: int, version: int) -> bool:
    """Whether a stream that grew from one version to another is to be kept."""
    return version // EVERY > before // EVERY


def encode(state: Order | Product) -> bytes:
    return _encode(state)


def decode(stream: str, state: bytes) -> Order | Product:
    """Raises `ValueError` for what is none."""
    return _decoders[kind_of(stream)].decode(state)
