"""Any part may be killed at any moment, PostgreSQL and Kafka restarted: nothing is lost, nothing is there twice.

A few kills unless ORDERLOG_TEST_SECONDS says how long; ORDERLOG_TEST_SEED repeats a run's dice.
"""

import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import UUID

import httpx
import psycopg
import pytest

from events import codec
from events.codec import Row
from events.order import OrderPlaced
from examples.orderlog_client import Bearer, Client, Patience, Problem
from examples.orderlog_client.shapes import Card, NewOrder
from tests.events.test_relay_reader import assert_published_once, read_topics
from tests.projections.fold import difference, folded, written
from tests.services.kafka import Broker
from tests.services.parts import ORDERLOG, Part
from tests.services.postgres import Postgres
from tests.system.installation import Installation, distributed, environment, until, whole_log
from tests.system.retail import Sums, copies, daily_sales, invoices_file, sums
from tests.system.topics import assert_each_stream_counts_from_one, messages

PROGRESS = """
SELECT (SELECT max(notification_id) FROM events),
       (SELECT count(*) FROM due_steps WHERE step IN ('confirm', 'complete'))
"""
"""How long the log is, and how many steps wait that orders take by themselves."""

SECONDS = float(os.environ.get("ORDERLOG_TEST_SECONDS", "15"))
SEED = int(os.environ.get("ORDERLOG_TEST_SEED", str(random.randrange(10**6))))
CLIENTS = 4
SKU = "POSTER"
POSTER: Card = {"name": "A poster", "prices": [{"amount": 1999, "currency": "EUR"}], "stock": "untracked"}

PATIENCE = Patience(in_all=1, longest_pause=0.2)
"""Short: who gets no answer at one API asks the other one, with the same key."""


