"""Whatever is sent: a problem of 4xx that names each place, and nothing in the log."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.edge import ALICE, STAFF, Edge, an_order, eur

LINE = {"sku": "POSTER", "quantity": 1}

NOT_JSON: dict[str, bytes] = {
    "broken": b'{"currency": "EUR", ',
    "no object": b'["EUR"]',
    "a null": b"null",
    "two values": b"{} {}",
    "no UTF-8": b'{"currency": "\xff"}',
    "half a surrogate": b'{"email": "\\ud800 and more"}',
    "not a number": b'{"currency": NaN}',
    "a nested bomb": b"[" * 200_000,
    "a nested bomb that ends": b'{"lines": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a nested bomb behind a huge number": b'{"a": 1e400, "lines": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


def lines_of(**fields: Any) -> dict[str, Any]:
    return an_order(lines=[LINE, LINE | fields])


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["/currency", "/lines"]),
    "wrong types": (
        an_order(currency=7, lines="POSTER", metadata=[], email=1),
        ["/currency", "/lines", "/email", "/metadata"],
    ),
    "unknown fields": (
        an_order(colour="red", lines=[LINE | {"a/b~c": 1}], shipping_address={"planet": "Mars"}),
        [
            *("/lines/0/a~1b~0c", "/shipping_address/name", "/shipping_address/line1", "/shipping_address/city"),
            *("/shipping_address/country", "/shipping_address/planet", "/colour"),
        ],
    ),
    "the time": (an_order(at="2026-01-01T00:00:00Z"), ["/at"]),
    "the time and more": (an_order(at=1, currency="EURO"), ["/at", "/currency"]),
    "no lines": (an_order(lines=[]), ["/lines"]),
    "10,001 lines": (an_order(lines=[LINE] * 10_001), ["/lines"]),
    "a quantity of text": (lines_of(quantity="1"), ["/lines/1/quantity"]),
    "a quantity of a fraction": (lines_of(quantity=1.0), ["/lines/1/quantity"]),
    "a quantity of a boolean": (lines_of(quantity=True), ["/lines/1/quantity"]),
    "a quantity of nothing": (lines_of(quantity=0), ["/lines/1/quantity"]),
    "a quantity of 30 digits": (lines_of(quantity=10**30), ["/lines/1/quantity"]),
    "an amount below zero": (an_order(discount=eur(-1)), ["/discount/amount"]),
    "an amount too large": (an_order(discount=eur(10**13)), ["/discount/amount"]),
    "an unknown currency": (an_order(currency="EUX"), ["/currency"]),
    "a country that is none": (an_order(shipping_address={"country": "Mars"}), []),
    "an order id that is none": (an_order(order_id="mine"), ["/order_id"]),
    "NUL in a SKU": (lines_of(sku="A\0B"), ["/lines/1/sku"]),
    "NUL in a text": (an_order(payment_method="a\0"), ["/payment_method"]),
    "NUL in an email": (an_order(email="a\0@b"), ["/email"]),
    "NUL in metadata": (an_order(metadata={"a\0": "x", "b": "y\0"}), ["/metadata/a\0", "/metadata/b"]),
    "NUL in a field's name": (an_order(**{"a\0": 1}), ["/a\0"]),
    "a line break in a SKU": (lines_of(sku="A\nB"), ["/lines/1/sku"]),
    "a text too long": (an_order(payment_method="x" * 201), ["/payment_method"]),
}

OUT_OF_RANGE: dict[str, tuple[bytes, list[str]]] = {
    "1e400": (b'{"discount": {"amount": 1e400}}', ["/discount/amount"]),
    "5,000 digits": (b'{"lines": [{"quantity": 1}, {"quantity": %s}]}' % (b"9" * 5_000), ["/lines/1/quantity"]),
    "several": (b'{"a": -1e999, "b": [%s, 3]}' % (b"9" * 400), ["/a", "/b/0"]),
}


@pytest.fixture
async def edge(edge: Edge) -> AsyncIterator[Edge]:
    """One in whose log nothing happens."""
    await edge.listed()
    before = edge.log.head()
    yield edge
    assert edge.log.head() == before


async def sent(edge: Edge, body: bytes, by: str = ALICE, **headers: str) -> Any:
    given = edge.bearer(by) | {"idempotency-key": "k", "content-type": "application/json"} | headers
    return await edge.client.post("/v1/orders", content=body, headers=given)


async def test_a_body_that_is_not_a_json_object_is_refused(edge: Edge) -> None:
    for name, body in NOT_JSON.items():
        answer = await sent(edge, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "not-json"), name
        assert answer.headers["content-type"] == "application/problem+json"


async def test_every_wrong_place_is_named(edge: Edge) -> None:
    for name, (body, pointers) in WRONG.items():
        answer = await sent(edge, json.dumps(body).encode())
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), name
        found = [place["pointer"] for place in answer.json()["errors"]]
        assert found == pointers or (not pointers and found), name


async def test_numbers_out_of_range_are_named(edge: Edge) -> None:
    for name, (body, pointers) in OUT_OF_RANGE.items():
        answer = await sent(edge, body)
        assert answer.status_code == 422, name
        assert [place["pointer"] for place in answer.json()["errors"]] == pointers, name


async def test_a_problem_names_a_thousand_places_at_most_and_says_how_many_more(edge: Edge) -> None:
    answer = await sent(edge, json.dumps(an_order() | {f"f{n}": 1 for n in range(1_500)}).encode())

    assert len(answer.json()["errors"]) == 1_000
    assert answer.json()["errors_left_out"] == 500


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_a_body_of_another_kind_is_refused(edge: Edge, content_type: str) -> None:
    answer = await sent(edge, json.dumps(an_order()).encode(), **{"content-type": content_type})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
async def test_json_may_be_announced_at_length(edge: Edge, content_type: str) -> None:
    answer = await sent(edge, b"{}", **{"content-type": content_type})

    assert answer.status_code == 422


async def test_a_body_of_ten_megabytes_is_refused(edge: Edge) -> None:
    answer = await sent(edge, json.dumps(an_order(email="x" * 10_000_000)).encode())

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_a_body_without_a_length_is_counted(edge: Edge) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    given = edge.bearer(ALICE) | {"idempotency-key": "k", "content-type": "application/json"}
    answer = await edge.client.post("/v1/orders", content=endless(), headers=given)

    assert answer.status_code == 413


async def test_a_length_that_lies_does_not_help(edge: Edge) -> None:
    answer = await sent(edge, b" " * 1_100_000, **{"content-length": "10"})

    assert answer.status_code == 413


async def test_a_header_that_decides_something_stands_there_once(edge: Edge) -> None:
    for name in ("authorization", "idempotency-key", "if-match", "content-type"):
        given = [*edge.bearer(ALICE).items(), ("idempotency-key", "k"), (name, "a"), (name, "a")]
        answer = await edge.client.post("/v1/orders", content=b"{}", headers=given)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-header"), name


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("/v1/orders/mine/cancel", {"reason": "r"}, ["/order_id"]),
        ("/v1/orders//cancel", {"reason": "r"}, ["/order_id"]),
        (
            "/v1/orders/0192d3b4-7c51-7000-8000-000000000000/cancel",
            {"order_id": "x", "reason": 1},
            ["/order_id", "/reason"],
        ),
        (
            "/v1/orders/0192d3b4-7c51-7000-8000-000000000000/ship-items",
            {"lines": [{"line_id": "1", "quantity": 1}] * 2},
            ["/lines"],
        ),
        ("/v1/products/%00/receive-stock", {"quantity": 1}, ["/sku"]),
        ("/v1/products/POSTER/receive-stock", {"quantity": -1, "sku": "CUP"}, ["/sku", "/quantity"]),
    ],
)
async def test_the_other_commands_are_checked_as_well(
    edge: Edge, path: str, body: dict[str, Any], pointers: list[str]
) -> None:
    answer = await edge.post(path, body, by=STAFF)

    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == pointers


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/v1/orders/0192d3b4-7c51-7000-8000-000000000000/frobnicate", 404, None),
        ("DELETE", "/v1/orders", 405, "GET, HEAD, POST"),
        ("GET", "/v1/orders/0192d3b4-7c51-7000-8000-000000000000/cancel", 405, "POST"),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("DELETE", "/v1/products/POSTER", 405, "GET, HEAD, PUT"),
    ],
)
async def test_the_frameworks_own_errors_are_problems(
    edge: Edge, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await edge.client.request(method, path, headers=edge.bearer(STAFF))

    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("allow") == allow
    assert answer.json()["request_id"] == answer.headers["request-id"]
