"""Between an event and its Kafka record: CloudEvents 1.0, binary mode.

The value is the fact's JSON, byte for byte as the log keeps it; everything else about the event rides in the headers.
Sources: the CloudEvents specification 1.0.2 and its Kafka protocol binding, section 3.2.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec

from events import codec
from events.codec import Row
from events.envelope import Cause, Event, Kind, Recorded, key_of, kind_of

TOPICS: dict[Kind, str] = {"order": "orders.events.v1", "product": "products.events.v1"}
"""What a stream is about to the topic of its events; the record's key is the order id or the SKU."""

SOURCE = b"/orderlog"

Headers = Iterable[tuple[str, bytes]]


class Record(msgspec.Struct, frozen=True, gc=False):
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class UnreadableRecord(Exception):
    """A record of an event topic cannot be read."""

    def __init__(self, topic: str, partition: int, offset: int, why: str) -> None:
        super().__init__(f"record {offset} of topic {topic!r}, partition {partition}, cannot be read: {why}")
        self.topic, self.partition, self.offset, self.why = topic, partition, offset, why


def encode(row: Row) -> Record:
    """The record of one row of the log. Raises `UnreadableEvent`, which names stream, version and position."""
    stream, version, position, name, _ = row
    stored = codec.decode_raw(row)
    cause = stored.cause
    key = key_of(stream).encode()
    sequence = b"%d" % version
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"%s/%s" % (stream.encode(), sequence)),
        ("ce_type", name.encode()),
        ("ce_source", SOURCE),
        ("ce_subject", key),
        ("ce_time", _timestamp(cause.time)),
        ("ce_sequence", sequence),
        ("ce_position", b"%d" % position),
        ("ce_dataschema", b"/schemas/%s.json" % name.encode()),
        ("ce_actor", cause.actor.encode()),
        ("content-type", b"application/json"),
    ]
    if cause.request_id is not None:
        headers.append(("ce_requestid", cause.request_id.encode()))
    if cause.traceparent is not None:
        headers.append(("ce_traceparent", cause.traceparent.encode()))
    return Record(TOPICS[kind_of(stream)], key, bytes(stored.data), headers)


def decode(  # noqa: PLR0917  what a Kafka record consists of, in its order
    topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, headers: Headers
) -> Recorded:
    """Read one record of an event topic.

    Raises `UnreadableRecord`, which names topic, partition and offset, and says what is wrong.
    """
    try:
        return _recorded(dict(headers), key, value)
    except KeyError as missing:
        raise UnreadableRecord(topic, partition, offset, f"it has no header {missing.args[0]!r}") from missing
    except ValueError as error:
        raise UnreadableRecord(topic, partition, offset, str(error)) from error


def _recorded(headers: dict[str, bytes], key: bytes | None, value: bytes | None) -> Recorded:
    """Raises KeyError for a missing header, ValueError for a wrong one."""
    if (spec := headers["ce_specversion"]) != b"1.0":
        raise ValueError(f"it is CloudEvents {_text(spec)!r} where 1.0 is expected")
    version = _number(headers, "ce_sequence")
    return Recorded(
        _stream(headers, key, version),
        version,
        _number(headers, "ce_position"),
        _event(headers, value),
        Cause(
            _time(headers["ce_time"]),
            headers["ce_actor"].decode(),
            _optional(headers, "ce_requestid"),
            _optional(headers, "ce_traceparent"),
        ),
    )


def _stream(headers: dict[str, bytes], key: bytes | None, version: int) -> str:
    stream, slash, sequence = headers["ce_id"].decode().rpartition("/")
    if not slash or sequence != str(version):
        raise ValueError(f"its ce_id is {_text(headers['ce_id'])!r}, which is not <stream>/{version}")
    if not stream.startswith(("order-", "product-")):
        raise ValueError(f"its stream {stream!r} is neither an order's nor a product's")
    if key is None or key_of(stream).encode() != key:
        raise ValueError(f"its key is {_text(key)!r} but its stream is {stream!r}")
    return stream


def _event(headers: dict[str, bytes], value: bytes | None) -> Event:
    name = headers["ce_type"].decode()
    if name not in codec.TYPES:
        raise ValueError(f"its type {name!r} is not known to this version of orderlog")
    if value is None:
        raise ValueError("it has no value")
    try:
        event = _EVENT.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"its value is not a {name}: {error}") from error
    if codec.event_type(event) != name:
        raise ValueError(f"its ce_type is {name!r} but its value is a {codec.event_type(event)!r}")
    return event


_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_TIME: msgspec.json.Decoder[datetime] = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)])
_encode_time = msgspec.json.Encoder().encode


def _timestamp(time: datetime) -> bytes:
    """RFC 3339, as `ce_time` must be."""
    return _encode_time(time)[1:-1]


def _time(timestamp: bytes) -> datetime:
    try:
        return _TIME.decode(b'"%s"' % timestamp)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"its ce_time is {_text(timestamp)!r}, which is not an RFC 3339 time with an offset"
        ) from error


def _number(headers: dict[str, bytes], name: str) -> int:
    digits = headers[name]
    if not digits.isdigit() or digits.startswith(b"0"):
        raise ValueError(f"its {name} is {_text(digits)!r}, which is not a number from 1")
    return int(digits)


def _optional(headers: dict[str, bytes], name: str) -> str | None:
    return headers[name].decode() if name in headers else None


def _text(received: bytes | None) -> str | None:
    return None if received is None else received.decode(errors="replace")
