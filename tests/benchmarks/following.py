"""What follows the log, as fast as it can: projections from a log that is full, the relay into a real broker.

`python -m tests.benchmarks.following fill|project|relay --url DATABASE …` prints JSON.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from api import logs
from api.ids import new_order_id
from events import codec
from events.codec import Row
from events.envelope import Cause, Event, order_stream
from events.log import Log
from events.order import Line, OrderConfirmed, OrderPlaced
from events.relay import Relay
from projections.catalogue import PROJECTIONS
from projections.feed import LogFeed
from projections.migrate import migrate
from projections.worker import Worker

BATCH = 2_000
BEGIN = datetime(2026, 1, 2, tzinfo=UTC)


def fill(url: str, events: int) -> None:
    """A log of so many events: each order of three lines placed and confirmed, as the library's log is."""
    log = Log(url)
    log.create()
    writer = log.writer()
    position = 0
    for first in range(0, events // 2, BATCH // 2):
        rows: list[Row] = []
        for number in range(first, min(first + BATCH // 2, events // 2)):
            for version, event in enumerate(_life(number), 1):
                position += 1
                stream = order_stream(event.order_id) if isinstance(event, OrderPlaced) else rows[-1][0]
                rows.append((stream, version, position, codec.event_type(event), codec.encode(event, _CAUSE)))
        writer.begin(rows[0][2] - 1, [])
        writer.append(rows, [])
    writer.close()
    log.close()


_CAUSE = Cause(BEGIN, "bench")


def _life(number: int) -> tuple[Event, Event]:
    at = BEGIN + timedelta(seconds=number)
    lines = tuple(
        Line(str(i), f"SKU-{(number + i) % 1000}", f"Product {i}", 2, 100 * i, reserved=False) for i in (1, 2, 3)
    )
    placed = OrderPlaced(at, new_order_id(), f"N-{number}", f"C-{number % 5000}", "EUR", lines, 1200, 0, 0, 0, 1200)
    return placed, OrderConfirmed(at)


async def project(url: str, names: list[str], events: int) -> float:
    """Events a second from an empty read model to one that has seen `events`."""
    migrate(url)
    log = Log(url)
    worker = Worker(url, [PROJECTIONS[name] for name in names], LogFeed(log))
    start = time.perf_counter()
    running = asyncio.create_task(worker.run())
    while worker.events < events:
        if running.done():
            running.result()
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - start
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    log.close()
    return events / seconds


async def relay(url: str, bootstrap_servers: str, events: int) -> float:
    """Events a second from being elected to having committed `events` to the topic."""
    log = Log(url)
    part = Relay(log, bootstrap_servers)
    running = asyncio.create_task(part.run())
    while not part.leading:  # noqa: ASYNC110  the relay tells nobody; this is looked at once
        await asyncio.sleep(0.005)
    start = time.perf_counter()
    while part.position < events:
        if running.done():
            running.result()
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - start
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    log.close()
    return events / seconds


def in_a_process(*arguments: str) -> Any:
    """Run one of the above in a process of its own, which inherits the caller's CPU."""
    command = [sys.executable, "-m", "tests.benchmarks.following", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fill", "project", "relay"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--names", nargs="*", default=list(PROJECTIONS))
    parser.add_argument("--kafka", default="")
    options = parser.parse_args()
    logs.configure("console")  # to standard error: the result alone goes to standard output
    match options.what:
        case "fill":
            fill(options.url, options.events)
            result = 0.0
        case "project":
            result = uvloop.run(project(options.url, options.names, options.events))
        case "relay":
            result = uvloop.run(relay(options.url, options.kafka, options.events))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
