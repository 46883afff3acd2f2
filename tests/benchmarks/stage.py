"""What the benchmarks are measured on: a pinned PostgreSQL, the baselines, and how two sides are compared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import uuid4

import psycopg
from eventsourcing.projection import Projection

from tests.benchmarks.load import Load, Plan, load_from, medians
from tests.benchmarks.naive.orders import library_environment
from tests.benchmarks.naive.products import list_products
from tests.benchmarks.naive.projection import (
    VIEWS,
    projected_events_per_second,
    record_orders,
    saves_per_second,
)
from tests.benchmarks.naive.token import issue_token
from tests.benchmarks.servers import (
    APPLICATION_CPU,
    DATABASE_CPU,
    LOAD_CPU,
    Server,
    pin,
    pinned,
    server,
    uvicorn,
)
from tests.services.child import free_port
from tests.services.postgres import Postgres

SECRET_KEY = "a secret that only benchmarks know, 32 bytes or more"
SAVES = 3_000
PROJECTED_EVENTS = 5_000
PRODUCTS = 10_000
LOGGED = 1_024  # megabytes before anything is measured
PLENTY = 1_000_000_000
"""On hand of each product whose stock is tracked: no order is refused."""


class RequestsFailed(Exception):
    """Requests of a benchmark were not answered with 2xx, so its figure would mean nothing."""


class Stage:
    """The machine as set out in DESIGN §5. Every baseline runs in a database of its own, on the same PostgreSQL."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def database(self, prefix: str = "bench") -> str:
        """The URL of a new empty database."""
        return self.postgres.create_database(prefix)

    def load(self, running: Server, token: str, plan: Plan | None = None) -> Load:
        """Orders from the load generator's CPU. Raises when any is not answered with 2xx."""
        url, key_prefix = f"{running.url}/v1/orders", uuid4().hex[:8]
        load = load_from(LOAD_CPU, url, plan or Plan(), token, key_prefix=key_prefix)
        if load.failures:
            raise RequestsFailed(f"{url}: {load.failures} of {load.requests} answers (status: count; 0: none)")
        return load

    # The baselines ----------------------------------------------------------------------------------------------

    @cached_property
    def bare(self) -> Load:
        """A server that stores nothing: what the load generator can do at most."""
        port = free_port()
        with server(uvicorn("tests.benchmarks.bare:app", port), port, {}) as running:
            return self.load(running, "none", Plan(seconds=5))

    def naive(self) -> Load:
        """The stated baseline: bearer token, no idempotency."""
        with naive_server(self.database("naive")) as running:
            return self.load(running, naive_token())

    def naive_with_idempotency(self) -> Load:
        with naive_server(self.database("naive"), NAIVE_IDEMPOTENCY="1") as running:
            return self.load(running, naive_token())

    def naive_tracked(self) -> Load:
        """Without idempotency, of products whose stock is reserved."""
        url = self.database("naive")
        list_products(library_environment(url), PRODUCTS, PLENTY)
        with naive_server(url, NAIVE_TRACKED="1") as running:
            return self.load(running, naive_token(), Plan(skus=PRODUCTS))

    @cached_property
    def library_saves(self) -> float:
        """The library's default `save()` in one thread, a second."""
        environment = library_environment(self.database("saves"))
        with pinned(APPLICATION_CPU):
            return saves_per_second(environment, SAVES)

    @cached_property
    def library_projections(self) -> dict[str, float]:
        """Events a second of the library's ProjectionRunner, by projection, each run alone."""
        environment = library_environment(self.database("projections"))
        with pinned(APPLICATION_CPU):
            record_orders(environment, PROJECTED_EVENTS)
            return {projection.name: projection_rate(environment, projection) for projection in VIEWS}


def in_turn(one: Callable[[], Load], other: Callable[[], Load]) -> tuple[Load, Load]:
    """Each three times, in the order A B B A A B, and of each the medians: a machine that others use gets faster and
    slower from one minute to the next, and this slows both alike."""
    loads: dict[Callable[[], Load], list[Load]] = {one: [], other: []}
    for side in (one, other, other, one, one, other):
        loads[side].append(side())
    return medians(loads[one]), medians(loads[other])


@contextmanager
def stage() -> Iterator[Stage]:
    """A PostgreSQL of our own, pinned, for as long as the block runs."""
    with Postgres() as postgres:
        settle(postgres)
        pin(postgres.pid, DATABASE_CPU)
        yield Stage(postgres)


def settle(postgres: Postgres) -> None:
    """Bring it to where one is that has run for a while: its log goes on in files of old log, and makes none.

    To make one takes 14 ms, in which nothing is committed; a new server does so once in 16 MB.
    """
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for _ in range(LOGGED):
            connection.execute("SELECT pg_logical_emit_message(false, 'settle', repeat('x', 1024 * 1024))")
        connection.execute("CHECKPOINT")
        connection.execute("CHECKPOINT")


@contextmanager
def naive_server(database_url: str, **environment: str) -> Iterator[Server]:
    port = free_port()
    settings = {**library_environment(database_url), "NAIVE_SECRET_KEY": SECRET_KEY, **environment}
    with server(uvicorn("tests.benchmarks.naive.app:app", port), port, settings) as running:
        yield running


def naive_token() -> str:
    return issue_token(SECRET_KEY)


def projection_rate(environment: dict[str, str], projection: type[Projection[Any]]) -> float:
    return projected_events_per_second(environment, projection, PROJECTED_EVENTS)
