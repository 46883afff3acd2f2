"""Elects the one process that does a task: an advisory lock of the log's database, held by a session that lives."""

import asyncio
from types import TracebackType
from typing import Self

from psycopg import AsyncConnection

from events.wakeup import KEEPALIVE

RELAY = "orderlog.relay"
AUTOMATION = "orderlog.automation"

ELECT = "SELECT pg_try_advisory_lock(hashtext(%s))"
"""True for the one session that may do the task; it stays so until the session ends."""

LAPSE = "SET idle_session_timeout = '5s'"
"""End the session, and with it the lock, of a process that has stopped saying that it is alive."""

ALIVE = "SELECT"
"""Nothing, but it shows that the session is there, and keeps it."""

HEARTBEAT = 1.0
"""Seconds between two signs of life; an elected process that is gone is replaced about as fast."""

CLOSING = 2.0
"""Seconds that a sign of life may take."""


class Leadership:
    """At most one session of the log's database has it, for each task. `won`, then `lost`; a connection of its own.

    Raises `psycopg.Error` or `TimeoutError` when the database does not answer.
    """

    def __init__(self, url: str, task: str = RELAY) -> None:
        self._url = url
        self._task = task

    async def __aenter__(self) -> Self:
        self._session = await AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def won(self) -> None:
        """Wait for the turn. It asks again and again: a statement that waits would hold back PostgreSQL's vacuum."""
        await self._session.execute(LAPSE)
        while not await self._elected():  # noqa: ASYNC110  PostgreSQL can only be asked
            await asyncio.sleep(HEARTBEAT / 2)

    async def lost(self) -> None:
        """Keep it; raises when that is not possible any more."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            await self.confirm()

    async def confirm(self) -> None:
        async with asyncio.timeout(CLOSING):
            await self._session.execute(ALIVE)

    async def _elected(self) -> bool:
        row = await (await self._session.execute(ELECT, (self._task,))).fetchone()
        return bool(row and row[0])
