"""Brings the read side's tables up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, StaticPool, create_engine, text

from events.explained import Explained
from projections import catalogue, checkpoints
from projections.tables import metadata
from projections.version import VERSION_TABLE

OF_THE_LOG = {"events", "answers", "order_numbers", "snapshots", "relay_progress"}

LOCK = "SELECT pg_advisory_lock(hashtext('orderlog.migrate'))"
"""One process migrates at a time; the others wait for it. Given back with the connection."""


class DatabaseIsNewer(Explained):
    """The database was migrated by a newer orderlog than this one."""


def migrate(url: str) -> None:
    """Bring the tables up to date; nothing to do is the usual case.

    Raises `DatabaseIsNewer`, and `psycopg.OperationalError` where the database does not answer.
    """
    with _connected(url) as connection:
        connection.execute(text(LOCK))
        connection.commit()
        script = ScriptDirectory.from_config(_config(connection))
        current = _context(connection).get_current_revision()
        connection.commit()
        if current == script.get_current_head():
            return
        if current is not None and current not in {step.revision for step in script.walk_revisions()}:
            raise DatabaseIsNewer(
                f"the read side's tables are at version {current!r}, which this orderlog does not know (its own is "
                f"{script.get_current_head()!r}): the database was migrated by a newer one; run that one"
            )
        command.upgrade(_config(connection), "head")
        connection.commit()


def differences(url: str) -> list[Any]:
    """How the tables that the code declares differ from those in the database; empty when they do not."""
    with _connected(url) as connection:
        return list(compare_metadata(_context(connection), tables()))


def tables() -> MetaData:
    """All tables of the read side, as the code declares them."""
    declared = {table for projection in catalogue.PROJECTIONS.values() for table in projection.tables}
    assert declared | {checkpoints.checkpoints, checkpoints.parked} == set(metadata.tables.values())
    return metadata


def of_ours(_: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:  # noqa: FBT001  Alembic's hook
    """The log's tables, in the same database, are none of Alembic's business."""
    return not (kind == "table" and reflected and compare_to is None and name in OF_THE_LOG)


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, connect_timeout=5) as own:  # here, so that its errors are psycopg's own
        engine = create_engine("postgresql+psycopg://", creator=lambda: own, poolclass=StaticPool)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "include_object": of_ours, "target_metadata": metadata}
    )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
