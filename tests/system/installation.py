"""An installation of separate `orderlog` processes, in either way to run it, and what people type at it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from events.codec import Row
from events.log import Log
from tests.services.parts import ORDERLOG, Part, distributed_settings

T = TypeVar("T")

EVERYTHING = 10**9
STOPS_WITHIN = 5.0
ONE_OF_EACH = ("api", "relay", "project")
AS_DEPLOYED = ("api", "api", "relay", "project", "project")


@dataclass
class Installation:
    """Parts that run, and the settings that every command of the installation is given."""

    home: Path
    settings: Mapping[str, str]
    parts: Sequence[Part]
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """Where HTTP is answered."""
        return [part.url for part in self.parts if part.command in {"serve", "api"}]

    @property
    def bootstrap_servers(self) -> str | None:
        return self.settings.get("ORDERLOG_KAFKA_BOOTSTRAP_SERVERS")

    def start(self) -> None:
        for part in self.parts:
            part.spawn()
        for part in self.parts:
            part.wait_until_ready()

    def end(self) -> None:
        """Stop all parts; each must do so by itself."""
        with ThreadPoolExecutor(len(self.parts)) as threads:
            took = list(threads.map(_seconds_to_end, self.parts))
        stubborn = [part.command for part, seconds in zip(self.parts, took, strict=True) if seconds > STOPS_WITHIN]
        assert not stubborn, f"{', '.join(stubborn)} did not stop within {STOPS_WITHIN} s of SIGTERM"

    def token(self, role: str, customer: str | None = None) -> str:
        """As `orderlog token` prints it."""
        name = customer or role
        if name not in self._tokens:
            who = ["--customer", customer] if customer else []
            self._tokens[name] = orderlog("token", "--role", role, *who, settings=self.settings, home=self.home).stdout
        return self._tokens[name].strip()

    def database_url(self) -> str:
        return orderlog("database-url", settings=self.settings, home=self.home).stdout.strip()

    def log(self) -> list[Row]:
        """All of it."""
        return whole_log(self.database_url())


def _seconds_to_end(part: Part) -> float:
    start = time.monotonic()
    part.end(within=2 * STOPS_WITHIN)
    return time.monotonic() - start


@contextmanager
def embedded(home: Path, name: str = "data", settings: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """`orderlog serve` on a data folder of its own."""
    given = {"ORDERLOG_DATA_DIR": str(home / name), **(settings or {})}
    with _running(Installation(home, given, [Part("serve", home, given)])) as installation:
        yield installation


@contextmanager
def distributed(
    home: Path,
    database_url: str,
    bootstrap_servers: str | None,
    commands: Sequence[str] = AS_DEPLOYED,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Installation]:
    """The parts as processes of their own; with Kafka, unless None is given. The topics must not be there."""
    given = {**distributed_settings(database_url, bootstrap_servers), **(settings or {})}
    with _running(Installation(home, given, [Part(command, home, given) for command in commands])) as parts:
        yield parts


@contextmanager
def _running(installation: Installation) -> Iterator[Installation]:
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


@contextmanager
def a_home() -> Iterator[Path]:
    """A folder that the system user of the embedded PostgreSQL can enter, which pytest's folders are not."""
    home = Path(tempfile.mkdtemp(prefix="orderlog-system-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def whole_log(database_url: str) -> list[Row]:
    with closing(Log(database_url)) as log:
        return log.read(0, EVERYTHING)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, with no other ORDERLOG_ settings than these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERLOG_")}
    return {**inherited, "COLUMNS": "500", **settings}


def orderlog(
    *arguments: str | Path,
    home: Path,
    settings: Mapping[str, str] | None = None,
    within: float = 60,
    code: int = 0,
    said: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder without an .env file; it must end with this exit code.

    `said` is its standard input.
    """
    done = subprocess.run(
        [str(ORDERLOG), *map(str, arguments)],
        env=environment(settings or {}),
        cwd=home,
        input=said,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def until(what: Callable[[], T], within: float = 60, *, says: Callable[[], object] = str, pause: float = 0.05) -> T:
    """Wait until it is something, and return it."""
    deadline = time.monotonic() + within
    while not (found := what()):
        assert time.monotonic() < deadline, says()
        time.sleep(pause)
    return found
