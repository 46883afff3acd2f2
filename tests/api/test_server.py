"""The edge behind the real server: what only a socket can show."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.app import create_app
from api.protocol import Http
from api.whole import give
from tests.api.edge import ALICE, Edge, an_edge, an_order
from tests.services.postgres import Postgres


@asynccontextmanager
async def served(edge: Edge, http: type[asyncio.Protocol] = Http) -> AsyncIterator[int]:
    """The port of a server that runs as long as the block; it speaks HTTP as ours do, unless told otherwise."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(edge.parts), http=http, lifespan="off", log_level="warning", ws="none", date_header=False
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  the server offers no event to wait for
            await asyncio.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        await running


class Caller:
    """One connection, on which whole requests are written by hand."""

    def __init__(self, edge: Edge, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._bearer = edge.bearer(ALICE)["authorization"]
        self.reader, self.writer = reader, writer

    def head(self, *headers: str) -> bytes:
        given = ["POST /v1/orders HTTP/1.1", "Host: orderlog", f"Authorization: {self._bearer}", *headers]
        return "\r\n".join([*given, "Idempotency-Key: k", "Content-Type: application/json", "", ""]).encode()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))


@asynccontextmanager
async def calling(edge: Edge, http: type[asyncio.Protocol] = Http) -> AsyncIterator[Caller]:
    async with served(edge, http) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield Caller(edge, reader, writer)
        writer.close()


@pytest.fixture
async def caller(edge: Edge) -> AsyncIterator[Caller]:
    await edge.listed()
    async with calling(edge) as caller:
        yield caller


async def test_a_body_in_chunks_is_put_together(caller: Caller) -> None:
    body = json.dumps(an_order()).encode()
    parts = b"".join(b"%x\r\n%b\r\n" % (1, body[at : at + 1]) for at in range(len(body)))

    caller.writer.write(caller.head("Transfer-Encoding: chunked") + parts + b"0\r\n\r\n")

    assert (await caller.answer())[0] == 201


async def test_the_sender_of_ten_megabytes_gets_to_read_the_answer(caller: Caller) -> None:
    caller.writer.write(caller.head("Content-Length: 10000000") + b" " * 10_000_000)
    await caller.writer.drain()

    status, headers, body = await caller.answer()

    assert (status, json.loads(body)["code"]) == (413, "too-large")
    assert headers["connection"] == "close"


async def test_who_asks_before_it_sends_too_much_need_not_send_it(caller: Caller) -> None:
    caller.writer.write(caller.head("Content-Length: 10000000", "Expect: 100-continue"))

    assert (await caller.answer())[0] == 413


async def test_a_hundred_megabytes_are_not_read(caller: Caller) -> None:
    caller.writer.write(caller.head("Content-Length: 100000000"))

    assert (await caller.answer())[0] == 413


async def test_a_client_that_hangs_up_changes_nothing(edge: Edge, caller: Caller) -> None:
    before = edge.log.head()

    caller.writer.write(caller.head("Content-Length: 1000") + b'{"currency"')
    await caller.writer.drain()
    caller.writer.close()
    await asyncio.sleep(0.2)

    assert edge.log.head() == before


async def test_a_connection_serves_one_request_after_another(caller: Caller) -> None:
    body = json.dumps(an_order()).encode()
    request = caller.head(f"Content-Length: {len(body)}") + body

    caller.writer.write(request + request)

    assert [(await caller.answer())[0] for _ in range(2)] == [201, 201]


async def test_a_page_of_another_origin_may_read_what_a_command_is_answered(database_url: str) -> None:
    """What adds to an answer is not passed by."""
    async with an_edge(database_url, cors_origins=("https://shop.example",)) as edge, calling(edge) as caller:
        await edge.listed()
        body = json.dumps(an_order()).encode()
        caller.writer.write(caller.head(f"Content-Length: {len(body)}", "Origin: https://shop.example") + body)

        status, headers, _ = await caller.answer()

    assert (status, headers["access-control-allow-origin"]) == (201, "https://shop.example")


async def test_answers_leave_nothing_for_the_garbage_collector(caller: Caller) -> None:
    """Whatever refers to itself waits for it, and then it makes everybody wait."""
    body = json.dumps(an_order()).encode()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            caller.writer.write(caller.head(f"Content-Length: {len(body)}") + body)
            assert (await caller.answer())[0] == 201
        assert gc.collect() < 100
    finally:
        gc.enable()


async def test_an_answer_in_one_piece_is_the_one_that_uvicorn_sends_in_two(edge: Edge) -> None:
    """Byte for byte: the second is the first's, replayed; and so is a refusal, and one that ends the connection."""
    await edge.listed()
    body = json.dumps(an_order()).encode()
    sent = [f"Request-Id: r-{number}" for number in range(3)]

    async def answers(http: type[asyncio.Protocol]) -> list[tuple[int, dict[str, str], bytes]]:
        async with calling(edge, http) as caller:
            found = []
            for headers in ([sent[0]], [sent[1], 'If-Match: "7"'], [sent[2], "Connection: close"]):
                caller.writer.write(caller.head(f"Content-Length: {len(body)}", *headers) + body)
                found.append(await caller.answer())
            assert await caller.reader.read() == b""
        return found

    await answers(Http)  # so that all that are compared are replays
    whole, uvicorns = await answers(Http), await answers(HttpToolsProtocol)

    assert [status for status, _, _ in whole] == [201, 201, 201]
    assert whole == uvicorns


def test_a_header_that_would_become_two_is_not_sent() -> None:
    nothing: Any = None
    flow: Any = SimpleNamespace(write_paused=False)
    cycle = RequestResponseCycle(
        scope=nothing,
        transport=nothing,
        flow=flow,
        logger=nothing,
        access_logger=nothing,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=nothing,
    )
    send: Any = cycle.send

    for bad in (b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b", b"\r\n", b"a\r\n"):
        for header in ((b"etag", bad), (bad, b"1")):
            with pytest.raises(ValueError, match="a header would have become two"):
                give(send, 200, [(b"vary", b"origin"), header, (b"allow", b"GET")], b"")


async def test_a_command_while_the_database_is_away_may_be_sent_again(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    async with an_edge(restartable_postgres.create_database(), patience=0.5) as edge:
        await edge.listed()
        await asyncio.to_thread(restartable_postgres.stop)
        away = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")
        await asyncio.to_thread(restartable_postgres.start)
        again = await edge.post("/v1/orders", an_order(), by=ALICE, key="k")

        assert (away.status_code, away.json()["code"], away.headers["retry-after"]) == (503, "unavailable", "2")
        assert again.status_code == 201
