"""What an order does not take, whatever its status: too long, too many, too early."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from commands.order import MAX_EVENTS, AddNote, AnyOrderCommand, Order, SetMetadata, SetTags, decide, evolve
from commands.refusals import BeforeOrder, TooManyEvents
from events.order import NoteAdded
from tests.commands.given import given
from tests.commands.table import a_placed
from tests.examples import NOON, add_note, asked, cancel_order, expire_order, set_tags


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (AddNote, "note", ""),
        (AddNote, "note", "x" * 5_001),
        (AddNote, "note", "x" * 5_000_000),
        (AddNote, "note", "a\x00b"),
        (SetTags, "tags", [""]),
        (SetTags, "tags", [" a"]),
        (SetTags, "tags", ["x" * 65]),
        (SetTags, "tags", [str(number) for number in range(51)]),
        (SetMetadata, "metadata", {str(number): "x" for number in range(51)}),
        (SetMetadata, "metadata", {"": "x"}),
        (SetMetadata, "metadata", {"x" * 201: "x"}),
        (SetMetadata, "metadata", {"x": "x" * 501}),
        (SetMetadata, "metadata", {"x": "a\x00b"}),
    ],
)
def test_remarks_have_bounds_and_the_field_is_named(kind: type[AnyOrderCommand], field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        asked(kind, **{field: value})
    assert error.value.errors()[0]["loc"][0] == field


def test_tags_are_kept_sorted_and_once() -> None:
    fact = given(*a_placed).when(set_tags("b", "a", "b")).outcome[0]
    assert getattr(fact, "tags", None) == ("a", "b")


def test_a_time_before_the_order_is_refused() -> None:
    early = NOON - timedelta(minutes=5, microseconds=1)
    given(*a_placed).when(asked(AddNote, note="x", at=early)).refused(BeforeOrder, at=early, order_at=NOON)


def test_clocks_that_differ_a_little_do_not_matter() -> None:
    a_little = NOON - timedelta(minutes=5)
    given(*a_placed).when(asked(AddNote, note="x", at=a_little)).then(NoteAdded(a_little, "x"))


def an_order_with(events: int) -> Order:
    order = given(*a_placed).order
    for _ in range(events - 1):
        order = evolve(order, NoteAdded(NOON, "x"))
    assert order is not None
    assert order.version == events
    return order


def test_a_full_order_takes_no_more_but_what_brings_it_to_an_end() -> None:
    almost, full = an_order_with(MAX_EVENTS - 1), an_order_with(MAX_EVENTS)
    assert decide(add_note(), almost, {}).order
    with pytest.raises(TooManyEvents) as refusal:
        decide(add_note(), full, {})
    assert refusal.value.details == {"events": MAX_EVENTS, "most": MAX_EVENTS}
    assert decide(cancel_order(), full, {}).order
    assert decide(expire_order(), full, {}).order


def test_what_is_so_already_is_no_event_and_taken_by_a_full_order() -> None:
    assert decide(set_tags(), an_order_with(MAX_EVENTS), {}).order == ()


def test_ending_a_full_order_has_a_bound_too() -> None:
    with pytest.raises(TooManyEvents):
        decide(cancel_order(), an_order_with(MAX_EVENTS + 1_000), {})
