"""The edge behind the real server: what only a socket can show."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from api.app import create_app
from tests.api.edge import ALICE, Edge, an_edge, an_order
from tests.services.postgres import Postgres


@asynccontextmanager
async def served(edge: Edge) -> AsyncIterator[int]:
    """The port of a server that runs as long as the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(edge.parts), lifespan="off", log_level="warning", ws="none"))
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


@pytest.fixture
async def caller(edge: Edge) -> AsyncIterator[Caller]:
    await edge.listed()
    async with served(edge) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield Caller(edge, reader, writer)
        writer.close()


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
