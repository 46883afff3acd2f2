"""What a projection may ask of its tables; the worker folds these per key and writes them in batches."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, MetaData, Table, text

from events.envelope import Kind, Recorded

metadata = MetaData()

Key = tuple[Any, ...]
"""The values of a table's primary key, in its order."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """One row, whole."""

    table: Table
    key: Key
    values: dict[str, Any]


class Set(msgspec.Struct, frozen=True, gc=False):
    """Columns of a row that is there; `add` is added to numbers of it."""

    table: Table
    key: Key
    values: dict[str, Any]
    add: dict[str, int] = {}


class Add(msgspec.Struct, frozen=True, gc=False):
    """Add to the counters of one row; the row begins at zero."""

    table: Table
    key: Key
    amounts: dict[str, int]


class Remove(msgspec.Struct, frozen=True, gc=False):
    """One row, whether it is there or not."""

    table: Table
    key: Key


Change = Put | Set | Add | Remove


class Projection(msgspec.Struct, frozen=True):
    """A question that the read side answers: its tables, and its reaction to each event of one kind of stream.

    `arrived_by` names the column, if there is one, that keeps the partition an event arrived by. It says something
    about the delivery, not about the event, so the worker fills it in.
    """

    name: str
    kind: Kind
    tables: tuple[Table, ...]
    react: Callable[[Recorded], Iterator[Change]]
    arrived_by: str | None = None


def counter(name: str) -> Column[int]:
    """A number that events add to."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))
