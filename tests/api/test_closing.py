"""How a connection ends: who is still sending gets to read its answer, and nobody holds a connection for ever."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from api.protocol import ClientLimits
from api.requests import MOST_UNWANTED
from api.serving import GRACE
from api.transport import LINGER, SLOWEST_READER
from tests.api.edge import Edge
from tests.api.wire import PATIENCE, Port, serving
from tests.api.wire import Answer as Parsed

PIECE = b" " * 65_536
CHUNK = b"10000\r\n" + PIECE + b"\r\n"
TAKEN_BY_THE_SYSTEM = 67_108_864
"""Bytes of which neither the sender nor the receiver knows that they are under way."""

MANY = b"Content-Length: 100000000"


@pytest.fixture
async def port(edge: Edge) -> AsyncIterator[Port]:
    async with serving(edge) as one:
        yield one


@asynccontextmanager
async def plug(port: Port, receives: int | None = None) -> AsyncIterator[socket.socket]:
    """A socket that does nothing by itself; the system keeps so many bytes for it that were not read."""
    with socket.socket() as one:
        one.settimeout(0)
        if receives is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
        yield one


async def send(plugged: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.get_running_loop().sock_sendall(plugged, data)


async def sent_until_cut_off(plugged: socket.socket, piece: bytes) -> int:
    """How many bytes, about, were taken before the server took no more and reset the connection."""
    sent = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await asyncio.get_running_loop().sock_sendall(plugged, piece)
            except ConnectionError:
                return sent
            sent += len(piece)
            await asyncio.sleep(0)


async def rest(plugged: socket.socket) -> bytes:
    """All that comes until the server closes its side. Raises ConnectionError when the connection was reset."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while more := await asyncio.get_running_loop().sock_recv(plugged, 65_536):
            data += more
    return data


async def until_answered(plugged: socket.socket) -> None:
    """The answer is there, and was not read."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if plugged.recv(65_536, socket.MSG_PEEK).find(b"request-id") > 0:
                    return
            except BlockingIOError:
                pass
            await asyncio.sleep(0.01)


async def until_cut_off(plugged: socket.socket) -> None:
    """The server has ended the connection; nothing is read meanwhile."""
    poll = select.poll()
    poll.register(plugged, 0)  # what is wrong is told always
    async with asyncio.timeout(PATIENCE):
        while not poll.poll(0):  # noqa: ASYNC110  nothing that can be waited for comes
            await asyncio.sleep(0.02)


def statuses(answers: bytes) -> list[int]:
    """Of answers one after another, each with a length."""
    found = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        answer = Parsed(head, b"")
        found.append(answer.status)
        answers = answers[int(answer.header("content-length") or 0) :]
    return found


EARLY: dict[str, tuple[Callable[[Port], bytes], int]] = {
    "too much is declared": (lambda port: port.order(MANY) + b"{", 413),
    "compressed": (lambda port: port.order(MANY, b"Content-Encoding: gzip") + b"{", 415),
    "no chunk": (lambda port: port.order(b"Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "no HTTP": (lambda _: b"GARBAGE " + PIECE, 400),
    "headers without end": (lambda port: port.request(b"GET / HTTP/1.1")[:-2] + b"X: " + b"x" * 70_000, 431),
    "no HTTP behind a request": (lambda port: port.request(b"GET /v1/auth/me HTTP/1.1") + b"GARBAGE " + PIECE, 200),
    "a handshake with a body": (
        lambda port: port.request(b"POST / HTTP/1.1", b"Upgrade: websocket", b"Connection: Upgrade", MANY),
        400,
    ),
    "another protocol": (lambda port: port.order(b"Upgrade: h2c", b"Connection: Upgrade", body=b"{}"), 422),
}
"""What is answered before all has come, and with what."""


@pytest.mark.parametrize("name", EARLY)
async def test_who_is_still_sending_gets_to_read_its_answer(port: Port, name: str) -> None:
    asked, status = EARLY[name]
    async with plug(port) as plugged:
        await send(plugged, asked(port))
        await until_answered(plugged)
        for _ in range(20):
            await send(plugged, PIECE)
        answers = await rest(plugged)

    assert statuses(answers) == [status]
    assert b"connection: close" in answers
    assert await port.serves()


async def test_what_was_asked_whole_before_a_bad_body_is_answered_before_it(port: Port) -> None:
    wrong = port.order(b"Transfer-Encoding: chunked") + b"zz\r\n"
    async with plug(port) as plugged:
        await send(plugged, port.request(b"GET /v1/auth/me HTTP/1.1") * 3 + wrong + PIECE)

        assert statuses(await rest(plugged)) == [200, 200, 200, 400]


async def test_a_body_that_is_refused_after_its_request_was_answered_is_not_answered_again(port: Port) -> None:
    async with plug(port) as plugged:
        await send(plugged, port.request(b"POST /v1/nothing HTTP/1.1", b"Transfer-Encoding: chunked"))
        await until_answered(plugged)
        await send(plugged, b"zz\r\n")

        assert statuses(await rest(plugged)) == [404]


@pytest.mark.parametrize("length", [MANY, b"Transfer-Encoding: chunked"])
async def test_who_is_refused_and_sends_for_ever_is_cut_off(port: Port, length: bytes) -> None:
    """Chunks are dropped before the answer, too. What was not read, at most, is what the system takes for us."""
    piece, dropped = (PIECE, MOST_UNWANTED) if length is MANY else (CHUNK, 2 * MOST_UNWANTED)
    async with plug(port) as plugged:
        await send(plugged, port.order(length))

        assert await sent_until_cut_off(plugged, piece) < dropped + TAKEN_BY_THE_SYSTEM
        assert await port.serves()


async def test_who_lingers_is_counted_until_it_closes(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.transport.LINGER", PATIENCE)
    async with serving(edge, ClientLimits(connections=1)) as port:
        async with plug(port) as plugged:
            await send(plugged, port.order(MANY) + b"{")
            assert statuses(await rest(plugged)) == [413]
            refused = await port.one(port.request(b"GET /v1/orders HTTP/1.1"))
        async with asyncio.timeout(PATIENCE):
            while await status_of_a_read(port) != 200:  # noqa: ASYNC110  when it closes, it tells the server
                await asyncio.sleep(0.02)

    assert refused is not None
    assert refused.problem["code"] == "busy"


async def status_of_a_read(port: Port) -> int:
    answer = await port.one(port.request(b"GET /v1/auth/me HTTP/1.1"))
    assert answer is not None
    return answer.status


async def test_a_request_that_came_whole_does_not_linger(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed at once, though the client keeps its side open, and another's takes its place."""
    monkeypatch.setattr("api.transport.LINGER", 2 * PATIENCE)
    async with serving(edge, ClientLimits(connections=1)) as port, plug(port) as plugged:
        await send(plugged, port.request(b"GET /v1/auth/me HTTP/1.1", b"Connection: close"))

        assert statuses(await rest(plugged)) == [200]
        assert await status_of_a_read(port) == 200


