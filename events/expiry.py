"""Removes the answers to idempotency keys that are kept no longer: in small steps, by one process at a time.

The index it needs is made here too, while commands go on: a table of a week's answers is large, and `Log.create` is no
place to wait. It costs each answer one more entry at the right edge of a tree.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import structlog
from psycopg import AsyncConnection

from events.wakeup import KEEPALIVE

TASK = "orderlog.expiry"

STEP = 1_000
"""Answers removed in one transaction."""

REST = 0.1
"""Seconds between two steps: a backlog is no reason to slow down commands."""

EVERY = 60.0
"""Seconds between two looks at most; a tenth of the time that answers are kept, if that is less."""

ELECT = "SELECT pg_try_advisory_lock(hashtext(%s))"
"""True for the one session that may remove; it stays so until the session ends."""

INDEX_IS_USABLE = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('answers_recorded_at')"
"""One row when there is an index; false in it when whoever was making it did not come to the end."""

DROP_INDEX = "DROP INDEX CONCURRENTLY answers_recorded_at"
"""Drop an index that is not usable, which costs each append all the same."""

MAKE_INDEX = "CREATE INDEX CONCURRENTLY answers_recorded_at ON answers (recorded_at)"
"""Index the answers by age while others are written."""

PREPARE = "SET enable_seqscan = off; SET synchronous_commit = off"
"""Go by the index whatever the statistics say; and what a crash brings back is removed again."""

REMOVE = """
WITH removed AS (
    DELETE FROM answers WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM answers WHERE recorded_at >= %(since)s AND recorded_at < %(until)s
        ORDER BY recorded_at LIMIT %(step)s
    )) RETURNING recorded_at
)
SELECT count(*), max(recorded_at) FROM removed
"""
"""Remove the oldest answers of a time; how many there were, and how far that went. The next step begins there, and does
not walk over what is gone."""

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


class Expiry:
    """`run` until cancelled. `keep` is how long an answer is kept, `now` the clock that this goes by."""

    def __init__(
        self,
        url: str,
        keep: timedelta,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        step: int = STEP,
    ) -> None:
        self._url, self._keep, self._now, self._step = url, keep, now, step
        self._every = min(EVERY, keep.total_seconds() / 10)

    async def run(self) -> None:
        """A database that goes away is waited for."""
        while True:
            try:
                if removed := await self.sweep():
                    log.info("answers removed that are kept no longer", answers=removed)
            except (psycopg.Error, TimeoutError) as error:
                log.warning("the removal of answers waits for the database", why=str(error) or type(error).__name__)
            await asyncio.sleep(self._every)

    async def sweep(self) -> int:
        """Remove all that is due, step by step; how many that were. None while another process does it."""
        async with await AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE) as session:
            if not await _true(session, ELECT, (TASK,)):
                return 0
            await session.execute(PREPARE)
            await ensure_index(session)
            return await self._remove(session)

    async def _remove(self, session: AsyncConnection) -> int:
        until, since, total = self._now() - self._keep, BEGIN, 0
        while True:
            count, since = await self._one_step(session, since, until)
            total += count
            if count < self._step:
                return total
            await asyncio.sleep(REST)

    async def _one_step(self, session: AsyncConnection, since: datetime, until: datetime) -> tuple[int, datetime]:
        found = await session.execute(REMOVE, {"since": since, "until": until, "step": self._step})
        row = await found.fetchone()
        assert row is not None
        return row[0], row[1] or since


async def ensure_index(session: AsyncConnection) -> None:
    """By the elected session only: of two that make it at once, one would be refused."""
    usable = await (await session.execute(INDEX_IS_USABLE)).fetchone()
    if usable == (True,):
        return
    if usable is not None:
        await session.execute(DROP_INDEX)
    await session.execute(MAKE_INDEX)


async def _true(session: AsyncConnection, question: str, parameters: tuple[str, ...]) -> bool:
    row = await (await session.execute(question, parameters)).fetchone()
    return row == (True,)
