"""Whatever goes wrong is a problem that leads to its page, also what the framework and the server refuse."""

import ast
import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import api
from api.app import create_app
from api.errors import PROBLEMS
from api.oauth import TITLES
from api.openapi import served
from api.problems import every_problem
from api.protocol import LARGEST_HEAD
from api.serving import Edge as Served
from api.serving import http_server
from commands.refusals import Refusal
from tests.api.edge import ALICE, Edge, an_order


async def test_every_problem_has_a_page_that_says_what_to_do(edge: Edge) -> None:
    codes = [*PROBLEMS, *(one.code for one in Refusal.__subclasses__()), *(one.replace("_", "-") for one in TITLES)]
    assert len(codes) > 30
    assert {*codes} >= json.loads(served())["components"]["examples"].keys()
    for code in codes:
        status, title = every_problem()[code]
        page = await edge.client.get(f"/problems/{code}")
        assert page.status_code == 200, code
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert f"HTTP status {status}" in page.text
        assert page.text.count("<p>") >= 3
        assert title.split("'")[0] in page.text
    listed = (await edge.client.get("/problems")).text
    assert all(f"/problems/{code}'" in listed for code in codes)


def test_every_code_that_the_edge_gives_is_in_the_table() -> None:
    """What is not would have a type that leads nowhere."""
    codes = {
        call.args[0].value
        for file in Path(api.__file__).parent.glob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Problem"
        if call.args and isinstance(call.args[0], ast.Constant)
    }

    assert len(codes) > 30
    assert codes <= PROBLEMS.keys()


async def test_the_type_of_a_problem_leads_to_its_page(edge: Edge) -> None:
    await edge.listed()
    order = await edge.placed()
    await edge.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "r"})
    found = {
        400: await edge.get("/v1/orders", consistency_token="x"),
        401: await edge.client.get("/v1/orders"),
        403: await edge.get("/v1/orders?customer_id=somebody", by=ALICE),
        404: await edge.get(f"/v1/orders/{uuid4()}"),
        405: await edge.client.delete("/v1/orders"),
        409: await edge.post(f"/v1/orders/{order['order_id']}/confirm"),
        412: await edge.post(f"/v1/orders/{order['order_id']}/confirm", if_match='"9"'),
        413: await edge.client.post("/v1/orders", content=b" " * 2**21, headers=whole(edge)),
        415: await edge.client.post("/v1/orders", content=b"{}", headers=whole(edge) | {"content-type": "text/plain"}),
        422: await edge.post("/v1/orders", an_order(lines=[])),
    }
    for status, answer in found.items():
        problem = answer.json()
        assert (answer.status_code, problem["status"]) == (status, status), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["request_id"] == answer.headers["request-id"]
        page = await edge.client.get(problem["type"])
        assert page.status_code == 200
        assert problem["code"] in page.text


async def test_a_code_that_there_is_not_has_no_page(edge: Edge) -> None:
    for path in ("/problems/none", "/problems/%3Cscript%3E", "/problems/a/b", "/nothing"):
        answer = await edge.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
async def test_a_method_that_there_is_not_is_told_those_there_are(edge: Edge, method: str) -> None:
    answer = await edge.client.request(method, "/v1/orders")

    assert answer.status_code == 405
    assert {one.strip() for one in answer.headers["allow"].split(",")} >= {"GET", "POST"}
    assert answer.headers["content-type"] == "application/problem+json"


def whole(edge: Edge) -> dict[str, str]:
    return edge.bearer(ALICE) | {"idempotency-key": uuid4().hex, "content-type": "application/json"}


# What is no HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture
async def port(edge: Edge) -> AsyncIterator[int]:
    """Of orderlog's own server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = http_server(Served(create_app(edge.parts)))
        running = asyncio.create_task(server.serve([listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await running


async def answered(port: int, sent: bytes) -> tuple[int, dict[str, str], Any]:
    """The one answer on a connection that is closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert int(headers["content-length"]) == len(body)
    return int(lines[0].split()[1]), headers, json.loads(body)


NO_HTTP = {
    "no request line": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a control character in a header": b"GET /livez HTTP/1.1\r\nHost: o\r\nX: a\x01b\r\n\r\n",
    "a header without a name": b"GET /livez HTTP/1.1\r\nHost: o\r\n: x\r\n\r\n",
    "two lengths": b"POST /v1/orders HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length below zero": b"POST /v1/orders HTTP/1.1\r\nHost: o\r\nContent-Length: -1\r\n\r\n",
    "a method of its own": b"G\x00T / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_http_is_answered_a_problem_and_the_next_request_is_served(port: int, name: str) -> None:
    status, headers, problem = await answered(port, NO_HTTP[name])

    assert (status, problem["code"], problem["type"]) == (400, "bad-request", "/problems/bad-request")
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert headers["request-id"] == problem["request_id"]
    status, _, _ = await answered(port, b"GET /livez HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n")
    assert status == 200


async def test_a_head_that_does_not_end_is_not_kept(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\n")
    head = b"X: x\r\n" * LARGEST_HEAD
    for first in range(0, LARGEST_HEAD, 1_024):  # no more than that: what is not read any more resets the connection
        writer.write(head[first : first + 1_024])
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
    assert b'"headers-too-large"' in answer


async def test_many_requests_on_one_connection_are_no_long_head(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = b"GET /livez HTTP/1.1\r\nHost: o\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"
    for _ in range(10):
        for part in (request[:9_000], request[9_000:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(len(b'{"status":"ok","parts":{}}'))
    writer.close()
