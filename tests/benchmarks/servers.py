"""Starts, pins, watches and stops the processes that are measured; touches only processes it was given by id."""

import http.client
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from tempfile import TemporaryDirectory
from time import sleep

from tests.services.child import Child

ROOT = Path(__file__).parents[2]
USABLE = sorted(os.sched_getaffinity(0))
APPLICATION_CPU = USABLE[0]
DATABASE_CPU = LOAD_CPU = USABLE[-1]  # DESIGN §5: the application on one, PostgreSQL and the load on the other


class Server:
    """A running HTTP server process; `url` has no trailing slash."""

    def __init__(self, child: Child, port: int) -> None:
        self.child, self.port = child, port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        return self.child.pid

    def memory(self) -> int:
        """Resident bytes now, of the server and the processes below it; pages that they share count for each."""
        return sum(resident_bytes(pid) for pid in family(self.pid))

    def stop(self) -> None:
        """Ask to end; killed if that takes too long."""
        if self.child.running:
            self.child.end(SIGTERM)


@contextmanager
def server(
    command: Sequence[str], port: int, environment: Mapping[str, str], cpu: int = APPLICATION_CPU, ready: str = "/livez"
) -> Iterator[Server]:
    """Run `command` pinned to `cpu`, `environment` added to ours, from when `ready` answers until the block ends."""
    with TemporaryDirectory(prefix="orderlog-bench-") as home:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        running = Server(Child(command, Path(home) / "log", orphaned=SIGKILL, env=env), port)
        os.sched_setaffinity(running.pid, {cpu})  # before it starts a thread: all of them inherit it
        try:
            running.child.wait_until(lambda: answers(port, ready), within=60)
            yield running
        finally:
            running.stop()


def uvicorn(app: str, port: int) -> list[str]:
    """The command for one uvicorn process with its fast parts and no access log."""
    options = f"--port {port} --loop uvloop --http httptools --no-access-log --log-level warning"
    return [sys.executable, "-m", "uvicorn", app, *options.split()]


def answers(port: int, path: str) -> bool:
    """Whether `path` is answered with anything but a 5xx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# By process id ----------------------------------------------------------------------------------------------


def pin(pid: int, *cpus: int) -> None:
    """Pin a process, its threads and all processes below it; what they start later inherits it."""
    for member in family(pid):
        try:
            threads = [int(task.name) for task in Path(f"/proc/{member}/task").iterdir()]
        except FileNotFoundError:
            continue  # ended meanwhile
        for thread in threads:
            try:
                os.sched_setaffinity(thread, cpus)
            except ProcessLookupError:
                continue


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run the block with this thread, and threads it starts, on `cpu`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process and all processes below it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, ()))
    return found


def idle_share(seconds: float = 1.0) -> float:
    """How much of all CPUs nobody used during the next `seconds`, from 0 to 1: what others leave us."""
    idle, total = cpu_ticks()
    sleep(seconds)
    idle_later, total_later = cpu_ticks()
    return (idle_later - idle) / (total_later - total)


def cpu_ticks() -> tuple[int, int]:
    """Idle (or waiting for a disk) and all ticks of all CPUs since the machine started."""
    user, nice, system, idle, waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return idle + waiting, user + nice + system + idle + waiting + sum(rest)


def parent(pid: int) -> int:
    """The parent's id; 0 when the process ended meanwhile."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 when it ended meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
