"""What cannot start says so in one line, soon; what runs stops soon; what is away is waited for."""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner
from websockets import ConnectionClosed

from api.cli import app
from tests.events.test_relay_reader import remove_topics
from tests.projections.fold import written
from tests.services.child import free_port
from tests.services.kafka import Broker, Cluster
from tests.services.parts import SECRET_KEY, Part
from tests.services.postgres import DatabaseServer
from tests.system.clients import Caller, eur
from tests.system.installation import Installation, distributed, embedded, orderlog, until
from tests.system.retail import daily_sales, made_up, sums

SOON = 15
"""Seconds for a start that fails; the machine may be busy."""

COMMANDS = ("serve", "api", "relay", "project", "import", "token", "user", "client", "keys", "database-url", "migrate")

NEWER = "UPDATE read_side_version SET version_num = '9999_from_the_future'"
"""What the migration of a later version leaves behind."""


def refusal(home: Path, *command: str, **settings: str) -> str:
    """The one line with which a command ends that cannot start."""
    given = {"ORDERLOG_DATA_DIR": str(home / "unused"), "ORDERLOG_PORT": str(free_port()), **settings}
    done = orderlog(*command, settings=given, home=home, within=SOON, code=1)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert not done.stdout
    assert lines[0].startswith("orderlog: ")
    return lines[0]


def at_database(url: str, kafka: str | None = None) -> dict[str, str]:
    kafka_address = {"ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": kafka} if kafka else {}
    return {"ORDERLOG_DATABASE_URL": url, "ORDERLOG_SECRET_KEY": SECRET_KEY, **kafka_address}


# What cannot start -------------------------------------------------------------------------------------------


def test_a_misspelt_setting_is_named_with_the_right_one(home: Path) -> None:
    said = refusal(home, "serve", ORDERLOG_PROT="8000")

    assert "ORDERLOG_PROT is not a setting: did you mean ORDERLOG_PORT?" in said


def test_bad_values_are_named_with_what_would_be_right(home: Path) -> None:
    said = refusal(
        home,
        "serve",
        ORDERLOG_PORT="eighty",
        ORDERLOG_DATABASE_URL="mysql://here",
        ORDERLOG_LOG_FORMAT="xml",
    )

    assert re.search("ORDERLOG_PORT is not usable.*it must be a port number from 0 to 65535", said)
    assert re.search("ORDERLOG_DATABASE_URL is not usable.*it must be an address such as postgresql://", said)
    assert re.search("ORDERLOG_LOG_FORMAT is not usable.*it must be console or json", said)


def test_a_database_needs_a_secret_key_that_all_processes_share(home: Path) -> None:
    assert "ORDERLOG_SECRET_KEY" in refusal(home, "api", ORDERLOG_DATABASE_URL="postgresql://127.0.0.1/x")


@pytest.mark.parametrize("command", ["serve", "api"])
def test_a_port_in_use_is_named(home: Path, database_url: str, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(home, command, ORDERLOG_PORT=str(port), **at_database(database_url))

    assert f"127.0.0.1:{port}" in said
    assert "ORDERLOG_PORT" in said


def test_a_health_port_in_use_is_named(home: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(home, "project", ORDERLOG_HEALTH_PORT=str(port), **at_database(database_url))

    assert f"127.0.0.1:{port}" in said
    assert "ORDERLOG_HEALTH_PORT" in said


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_a_database_that_does_not_answer_is_named_without_its_password(home: Path, command: str) -> None:
    port = free_port()
    said = refusal(home, command, **at_database(f"postgresql://me:hush@127.0.0.1:{port}/shop"))

    assert f"127.0.0.1:{port}/shop" in said
    assert "ORDERLOG_DATABASE_URL" in said
    assert "hush" not in said


def test_a_database_that_is_not_there_is_named(home: Path, postgres: DatabaseServer) -> None:
    assert "no_such_database" in refusal(home, "api", **at_database(postgres.url("no_such_database")))


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["token", "--role", "staff"]], ids=" ".join)
def test_a_data_folder_that_cannot_be_made_is_named(home: Path, command: list[str]) -> None:
    file = home / "a-file"
    file.touch()

    said = refusal(home, *command, ORDERLOG_DATA_DIR=str(file / "data"))

    assert str(file / "data") in said
    assert "ORDERLOG_DATA_DIR" in said


