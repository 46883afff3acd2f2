"""At most one process does a task; one that is gone, or says nothing any more, is replaced as fast as was promised.

Where seconds are promised, the fastest of several times counts: a machine may be slow at times, but not each time.
"""

import asyncio
import time

import psycopg
import pytest

from events.leadership import HEARTBEAT, Leadership

TIMES = 4

END = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Ends the session of who is elected, and waits until it has ended."""

IN_VAIN = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'
    AND query LIKE 'SELECT pg_try_advisory_lock%' AND pid NOT IN (
        SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    )
"""
"""The sessions that asked to be elected last and are not."""


def end_of_the_elected(url: str) -> float:
    """Ends it; the time right after, in monotonic seconds."""
    with psycopg.connect(url, autocommit=True) as administrator:
        assert administrator.execute(END).fetchall() == [(True,)]
    return time.monotonic()


async def asked_in_vain(url: str) -> None:
    """Wait until somebody has asked to be elected, and was not."""
    with psycopg.connect(url, autocommit=True) as administrator:
        deadline = time.monotonic() + 60
        while not administrator.execute(IN_VAIN).fetchone():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_one_that_is_gone_is_replaced_about_as_fast_as_hearts_beat(database_url: str) -> None:
    took = []
    for _ in range(TIMES):
        async with Leadership(database_url) as first, Leadership(database_url) as second:
            await first.won()
            waiting = asyncio.create_task(second.won())
            await asked_in_vain(database_url)
            gone = end_of_the_elected(database_url)
            await waiting
            took.append(time.monotonic() - gone)

    assert min(took) < 1.5 * HEARTBEAT, took


async def test_one_whose_session_has_ended_notices_it_at_its_next_heartbeat(database_url: str) -> None:
    took = []
    for _ in range(TIMES):
        async with Leadership(database_url) as elected:
            await elected.won()
            gone = end_of_the_elected(database_url)
            with pytest.raises(psycopg.OperationalError):
                await elected.lost()
            took.append(time.monotonic() - gone)

    assert min(took) < 1.5 * HEARTBEAT, took


async def test_who_waits_is_elected_when_who_was_elected_says_nothing_any_more(database_url: str) -> None:
    async with Leadership(database_url) as frozen, Leadership(database_url) as other:
        await frozen.won()
        silent = time.monotonic()
        await other.won()
        assert time.monotonic() - silent > 2 * HEARTBEAT, "a heart that misses a beat is not dead"

        with pytest.raises(psycopg.OperationalError):
            await frozen.confirm()
        await other.confirm()


async def test_each_task_has_a_leader_of_its_own(database_url: str) -> None:
    async with Leadership(database_url, "one") as one, Leadership(database_url, "another") as another:
        await one.won()
        await another.won()
        await one.confirm()
