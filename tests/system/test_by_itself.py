"""What follows by itself does so in the processes as people start them, and once, whichever of them is killed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.events.test_relay_reader import remove_topics
from tests.services.kafka import Cluster
from tests.services.postgres import DatabaseServer
from tests.system.clients import Caller, eur
from tests.system.installation import Installation, distributed, embedded, until

SOON = {"ORDERLOG_ORDER_EXPIRY": "4s", "ORDERLOG_IDEMPOTENCY_EXPIRY": "4s"}


@pytest.fixture(params=["embedded", "distributed"])
def hasty(request: pytest.FixtureRequest, home: Path) -> Iterator[Installation]:
    """An installation whose orders expire after seconds, and the answers to idempotency keys as well."""
    way = embedded(home, "hasty", SOON) if request.param == "embedded" else _distributed(request, home)
    with way as installation:
        yield installation


@contextmanager
def _distributed(request: pytest.FixtureRequest, home: Path) -> Iterator[Installation]:
    postgres: DatabaseServer = request.getfixturevalue("postgres")
    broker: Cluster = request.getfixturevalue("broker")
    remove_topics(broker)
    url = postgres.create_database()
    with distributed(home, url, broker.bootstrap_servers, settings=SOON) as installation:
        yield installation
    postgres.drop_database(url)


async def test_what_is_paid_is_confirmed_and_what_is_not_expires_though_processes_are_killed(
    hasty: Installation,
) -> None:
    async with Caller(hasty.urls[-1], hasty.token("staff")) as staff:
        await staff.put("/v1/products/CUP", {"name": "A cup", "prices": [eur(250)], "stock": "tracked"})
        await staff.asked("/v1/products/CUP/receive-stock", {"quantity": 100})
        an_order = {"customer_id": "anne", "currency": "EUR", "lines": [{"sku": "CUP", "quantity": 1}]}
        paths = [f"/v1/orders/{(await staff.asked('/v1/orders', an_order))['order_id']}" for _ in range(6)]
        paid, unpaid = paths[:2], paths[2:]
        for path in paid:
            await staff.asked(f"{path}/record-authorization", {"amount": eur(250), "reference": "auth"})
            await staff.asked(f"{path}/record-capture", {"amount": eur(250), "reference": "auth"})
        for path in paid:
            await staff.sees(path, lambda order: order["status"] == "confirmed")

        await asyncio.to_thread(_kill_and_start_again, hasty)

        for path in unpaid:
            order = await staff.sees(path, lambda order: order["status"] == "cancelled")
            assert order["cancel_reason"] == "expired"
        for path in paid:
            assert (await staff.read(path))["status"] == "confirmed"
        stock = await staff.sees("/v1/products/CUP", lambda product: product["reserved"] == 2)
        assert stock["on_hand"] == 100
    ended = Counter(row[0] for row in hasty.log() if row[3] == "orderlog.order.cancelled.v1")
    assert sorted(ended.values()) == [1] * len(unpaid)
    with psycopg.connect(hasty.database_url(), autocommit=True) as database:
        until(lambda: database.execute("SELECT count(*) FROM answers").fetchone() == (0,))


def _kill_and_start_again(installation: Installation) -> None:
    """The first process that takes commands, which is the elected one most often."""
    first = installation.parts[0]
    first.kill()
    first.spawn()
    first.wait_until_ready()
