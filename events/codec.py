"""Between a fact and its one JSON form. The closed union of facts is the registry: there is no second list."""

from typing import Any, get_args

import msgspec

from events.envelope import Cause, Event, Recorded

Row = tuple[str, int, int, str, bytes]
"""One row of the log: stream, version, position, event type, JSON."""

TYPES: dict[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}
"""Event type, such as orderlog.order.placed.v1, to its class."""

_TAGS: dict[type[Any], str] = {kind: tag for tag, kind in TYPES.items()}


UNKNOWN_TYPE = "its type {!r} is not known to this version of orderlog"


class UnreadableEvent(Exception):
    """A stored event cannot be read."""

    def __init__(self, stream: str, version: int, position: int, why: str) -> None:
        super().__init__(f"event {version} of stream {stream!r} (position {position}) cannot be read: {why}")
        self.stream, self.version, self.position, self.why = stream, version, position, why


class _Stored(msgspec.Struct, frozen=True, gc=False):
    cause: Cause
    data: Event


class RawStored(msgspec.Struct, frozen=True, gc=False):
    """A stored event whose fact is left as the JSON bytes it is."""

    cause: Cause
    data: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode
_decode_raw = msgspec.json.Decoder(RawStored).decode


def event_type(event: Event) -> str:
    """The event's name on the outside: orderlog.order.placed.v1."""
    return _TAGS[type(event)]


def encode(event: Event, cause: Cause) -> bytes:
    return _encode(_Stored(cause, event))


def data(event: Event) -> bytes:
    """The fact alone, as JSON: the value of a topic record."""
    return _encode(event)


def decode(row: Row) -> Recorded:
    """Read one row of the log.

    Raises `UnreadableEvent`, which names stream, version and position, for a type that this code does not know or
    JSON that is not such an event.
    """
    stream, version, position, name, state = row
    try:
        stored = _decode(state)
    except ValueError as error:  # msgspec's errors, and bytes that are not UTF-8
        known = name in TYPES
        why = f"its JSON is not a {name}: {error}" if known else UNKNOWN_TYPE.format(name)
        raise UnreadableEvent(stream, version, position, why) from error
    if name not in TYPES:
        raise UnreadableEvent(stream, version, position, UNKNOWN_TYPE.format(name))
    if _TAGS[type(stored.data)] != name:
        raise UnreadableEvent(
            stream, version, position, f"it is recorded as {name!r} but holds {event_type(stored.data)!r}"
        )
    return Recorded(stream, version, position, stored.data, stored.cause)


def decode_raw(row: Row) -> RawStored:
    """Read one row without decoding the fact. Raises `UnreadableEvent`."""
    stream, version, position, name, state = row
    if name not in TYPES:
        raise UnreadableEvent(stream, version, position, UNKNOWN_TYPE.format(name))
    try:
        return _decode_raw(state)
    except ValueError as error:
        raise UnreadableEvent(stream, version, position, f"its JSON is not a stored event: {error}") from error
