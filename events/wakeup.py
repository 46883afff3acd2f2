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
    """Wakes one waiter for the notifications on one channel, over a connection of its own that it renews by itself.

    Wake-ups say only: look again. Several notifications may be one wake-up, and a new connection is one too, since
    notifications may have been lost while there was none.
    """

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._news = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(), name=f"listens on {self._channel}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening is not None
        await ended(self._listening)

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109  running out of time is an answer, not an error
        """Return when there was a notification since the last wait (True), or after `timeout` seconds (False)."""
        assert self._listening is not None, "wait belongs inside `async with`"
        if self._listening.done():
            self._listening.result()
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()  # before the waiter looks: what comes while it looks wakes it again
        return True

    def wake(self) -> None:
        """Wake the waiter as a notification would."""
        self._news.set()

    async def _listen(self) -> None:
        pause = 0.1
        while True:
            try:
                async with await AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE) as connection:
                    await connection.execute(LISTEN.format(Identifier(self._channel)))
                    self._news.set()
                    pause = 0.1
                    async for _ in connection.notifies():
                        self._news.set()
            except psycopg.Error as error:
                log.warning("not listening, trying again", channel=self._channel, why=str(error), pause=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)
