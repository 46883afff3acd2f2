"""The servers that other tests rely on are real, and keep what they promised through a stop and a kill."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from uuid import uuid4

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.services.child import StartFailed
from tests.services.kafka import Broker, Cluster
from tests.services.postgres import DatabaseServer, Postgres


async def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(broker: Cluster) -> None:
    topic = new_topic(broker)

    await write_transaction(broker, topic, b"aborted", commit=False)
    await write_transaction(broker, topic, b"committed")

    assert read_committed(broker, topic, 1) == [b"committed"]


def test_a_topic_that_nobody_created_is_not_made_up(broker: Cluster) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})

    admin.list_topics("nobody-created-this", timeout=10)

    assert "nobody-created-this" not in admin.list_topics(timeout=10).topics


async def test_a_restarted_broker_has_its_address_and_its_data(restartable_broker: Broker) -> None:
    restartable_broker.start()
    topic = new_topic(restartable_broker)
    await write_transaction(restartable_broker, topic, b"before")
    address, pid = restartable_broker.bootstrap_servers, restartable_broker.pid

    restartable_broker.restart()
    await write_transaction(restartable_broker, topic, b"after")

    assert restartable_broker.bootstrap_servers == address
    assert restartable_broker.pid != pid
    assert read_committed(restartable_broker, topic, 2) == [b"before", b"after"]


async def test_a_killed_broker_keeps_what_was_committed(restartable_broker: Broker) -> None:
    restartable_broker.start()
    topic = new_topic(restartable_broker)
    await write_transaction(restartable_broker, topic, b"before")

    restartable_broker.kill()
    assert not restartable_broker.running
    restartable_broker.start()
    await write_transaction(restartable_broker, topic, b"after")

    assert read_committed(restartable_broker, topic, 2) == [b"before", b"after"]


async def test_a_broker_started_from_another_thread_outlives_the_thread(restartable_broker: Broker) -> None:
    def restart_in_a_new_loop() -> None:
        asyncio.run(asyncio.to_thread(restartable_broker.restart))

    await asyncio.to_thread(restart_in_a_new_loop)

    assert restartable_broker.running
    new_topic(restartable_broker)


def test_each_test_has_a_database_of_its_own(postgres: DatabaseServer, database_url: str) -> None:
    other = postgres.create_database("other")
    with psycopg.connect(other) as connection:
        connection.execute("CREATE TABLE t (n int)")

    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)
    postgres.drop_database(other)


def test_a_database_is_dropped_under_an_open_connection(postgres: DatabaseServer) -> None:
    url = postgres.create_database()
    forgotten = psycopg.connect(url)

    postgres.drop_database(url)

    with pytest.raises(psycopg.OperationalError, match="terminat"):
        forgotten.execute("SELECT 1")
    forgotten.close()


@pytest.mark.parametrize("end", [Postgres.stop, lambda server: server.stop("immediate"), Postgres.kill])
def test_postgres_keeps_what_was_committed(restartable_postgres: Postgres, end: Callable[[Postgres], None]) -> None:
    restartable_postgres.start()
    url = restartable_postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")

    end(restartable_postgres)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    restartable_postgres.start()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (1,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_killed_postgres_takes_its_busy_backends_along(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    connection = psycopg.connect(restartable_postgres.address)
    backend = psutil.Process(connection.info.backend_pid)
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000000)")

    restartable_postgres.kill()
    restartable_postgres.start()

    assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
    connection.close()


@pytest.mark.parametrize("service", ["postgres.Postgres", "kafka.Broker"])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_nothing_is_left_behind_by_a_killed_session(service: str, request: pytest.FixtureRequest) -> None:
    module, name = service.split(".")
    if module == "kafka":
        request.getfixturevalue("kafka_runtime")
    script = f"from tests.services.{module} import {name} as S; s = S(); s.start()"
    wait = "print(s.pid, s.home, flush=True); input()"
    session = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", f"{script}; {wait}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with session:
        assert session.stdout is not None
        pid, home = session.stdout.readline().split()
        server = psutil.Process(int(pid))
        everything = [server, *server.children(recursive=True)]
        session.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 60
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in everything):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(home)


def test_a_server_that_cannot_start_says_why(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    rival = Postgres()
    rival.port = restartable_postgres.port

    with pytest.raises(StartFailed, match="Address already in use"):
        rival.start()
    rival.close()


def new_topic(cluster: Cluster) -> str:
    topic = f"test-{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(timeout=30)
    return topic


async def write_transaction(cluster: Cluster, topic: str, value: bytes, *, commit: bool = True) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, transactional_id=f"writes-{topic}")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, value, headers=[("kind", b"test")])
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


def read_committed(cluster: Cluster, topic: str, count: int, within: float = 60) -> list[bytes]:
    """What a second client reads: `count` records, and any that follow within a second."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": f"reads-{uuid4().hex}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None and len(values) >= count:
            break
        if message is not None and not message.error():
            value = message.value()
            assert isinstance(value, bytes)
            values.append(value)
    consumer.close()
    return values
