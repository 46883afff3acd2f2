"""Whatever goes wrong is a problem, over a real socket too: ours, the framework's and the server's own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import serving
from api.app import create_app
from api.limits import Limits, Quota
from api.problems import every_problem
from tests.api.edge import ALICE, BOB, STAFF, Edge, an_edge, an_order
from tests.services.postgres import DatabaseServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTA = 200
ORDER = "0192d3b4-7c51-7000-8000-00000000000a"
PLACED = f"/v1/orders/{ORDER}"


class Asked(msgspec.Struct, frozen=True):
    """One request, and what it is answered."""

    method: str
    path: str
    status: int
    code: str
    by: str | None = STAFF
    body: bytes | None = None
    headers: dict[str, str] = {}
    allow: str | None = None


def command(path: str, status: int, code: str, body: bytes = b"{}", by: str | None = STAFF, **headers: str) -> Asked:
    given = {"idempotency-key": uuid4().hex, "content-type": "application/json"}
    return Asked("POST", path, status, code, by, body, given | {n.replace("_", "-"): v for n, v in headers.items()})


ASKED: dict[str, Asked] = {
    "no such path": Asked("GET", "/nothing", 404, "not-found"),
    "no such path of the API": Asked("GET", "/v1/nothing", 404, "not-found"),
    "no path": Asked("GET", "//", 404, "not-found"),
    "another version": Asked("GET", "/v2/orders", 404, "not-found"),
    "a path in capitals": Asked("GET", "/V1/ORDERS", 404, "not-found"),
    "a slash at the end of a list": Asked("GET", "/v1/orders/", 404, "not-found"),
    "a slash at the end of an order": Asked("GET", f"{PLACED}/", 404, "not-found"),
    "a slash at the end of a page": Asked("GET", "/docs/", 404, "not-found"),
    "a slash at the end of a command": command(f"{PLACED}/cancel/", 404, "not-found"),
    "no such command": command(f"{PLACED}/frobnicate", 404, "not-found"),
    "no such order": Asked("GET", f"/v1/orders/{uuid4()}", 404, "no-such-order"),
    "no such problem": Asked("GET", "/problems/none", 404, "not-found", by=None),
    "deleting": Asked("DELETE", PLACED, 405, "method-not-allowed", allow="GET, HEAD"),
    "reading a command": Asked("GET", f"{PLACED}/cancel", 405, "method-not-allowed", allow="POST"),
    "a command by PUT": Asked("PUT", f"{PLACED}/cancel", 405, "method-not-allowed", allow="POST"),
    "placing by PUT": Asked("PUT", "/v1/orders", 405, "method-not-allowed", allow="GET, HEAD, POST"),
    "a product by POST": Asked("POST", "/v1/products/CUP", 405, "method-not-allowed", allow="GET, HEAD, PUT"),
    "asking for the options": Asked("OPTIONS", "/v1/orders", 405, "method-not-allowed", allow="GET, HEAD, POST"),
    "tracing": Asked("TRACE", "/v1/orders", 405, "method-not-allowed", allow="GET, HEAD, POST"),
    "writing to a probe": Asked("POST", "/livez", 405, "method-not-allowed", by=None, allow="GET, HEAD"),
    "writing to a page": Asked("PUT", "/docs", 405, "method-not-allowed", by=None, allow="GET, HEAD"),
    "changing the accounts": Asked("DELETE", "/v1/auth/users", 405, "method-not-allowed", allow="GET, HEAD, POST"),
    "a method that HTTP has not": Asked("NONSENSE", "/v1/orders", 400, "bad-request"),
    "no token": Asked("GET", "/v1/orders", 401, "token-missing", by=None),
    "no token with a command": command("/v1/orders", 401, "token-missing", by=None),
    "a bad token": Asked("GET", "/v1/orders", 401, "token-invalid", None, headers={"authorization": "Bearer x"}),
    "not theirs to do": command(f"{PLACED}/confirm", 403, "forbidden", by=ALICE),
    "no key": Asked("POST", "/v1/orders", 400, "idempotency-key-missing", ALICE, b"{}"),
    "no JSON": command("/v1/orders", 400, "not-json", b"{", by=ALICE),
    "a bad header": Asked("GET", "/v1/orders", 400, "bad-header", headers={"consistency-token": "x"}),
    "a bad cursor": Asked("GET", "/v1/orders?cursor=x", 400, "bad-cursor"),
    "no domain's yes": command(f"{PLACED}/confirm", 409, "payment-required"),
    "an old version": command(f"{PLACED}/confirm", 412, "stale-version", if_match='"9"'),
    "too much": command("/v1/orders", 413, "too-large", b" " * 1_100_000, by=ALICE),
    "too much for an account": command("/v1/auth/users", 413, "too-large", b" " * 1_100_000, by="ada"),
    "no JSON by its type": command("/v1/orders", 415, "unsupported-media-type", by=ALICE, content_type="text/csv"),
    "the wrong fields": command("/v1/orders", 422, "invalid-request", b'{"lines": 1}', by=ALICE),
    "the wrong parameters": Asked("GET", "/v1/orders?limit=0", 422, "invalid-request"),
    "an id that is none": Asked("GET", "/v1/orders/x", 422, "invalid-request"),
    "what nobody foresaw": Asked("GET", "/broken", 500, "internal-error", by=None),
    "not ready": Asked("GET", "/readyz", 503, "not-ready", by=None),
    "not caught up": Asked(
        "GET",
        "/v1/orders",
        503,
        "not-caught-up",
        headers={"consistency-token": "c1-ffffff-1", "prefer": "handling=strict"},
    ),
}


class Served(msgspec.Struct, frozen=True):
    edge: Edge
    port: int

    def request(self, asked: Asked, method: str | None = None) -> bytes:
        headers = {"host": "orderlog"} | (self.edge.bearer(asked.by) if asked.by else {}) | asked.headers
        if asked.body is not None:
            headers["content-length"] = str(len(asked.body))
        lines = [f"{method or asked.method} {asked.path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + (asked.body or b"")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(postgres: DatabaseServer) -> AsyncIterator[Served]:
    async def waits() -> str:
        return "is behind"

    async def broken(_: Request) -> Response:
        raise ArithmeticError("nobody foresaw it: /home/secret.py")

    url = postgres.create_database()
    async with an_edge(url, {"part": waits}, limits=Limits(Quota(QUOTA, 36_000))) as edge:
        await edge.listed()
        await edge.placed(order_id=ORDER)
        app = create_app(edge.parts, routes=[Route("/broken", broken)])
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = serving.http_server(serving.Edge(app))
            running = asyncio.create_task(server.serve([listening]))
            yield Served(edge, listening.getsockname()[1])
            server.should_exit = True
            await running
    postgres.drop_database(url)


Answered = tuple[int, dict[str, str], bytes]


async def exchanged(port: int, request: bytes, *, bodyless: bool = False) -> tuple[Answered, Answered]:
    """The answer, and that of another request: on the same connection, unless the answer says that it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await read(reader, bodyless=bodyless)
    if answer[1].get("connection") == "close":
        assert await asyncio.wait_for(reader.read(), 20) == b"", "something came after the answer"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: o\r\n\r\n")
    after = await read(reader)
    writer.close()
    return answer, after


