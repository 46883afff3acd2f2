"""Whatever bytes come: a clear problem or a closed connection, nothing in the log, and the next request is served."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from tests.api.edge import Edge, an_order
from tests.api.wire import JSON, Port, serving

GET = b"GET /v1/orders HTTP/1.1"


@pytest.fixture
async def port(edge: Edge) -> AsyncIterator[Port]:
    async with serving(edge) as one:
        yield one


def head(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


NO_HTTP: dict[str, bytes] = {
    "a line break in a value": head(GET, b"Host: o", b"X: a\rSet-Cookie: b"),
    "NUL in a value": head(GET, b"Host: o", b"X: a\0b"),
    "NUL in the path": head(b"GET /v1/orders/\0 HTTP/1.1", b"Host: o"),
    "a space in the path": head(b"GET /v1/a b HTTP/1.1", b"Host: o"),
    "bytes that are no ASCII in the path": head(b"GET /v1/products/\xc3\xa9 HTTP/1.1", b"Host: o"),
    "no UTF-8 in the query": head(b"GET /v1/orders?customer_id=\xff HTTP/1.1", b"Host: o"),
    "a folded header": head(GET, b"Host: o", b"X: a", b" b"),
    "a space before the colon": head(GET, b"Host : o"),
    "line feeds alone": b"GET /livez HTTP/1.1\nHost: o\n\n",
    "a length and chunks": head(
        b"POST /v1/orders HTTP/1.1", b"Host: o", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": head(b"POST /v1/orders HTTP/1.1", b"Content-Length: 2", b"Content-Length: 3", body=b"{}x"),
    "a length with a sign": head(b"POST /v1/orders HTTP/1.1", b"Host: o", b"Content-Length: +2", body=b"{}"),
    "a length of 23 digits": head(b"POST /v1/orders HTTP/1.1", b"Host: o", b"Content-Length: " + b"9" * 23, body=b"{}"),
    "chunked is not last": head(
        b"POST /v1/orders HTTP/1.1", b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"
    ),
    "an unknown coding": head(b"POST /v1/orders HTTP/1.1", b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a chunk without a size": head(b"POST /v1/orders HTTP/1.1", b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n"),
    "a method that there is not": head(b"FROB /livez HTTP/1.1", b"Host: o"),
    "a method in small letters": head(b"get /livez HTTP/1.1", b"Host: o"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that there is not": head(b"GET /livez HTTP/3.7", b"Host: o"),
    "a tunnel": head(b"CONNECT evil.example:443 HTTP/1.1", b"Host: o"),
    "a path of 100,000 bytes": head(b"GET /" + b"a" * 100_000 + b" HTTP/1.1", b"Host: o"),
}


async def test_what_is_no_http_is_a_problem_and_the_next_request_is_served(port: Port) -> None:
    for name, data in NO_HTTP.items():
        answer = await port.one(data)
        assert answer is not None, name
        assert (answer.status, answer.problem["code"], answer.header("connection")) == (400, "bad-request", "close"), (
            name
        )
        assert await port.serves(), name


REFUSED: dict[str, tuple[tuple[bytes, ...], bytes, int, str]] = {
    "two tokens": ((b"Authorization: Bearer x",), b"{}", 400, "bad-header"),
    "two keys": ((b"Idempotency-Key: other",), b"{}", 400, "bad-header"),
    "two versions": ((b'If-Match: "1"', b'If-Match: "2"'), b"{}", 400, "bad-header"),
    "two hosts": ((b"Host: evil.example",), b"{}", 400, "bad-header"),
    "compressed": ((b"Content-Encoding: gzip",), b"\x1f\x8b\x08\x00", 415, "unsupported-media-type"),
    "a byte order mark": ((), b"\xef\xbb\xbf{}", 400, "not-json"),
    "no UTF-8": ((), b'{"email": "\xff@b"}', 400, "not-json"),
    "half a surrogate": ((), b'{"email": "\\ud800@b"}', 400, "not-json"),
    "not a number": ((), b'{"draft": NaN}', 400, "not-json"),
    "endless": ((), b'{"draft": -Infinity}', 400, "not-json"),
    "1e400": ((), b'{"discount": {"amount": 1e400, "currency": "EUR"}}', 422, "invalid-request"),
    "100,000 digits": ((), b'{"discount": {"amount": %s}}' % (b"9" * 100_000), 422, "invalid-request"),
    "less than nothing": ((), b'{"lines": [{"sku": "A", "quantity": -0}]}', 422, "invalid-request"),
    "100 levels": ((), b'{"metadata": ' + b"[" * 100 + b"]" * 100 + b"}", 422, "invalid-request"),
    "100,000 levels": ((), b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "not-json"),
    "nothing": ((), b"", 422, "invalid-request"),
    "a name twice": ((), b'{"currency": "EUR", "currency": "USD"}', 422, "invalid-request"),
    "a name twice, escaped": ((), b'{"currency": "EUR", "\\u0063urrency": "U:D"}', 422, "invalid-request"),
    "a name twice, and 4,400 digits": ((), b'{"a": %s, "a": 1}' % (b"9" * 4_400), 422, "invalid-request"),
    "a colon, and 1,000 levels": ((), b'{"a": ":", "b": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", 400, "not-json"),
    "a name twice, hidden": ((), b'{"metadata": {"a": "b", "a": "\\u003a"}}', 422, "invalid-request"),
}


async def test_what_no_command_has_is_refused(edge: Edge, port: Port) -> None:
    before = edge.log.head()
    for name, (headers, body, status, code) in REFUSED.items():
        answer = await port.one(port.order(*headers, body=body))
        assert answer is not None, name
        assert (answer.status, answer.problem["code"]) == (status, code), name
        assert await port.serves(), name
    assert edge.log.head() == before


ASKED = (
    b"GET /livez HTTP/1.1",
    b"GET /v1/nothing HTTP/1.1",
    b"GET /v1/orders HTTP/1.1",
    b"POST /v1/orders HTTP/1.1",
    b"POST /v1/auth/token HTTP/1.1",
)

NO_HOST: dict[str, tuple[bytes, ...]] = {
    "none": (),
    "two": (b"Host: orderlog", b"Host: evil.example"),
    "the same twice": (b"Host: orderlog", b"Host: orderlog"),
    "a list": (b"Host: orderlog, evil.example",),
    "a path": (b"Host: orderlog/evil",),
    "a user": (b"Host: alice@orderlog",),
    "no port": (b"Host: orderlog:http",),
    "two ports": (b"Host: orderlog:80:80",),
    "an open bracket": (b"Host: [::1",),
    "no ASCII": (b"Host: \xc3\xa9.example",),
    "half an escape": (b"Host: orderlog%4",),
    "301 characters": (b"Host: " + b"a" * 301,),
}


async def test_a_request_says_once_for_which_host_it_is(port: Port) -> None:
    """RFC 9112, 3.2."""
    for first in ASKED:
        for name, hosts in NO_HOST.items():
            answer = await port.one(head(first, *hosts, port.token, b"Idempotency-Key: k", JSON, b"Content-Length: 0"))
            assert answer is not None
            assert (answer.status, answer.problem["code"]) == (400, "bad-header"), (first, name)
            assert "Host" in answer.problem["detail"], (first, name)


async def test_a_host_is_taken_as_it_may_be_written(port: Port) -> None:
    for host in (b"", b"o:", b"O.Example:65535", b"192.0.2.1:80", b"[::ffff:192.0.2.1]:80", b"a_b.%C3%A9~!$&'()*+,;="):
        for first in (b"GET /v1/auth/me HTTP/1.1", b"POST /v1/orders HTTP/1.1"):
            answer = await port.one(head(first, b"Host: " + host, port.token, b"Content-Length: 0"))
            assert answer is not None
            assert answer.status == 200 or answer.problem["code"] == "idempotency-key-missing", host


async def test_http_1_0_knew_no_host(port: Port) -> None:
    answer = await port.one(head(b"GET /v1/auth/me HTTP/1.0", port.token))

    assert answer is not None
    assert answer.status == 200


async def test_a_name_that_is_there_twice_is_told(port: Port) -> None:
    answer = await port.one(port.order(body=b'{"lines": [{"sku": "A", "quantity": 1, "sku": "B"}]}'))

    assert answer is not None
    assert [place["detail"] for place in answer.problem["errors"]] == ["has the name 'sku' twice in one object"]


TARGETS = {
    b"GET /v1/products/%FF HTTP/1.1": 400,
    b"GET /v1/orders?customer_id=%FF HTTP/1.1": 400,
    b"PUT /v1/products/%ED%A0%80 HTTP/1.1": 403,
    b"GET /v1/products/%0A HTTP/1.1": 422,
    b"GET /v1/orders?customer_id=%00 HTTP/1.1": 422,
    b"GET /v1/products/CUP/receive-stock HTTP/1.1": 405,
    b"GET //evil.example/livez HTTP/1.1": 404,
    b"GET /v1/../livez HTTP/1.1": 404,
    b"OPTIONS * HTTP/1.1": 404,
    b"GET http://evil.example/livez HTTP/1.1": 200,
    b"GET /livez HTTP/1.0": 200,
}


async def test_targets_are_taken_as_they_are_meant(port: Port) -> None:
    for first, status in TARGETS.items():
        answer = await port.one(port.request(first, body=b""))
        assert answer is not None
        assert answer.status == status, first
        assert status == 200 or answer.problem["status"] == status


async def test_a_body_where_none_is_asked_for_is_read_and_dropped(port: Port) -> None:
    async with port.wire() as wire:
        await wire.send(port.request(b"GET /v1/auth/me HTTP/1.1", body=b"x" * 200_000) * 2)
        answers = [await wire.answer() for _ in range(2)]

    assert [one and one.status for one in answers] == [200, 200]


async def test_requests_that_come_at_once_are_answered_one_after_another(port: Port) -> None:
    async with port.wire() as wire:
        await wire.send(port.request(b"GET /v1/auth/me HTTP/1.1") * 20 + port.request(b"GET /v1/nothing HTTP/1.1"))
        answers = [await wire.answer() for _ in range(21)]

    assert [one and one.status for one in answers] == [200] * 20 + [404]


async def test_what_is_wrong_behind_a_command_does_not_cost_its_answer(edge: Edge, port: Port) -> None:
    await edge.listed()
    for number, wrong in enumerate((b"\0", b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)):
        body = json.dumps(an_order(external_reference=f"{number}")).encode()
        async with port.wire() as wire:
            await wire.send(port.order(body=body).replace(b": k", b": %d" % number) + wrong)
            answer, more = await wire.answer(), await wire.answer()
        assert answer is not None
        assert (answer.status, more) == (201, None), wrong
        assert await port.serves()


async def test_another_protocol_is_not_spoken_and_nothing_is_smuggled_behind_the_wish_for_it(port: Port) -> None:
    upgrade = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQ")
    async with port.wire() as wire:
        await wire.send(port.order(*upgrade, body=b"{}") + port.request(b"GET /v1/auth/me HTTP/1.1"))
        first, second = await wire.answer(), await wire.answer()

    assert first is not None
    assert (first.status, first.header("connection"), second) == (422, "close", None)


# What is told back -------------------------------------------------------------------------------------------

TRACE = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_request_id_that_is_not_plain_is_replaced(port: Port) -> None:
    for given in (b"", b"a b", b"a\tb", b"\xff", b"x" * 129, b"\xc2\xa0"):
        header = b"Request-Id: " + given
        for data in (port.request(b"GET /v1/auth/me HTTP/1.1", header), port.order(header)):
            answer = await port.one(data)
            assert answer is not None
            told = answer.header("request-id")
            assert told is not None
            assert len(told) == 32, given
            assert told.isalnum()


TOLD: dict[bytes, bytes | None] = {
    b"00-" + TRACE: b"00-" + TRACE,
    b"cc-" + TRACE: b"00-" + TRACE,
    b"cc-" + TRACE + b"-what \xff comes later": b"00-" + TRACE,
    b"00-" + TRACE + b"-more": None,
    b"ff-" + TRACE: None,
    b"00-" + b"0" * 32 + TRACE[32:]: None,
    b"00-" + TRACE + b"\xff": None,
    b"\xff": None,
}


async def test_a_trace_that_is_not_one_gives_way_to_one_that_is(port: Port) -> None:
    for given, told in TOLD.items():
        header = b"traceparent: " + given
        for data in (port.request(b"GET /v1/auth/me HTTP/1.1", header), port.order(header)):
            answer = await port.one(data)
            assert answer is not None
            assert answer.status in (200, 422)
            trace = answer.header("traceparent")
            assert trace is not None
            assert trace == told.decode() if told else re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace), given


# WebSockets --------------------------------------------------------------------------------------------------

UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


HANDSHAKES: tuple[tuple[bytes, tuple[bytes, ...], int], ...] = (
    (b"GET /v1/nothing HTTP/1.1", (KEY,), 404),
    (b"GET /v1/orders HTTP/1.1", (), 400),
    (b"GET /v1/orders HTTP/1.1", (b"Sec-WebSocket-Key: short",), 400),
    (b"GET /v1/orders HTTP/1.1", (KEY, b"X: " + b"x" * 10_000), 431),
    (b"GET /v1/orders HTTP/1.1", (KEY, *(b"X-%d: x" % number for number in range(200))), 431),
    (b"POST /v1/orders HTTP/1.1", (KEY, JSON, b"Content-Length: 2"), 400),
)


async def test_a_handshake_that_fails_is_a_problem(port: Port) -> None:
    for first, headers, status in HANDSHAKES:
        answer = await port.one(port.request(first, *UPGRADE, *headers))
        assert answer is not None
        assert (answer.status, answer.problem["status"]) == (status, status)
        assert answer.header("request-id") == answer.problem["request_id"]
        assert answer.header("x-content-type-options") == "nosniff"
        assert await port.serves()


async def test_a_handshake_says_once_for_which_host_it_is(port: Port) -> None:
    for name, hosts in NO_HOST.items():
        answer = await port.one(head(b"GET /v1/live HTTP/1.1", *hosts, *UPGRADE, KEY))
        assert answer is not None
        assert (answer.status, answer.problem["code"]) == (400, "bad-header"), name


async def test_a_problem_is_no_way_into_the_headers(port: Port) -> None:
    """What was sent is shown in JSON only."""
    answer = await port.one(port.order(body=json.dumps({"a\r\nSet-Cookie: b": 1}).encode()))

    assert answer is not None
    assert answer.header("set-cookie") is None
    assert "/a\r\nSet-Cookie: b" in {place["pointer"] for place in answer.problem["errors"]}
