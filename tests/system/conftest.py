"""Installations for the tests of the whole path."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.events.test_relay_reader import remove_topics
from tests.services.kafka import Cluster
from tests.services.postgres import DatabaseServer
from tests.system.installation import Installation, a_home, distributed, embedded

EMBEDDED = pytest.mark.parametrize("installation", ["embedded"], indirect=True, scope="module")
DISTRIBUTED = pytest.mark.parametrize("installation", ["distributed"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with a_home() as folder:
        yield folder


@pytest.fixture(scope="module", params=["embedded", "distributed"])
def installation(request: pytest.FixtureRequest, home: Path) -> Iterator[Installation]:
    """One of each way, for all tests of a module."""
    if request.param == "embedded":
        with embedded(home) as one:
            yield one
        return
    postgres: DatabaseServer = request.getfixturevalue("postgres")
    broker: Cluster = request.getfixturevalue("broker")
    remove_topics(broker)
    url = postgres.create_database()
    with distributed(home, url, broker.bootstrap_servers) as one:
        yield one
    postgres.drop_database(url)
