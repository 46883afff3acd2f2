"""Changes that are folded and written batch by batch leave the table as if they were made one by one."""

import random
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Column, MetaData, Table, Text

from projections.folding import fold
from projections.statements import missing, statements
from projections.tables import Add, Change, Put, Remove, Set, counter

TABLE = Table("counted", MetaData(), Column("k", Text, primary_key=True), Column("t", Text), counter("a"), counter("b"))

State = dict[str, tuple[str | None, int, int]]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE counted (k text PRIMARY KEY, t text, a bigint DEFAULT 0, b bigint DEFAULT 0)")
        yield connection


def write(connection: psycopg.Connection, *changes: Change) -> None:
    for table, rows in fold(changes).items():
        for statement in statements(table, rows):
            connection.execute(statement.query, statement.parameters)


def there(connection: psycopg.Connection) -> State:
    return {k: (t, a, b) for k, t, a, b in connection.execute("SELECT k, t, a, b FROM counted")}


@pytest.mark.parametrize("seed", range(20))
def test_batches_mean_what_their_changes_mean(connection: psycopg.Connection, seed: int) -> None:
    dice = random.Random(seed)
    expected: State = {}
    for _ in range(8):
        batch = [a_change(dice, expected) for _ in range(dice.randint(1, 12))]
        write(connection, *batch)
        assert there(connection) == expected, batch


def a_change(dice: random.Random, state: State) -> Change:
    """A change that is possible now; the state is changed by it."""
    key, text, number = dice.choice("klm"), dice.choice([None, 'a "b"', "{,}"]), dice.randint(-9, 9)
    t, a, b = state.get(key, (None, 0, 0))
    match dice.choice(["put", "set", "add", "remove"]):
        case "put":
            state[key] = (text, number, 0)
            return Put(TABLE, (key,), {"t": text, "a": number, "b": 0})
        case "set" if key in state:
            state[key] = (text, a, b + number)
            return Set(TABLE, (key,), {"t": text}, {"b": number})
        case "remove":
            state.pop(key, None)
            return Remove(TABLE, (key,))
        case _:
            state[key] = (t, a + number, b)
            return Add(TABLE, (key,), {"a": number})


def test_a_row_that_is_removed_and_then_set_is_missing(connection: psycopg.Connection) -> None:
    write(connection, Put(TABLE, ("k",), {"t": "x", "a": 1, "b": 1}))
    removed, set_ = statements(TABLE, fold([Remove(TABLE, ("k",)), Set(TABLE, ("k",), {"t": "y"})])[TABLE])
    connection.execute(removed.query, removed.parameters)
    query = missing(set_)
    assert connection.execute(query.query, query.parameters).fetchall() == [("k",)]


def test_to_remove_a_row_that_is_not_there_changes_nothing(connection: psycopg.Connection) -> None:
    write(connection, Put(TABLE, ("k",), {"t": "x", "a": 1, "b": 1}), Remove(TABLE, ("l",)))
    assert there(connection) == {"k": ("x", 1, 1)}
