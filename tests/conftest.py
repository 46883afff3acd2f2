"""The servers that tests run on: those named in the environment, or else real ones of our own."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.services.kafka import Broker, Cluster, NoBroker, Runtime, find_runtime
from tests.services.postgres import DatabaseServer, Postgres

DATABASE_URL = "ORDERLOG_TEST_DATABASE_URL"
BOOTSTRAP_SERVERS = "ORDERLOG_TEST_KAFKA_BOOTSTRAP_SERVERS"
NOT_RUN = "DID NOT RUN"
"""What the reason of a skip has that is told again at the end, since nobody chose it."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    if address := os.environ.get(DATABASE_URL):
        yield DatabaseServer(address)
    else:
        with Postgres() as server:
            yield server


@pytest.fixture
def database_url(postgres: DatabaseServer) -> Iterator[str]:
    """A fresh, empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def restartable_postgres() -> Iterator[Postgres]:
    """A server that the module's tests may stop and kill; `start()` makes sure that it runs."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_runtime() -> Runtime:
    """The way to run a broker here. Without one, Kafka tests are skipped, loudly; in CI they fail."""
    try:
        return find_runtime()
    except NoBroker as none:
        not_run("KAFKA TESTS DID NOT RUN", str(none))


def not_run(what: str, why: str) -> NoReturn:
    """Skips what cannot be run here, loudly; in CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: {why}", pytrace=False)
    pytest.skip(f"{what}: {why}")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if bootstrap_servers := os.environ.get(BOOTSTRAP_SERVERS):
        yield Cluster(bootstrap_servers)
    else:
        with Broker(request.getfixturevalue("kafka_runtime")) as server:
            yield server


@pytest.fixture(scope="module")
def restartable_broker(kafka_runtime: Runtime) -> Iterator[Broker]:
    """A broker that the module's tests may stop and kill; `start()` makes sure that it runs."""
    with Broker(kafka_runtime) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = Counter(skip[2].removeprefix("Skipped: ") for skip in skips if isinstance(skip, tuple))
    for reason, times in reasons.items():
        what, _, why = reason.partition(": ")
        if what.endswith(NOT_RUN):
            terminalreporter.write_line(f"{what} ({times} skipped): {why}", red=True, bold=True)
