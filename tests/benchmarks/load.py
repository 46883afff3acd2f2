"""Loads an HTTP server with orders, or reads of some, over keep-alive connections; says how many and how fast."""

import argparse
import asyncio
import gc
import math
import os
import random
import subprocess
import sys
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

ROOT = Path(__file__).parents[2]
BODIES = 4_096  # different orders that are prepared; they repeat, their idempotency keys do not
DRAIN_SECONDS = 30.0  # how long the last answers are waited for
NO_ANSWER = 0  # the "status" of a request whose connection was lost or whose answer never came

MakeRequest = Callable[[int], bytes]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. Only 2xx answers make `rate`; latencies are those of all answers, 2xx or not."""

    requests: int  # answered within the measured seconds, whatever the status
    seconds: float
    rate: float  # 2xx answers a second
    p50_ms: float
    p99_ms: float
    max_ms: float
    failures: dict[int, int]  # status -> count; 0: no answer


def medians(loads: Sequence[Load]) -> Load:
    """What is typical of several runs of the same load: each figure is the median of theirs."""
    return Load(
        requests=sum(load.requests for load in loads),
        seconds=sum(load.seconds for load in loads),
        rate=median(load.rate for load in loads),
        p50_ms=median(load.p50_ms for load in loads),
        p99_ms=median(load.p99_ms for load in loads),
        max_ms=max(load.max_ms for load in loads),
        failures={},
    )


class NothingAnswered(Exception):
    """The server answered no measured request, so there is nothing to say about it."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to load: for `seconds`, or until `count` answers; as fast as answers come, or at `rate` a second.

    Each order has so many `lines`, of different products out of SKU-1 … SKU-`skus`.
    """

    connections: int = 64
    warm_up: float = 2.0
    seconds: float = 10.0
    count: int | None = None
    rate: float | None = None  # None: closed loop. Otherwise open loop, latency from the time a request was due.
    skus: int = 1_000
    lines: int = 3


# What is sent -----------------------------------------------------------------------------------------------


def order_body(choose: random.Random, skus: int, lines: int) -> bytes:
    """An order of `lines` different products out of SKU-1 … SKU-`skus`, without prices."""
    chosen = choose.sample(range(1, skus + 1), lines)
    wanted = [{"sku": f"SKU-{number}", "quantity": choose.randint(1, 5)} for number in chosen]
    return msgspec.json.encode({"currency": "EUR", "lines": wanted})


def order_requests(url: str, token: str, key_prefix: str, plan: Plan, seed: int = 1) -> MakeRequest:
    """POSTs of orders to `url`: the same orders for the same seed; the i-th has the key `key_prefix`-i."""
    parts = urlsplit(url)
    choose = random.Random(seed)  # the same orders in every run are the point
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {key_prefix}-"
    ).encode()
    bodies = [order_body(choose, plan.skus, plan.lines) for _ in range(BODIES)]
    tails = [b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies]
    return lambda i: b"%b%d%b" % (head, i, tails[i % BODIES])


def read_requests(url: str, token: str, paths: list[str], seed: int = 1) -> MakeRequest:
    """GETs of these paths below `url`, in an order that chance gives."""
    tail = f" HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    requests = [f"GET {path}{tail}".encode() for path in paths]
    random.Random(seed).shuffle(requests)
    return lambda i: requests[i % len(requests)]


# What comes back --------------------------------------------------------------------------------------------


def head_of(received: bytes) -> bytes | None:
    """Status line and headers in lower case; None while they are not complete."""
    end = received.find(b"\r\n\r\n")
    return None if end < 0 else received[:end].lower()


def answer_length(head: bytes) -> int:
    """Bytes of the whole answer, head and body."""
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        if b"\r\ntransfer-encoding:" in head:
            raise ValueError("the load generator does not read chunked answers")
        return len(head) + 4
    end = head.find(b"\r", start + 2)
    length = head[start + 17 : end if end > 0 else None]
    return len(head) + 4 + int(length)


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.due = 0.0  # when the request in flight was due; 0: none is

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.run.ready(self)

    def send(self, request: bytes, due: float) -> None:
        assert self.transport is not None
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self.received + data if self.received else data
        head = head_of(received)
        if head is None or len(received) < answer_length(head):
            self.received = received
            return
        self.received = b""
        due, self.due = self.due, 0.0
        self.run.answered(int(head[9:12]), due)
        if b"\r\nconnection: close" in head:
            self.close()
        else:
            self.run.ready(self)

    def close(self) -> None:
        assert self.transport is not None
        self.transport.close()  # ends in connection_lost

    def connection_lost(self, _exc: Exception | None) -> None:
        due, self.due = self.due, 0.0
        self.run.lost(self, in_flight_since=due)


# How it is paced --------------------------------------------------------------------------------------------


class Run:
    """One load from first warm-up request to last answer. Answers before `begin` are not counted, nor are
    the latencies of requests that were due before it."""

    def __init__(self, plan: Plan, make_request: MakeRequest) -> None:
        self.plan, self.make_request = plan, make_request
        self.sent = 0
        self.latencies = array("d")
        self.statuses: Counter[int] = Counter()
        self.idle: deque[Connection] = deque()
        self.overdue: deque[float] = deque()  # open loop: due, with no connection free
        self.connections: set[Connection] = set()
        self.begin = math.inf
        self.issuing = True
        self.done = asyncio.Event()
        self.drained = asyncio.Event()
        self.reconnect: Callable[[], object] = lambda: None

    def ready(self, connection: Connection) -> None:
        """Give a free connection its next request: at once, or when one is due."""
        self.connections.add(connection)
        if self.overdue:
            self.issue(connection, self.overdue.popleft())
        elif self.plan.rate is None and self.issuing:
            self.issue(connection, perf_counter())
        else:
            self.idle.append(connection)
            if not self.issuing and len(self.idle) >= len(self.connections):
                self.drained.set()

    def issue(self, connection: Connection, due: float) -> None:
        self.sent += 1
        connection.send(self.make_request(self.sent), due)

    def answered(self, status: int, due: float) -> None:
        now = perf_counter()
        if now < self.begin:
            return
        self.statuses[status] += 1
        if due >= self.begin:
            self.latencies.append(now - due)
        if self.plan.count is not None and self.statuses.total() >= self.plan.count:
            self.done.set()

    def lost(self, connection: Connection, in_flight_since: float) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if in_flight_since:
            self.answered(NO_ANSWER, in_flight_since)
        if self.issuing or self.overdue:
            self.reconnect()
        elif len(self.idle) >= len(self.connections):
            self.drained.set()

    async def keep_pace(self, rate: float) -> None:
        """Open loop: hand out what became due in the last millisecond, to free connections first."""
        start, handed_out = perf_counter(), 0
        while self.issuing:
            due_by_now = int((perf_counter() - start) * rate) + 1  # the first is due at once
            for number in range(handed_out, due_by_now):
                due = start + number / rate
                if self.idle:
                    self.issue(self.idle.popleft(), due)
                else:
                    self.overdue.append(due)
            handed_out = max(handed_out, due_by_now)
            await asyncio.sleep(0.001)


async def send_load(url: str, plan: Plan, make_request: MakeRequest) -> Load:
    """Load the server at `url` as planned; every connection is open before the first measured request."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    run = Run(plan, make_request)
    opening: set[asyncio.Task[object]] = set()

    async def connect() -> None:
        await loop.create_connection(partial(Connection, run), parts.hostname or "127.0.0.1", parts.port or 80)

    def reconnect() -> None:
        task = loop.create_task(connect())
        opening.add(task)
        task.add_done_callback(opening.discard)

    run.reconnect = reconnect
    await asyncio.gather(*(connect() for _ in range(plan.connections)))
    pacer = asyncio.create_task(run.keep_pace(plan.rate)) if plan.rate is not None else None
    await asyncio.sleep(plan.warm_up)
    load = await measure(run)
    if pacer is not None:
        await pacer
    return load


