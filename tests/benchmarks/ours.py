"""orderlog on the stage: its processes, pinned, and what they are asked to do."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import httpx
import psycopg

from api.roles import Role
from api.tokens import Tokens
from projections.migrate import migrate
from projections.tables import metadata
from tests.benchmarks import shelves
from tests.benchmarks.following import in_a_process
from tests.benchmarks.load import Load, Plan
from tests.benchmarks.processor import processor_rate
from tests.benchmarks.servers import APPLICATION_CPU, LOAD_CPU, ROOT, USABLE, Server, pin, pinned, server
from tests.benchmarks.stage import PLENTY, PRODUCTS, Stage
from tests.services.child import free_port
from tests.services.kafka import Broker
from tests.services.parts import ORDERLOG, SECRET_KEY

SKUS = 1_000  # as many as the load generator orders
EVENTS = 200_000
ORDERS = 200_000


@contextmanager
def orderlog(stage: Stage, command: str = "api", **environment: str) -> Iterator[Server]:
    """One `orderlog` process on CPU 0, with a database of its own unless one is given, and a full catalogue."""
    port = free_port()
    settings = {
        "ORDERLOG_DATABASE_URL": environment.get("ORDERLOG_DATABASE_URL") or stage.database("orderlog"),
        "ORDERLOG_SECRET_KEY": SECRET_KEY,
        "ORDERLOG_PORT" if command in {"api", "serve"} else "ORDERLOG_HEALTH_PORT": str(port),
        **environment,
    }
    with server([str(ORDERLOG), *command.split()], port, settings) as running:
        yield running


def token(role: Role, subject: str) -> str:
    tokens = Tokens(SECRET_KEY.encode(), issuer="orderlog", audience="orderlog")
    return tokens.issue(subject, [role], timedelta(hours=2))


def list_products(running: Server, stock: str = "untracked") -> None:
    headers = {"Authorization": f"Bearer {token('staff', 'staff')}"}
    with httpx.Client(base_url=running.url, headers=headers) as client:
        for number in range(1, SKUS + 1):
            price = {"amount": 100 + number, "currency": "EUR"}
            body = {"name": f"Product {number}", "prices": [price], "stock": stock}
            client.put(f"/v1/products/SKU-{number}", json=body).raise_for_status()


# Writing -----------------------------------------------------------------------------------------------------


def writes(stage: Stage, command: str = "api", plan: Plan | None = None) -> Load:
    """`POST /v1/orders` with token and idempotency key, three lines of untracked products, 64 connections."""
    with orderlog(stage, command) as running:
        list_products(running)
        return stage.load(running, token("customer", "C-1"), plan)


def writes_to_one(stage: Stage) -> Load:
    """The same from three clients of 64 connections, all to one process, which is fastest on a CPU of its own."""
    return _writes_by(stage, 1, [APPLICATION_CPU])


def writes_to_three(stage: Stage) -> Load:
    """The same, each to one of three processes on one log, which may use all CPUs."""
    return _writes_by(stage, 3, USABLE)


def _writes_by(stage: Stage, processes: int, cpus: Collection[int]) -> Load:
    url = stage.database("orderlog")
    with ExitStack() as stack:
        running = [stack.enter_context(orderlog(stage, ORDERLOG_DATABASE_URL=url)) for _ in range(processes)]
        list_products(running[0])
        for one in running:
            pin(one.pid, *cpus)
        loads = _at_once(stage, running * (3 // processes), Plan())
    return Load(
        requests=sum(load.requests for load in loads),
        seconds=max(load.seconds for load in loads),
        rate=sum(load.rate for load in loads),
        p50_ms=max(load.p50_ms for load in loads),
        p99_ms=max(load.p99_ms for load in loads),
        max_ms=max(load.max_ms for load in loads),
        failures={},
    )


def _at_once(stage: Stage, servers: list[Server], plan: Plan) -> list[Load]:
    async def each() -> list[Load]:
        customer = token("customer", "C-1")
        return await asyncio.gather(*(asyncio.to_thread(stage.load, one, customer, plan) for one in servers))

    return asyncio.run(each())


def tracked(stage: Stage, plan: Plan) -> Load:
    """`POST /v1/orders` with token and idempotency key, of 10,000 products whose stock is reserved, to one process."""
    url = stage.database("orderlog")
    shelves.fill(url, PRODUCTS, PLENTY)
    with orderlog(stage, ORDERLOG_DATABASE_URL=url) as running:
        return stage.load(running, token("customer", "C-1"), plan)


def three_lines(stage: Stage) -> Load:
    return tracked(stage, Plan(skus=PRODUCTS))


def flash(stage: Stage) -> tuple[list[Load], list[Load]]:
    """Orders of one line: of any of 10,000 products, and all of the same one.

    Each twice, in the order A B B A: a disk that gets slower meanwhile then slows both alike.
    """
    free, same = Plan(seconds=6, skus=PRODUCTS, lines=1), Plan(seconds=6, skus=1, lines=1)
    first, *both, last = [tracked(stage, plan) for plan in (free, same, same, free)]
    return [first, last], both


def processor(stage: Stage) -> float:
    """Orders a second from 512 callers, without HTTP, each with an idempotency key."""
    with pinned(APPLICATION_CPU):
        return processor_rate(stage.database("processor"))["orders_per_second"]


def loading(stage: Stage) -> dict[str, float]:
    """Milliseconds to know a product with 1,000,000 events, after a restart."""
    return _alone("loading", "--url", stage.database("loading"))


def deciding() -> dict[str, float]:
    """What decisions cost without a log."""
    return _alone("deciding")


def _alone(module: str, *arguments: str) -> dict[str, float]:
    """What a benchmark prints that is a program of its own."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with pinned(APPLICATION_CPU):
        printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, float] = json.loads(printed)
    return result


