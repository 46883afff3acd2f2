"""Whether the read side's tables are this orderlog's: asked at each start, so without loading what makes them."""

from pathlib import Path

import psycopg
from psycopg.errors import UndefinedTable

VERSION_TABLE = "read_side_version"

STEPS = Path(__file__).parent / "migrations" / "versions"

VERSION = f"SELECT version_num FROM {VERSION_TABLE}"
"""The last migration of the tables; there is no such table before the first one."""


def newest() -> str:
    """The last migration that this orderlog knows: its file's name begins with its number."""
    return max(path.name.partition("_")[0] for path in STEPS.glob("[0-9]*_*.py"))


def is_up_to_date(url: str) -> bool:
    """Raises `psycopg.OperationalError` where the database does not answer."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        try:
            return connection.execute(VERSION).fetchall() == [(newest(),)]
        except UndefinedTable:
            return False