def test_a_data_folder_of_another_postgresql_is_named_and_left_alone(home: Path) -> None:
    folder = home / "old" / "postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("16\n")

    said = refusal(home, "serve", ORDERLOG_DATA_DIR=str(home / "old"))

    assert str(folder) in said
    assert "version" in said
    assert "16" in said
    assert (folder / "PG_VERSION").read_text() == "16\n"


@pytest.mark.parametrize("command", ["serve", "project"])
def test_a_database_of_a_newer_version_is_left_alone(home: Path, database_url: str, command: str) -> None:
    orderlog("migrate", settings=at_database(database_url), home=home)
    with psycopg.connect(database_url) as connection:
        connection.execute(NEWER)

    said = refusal(home, command, **at_database(database_url))

    assert "9999_from_the_future" in said
    assert "newer" in said


@pytest.mark.parametrize("command", ["serve", "relay", "project"])
def test_a_kafka_that_does_not_answer_at_the_start_is_named(home: Path, database_url: str, command: str) -> None:
    address = f"127.0.0.1:{free_port()}"

    said = refusal(home, command, **at_database(database_url, address))

    assert address in said
    assert "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS" in said


@pytest.mark.parametrize("command", ["serve", "project"])
def test_a_topic_with_a_wrong_number_of_partitions_is_named(
    home: Path, database_url: str, broker: Cluster, command: str
) -> None:
    remove_topics(broker)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    topic = NewTopic("orders.events.v1", num_partitions=2, replication_factor=1)
    admin.create_topics([topic])["orders.events.v1"].result(timeout=30)

    said = refusal(home, command, **at_database(database_url, broker.bootstrap_servers))

    assert "'orders.events.v1' has 2 partitions where 6 are expected" in said
    remove_topics(broker)


def test_a_relay_without_kafka_says_which_setting_it_needs(home: Path, database_url: str) -> None:
    assert "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS" in refusal(home, "relay", **at_database(database_url))


def test_an_unknown_projection_is_named_with_those_there_are(home: Path, database_url: str) -> None:
    said = refusal(home, "project", "daily_sails", "order_list", **at_database(database_url))

    assert "daily_sails" in said
    assert "daily_sales" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--role", "boss"], "'boss' is not a role; there are customer, staff, analyst, admin"),
        (["--role", "customer"], "--role customer --customer ID"),
        (["--role", "staff", "--ttl", "soon"], "--ttl 'soon' is not a time such as 30m, 1h or 7d"),
    ],
)
def test_a_token_that_cannot_be_is_refused(home: Path, arguments: list[str], says: str) -> None:
    assert says in refusal(home, "token", *arguments)


def test_there_is_no_database_url_where_nothing_runs(home: Path) -> None:
    assert "orderlog serve" in refusal(home, "database-url")


def test_help_says_what_there_is(home: Path) -> None:
    done = orderlog("--help", home=home)

    assert not done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command: str) -> None:
    """In this process: the command line is the same, and a start takes longer than the help."""
    done = CliRunner().invoke(app, [command, "--help"], prog_name="orderlog")

    assert done.exit_code == 0
    assert f"Usage: orderlog {command}" in done.output


# What runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serving(home: Path) -> Iterator[Installation]:
    """`orderlog serve`; a test that stops it starts it again."""
    with embedded(home) as one:
        yield one


def test_a_second_serve_on_the_same_folder_is_refused(serving: Installation, home: Path) -> None:
    said = refusal(home, "serve", ORDERLOG_DATA_DIR=serving.settings["ORDERLOG_DATA_DIR"])

    assert serving.settings["ORDERLOG_DATA_DIR"] in said
    assert "ORDERLOG_DATA_DIR" in said
    assert httpx.get(f"{serving.urls[0]}/readyz").status_code == httpx.codes.OK


def test_serve_locks_its_data_folder_and_nothing_that_it_shares_with_other_users(serving: Installation) -> None:
    locks = {Path(file.path) for file in psutil.Process(serving.parts[0].pid).open_files() if "lock" in file.path}
    folder = Path(serving.settings["ORDERLOG_DATA_DIR"])

    assert (folder / "postgres.lock").exists()
    assert {lock.parent for lock in locks} <= {folder}


def test_the_start_says_in_five_lines_where_everything_is(serving: Installation) -> None:
    lines = serving.parts[0].log.read_text().splitlines()

    assert [line.split()[0] for line in lines[:5]] == ["orderlog", "data", "Kafka", "docs", "token"]
    assert serving.urls[0] in lines[0]
    assert serving.settings["ORDERLOG_DATA_DIR"] in lines[1]