async def test_a_stop_waits_for_who_lingers_and_no_longer(edge: Edge) -> None:
    async with AsyncExitStack() as running:
        port = await running.enter_async_context(serving(edge))
        async with plug(port) as plugged:
            await send(plugged, port.order(MANY) + b"{")
            await until_answered(plugged)
            await running.aclose()

            assert await sent_until_cut_off(plugged, PIECE) < TAKEN_BY_THE_SYSTEM
    assert LINGER < GRACE


# Who does not read -------------------------------------------------------------------------------------------

LARGE = b"GET /openapi.json HTTP/1.1"
SMALL_BUFFERS = 4_096
"""So that what a client does not read is left to the server, and not to the system."""


async def test_who_reads_a_little_now_and_then_is_cut_off(edge: Edge) -> None:
    limits = ClientLimits(body=4)
    async with serving(edge, limits, sends=SMALL_BUFFERS) as port, plug(port, SMALL_BUFFERS) as plugged:
        await send(plugged, port.request(LARGE) * 5)
        with pytest.raises(ConnectionResetError):
            await read_slowly(plugged, SLOWEST_READER // 20, 0.1)
        assert await port.serves()


async def test_who_reads_slowly_but_steadily_gets_all_of_it(edge: Edge) -> None:
    """For many times the limit; and after the server has closed the connection, too."""
    limits = ClientLimits(body=1)
    async with serving(edge, limits, sends=SMALL_BUFFERS) as port, plug(port, SMALL_BUFFERS) as plugged:
        await send(plugged, port.request(LARGE) + port.request(LARGE, b"Connection: close"))

        assert statuses(await read_slowly(plugged, 16_384, 0.03)) == [200, 200]


async def test_who_reads_steadily_is_served_though_the_system_takes_what_is_sent_in_leaps(edge: Edge) -> None:
    """With as much of it in the system as it likes to take: megabytes, so that ours do not become less for seconds."""
    async with serving(edge, ClientLimits(body=2)) as port, plug(port) as plugged:
        await send(plugged, port.request(LARGE) * 20)
        with pytest.raises(TimeoutError):
            await read_slowly(plugged, 20_480, 0.1, seconds=7)


async def test_who_closes_its_side_and_reads_nothing_is_cut_off(edge: Edge) -> None:
    """Also when so little waits to be read that the server went on answering."""
    limits = ClientLimits(body=1)
    async with serving(edge, limits, sends=SMALL_BUFFERS) as port, plug(port, SMALL_BUFFERS) as plugged:
        await send(plugged, port.request(b"GET /problems HTTP/1.1") * 4)
        await until_answered(plugged)
        assert all([await port.serves() for _ in range(5)])  # and the other three are, too
        plugged.shutdown(socket.SHUT_WR)

        await until_cut_off(plugged)


async def read_slowly(plugged: socket.socket, most: int, pause: float, seconds: float = PATIENCE) -> bytes:
    """At most so many bytes at a time, until the server closes. Raises ConnectionError when it cuts us off."""
    data = b""
    async with asyncio.timeout(seconds):
        while more := await asyncio.get_running_loop().sock_recv(plugged, most):
            data += more
            await asyncio.sleep(pause)
    return data
