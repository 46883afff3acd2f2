"""Runs the parts of a process until it is asked to stop."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from events.tasks import ended


@asynccontextmanager
async def until_asked_to_stop() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second one ends the process at once."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, _at_once)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    yield asked


def _at_once(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


async def run_until(asked: asyncio.Event, *parts: Any, serving: Any = None) -> None:
    """Run coroutines until asked to stop, when `serving` ends by itself. One that fails ends them all, loudly."""
    server = asyncio.ensure_future(serving) if serving is not None else None
    tasks = [*([server] if server else []), *(asyncio.ensure_future(part) for part in parts)]
    asking = asyncio.create_task(asked.wait())
    try:
        done, _ = await asyncio.wait([asking, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if asking in done and server:
            await server
        for task in done - {asking}:
            task.result()
    finally:
        await ended(asking, *tasks)


def freeze() -> None:
    """Keep what lives as long as the process from the garbage collector, which makes the slowest answers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    sys.setswitchinterval(0.0005)  # the processor's thread holds the log's lock: it must not wait long for its turn