async def read(reader: asyncio.StreamReader, *, bodyless: bool = False) -> Answered:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().splitlines()
    pairs = [line.split(": ", 1) for line in head[1:] if line]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "a header is there twice"
    length = 0 if bodyless else int(headers["content-length"])
    return int(head[0].split()[1]), headers, await asyncio.wait_for(reader.readexactly(length), 20)


@pytest.mark.parametrize("name", ASKED)
async def test_it_is_answered_with_a_problem_and_the_next_request_is_served(served: Served, name: str) -> None:
    asked = ASKED[name]

    (status, headers, body), after = await exchanged(served.port, served.request(asked))

    problem: dict[str, Any] = json.loads(body)
    assert (status, problem["status"], problem["code"]) == (asked.status, asked.status, asked.code), body
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert problem["request_id"] == headers["request-id"]
    assert problem["type"] == f"/problems/{asked.code}"
    assert (problem["title"], asked.status) == (every_problem()[asked.code][1], every_problem()[asked.code][0])
    assert headers.get("allow") == asked.allow
    assert ("www-authenticate" in headers) == (status == 401)
    assert ("retry-after" in headers) == (status == 503)
    assert b"Traceback" not in body
    assert b"secret" not in body
    assert after[0] == 200


@pytest.mark.parametrize(
    "name", [name for name, asked in ASKED.items() if asked.method == "GET" and asked.status < 500]
)
async def test_a_head_is_answered_as_a_get_without_the_content(served: Served, name: str) -> None:
    asked = ASKED[name]
    (status, headers, body), _ = await exchanged(served.port, served.request(asked))

    (its_status, its_headers, _), after = await exchanged(served.port, served.request(asked, "HEAD"), bodyless=True)

    assert its_status == status
    assert its_headers.keys() == headers.keys()
    assert its_headers["content-type"] == headers["content-type"]
    assert int(its_headers["content-length"]) == len(body)
    assert after[0] == 200


async def test_a_head_of_what_is_there_has_its_etag_and_its_length(served: Served) -> None:
    there = Asked("GET", PLACED, 200, "")
    (status, headers, body), _ = await exchanged(served.port, served.request(there))
    (its_status, its_headers, _), after = await exchanged(served.port, served.request(there, "HEAD"), bodyless=True)

    assert (status, its_status) == (200, 200)
    assert (its_headers["etag"], int(its_headers["content-length"])) == (headers["etag"], len(body))
    assert after[0] == 200


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1, application/json;q=0", "*/*;q=0", "nonsense"])
async def test_who_accepts_something_else_is_answered_json_all_the_same(served: Served, accept: str) -> None:
    """RFC 9110, 12.4.1: a server may disregard Accept. There is one form of everything; a 406 would help nobody."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        headers = served.edge.bearer(STAFF) | {"accept": accept}
        there = await client.get(PLACED, headers=headers)
        missing = await client.get("/v1/nothing", headers=headers)

    assert (there.status_code, there.headers["content-type"]) == (200, "application/json")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


async def test_a_caller_that_asks_too_often_is_told_when_to_come_back(served: Served) -> None:
    read = Asked("GET", "/v1/auth/me", 429, "too-many-requests", by=BOB)
    order = command("/v1/orders", 429, "too-many-requests", json.dumps(an_order()).encode(), by=BOB)
    caller = await served.edge.parts.tokens.verify(served.edge.bearer(BOB)["authorization"].encode())
    assert served.edge.parts.limits is not None
    for _ in range(QUOTA):
        served.edge.parts.limits.take(caller.subject, {})

    for asked in (read, order):
        (status, headers, body), after = await exchanged(served.port, served.request(asked))
        assert (status, json.loads(body)["code"]) == (429, "too-many-requests")
        assert headers["content-type"] == "application/problem+json"
        assert int(headers["retry-after"]) > 0
        assert {"ratelimit", "ratelimit-policy"} <= headers.keys()
        assert after[0] == 200
