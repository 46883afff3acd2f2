"""What a projection may ask of its tables; the worker folds these per key and writes them in batches."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from sqlalchemy import MetaData, Table

from events.envelope import Kind, Recorded

metadata = MetaData()

Key = tuple[Any, ...]


class Put(msgspec.Struct, frozen=True):
    """One row, whole."""

    table: Table
    key: Key
    values: dict[str, Any]


class Set(msgspec.Struct, frozen=True):
    """Columns of a row that is there; `add` is added to numbers of it."""

    table: Table
    key: Key
    values: dict[str, Any]
    add: dict[str, int] = {}


class Add(msgspec.Struct, frozen=True):
    """Add to the counters of one row; the row begins at zero."""

    table: Table
    key: Key
    amounts: dict[str, int]


Change = Put | Set | Add


class Projection(msgspec.Struct, frozen=True):
    """A question that the read side answers: its tables, and its reaction to each event of one kind of stream."""

    name: str
    kind: Kind
    tables: tuple[Table, ...]
    react: Callable[[Recorded], Iterator[Change]]
