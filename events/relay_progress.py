"""Says how far the relay is, in one row of the log's database: for whoever operates orderlog. Nothing relies on it.

What is published for certain is in Kafka, where the relay itself looks; here it is told once a second to processes
that have nothing to do with Kafka.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from events.log import HEAD
from events.wakeup import KEEPALIVE

EVERY = 1.0
"""Seconds between two notes."""

NOT_WAITED_FOR = "SET synchronous_commit = off"
"""A note that a crash of the server takes back is made again; no other commit shall wait for the disk with it."""

NOTE = """
INSERT INTO relay_progress (position, complete_until, noted_at)
VALUES (%(position)s, now() - make_interval(secs => %(age)s), now())
ON CONFLICT (only_row) DO UPDATE SET position = excluded.position, noted_at = excluded.noted_at,
    complete_until = coalesce(excluded.complete_until, relay_progress.complete_until)
"""
"""Where the relay is now. The age is of a time on the relay's own clock, so that clocks need not agree."""

NOTED = f"""
SELECT ({HEAD}) - position, extract(epoch FROM now() - complete_until)::float8,
    extract(epoch FROM now() - noted_at)::float8, position
FROM relay_progress
"""
"""What was noted, and how long ago."""

log = structlog.get_logger()


class Progress(msgspec.Struct, frozen=True):
    """Up to `position` the log is published, and everything that it had so many seconds ago, where that is known."""

    position: int
    age: float | None


class Noted(msgspec.Struct, frozen=True):
    """How far behind the log the relay is."""

    events: int
    complete: float | None  # seconds: what the log had so long ago is published
    silent: float  # seconds since a relay said so
    position: int

    @property
    def seconds(self) -> float:
        """For how long, at most, the oldest event that is not published has waited."""
        return self.complete if self.events > 0 and self.complete is not None else 0.0


async def keep_noting(url: str, progress: Callable[[], Progress | None]) -> None:
    """Until cancelled; nothing is noted while nothing is known. A database that does not answer is tried again."""
    told = False
    while True:
        try:
            async with await AsyncConnection.connect(url, autocommit=True, **KEEPALIVE) as connection:
                await connection.execute(NOT_WAITED_FOR)
                while True:
                    await _note(connection, progress())
                    told = False
                    await asyncio.sleep(EVERY)
        except psycopg.Error as error:
            if not told:
                log.warning("the relay cannot note how far it is; it goes on", why=str(error).strip())
            told = True
        except Exception:
            log.exception("the relay cannot note how far it is; it goes on")
        await asyncio.sleep(EVERY)


async def _note(connection: AsyncConnection[Any], progress: Progress | None) -> None:
    if progress is not None:
        await connection.execute(NOTE, {"position": progress.position, "age": progress.age})


async def noted(pool: AsyncConnectionPool[Any]) -> Noted | None:
    """None where no relay has ever run. Raises `psycopg.OperationalError` where the database does not answer."""
    async with pool.connection() as connection:
        row = await (await connection.execute(NOTED)).fetchone()
    return Noted(*row) if row is not None else None
