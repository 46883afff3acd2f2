"""The SQL that writes the folded rows of a batch: one statement per table and set of columns.

Each column of a batch travels as one JSON array, which msgspec writes and PostgreSQL unfolds. In one run, a row of
twelve columns took 4.7 us this way, 5.7 us as psycopg's binary arrays, 6.5 us as one JSON array of objects, and 13.5 us
as arrays in text form; of these, 0.35, 2, 1.1 and 9 us were work in Python.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from projections.folding import Rows
from projections.tables import Key

REMOVE = "DELETE FROM {table} USING (SELECT {unfolded}) AS new WHERE {same}"
"""Rows that are to be gone, as far as they are there."""

PUT = "INSERT INTO {table} ({columns}) SELECT {unfolded} ON CONFLICT ({key}) DO UPDATE SET {replaced}"
"""Whole rows: new ones, or in place of old ones."""

ADD = "INSERT INTO {table} ({columns}) SELECT {unfolded} ON CONFLICT ({key}) DO UPDATE SET {increased}"
"""Counters: added to the row that is there, or the start of a new one."""

SET = "UPDATE {table} SET {changed} FROM (SELECT {unfolded}) AS new WHERE {same}"
"""Some columns of rows that are there."""

MISSING = (
    "SELECT {new_key} FROM (SELECT {unfolded}) AS new WHERE NOT EXISTS (SELECT FROM {table} WHERE {same}) LIMIT 20"
)
"""Which of these rows are not there."""

_encode = msgspec.json.Encoder().encode


class RowsMissing(Exception):
    """An event changes rows that are not there."""

    def __init__(self, table: str, keys: Sequence[Key]) -> None:
        named = ", ".join("/".join(map(str, key)) for key in keys)
        super().__init__(f"table {table} has no row for {named}, which an event is to change")


class Statement(msgspec.Struct, frozen=True):
    """One statement with its parameters. `table` and `keys` where every key must be a row that is there."""

    query: str
    parameters: list[str]
    table: Table | None = None
    keys: Sequence[Key] = ()


def unfolded(column: str, kind: str) -> str:
    """An expression that unfolds one parameter, a JSON array, into a column."""
    return f'json_array_elements_text(%s::json)::{kind} AS "{column}"'


def array(values: Iterable[Any]) -> str:
    """The parameter for `unfolded`."""
    return _encode(values if isinstance(values, list) else list(values)).decode()


def statements(table: Table, rows: Rows) -> Iterator[Statement]:
    """Removes, then puts, adds and sets: the order in which they mean what the changes meant."""
    if rows.removes:
        yield Statement(_remove(table), _columns(list(rows.removes)))
    for columns, puts in _by_columns(rows.puts).items():
        yield Statement(_put(table, columns), _parameters(puts, columns))
    for columns, adds in _by_columns(rows.adds).items():
        # Every worker adds in the same order of keys, so that two of them never wait for each other in a circle.
        yield Statement(_add(table, columns), _parameters(dict(sorted(adds.items())), columns))
    if rows.sets:
        yield from _sets(table, rows.sets)


def missing(statement: Statement) -> Statement:
    """What tells which keys of a statement have no row."""
    assert statement.table is not None
    return Statement(_missing(statement.table), _columns(list(statement.keys)))


def _sets(table: Table, sets: Mapping[Key, tuple[dict[str, Any], dict[str, int]]]) -> Iterator[Statement]:
    """Rows that set the same columns share a statement, whatever they add to: they add zero elsewhere."""
    groups: dict[tuple[str, ...], dict[Key, tuple[dict[str, Any], dict[str, int]]]] = {}
    for key, pair in sets.items():
        groups.setdefault(tuple(sorted(pair[0])), {})[key] = pair
    for columns, group in groups.items():
        added = tuple(sorted({column for _, add in group.values() for column in add} - {*columns}))
        keys = list(group)
        parameters = _columns(keys)
        parameters += [array([values[column] for values, _ in group.values()]) for column in columns]
        parameters += [array([add.get(column, 0) for _, add in group.values()]) for column in added]
        yield Statement(_set(table, columns, added), parameters, table, keys)


def _by_columns(rows: Mapping[Key, dict[str, Any]]) -> dict[tuple[str, ...], dict[Key, dict[str, Any]]]:
    groups: dict[tuple[str, ...], dict[Key, dict[str, Any]]] = {}
    for key, values in rows.items():
        groups.setdefault(tuple(values), {})[key] = values
    return groups


def _parameters(rows: Mapping[Key, dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    return _columns(list(rows)) + [array([values[column] for values in rows.values()]) for column in columns]


def _columns(keys: list[Key]) -> list[str]:
    return [array(column) for column in zip(*keys, strict=True)]


@cache
def _remove(table: Table) -> str:
    return REMOVE.format(table=table.name, unfolded=_unfolded(table, _key(table)), same=_same(table))


@cache
def _put(table: Table, columns: tuple[str, ...]) -> str:
    return PUT.format(
        table=table.name,
        columns=_names((*_key(table), *columns)),
        unfolded=_unfolded(table, (*_key(table), *columns)),
        key=_names(_key(table)),
        replaced=", ".join(f'"{column}" = excluded."{column}"' for column in columns),
    )


@cache
def _add(table: Table, columns: tuple[str, ...]) -> str:
    return ADD.format(
        table=table.name,
        columns=_names((*_key(table), *columns)),
        unfolded=_unfolded(table, (*_key(table), *columns)),
        key=_names(_key(table)),
        increased=", ".join(f'"{column}" = {table.name}."{column}" + excluded."{column}"' for column in columns),
    )


@cache
def _set(table: Table, columns: tuple[str, ...], added: tuple[str, ...]) -> str:
    changed = [f'"{column}" = new."{column}"' for column in columns]
    changed += [f'"{column}" = {table.name}."{column}" + new."{column}"' for column in added]
    return SET.format(
        table=table.name,
        changed=", ".join(changed),
        unfolded=_unfolded(table, (*_key(table), *columns, *added)),
        same=_same(table),
    )


@cache
def _missing(table: Table) -> str:
    key = _key(table)
    return MISSING.format(
        table=table.name,
        new_key=", ".join(f'new."{column}"' for column in key),
        unfolded=_unfolded(table, key),
        same=_same(table),
    )


def _key(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _same(table: Table) -> str:
    return " AND ".join(f'{table.name}."{column}" = new."{column}"' for column in _key(table))


def _unfolded(table: Table, columns: Iterable[str]) -> str:
    return ", ".join(unfolded(column, _type(table, column)) for column in columns)


_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def _type(table: Table, column: str) -> str:
    return table.c[column].type.compile(_DIALECT)
