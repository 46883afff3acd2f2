"""Keeps a process's belief up to date: which keys sign, and whose tokens were revoked, read every few seconds.

A verified token is remembered, so a request costs one look into a dict; what makes that safe is here: a change in the
database is known to every process within seconds, and what was remembered is then verified anew.
"""

import asyncio
import time
from datetime import timedelta
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.accounts import CHANGED
from api.keys import read_keys
from api.sign_in import FORGET_ATTEMPTS, FORGET_PLACES
from api.tokens import LIFETIME, Tokens

EVERY = 5.0
"""Seconds between two looks; a change must be known everywhere within a minute."""

TOO_LONG_AGO = 45.0
"""Seconds after which the process says that it is not ready."""

TIDIED_EVERY = 12
"""Looks between two removals of what is to be forgotten."""

LOOKED_BACK = LIFETIME + timedelta(minutes=10)
"""Tokens of accounts that changed before have expired since, clocks that differ by minutes allowed for."""

log = structlog.get_logger()


class Standing:
    def __init__(self, pool: AsyncConnectionPool, tokens: Tokens, every: float = EVERY) -> None:
        self._pool, self._tokens, self._every = pool, tokens, every
        self._generations: dict[str, int] = {}
        self._looked_at = float("-inf")  # monotonic seconds

    async def run(self) -> None:
        """For as long as the process runs. While the database is away, what was known last holds."""
        away = False
        looks = 0
        while True:
            await asyncio.sleep(self._every)
            try:
                async with asyncio.timeout(10):
                    await self.look()
                    looks += 1
                    if looks % TIDIED_EVERY == 0:
                        await self._tidy()
            except (psycopg.Error, PoolTimeout, TimeoutError) as error:
                if not away:
                    log.warning("keys and accounts cannot be read; what was known holds", error=str(error))
                away = True
            else:
                away = False

    async def look(self) -> None:
        """Read what changed, and act on it."""
        async with self._pool.connection() as connection:
            keys = await read_keys(connection)
            generations = await _generations(connection)
        changed = self._tokens.ring.hold(keys)
        if changed or generations != self._generations:
            self._generations = generations
            self._tokens.revoke(generations)
        self._looked_at = time.monotonic()

    async def problem(self) -> str | None:
        """Why a revoked token may still be believed here; None when it is not."""
        ago = time.monotonic() - self._looked_at
        return f"keys and accounts were last read {ago:.0f} s ago" if ago > TOO_LONG_AGO else None

    async def _tidy(self) -> None:
        async with self._pool.connection() as connection:
            for statement in (FORGET_ATTEMPTS, FORGET_PLACES):
                await connection.execute(statement)


async def _generations(connection: AsyncConnection[Any]) -> dict[str, int]:
    return dict(await (await connection.execute(CHANGED, {"within": LOOKED_BACK})).fetchall())
