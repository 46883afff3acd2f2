"""What a process needs before any part of it can run: its settings, its database, its data folder.

What makes tables is loaded only where there are some to make, and the embedded PostgreSQL only where it is used.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from api.settings import Settings, load_settings
from events.explained import Explained
from projections.version import is_up_to_date


class CannotStart(Explained):
    """The process cannot start; the sentence says why and what would be right."""


def configured() -> Settings:
    """The settings, with log lines in the form that they say. Raises `SettingsError`."""
    settings = load_settings()
    from api import logs

    logs.configure(settings.log_format)
    return settings


# The database ------------------------------------------------------------------------------------------------


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The address of the log's and the read side's database, ready for use; the embedded one runs meanwhile."""
    with _answering(settings) as url:
        _prepare(url)
        yield url


@contextmanager
def identity_database(settings: Settings) -> Iterator[str]:
    """The same, for who needs accounts and keys alone: where their tables are up to date, the log is not looked at."""
    with _answering(settings) as url:
        if not is_up_to_date(url):
            _prepare(url)
        yield url


@contextmanager
def _answering(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        _require_an_answer(settings.database_url)
        yield settings.database_url
        return
    from api.embedded import EmbeddedPostgres

    postgres = EmbeddedPostgres(settings.data_dir)
    url = postgres.start()
    try:
        _require_an_answer(url)
        yield url
    finally:
        postgres.stop()


def running_database() -> str:
    """The address of the database in use. Raises `CannotStart` where the embedded one does not run."""
    settings = load_settings()
    if settings.database_url is not None:
        return settings.database_url
    from api.embedded import EmbeddedPostgres

    url = EmbeddedPostgres(settings.data_dir).running()
    if url is None:
        raise CannotStart("the embedded PostgreSQL does not run; start it with `orderlog serve`")
    return url


def _require_an_answer(url: str) -> None:
    try:
        with psycopg.connect(url, connect_timeout=5):
            pass
    except psycopg.OperationalError as error:
        where = conninfo_to_dict(url)
        address = f"{where.get('host')}:{where.get('port', 5432)}/{where.get('dbname', '')}"
        why = " ".join(str(error).split())
        raise CannotStart(
            f"the database at {address} does not answer ({why}); start it, or set ORDERLOG_DATABASE_URL to where it is"
        ) from error


def _prepare(url: str) -> None:
    from events.log import Log

    log = Log(url)
    try:
        log.create()
    finally:
        log.close()
    if not is_up_to_date(url):
        from projections.migrate import migrate

        migrate(url)


@contextmanager
def one_server(settings: Settings) -> Iterator[None]:
    """Keeps a second `orderlog serve` off a data folder; a database that is set takes as many as like to use it."""
    if settings.database_url is not None:
        yield
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "serve.lock").open("w")
    except OSError as error:
        raise CannotStart(
            f"the data folder {settings.data_dir.resolve()} cannot be made or written ({error.strerror}); "
            "set ORDERLOG_DATA_DIR to a folder that you may write"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"another `orderlog serve` uses the data folder {settings.data_dir.resolve()}; "
                "stop it, or set ORDERLOG_DATA_DIR to another folder"
            ) from None
        yield
