"""Writes to a connection."""

import asyncio
import socket

from api.transport import Joined


async def test_what_is_written_comes_in_its_order() -> None:
    """Whether it waits to be joined with what follows, or is all there is to write."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    joined = Joined(transport, loop, patience=30)

    joined.write(b"1")
    joined.write(b"2")
    joined.writelines([b"3", b"4"])
    joined.write(b"5")
    joined.close()

    assert await reader.read() == b"12345"
    writer.close()
    await writer.wait_closed()
