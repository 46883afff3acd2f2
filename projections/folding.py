"""Many changes to few rows: what they amount to, per table and key, so that a batch writes each row once."""

from collections.abc import Iterable
from typing import Any, assert_never

from sqlalchemy import Table

from projections.tables import Add, Change, Key, Put, Remove, Set


class Rows:
    """What is to be done to one table: the removes, then the puts, the adds, and the sets.

    A key that is put is nowhere else.
    """

    __slots__ = ("adds", "puts", "removes", "sets")

    def __init__(self) -> None:
        self.removes: dict[Key, None] = {}  # in the order of the changes, as the others are
        self.puts: dict[Key, dict[str, Any]] = {}
        self.adds: dict[Key, dict[str, int]] = {}
        self.sets: dict[Key, tuple[dict[str, Any], dict[str, int]]] = {}  # columns to set, and numbers to add

    def put(self, key: Key, values: dict[str, Any]) -> None:
        self.puts[key] = dict(values)
        self.removes.pop(key, None)
        self.adds.pop(key, None)
        self.sets.pop(key, None)

    def remove(self, key: Key) -> None:
        self.removes[key] = None
        self.puts.pop(key, None)
        self.adds.pop(key, None)
        self.sets.pop(key, None)

    def set(self, key: Key, values: dict[str, Any], add: dict[str, int]) -> None:
        if (row := self.puts.get(key)) is not None:
            row.update(values)
        else:
            row, added = self.sets.setdefault(key, ({}, {}))
            row.update(values)
            for column in values.keys() & added.keys():
                del added[column]
        if add:
            self.add(key, add)

    def add(self, key: Key, amounts: dict[str, int]) -> None:
        if (row := self.puts.get(key)) is not None:
            _increase(row, amounts)
        elif (pair := self.sets.get(key)) is not None:
            row, added = pair
            for column, amount in amounts.items():
                target = row if column in row else added
                target[column] = target.get(column, 0) + amount
        else:
            _increase(self.adds.setdefault(key, {}), amounts)


def fold(changes: Iterable[Change], into: dict[Table, Rows] | None = None) -> dict[Table, Rows]:
    """The changes, in order, as at most one put, or one remove, one add and one set, for each table and key."""
    tables = {} if into is None else into
    for change in changes:
        rows = tables.get(change.table)
        if rows is None:
            rows = tables[change.table] = Rows()
        match change:
            case Put():
                rows.put(change.key, change.values)
            case Set():
                rows.set(change.key, change.values, change.add)
            case Add():
                rows.add(change.key, change.amounts)
            case Remove():
                rows.remove(change.key)
            case _:
                assert_never(change)
    return tables


def _increase(row: dict[str, Any], amounts: dict[str, int]) -> None:
    for column, amount in amounts.items():
        row[column] = row.get(column, 0) + amount