# Following ---------------------------------------------------------------------------------------------------


def projections(stage: Stage) -> dict[str, float]:
    """Events a second of each projection alone, and of the four together, from a log of 200,000 events."""
    url = stage.database("projections")
    in_a_process("fill", "--url", url, "--events", str(EVENTS))
    four = ["order_details", "order_list", "daily_sales", "timeline"]
    return {" ".join(names): _projected(url, names) for names in (*([name] for name in four), four)}


def _projected(url: str, names: list[str]) -> float:
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)}")
    with pinned(APPLICATION_CPU):
        rate: float = in_a_process("project", "--url", url, "--events", str(EVENTS), "--names", *names)
    return rate


def relay(stage: Stage) -> float:
    """Events a second from the log into a real broker, in transactions of 1,000."""
    url = stage.database("relay")
    in_a_process("fill", "--url", url, "--events", str(EVENTS))
    with Broker() as broker:
        pin(broker.pid, LOAD_CPU)
        with pinned(APPLICATION_CPU):
            arguments = ["--url", url, "--events", str(EVENTS), "--kafka", broker.bootstrap_servers]
            rate: float = in_a_process("relay", *arguments)
    return rate


# Listening ---------------------------------------------------------------------------------------------------


def heard_from_the_log(stage: Stage) -> tuple[float, dict[str, float]]:
    """Half of what `orderlog serve` takes at most, and how long each order then takes to a socket."""
    with orderlog(stage, "serve") as running:
        list_products(running)
        return _heard(stage, running)


def heard_through_kafka(stage: Stage) -> tuple[float, dict[str, float]]:
    """The same through `orderlog api`, `relay` and `project` and a real broker."""
    url = stage.database("orderlog")
    with Broker() as broker, ExitStack() as stack:
        pin(broker.pid, LOAD_CPU)
        both = {"ORDERLOG_DATABASE_URL": url, "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        running = stack.enter_context(orderlog(stage, "api", **both))
        for command in ("relay", "project"):
            stack.enter_context(orderlog(stage, command, **both))
        list_products(running)
        return _heard(stage, running)


def _heard(stage: Stage, running: Server) -> tuple[float, dict[str, float]]:
    customer = token("customer", "C-1")
    most = stage.load(running, customer, Plan(seconds=10)).rate
    _settled(running)
    with _listener(running, seconds=16) as listener:
        stage.load(running, customer, Plan(seconds=10, rate=most / 2))
        heard: dict[str, float] = json.loads(listener.communicate()[0])
    return most / 2, heard


@contextmanager
def _listener(running: Server, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    url = running.url.replace("http", "ws", 1) + "/v1/live"
    command = [sys.executable, "-m", "tests.benchmarks.listening", "--url", url, "--token", token("staff", "staff")]
    command += ["--seconds", str(seconds), "--cpu", str(LOAD_CPU)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        yield process


def _settled(running: Server) -> None:
    """Wait until the read side has seen everything: the newest order is in the list."""
    headers = {"Authorization": f"Bearer {token('customer', 'C-1')}", "Idempotency-Key": os.urandom(8).hex()}
    body = {"currency": "EUR", "lines": [{"sku": "SKU-1", "quantity": 1}]}
    with httpx.Client(base_url=running.url, headers=headers, timeout=30) as client:
        order_id = client.post("/v1/orders", json=body).raise_for_status().json()["order_id"]
        for _ in range(600):
            if client.get(f"/v1/orders/{order_id}").status_code == httpx.codes.OK:
                return
            asyncio.run(asyncio.sleep(0.2))
    raise TimeoutError("the read side does not catch up")


# Memory ------------------------------------------------------------------------------------------------------


def memory(stage: Stage) -> tuple[int, int]:
    """Bytes of `orderlog serve` at rest, and after 200,000 orders."""
    with orderlog(stage, "serve") as running:
        list_products(running)
        rest = running.memory()
        stage.load(running, token("customer", "C-1"), Plan(warm_up=0, count=ORDERS))
        _settled(running)
        return rest, running.memory()
