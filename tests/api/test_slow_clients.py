"""Clients that send slowly, or without end, or do not read: each is told or cut off, and the others are served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from api.protocol import ClientLimits
from api.serving import client_limits
from api.settings import Settings, duration
from tests.api.edge import Edge
from tests.api.wire import PATIENCE, Port, Wire, serving

SHORT = ClientLimits(head=0.8, body=1.0, connections=20)


@pytest.fixture
async def port(edge: Edge) -> AsyncIterator[Port]:
    async with serving(edge, SHORT) as one:
        yield one


@pytest.fixture
async def patient(edge: Edge) -> AsyncIterator[Port]:
    """One with the limits that are served with unless others are set."""
    async with serving(edge) as one:
        yield one


async def dripping(wire: Wire, data: bytes, pause: float = 0.02) -> None:
    """Byte by byte, until the server does not take them any more."""
    for place in range(len(data)):
        if wire.writer.transport.is_closing():
            return
        await wire.send(data[place : place + 1])
        await asyncio.sleep(pause)


async def test_headers_that_drip_in_are_waited_for_so_long(port: Port) -> None:
    async with port.wire() as wire:
        drip = asyncio.create_task(dripping(wire, b"GET /livez HTTP/1.1\r\nHost: o\r\nX: " + b"x" * 10_000))
        answer = await wire.answer()
        assert await port.serves()
        await wire.closed()
        drip.cancel()

    assert answer is not None
    assert (answer.status, answer.problem["code"], answer.header("connection")) == (408, "too-slow", "close")
    assert "head" in answer.problem["detail"]


async def test_who_connects_and_says_nothing_is_cut_off_without_a_word(port: Port) -> None:
    async with port.wire() as wire:
        assert await wire.answer() is None


@pytest.mark.parametrize("path", [b"/v1/orders", b"/v1/auth/token"])
async def test_a_body_that_stops_is_waited_for_so_long(edge: Edge, port: Port, path: bytes) -> None:
    before = edge.log.head()
    async with port.wire() as wire:
        length = b"Content-Length: 1000"
        await wire.send(
            port.request(b"POST " + path + b" HTTP/1.1", b"Idempotency-Key: k", length) + b'\r\n{"currency"'
        )
        answer = await wire.answer()
        await wire.closed()

    assert answer is not None
    assert (answer.status, answer.problem["code"], answer.header("connection")) == (408, "too-slow", "close")
    assert await port.serves()
    assert edge.log.head() == before


async def test_a_body_that_comes_slowly_but_in_time_is_taken(patient: Port) -> None:
    async with patient.wire() as wire:
        await wire.send(patient.order(b"Content-Length: 12"))
        await dripping(wire, b"{" + b" " * 10 + b"}")
        answer = await wire.answer()

    assert answer is not None
    assert answer.status == 422


async def chunks_without_end(wire: Wire) -> None:
    while not wire.writer.transport.is_closing():
        await wire.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


@pytest.mark.parametrize("authorized", [True, False])
async def test_chunks_without_end_come_to_one(patient: Port, authorized: bool) -> None:  # noqa: FBT001  a row
    """Whether the body is wanted or nobody looks at it, since the request is refused without it."""
    request = patient.order(b"Transfer-Encoding: chunked")
    async with patient.wire() as wire:
        await wire.send(request if authorized else request.replace(b"Bearer", b"Basic"))
        sending = asyncio.create_task(chunks_without_end(wire))
        answer = await wire.answer()
        await wire.closed()
        sending.cancel()
        assert await patient.serves()

    assert answer is not None
    assert answer.status == (413 if authorized else 401)


async def test_small_chunks_without_end_are_waited_for_so_long(port: Port) -> None:
    async with port.wire() as wire:
        await wire.send(port.order(b"Transfer-Encoding: chunked"))
        drip = asyncio.create_task(dripping(wire, b"1\r\n \r\n" * 10_000))
        answer = await wire.answer()
        await wire.closed()
        drip.cancel()

    assert answer is not None
    assert answer.status == 408


async def test_who_does_not_read_its_answers_is_cut_off(port: Port) -> None:
    async with port.wire() as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(port.request(b"GET /openapi.json HTTP/1.1") * 200)
        async with asyncio.timeout(PATIENCE):
            while not wire.writer.transport.is_closing():  # only who writes is told
                await asyncio.sleep(0.05)
                await wire.send(b"x")
        assert await port.serves()


async def test_one_connection_too_many_is_told_so_and_the_process_still_lives(port: Port) -> None:
    async with AsyncExitStack() as open_ones:
        for _ in range(SHORT.connections):
            wire = await open_ones.enter_async_context(port.wire())
            await wire.send(b"GET /livez HTTP/1.1\r\nHost: o\r\n\r\n")
            assert await wire.answer() is not None
        refused = await port.one(port.request(b"GET /v1/orders HTTP/1.1"))
        assert await port.serves()

    assert refused is not None
    assert (refused.status, refused.problem["code"]) == (503, "busy")
    assert (refused.header("retry-after"), refused.header("connection")) == ("2", "close")
    await until_served(port)


def test_the_limits_are_those_that_are_set() -> None:
    settings = Settings(header_timeout=duration("3s"), body_timeout=duration("2m"), connections=7)

    assert client_limits(settings) == ClientLimits(head=3, body=120, connections=7)


async def until_served(port: Port) -> None:
    """The server learns that clients are gone when their connections tell it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await port.one(port.request(b"GET /v1/orders HTTP/1.1"))
            if answer is not None and answer.status == 200:
                return
            await asyncio.sleep(0.05)