async def measure(run: Run) -> Load:
    """Measure until the plan is fulfilled; then send nothing new and wait for what is on its way."""
    run.begin = perf_counter()
    if run.plan.count is None:
        await asyncio.sleep(run.plan.seconds)
    else:
        await run.done.wait()
    seconds = perf_counter() - run.begin
    requests, failed = run.statuses.total(), sum(failures(run).values())
    run.issuing = False
    if run.overdue or len(run.idle) < len(run.connections):
        try:
            await asyncio.wait_for(run.drained.wait(), DRAIN_SECONDS)
        except TimeoutError:
            count_unanswered(run)
    return result(run, requests, (requests - failed) / seconds, seconds)


def failures(run: Run) -> dict[int, int]:
    return {status: count for status, count in sorted(run.statuses.items()) if not 200 <= status < 300}


def count_unanswered(run: Run) -> None:
    waiting = [connection.due for connection in run.connections if connection.due]
    for due in [*waiting, *run.overdue]:
        run.answered(NO_ANSWER, due)


def result(run: Run, requests: int, rate: float, seconds: float) -> Load:
    if not run.latencies:
        raise NothingAnswered(f"no request was answered within {seconds:.1f} s")
    latencies = sorted(run.latencies)
    return Load(
        requests=requests,
        seconds=round(seconds, 3),
        rate=round(rate, 1),
        p50_ms=round(1_000 * percentile(latencies, 50), 2),
        p99_ms=round(1_000 * percentile(latencies, 99), 2),
        max_ms=round(1_000 * latencies[-1], 2),
        failures=failures(run),
    )


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


