"""Waiting for PostgreSQL to say that something is new."""

import asyncio
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from events.tasks import ended

LISTEN = SQL("LISTEN {}")
"""From now on, tell this connection of every notification on a channel, at the commit that sent it."""

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""libpq settings that notice within a dozen seconds that the server's machine is gone."""

log = structlog.get_logger()


class Wakeup:
    """Wakes one waiter. A wake-up says only: look again; several may be one."""

    def __init__(self, waking: "asyncio.Task[None] | None" = None) -> None:
        self._news = asyncio.Event()
        self._waking = waking

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109  running out of time is an answer, not an error
        """Return when there was a wake-up since the last wait (True), or after `timeout` seconds (False)."""
        if self._waking is not None and self._waking.done():
            self._waking.result()
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()  # before the waiter looks: what comes while it looks wakes it again
        return True

    def wake(self) -> None:
        self._news.set()


class Listening:
    """Wakes waiters for the notifications on one channel, over one connection that it renews by itself.

    A new connection wakes them too, since notifications may have been lost while there was none. One for all waiters of
    a process: at each commit that notifies, on whatever channel, PostgreSQL wakes every session that listens.
    """

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._waiters: list[Wakeup] = []
        self._connected = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen(), name=f"listens on {self._channel}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        await ended(self._task)

    def waiter(self) -> Wakeup:
        """One more, for as long as this listens. It is woken as soon as there is a connection."""
        assert self._task is not None, "waiters belong inside `async with`"
        waiter = Wakeup(self._task)
        self._waiters.append(waiter)
        if self._connected:
            waiter.wake()
        return waiter

    async def _listen(self) -> None:
        pause = 0.1
        while True:
            try:
                async with await AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE) as connection:
                    await connection.execute(LISTEN.format(Identifier(self._channel)))
                    self._connected, pause = True, 0.1
                    self._wake()
                    async for _ in connection.notifies():
                        self._wake()
            except psycopg.Error as error:
                log.warning("not listening, trying again", channel=self._channel, why=str(error), pause=pause)
            self._connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.wake()
