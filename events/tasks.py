"""Ends asyncio tasks for certain."""

import asyncio
from typing import Any


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended, whatever they end with.

    Once is not enough before Python 3.12: `asyncio.wait_for`, on which psycopg waits, loses a cancellation that comes
    together with what it waits for.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at: who wants it has the task
