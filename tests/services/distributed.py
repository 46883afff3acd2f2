"""`make run-distributed`: the topology of docker-compose.yml as plain processes, for where there is no Docker.

PostgreSQL, a real Kafka broker, two APIs, a relay with its standby, two projection workers. A process that ends is
started again, as Docker would do it, so that one can kill any and watch. All data go away with Ctrl-C.
"""

import signal
import tempfile
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from tests.services.child import free_port
from tests.services.kafka import Broker
from tests.services.parts import Part, distributed_settings
from tests.services.postgres import Postgres

COMMANDS = ("api", "api", "relay", "relay", "project", "project")
FIRST_PORT = 8000

console = Console(stderr=True)


def main() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="orderlog-distributed-"))
    try:
        with console.status("starting PostgreSQL and Kafka"), Postgres() as postgres, Broker() as broker:
            settings = distributed_settings(postgres.create_database("orderlog"), broker.bootstrap_servers)
            _run(home, settings)
    except KeyboardInterrupt:
        console.print("Stopped.")


def _run(home: Path, settings: dict[str, str]) -> None:
    ports = [FIRST_PORT, FIRST_PORT + 1, *(free_port() for _ in COMMANDS[2:])]
    parts = [Part(command, home, settings, port) for command, port in zip(COMMANDS, ports, strict=True)]
    try:
        for part in parts:
            part.spawn()
        for part in parts:
            # A standby is ready when it can take over, not when it leads.
            part.wait_until_ready()
        _show(parts, settings)
        while True:
            _restart_ended(parts)
            time.sleep(0.5)
    finally:
        for part in parts:
            part.end()


def _restart_ended(parts: list[Part]) -> None:
    for part in parts:
        if not part.running:
            console.print(f"orderlog {part.command} (process {part.pid}) has ended; starting it again")
            part.spawn()


def _show(parts: list[Part], settings: dict[str, str]) -> None:
    table = Table("part", "process", "address", "log", box=None)
    for part in parts:
        table.add_row(f"orderlog {part.command}", str(part.pid), part.url, str(part.log))
    table.add_row("PostgreSQL", "", settings["ORDERLOG_DATABASE_URL"], "")
    table.add_row("Kafka", "", settings["ORDERLOG_KAFKA_BOOTSTRAP_SERVERS"], "")
    console.print(table)
    console.print("In another terminal, for `orderlog token`, `orderlog import` and the like:")
    for name, value in settings.items():
        console.print(f"  export {name}='{value}'", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops everything and deletes the data.")


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
