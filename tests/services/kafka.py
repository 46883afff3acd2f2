"""A real Apache Kafka broker of our own, that tests may stop and kill."""

import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.child import Child, StartFailed, free_port
from tests.services.kafka_runtimes import Installed, NoBroker, Runtime, find_runtime, run

__all__ = ["Broker", "Cluster", "NoBroker", "Runtime", "StartFailed", "find_runtime"]


@dataclass(eq=False)
class Cluster:
    """Kafka somewhere."""

    bootstrap_servers: str


class Broker(Cluster):
    """Our own single broker: same port and data through every stop, kill and start, until it is closed."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        self.port = free_port()
        super().__init__(f"127.0.0.1:{self.port}")
        self._runtime = runtime or find_runtime()
        self.home = Path(tempfile.mkdtemp(prefix="orderlog-kafka-"))
        self._installed: Installed | None = None
        self._server: Child | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.running

    @property
    def pid(self) -> int:
        """The broker's, or that of the Docker client that holds it."""
        assert self._server is not None, "Kafka was not started"
        return self._server.pid

    def start(self) -> None:
        """Return when it answers. One that runs already stays as it is."""
        if self.running:
            return
        if self._installed is None:
            self._installed = self._runtime.install(self.home, _settings(self.port, free_port()))
        self._server = Child(self._installed.run, self.home / "log", orphaned=self._installed.orphaned)
        try:
            self._server.wait_until(self._answers, within=120)
        except StartFailed:
            self.kill()
            raise

    def stop(self) -> None:
        if self.running:
            assert self._server is not None
            self._server.end(SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """kill -9; return when it has gone."""
        if self.running:
            assert self._server is not None
            assert self._installed is not None
            if self._installed.kill:
                run(self._installed.kill)
            self._server.end(SIGKILL)

    def close(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        if self._installed is not None and self._installed.remove:
            run(self._installed.remove)
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            return bool(admin.list_topics(timeout=2).brokers)
        except (OSError, KafkaException):
            return False


def _settings(port: int, controller_port: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that comes back from a kill -9 must wait until its old session (9 s by default) has ended.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "log.cleaner.dedupe.buffer.size": "4194304",  # the default of 128 MB is a third of our heap
    }
