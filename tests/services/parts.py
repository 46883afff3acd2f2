"""orderlog's own processes, as people start them: `orderlog serve`, `api`, `relay`, `project`."""

import http.client
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from tests.services.child import Child, free_port

ORDERLOG = Path(sys.executable).with_name("orderlog")
SECRET_KEY = "a secret of the tests alone, of 32 bytes or more"


class Part:
    """One `orderlog` process that answers /readyz on a port of its own; it may be stopped, killed and started again."""

    def __init__(self, command: str, home: Path, settings: Mapping[str, str], port: int | None = None) -> None:
        self.command = command
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / f"{command.replace(' ', '-')}-{self.port}.log"
        name = "ORDERLOG_PORT" if command in {"serve", "api"} else "ORDERLOG_HEALTH_PORT"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERLOG_")}
        self._environment = {**inherited, **settings, name: str(self.port)}
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.exit_code if self._child is not None else None

    def spawn(self) -> None:
        """Start, without waiting."""
        self._child = Child([str(ORDERLOG), *self.command.split()], self.log, orphaned=SIGKILL, env=self._environment)

    def start(self, within: float = 60, path: str = "/readyz") -> None:
        """Start, and return when it answers that it is ready."""
        self.spawn()
        self.wait_until_ready(within, path)

    def wait_until_ready(self, within: float = 60, path: str = "/readyz") -> None:
        assert self._child is not None
        self._child.wait_until(lambda: self._answers(path), within)

    def end(self, by: Signals = SIGTERM, within: float = 60) -> None:
        if self._child is not None and self._child.running:
            self._child.end(by, within)

    def kill(self) -> None:
        self.end(SIGKILL)

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def distributed_settings(database_url: str, bootstrap_servers: str | None) -> dict[str, str]:
    """What the parts of one distributed installation share; without Kafka, the projections follow the log."""
    kafka = {"ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers} if bootstrap_servers else {}
    return {"ORDERLOG_DATABASE_URL": database_url, "ORDERLOG_SECRET_KEY": SECRET_KEY, **kafka}