@dataclass
class Orders:
    """What the clients were told: the reference that each request carried, to the order that it made."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    retries: int = 0


@pytest.mark.timeout(SECONDS * 4 + 300)
async def test_nothing_is_lost_or_there_twice_whatever_is_killed(
    home: Path, restartable_postgres: Postgres, restartable_broker: Broker
) -> None:
    print(f"ORDERLOG_TEST_SEED={SEED} ORDERLOG_TEST_SECONDS={SECONDS:g}")
    dice = random.Random(SEED)
    restartable_postgres.start()
    restartable_broker.start()
    url = restartable_postgres.create_database()
    file = copies(invoices_file(home), max(2, int(SECONDS / 5)), home / "copies.csv.gz")
    expected = sums(file)
    orders = Orders()
    with distributed(home, url, restartable_broker.bootstrap_servers) as installation:
        async with ordering(installation, orders), importing(installation, file) as imported:
            await asyncio.to_thread(harm, installation.parts, restartable_postgres, restartable_broker, dice)
            await asyncio.wait_for(imported, SECONDS * 2 + 120)
        await asyncio.to_thread(wait_until_ready, installation.parts)
        rows = await asyncio.to_thread(settled_log, url)
        assert orders.retries, "no client noticed anything: nothing was tried"
        assert_each_order_once(rows, orders, expected)
        await asyncio.to_thread(assert_views_are_true, url, rows)
        assert daily_sales(written(url)) == expected.sales
        await asyncio.to_thread(assert_published, restartable_broker, rows)
    assert_none_failed([*(part.log for part in installation.parts), home / "import.log"])


# The harm ----------------------------------------------------------------------------------------------------


def harm(parts: Sequence[Part], postgres: Postgres, broker: Broker, dice: random.Random) -> None:
    """Kill parts one after another, and restart PostgreSQL and Kafka once each, for as long as it shall last."""
    start = time.monotonic()
    restarts = [(SECONDS / 3, postgres.restart), (SECONDS * 2 / 3, broker.restart)]
    while (passed := time.monotonic() - start) < SECONDS or restarts:
        if restarts and passed > restarts[0][0]:
            _, restart = restarts.pop(0)
            print(f"{passed:5.1f} s: {restart.__qualname__}")
            restart()
        victim = dice.choice(parts)
        print(f"{passed:5.1f} s: kill -9 of {victim.command} on port {victim.port}")
        victim.kill()
        time.sleep(dice.uniform(0.1, 1))
        victim.spawn()
        time.sleep(dice.uniform(0.1, 2))


def wait_until_ready(parts: Sequence[Part]) -> None:
    for part in parts:
        if not part.running:
            part.spawn()  # one that found Kafka or PostgreSQL away at its start has ended, and is started again
        part.wait_until_ready()


def settled_log(url: str) -> list[Row]:
    """The log, when no step is left that an order takes by itself."""
    with psycopg.connect(url, autocommit=True) as database:
        quiet_since, seen = time.monotonic(), -1
        while time.monotonic() - quiet_since < 3:
            [(head, due)] = database.execute(PROGRESS).fetchall()
            if due or head != seen:
                quiet_since, seen = time.monotonic(), head
            time.sleep(0.1)
    return whole_log(url)


# The work ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def importing(installation: Installation, file: Path) -> AsyncIterator[asyncio.Task[None]]:
    """An import that is run again until it comes to its end, and is killed now and then itself."""
    running: list[asyncio.subprocess.Process] = []

    async def runs(said: IO[bytes]) -> None:
        dice = random.Random(SEED + 1)
        kills = 1 + int(SECONDS / 20)
        while True:
            process = await asyncio.create_subprocess_exec(
                str(ORDERLOG),
                "import",
                str(file),
                env=environment(installation.settings),
                cwd=installation.home,
                stderr=said,
            )
            running[:] = [process]
            try:
                code = await asyncio.wait_for(process.wait(), dice.uniform(2, 5) if kills else None)
            except TimeoutError:
                kills -= 1
                process.kill()
                code = await process.wait()
            print(f"the import ended with {code}")
            if code == 0:
                return

    with (installation.home / "import.log").open("wb") as said:
        task = asyncio.create_task(runs(said))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def ordering(installation: Installation, orders: Orders) -> AsyncIterator[None]:
    """Clients that order one thing after another, and repeat a request until it is answered."""
    stop = asyncio.Event()
    token = Bearer(installation.token("staff"))
    one, other = installation.urls
    async with Client(one, token, patience=PATIENCE) as first, Client(other, token, patience=PATIENCE) as second:
        await first.put_product(SKU, POSTER)
        both = [[first, second], [second, first]]
        clients = [
            asyncio.create_task(keep_ordering(number, both[number % 2], orders, stop)) for number in range(CLIENTS)
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*clients), 120)
            orders.retries += first.retried + second.retried


async def keep_ordering(client: int, callers: list[Client], orders: Orders, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        reference = f"client-{client}-{number}"
        orders.acknowledged[reference] = await order_at_last(reference, callers, orders)
        await asyncio.sleep(0.02)


async def order_at_last(reference: str, callers: list[Client], orders: Orders) -> str:
    """The id of the order, from whichever API answers at last."""
    order: NewOrder = {
        "currency": "EUR",
        "customer_id": "anne",
        "external_reference": reference,
        "lines": [{"sku": SKU, "quantity": 1}],
    }
    for caller in itertools.cycle(callers):
        try:
            return (await caller.place(order, key=reference))["order_id"]
        except Problem as problem:
            if problem.status not in {None, httpx.codes.SERVICE_UNAVAILABLE}:
                raise
            orders.retries += 1
    raise AssertionError("a cycle ends")


# What must be so ---------------------------------------------------------------------------------------------


def assert_each_order_once(rows: list[Row], orders: Orders, expected: Sums) -> None:
    placed = [event for event in (codec.decode(row).event for row in rows) if isinstance(event, OrderPlaced)]
    references = Counter(event.external_reference for event in placed)
    assert [reference for reference, times in references.items() if times > 1] == []
    of_clients = {str(event.external_reference): str(event.order_id) for event in placed if event.currency == "EUR"}
    assert of_clients == orders.acknowledged
    assert len(placed) == expected.orders + len(orders.acknowledged)


def assert_views_are_true(url: str, rows: list[Row]) -> None:
    expected = folded(rows)
    for row in rows:
        if row[0].startswith("order-"):
            recorded = codec.decode(row)
            expected["timeline"][UUID(recorded.key), recorded.version]["actor"] = recorded.cause.actor
    until(lambda: not difference(expected, written(url)), 60, says=lambda: difference(expected, written(url)), pause=1)


def assert_published(broker: Broker, rows: list[Row]) -> None:
    assert_published_once(read_topics(broker, len(rows), within=60), rows)
    found = messages(broker.bootstrap_servers, len(rows))
    assert len({one.headers["ce_id"] for one in found}) == len(found) == len(rows)
    assert_each_stream_counts_from_one(found)


def assert_none_failed(logs: Sequence[Path]) -> None:
    """A part that finds something away waits for it, or ends with one line at its start: it never fails."""
    failures = {log.name: log.read_text(errors="replace") for log in logs}
    assert {name: text[-3000:] for name, text in failures.items() if "Traceback" in text} == {}
