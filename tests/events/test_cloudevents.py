"""A Kafka record holds the whole event, in the form that CloudEvents 1.0 prescribes."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import codec
from events.cloudevents import UnreadableRecord, decode, encode
from events.codec import Row, UnreadableEvent
from events.envelope import Cause, Event, order_stream, product_stream
from events.order import OrderConfirmed
from events.product import StockReceived

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
ORDER = UUID("019577a0-0000-7000-8000-000000000001")
CAUSE = Cause(NOON, "customer-1", "request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
CONFIRMED = OrderConfirmed(NOON)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis adds the zone
events = st.one_of(
    [
        st.builds(kind, at=times, **dict.fromkeys(kind.__struct_fields__[1:], ...))  # optional fields too
        for kind in codec.TYPES.values()
    ]
)
streams = st.one_of(st.uuids().map(order_stream), text.map(product_stream))
causes = st.builds(Cause, time=times, actor=text, request_id=st.none() | text, traceparent=st.none() | text)
numbers = st.integers(1, 2**63 - 1)


def row(event: Event = CONFIRMED, cause: Cause = CAUSE, stream: str = order_stream(ORDER)) -> Row:
    return stream, 17, 4711, codec.event_type(event), codec.encode(event, cause)


@given(streams, numbers, numbers, events, causes)
def test_what_was_encoded_is_decoded(stream: str, version: int, position: int, event: Event, cause: Cause) -> None:
    stored = (stream, version, position, codec.event_type(event), codec.encode(event, cause))

    record = encode(stored)

    assert decode(record.topic, 0, 0, record.key, record.value, record.headers) == codec.decode(stored)


def test_the_headers_are_the_attributes_of_cloudevents() -> None:
    record = encode(row())

    assert record.topic == "orders.events.v1"
    assert record.key == str(ORDER).encode()
    assert record.value == b'{"type":"orderlog.order.confirmed.v1","at":"2026-03-01T12:00:00.250000Z"}'
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"order-019577a0-0000-7000-8000-000000000001/17",
        "ce_type": b"orderlog.order.confirmed.v1",
        "ce_source": b"/orderlog",
        "ce_subject": b"019577a0-0000-7000-8000-000000000001",
        "ce_time": b"2026-03-01T12:00:00.250000Z",
        "ce_sequence": b"17",
        "ce_position": b"4711",
        "ce_dataschema": b"/schemas/orderlog.order.confirmed.v1.json",
        "ce_actor": b"customer-1",
        "ce_requestid": b"request-1",
        "ce_traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "content-type": b"application/json",
    }


def test_a_products_event_goes_to_the_topic_of_products_by_its_sku() -> None:
    record = encode(row(StockReceived(NOON, 5), stream=product_stream("A/B ü")))

    assert (record.topic, record.key) == ("products.events.v1", "A/B ü".encode())


def test_an_event_without_a_request_has_no_header_for_it() -> None:
    record = encode(row(cause=Cause(NOON, "timer")))

    assert {"ce_requestid", "ce_traceparent"}.isdisjoint(dict(record.headers))


def test_the_facts_bytes_pass_through_unchanged() -> None:
    stream, version, position, name, state = row()
    spaced = state.replace(b'"data":{', b'"data":{ "new_field": 1, ')

    assert encode((stream, version, position, name, spaced)).value.startswith(b'{ "new_field": 1, "type"')


@pytest.mark.parametrize(
    ("name", "state", "why"),
    [
        ("orderlog.order.teleported.v1", row()[4], "type 'orderlog.order.teleported.v1' is not known"),
        ("orderlog.order.confirmed.v1", b'{"cause":', "JSON is not a stored event"),
        ("orderlog.order.confirmed.v1", b'{"data":{}}', "JSON is not a stored event"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_stream_version_and_position(name: str, state: bytes, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why) as raised:
        encode(("order-1", 17, 4711, name, state))

    assert str(raised.value).startswith("event 17 of stream 'order-1' (position 4711) cannot be read: ")


@pytest.mark.parametrize(
    ("header", "value", "why"),
    [
        ("ce_specversion", b"0.3", "it is CloudEvents '0.3' where 1.0 is expected"),
        ("ce_specversion", None, "it has no header 'ce_specversion'"),
        ("ce_id", None, "it has no header 'ce_id'"),
        ("ce_id", b"order-1/16", "its ce_id is 'order-1/16', which is not <stream>/17"),
        ("ce_id", b"order-1/17", "its key is '019577a0-0000-7000-8000-000000000001' but its stream is 'order-1'"),
        ("ce_id", b"invoice-1/17", "its stream 'invoice-1' is neither an order's nor a product's"),
        ("ce_id", b"\xff/17", "can't decode byte 0xff"),
        ("ce_sequence", b"-1", "its ce_sequence is '-1', which is not a number from 1"),
        ("ce_position", b"", "its ce_position is '', which is not a number from 1"),
        ("ce_time", b"yesterday", "its ce_time is 'yesterday', which is not an RFC 3339 time with an offset"),
        ("ce_time", b"2026-03-01T12:00:00", "is not an RFC 3339 time with an offset"),
        ("ce_type", b"orderlog.order.teleported.v1", "its type 'orderlog.order.teleported.v1' is not known"),
        ("ce_type", b"orderlog.order.cancelled.v1", "but its value is a 'orderlog.order.confirmed.v1'"),
    ],
)
def test_a_record_with_a_wrong_header_cannot_be_read(header: str, value: bytes | None, why: str) -> None:
    record = encode(row())
    headers = [(name, known) for name, known in record.headers if name != header]
    if value is not None:
        headers.append((header, value))

    with pytest.raises(UnreadableRecord) as raised:
        decode(record.topic, 3, 99, record.key, record.value, headers)

    assert str(raised.value).startswith("record 99 of topic 'orders.events.v1', partition 3, cannot be read: ")
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "it has no value"),
        (b"", "its value is not a orderlog.order.confirmed.v1: Input data was truncated"),
        (b'{"type":"orderlog.order.confirmed.v1"}', "missing required field `at`"),
        (b'{"type":"\xff"}', "its value is not a orderlog.order.confirmed.v1"),
    ],
)
def test_a_record_with_a_broken_value_cannot_be_read(value: bytes | None, why: str) -> None:
    record = encode(row())

    with pytest.raises(UnreadableRecord) as raised:
        decode(record.topic, 3, 99, record.key, value, record.headers)

    assert why in str(raised.value)
    assert (raised.value.topic, raised.value.partition, raised.value.offset) == ("orders.events.v1", 3, 99)
