"""The read side's tables in the database are those that the code declares."""

import random
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from events.log import Log
from projections.catalogue import PROJECTIONS
from projections.migrate import DatabaseIsNewer, _config, _connected, differences, migrate
from projections.names import NAMES
from projections.version import STEPS, is_up_to_date, newest
from tests.projections.fold import difference, folded, written
from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide, until
from tests.services.child import free_port


def test_the_migrations_make_the_tables_that_the_code_declares(database_url: str) -> None:
    Log(database_url).create()
    migrate(database_url)
    assert differences(database_url) == []


def test_a_missing_column_is_a_difference(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE order_list DROP COLUMN updated_at")
    assert "updated_at" in str(differences(database_url))


async def test_what_an_earlier_orderlog_has_written_is_listed_and_found(read_side: ReadSide) -> None:
    _back_to(read_side.url, "0002")
    await read_side.record([*a_catalogue(), *lives(60, random.Random(60))])
    earlier = [projection for name, projection in PROJECTIONS.items() if name != "order_search"]
    expected = folded(read_side.rows, ["daily_sales", "timeline"])
    async with read_side.working(earlier):
        await until(lambda: difference(expected, written(read_side.url, expected)))
    migrate(read_side.url)
    await read_side.record(lives(20, random.Random(61)))
    async with read_side.working():
        await read_side.shows_everything()


def _back_to(url: str, version: str) -> None:
    """The tables as an earlier orderlog made them."""
    with _connected(url) as connection:
        command.downgrade(_config(connection), version)
        connection.commit()


def test_to_migrate_again_changes_nothing(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO daily_sales (date, currency) VALUES ('2026-01-02', 'EUR')")
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM daily_sales").fetchone() == (1,)


def test_several_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(migrate, [database_url] * 8))
    assert differences(database_url) == []


def test_the_newest_version_is_the_last_of_the_migrations() -> None:
    assert ScriptDirectory(str(STEPS.parent)).get_heads() == [newest()]


@pytest.mark.parametrize(
    "statement", ["UPDATE read_side_version SET version_num = '0001'", "DELETE FROM read_side_version"]
)
def test_tables_are_up_to_date_when_the_last_migration_made_them(database_url: str, statement: str) -> None:
    assert not is_up_to_date(database_url)
    migrate(database_url)
    assert is_up_to_date(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(statement)
    assert not is_up_to_date(database_url)


def test_a_database_of_a_newer_orderlog_is_refused_in_one_sentence(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE read_side_version SET version_num = '9999'")
    assert not is_up_to_date(database_url)
    with pytest.raises(DatabaseIsNewer, match=r"'9999'.*migrated by a newer one") as refused:
        migrate(database_url)
    assert "\n" not in str(refused.value)


def test_a_database_that_does_not_answer_is_an_operational_error() -> None:
    with pytest.raises(psycopg.OperationalError):
        migrate(f"postgresql://postgres@127.0.0.1:{free_port()}/none")


def test_the_names_of_the_projections_are_those_of_the_catalogue() -> None:
    assert tuple(PROJECTIONS) == NAMES
