"""Folded changes write what the changes would have written one by one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table

from projections.folding import Rows, fold
from projections.tables import Add, Change, Key, Put, Remove, Set

TABLE = Table("counted", MetaData(), Column("k", Integer, primary_key=True), Column("a", Integer), Column("b", Integer))
KEY = (1,)

State = dict[Key, dict[str, int]]


def folded(*changes: Change) -> Rows:
    return fold(changes)[TABLE]


def put(a: int, b: int) -> Put:
    return Put(TABLE, KEY, {"a": a, "b": b})


def test_a_put_replaces_what_was_put_set_or_added_before() -> None:
    rows = folded(Add(TABLE, KEY, {"a": 1}), Set(TABLE, KEY, {"b": 2}), put(3, 4))
    assert (rows.puts, rows.adds, rows.sets) == ({KEY: {"a": 3, "b": 4}}, {}, {})


def test_a_set_after_a_put_is_part_of_the_row() -> None:
    rows = folded(put(1, 2), Set(TABLE, KEY, {"b": 5}, {"a": 7}))
    assert (rows.puts, rows.sets) == ({KEY: {"a": 8, "b": 5}}, {})


def test_sets_of_one_row_are_one_set() -> None:
    rows = folded(Set(TABLE, KEY, {"a": 1}, {"b": 1}), Set(TABLE, KEY, {"a": 2}, {"b": 2}))
    assert rows.sets == {KEY: ({"a": 2}, {"b": 3})}


def test_a_set_forgets_what_was_added_before_it_and_keeps_what_is_added_after() -> None:
    rows = folded(Set(TABLE, KEY, {}, {"a": 9}), Set(TABLE, KEY, {"a": 1}), Add(TABLE, KEY, {"a": 2}))
    assert rows.sets == {KEY: ({"a": 3}, {})}


def test_adds_of_one_row_are_one_add() -> None:
    rows = folded(Add(TABLE, KEY, {"a": 1}), Add(TABLE, KEY, {"a": 2, "b": 3}))
    assert rows.adds == {KEY: {"a": 3, "b": 3}}


def test_a_removed_row_is_nothing_but_removed() -> None:
    for before in (put(1, 2), Set(TABLE, KEY, {"a": 1}, {"b": 1}), Add(TABLE, KEY, {"a": 1}), Remove(TABLE, KEY)):
        rows = folded(before, Remove(TABLE, KEY))
        assert ([*rows.removes], rows.puts, rows.adds, rows.sets) == ([KEY], {}, {}, {})


def test_a_put_after_a_remove_is_a_put() -> None:
    rows = folded(Remove(TABLE, KEY), put(1, 2))
    assert ([*rows.removes], rows.puts) == ([], {KEY: {"a": 1, "b": 2}})


def test_an_add_after_a_remove_begins_at_zero() -> None:
    rows = folded(Add(TABLE, KEY, {"a": 1}), Remove(TABLE, KEY), Add(TABLE, KEY, {"a": 2}))
    assert ([*rows.removes], rows.adds) == ([KEY], {KEY: {"a": 2}})


def test_a_fold_leaves_the_changes_as_they_are() -> None:
    changes: list[Change] = [put(1, 1), Set(TABLE, KEY, {"a": 2}, {"b": 1}), Add(TABLE, KEY, {"a": 1})]
    assert fold(changes)[TABLE].puts == fold(changes)[TABLE].puts == {KEY: {"a": 3, "b": 2}}


numbers = st.integers(-9, 9)
some_columns = st.dictionaries(st.sampled_from("ab"), numbers)
keys = st.sampled_from([(1,), (2,)])
changes = st.one_of(
    st.builds(Put, st.just(TABLE), keys, st.fixed_dictionaries({"a": numbers, "b": numbers})),
    st.builds(Set, st.just(TABLE), keys, some_columns, some_columns),
    st.builds(Add, st.just(TABLE), keys, some_columns),
    st.builds(Remove, st.just(TABLE), keys),
)


@given(st.lists(changes), st.dictionaries(keys, st.fixed_dictionaries({"a": numbers, "b": numbers})))
def test_a_fold_means_what_its_changes_mean(asked: list[Change], rows: State) -> None:
    there = {key: dict(row) for key, row in rows.items()}
    expected = {key: dict(row) for key, row in rows.items()}
    for change in asked:
        if isinstance(change, Set) and change.key not in expected:
            return  # not a row that is there: no projection may ask that
        apply(expected, change)
    for folded_rows in fold(asked).values():
        apply_folded(there, folded_rows)
    assert there == expected


def apply(state: State, change: Change) -> None:
    match change:
        case Put():
            state[change.key] = dict(change.values)
        case Set():
            state[change.key].update(change.values)
            add(state[change.key], change.add)
        case Add():
            add(state.setdefault(change.key, {"a": 0, "b": 0}), change.amounts)
        case Remove():
            state.pop(change.key, None)


def apply_folded(state: State, rows: Rows) -> None:
    assert not rows.puts.keys() & (rows.removes.keys() | rows.adds.keys() | rows.sets.keys())
    for key in rows.removes:
        state.pop(key, None)
    for key, values in rows.puts.items():
        state[key] = dict(values)
    for key, amounts in rows.adds.items():
        add(state.setdefault(key, {"a": 0, "b": 0}), amounts)
    for key, (values, amounts) in rows.sets.items():
        state[key].update(values)
        add(state[key], amounts)


def add(row: dict[str, int], amounts: dict[str, Any]) -> None:
    for column, amount in amounts.items():
        row[column] += amount