# In a process of its own ------------------------------------------------------------------------------------


def load_from(
    cpu: int, url: str, plan: Plan, token: str, *, key_prefix: str = "load", paths: Path | None = None, seed: int = 1
) -> Load:
    """The same from a child process pinned to `cpu`. Raises when the child fails; failures of requests are counted.

    Orders to `url`, or reads of the `paths` that a file has, one a line.
    """
    options: dict[str, object] = {
        "url": url,
        "token": token,
        "key-prefix": key_prefix,
        "paths": paths,
        "cpu": cpu,
        "seed": seed,
        "connections": plan.connections,
        "warm-up": plan.warm_up,
        "seconds": plan.seconds,
        "count": plan.count,
        "rate": plan.rate,
        "skus": plan.skus,
        "lines": plan.lines,
    }
    arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
    command = [sys.executable, "-m", "tests.benchmarks.load", *arguments]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(ended.stdout, type=Load, strict=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--url", required=True, help="e.g. http://127.0.0.1:8000/v1/orders")
    parser.add_argument("--token", default="", help="bearer token")
    parser.add_argument("--key-prefix", default="load", help="must differ from run to run, or keys repeat")
    parser.add_argument("--paths", type=Path, help="a file of paths: read these, rather than place orders")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds to measure")
    parser.add_argument("--count", type=int, help="measure this many answers instead")
    parser.add_argument("--rate", type=float, help="open loop: requests a second; none: closed loop")
    parser.add_argument("--skus", type=int, default=1_000, help="products there are: SKU-1 … SKU-N")
    parser.add_argument("--lines", type=int, default=3, help="of each order, at most as many as there are products")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", type=int, help="pin this process to a CPU")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})
    plan = Plan(
        connections=given.connections,
        warm_up=given.warm_up,
        seconds=given.seconds,
        count=given.count,
        rate=given.rate,
        skus=given.skus,
        lines=given.lines,
    )
    if given.paths is not None:
        make_request = read_requests(given.url, given.token, given.paths.read_text().split(), given.seed)
    else:
        make_request = order_requests(given.url, given.token, given.key_prefix, plan, given.seed)
    gc.disable()  # a pause here would be reported as the server's
    load = uvloop.run(send_load(given.url, plan, make_request))
    print(msgspec.json.encode(load).decode())


if __name__ == "__main__":
    main()