@pytest.mark.parametrize("by", [SIGINT, SIGTERM])
async def test_serve_stops_soon_while_clients_listen_and_requests_run(serving: Installation, by: Signals) -> None:
    part = serving.parts[0]
    async with Caller(serving.urls[0], serving.token("staff")) as staff:
        await staff.put("/v1/products/CUP", {"name": "A cup", "prices": [eur(250)], "stock": "untracked"})
        busy = [asyncio.create_task(order_until_it_is_gone(staff)) for _ in range(8)]
        async with staff.listening() as listener, staff.listening() as other:
            await listener.hears()
            start = time.monotonic()
            await asyncio.to_thread(part.end, by, 20)
            took = time.monotonic() - start
            for one in (listener, other):
                assert await close_code(one.socket.recv) == 1012
        accepted = [order_id for orders in await asyncio.gather(*busy) for order_id in orders]
    assert took < 5
    assert part.exit_code == 0
    assert "Traceback" not in part.log.read_text()

    await asyncio.to_thread(part.start)
    placed = {row[0] for row in await asyncio.to_thread(serving.log) if row[3] == "orderlog.order.placed.v1"}
    assert {f"order-{order_id}" for order_id in accepted} <= placed
    assert accepted


async def order_until_it_is_gone(staff: Caller) -> list[str]:
    """The orders that were accepted."""
    accepted: list[str] = []
    order = {"currency": "EUR", "customer_id": "anne", "lines": [{"sku": "CUP", "quantity": 1}]}
    while True:
        try:
            answer = await staff.post("/v1/orders", order)
        except httpx.TransportError:
            return accepted
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return accepted
        assert answer.status_code == httpx.codes.CREATED, answer.text
        accepted.append(answer.json()["order_id"])


async def close_code(receive: Callable[[], Awaitable[object]]) -> int | None:
    try:
        while True:
            await asyncio.wait_for(receive(), 10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def test_a_serve_that_was_killed_starts_again_on_its_folder(serving: Installation) -> None:
    serving.parts[0].kill()

    serving.parts[0].start()

    assert httpx.get(f"{serving.urls[0]}/readyz").status_code == httpx.codes.OK


def test_serve_publishes_too_when_kafka_is_set(home: Path, broker: Cluster) -> None:
    remove_topics(broker)
    settings = {
        "ORDERLOG_DATA_DIR": str(home / "publishing"),
        "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
    }
    part = Part("serve", home, settings)
    try:
        part.start()
        assert httpx.get(f"{part.url}/readyz").json()["status"] == "ready"
        start = time.monotonic()
        part.end(SIGTERM, 20)
        assert time.monotonic() - start < 5
    finally:
        part.end()


# What is away ------------------------------------------------------------------------------------------------


def test_readyz_says_what_waits_while_kafka_is_away_and_recovers(
    home: Path, database_url: str, restartable_broker: Broker
) -> None:
    restartable_broker.start()
    small = made_up(home / "small.csv.gz", 20)
    with distributed(home, database_url, restartable_broker.bootstrap_servers, ("relay", "project")) as installation:
        relay, project = installation.parts
        for part, line in ((relay, "the relay is elected"), (project, "partitions assigned")):
            until(lambda part=part, line=line: line in part.log.read_text())  # type: ignore[misc]
        restartable_broker.kill()
        orderlog("import", small, settings=installation.settings, home=home)
        for part, name in ((relay, "relay"), (project, "projections")):
            reasons = until(lambda part=part: problems(part), 60)  # type: ignore[misc]
            assert reasons.keys() == {name}
            assert reasons[name]
        restartable_broker.start()
        for part in (relay, project):
            part.wait_until_ready(60)
            assert "Traceback" not in part.log.read_text()
        expected = sums(small).sales
        until(lambda: daily_sales(written(database_url)) == expected, 60)


def problems(part: Part) -> dict[str, str]:
    assert part.running, f"{part.command} ended with {part.exit_code}: {part.log.read_text()[-2000:]}"
    answer = httpx.get(f"{part.url}/readyz", timeout=10)
    if answer.status_code == httpx.codes.OK:
        return {}
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    reasons: dict[str, str] = answer.json()["parts"]
    return reasons
