"""Reading one order by its id: ours, and the same through FastAPI and SQLAlchemy's ORM, from one database."""

from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from events import codec
from events.order import OrderPlaced
from tests.benchmarks import ours
from tests.benchmarks.following import in_a_process
from tests.benchmarks.load import Load, Plan, load_from
from tests.benchmarks.naive import orm
from tests.benchmarks.servers import LOAD_CPU, Server, server, uvicorn
from tests.benchmarks.stage import SECRET_KEY, RequestsFailed, Stage, naive_token
from tests.services.child import free_port

EVENTS = 20_000
"""Of 10,000 orders of three lines, placed and confirmed."""

PLACED = (
    "SELECT originator_id, originator_version, notification_id, topic, state FROM events WHERE originator_version = 1"
)
"""The first event of each order."""


def reads(stage: Stage) -> tuple[Load, Load]:
    """GET of an order chosen at random, 64 connections, with a token: the baseline's, and ours."""
    url = stage.database("reads")
    in_a_process("fill", "--url", url, "--events", str(EVENTS))
    placed = orders(url)
    orm.fill(url, placed)
    port = free_port()
    settings = {"DATABASE_URL": url, "NAIVE_SECRET_KEY": SECRET_KEY}
    with TemporaryDirectory() as home:
        paths = Path(home) / "paths"
        paths.write_text("\n".join(f"/v1/orders/{one.order_id}" for one in placed))
        with server(uvicorn("tests.benchmarks.naive.orm:app", port), port, settings) as running:
            naive = load(running, naive_token(), paths)
        with ours.orderlog(stage, ORDERLOG_DATABASE_URL=url) as running:
            return naive, load(running, ours.token("staff", "staff"), paths)


def orders(url: str) -> list[OrderPlaced]:
    """As they were placed."""
    with psycopg.connect(url) as connection:
        found = [codec.decode(row).event for row in connection.execute(PLACED)]
    return [event for event in found if isinstance(event, OrderPlaced)]


def load(running: Server, token: str, paths: Path) -> Load:
    """Raises `RequestsFailed` when any is not answered with 2xx."""
    measured = load_from(LOAD_CPU, running.url, Plan(), token, paths=paths)
    if measured.failures:
        raise RequestsFailed(f"{running.url}: {measured.failures} of {measured.requests} answers (status: count)")
    return measured
