"""The life of an order as a table: one case for each cell, and beside the outcomes `ignored` and `stale_version`."""

from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from commands.order import ALLOWED, NAMES, TABLE, AnyOrderCommand, Order, Status, allowed_commands
from commands.refusals import NoSuchOrder, Refusal
from events.log import Log
from events.order import OrderEvent
from tests.commands.asking import asking
from tests.commands.given import given
from tests.commands.table import AGAIN, CASES, Case
from tests.examples import (
    an_order_completed,
    an_order_confirmed,
    an_order_held,
    an_order_placed,
    authorized,
    captured,
    cups,
    delivered,
    list_cup,
    place_order,
    receive_cups,
    refunded,
    return_requested,
    shipped,
    voided,
    wanted,
)
from tests.services.postgres import DatabaseServer

COMMANDS: tuple[type[AnyOrderCommand], ...] = get_args(AnyOrderCommand)
one_of_each = {type(case.command): case.command for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_cell_of_the_table(case: Case) -> None:
    before = given(*case.given)
    assert before.order is not None
    assert before.order.status is case.status
    after = before.when(case.command)
    if isinstance(case.then, tuple):
        after.then(*case.then)
    else:
        assert type(after.refusal) is case.then, after.refusal or after.outcome


@pytest.mark.parametrize("case", AGAIN, ids=str)
def test_what_is_so_already_is_ignored(case: Case) -> None:
    before = given(*case.given)
    assert before.order is not None
    assert before.order.status is case.status
    before.when(case.command).ignored()


@pytest.fixture(scope="module")
def an_order(postgres: DatabaseServer) -> Iterator[Log]:
    """A log with a placed order in it."""
    url = postgres.create_database()
    log = Log(url)
    log.create()
    yield log
    log.close()
    postgres.drop_database(url)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
async def test_a_stale_version_is_refused_whatever_is_asked(an_order: Log, kind: type[AnyOrderCommand]) -> None:
    async with asking(an_order) as ask:
        await ask.all(list_cup(), receive_cups(5), place_order(wanted("CUP", 1)))
        head = len(an_order.read(0, 1_000))
        stale = await ask.one(one_of_each[kind], expected_version=7)
    assert (stale.code, stale.version, stale.details) == ("stale-version", 1, {"expected": 7})
    assert len(an_order.read(0, 1_000)) == head


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind.__name__ != "PlaceOrder"])
def test_an_order_that_does_not_exist_takes_nothing(kind: type[AnyOrderCommand]) -> None:
    given().when(one_of_each[kind]).refused(NoSuchOrder)


def test_the_table_has_a_case_for_every_command_in_every_status() -> None:
    assert [(type(case.command), case.status) for case in CASES] == [
        (kind, status) for kind in TABLE for status in Status
    ]
    assert set(TABLE) == set(COMMANDS)


def test_what_a_status_allows_is_what_succeeds_in_it() -> None:
    succeeds = {status: set[str]() for status in Status}
    for case in CASES:
        if case.then and isinstance(case.then, tuple) and type(case.command) in NAMES:
            succeeds[case.status].add(NAMES[type(case.command)])
    succeeds[Status.CANCELLED].add("void-authorization")  # which the rules would let, but nothing is left to void
    assert {status: set(names) for status, names in ALLOWED.items()} == succeeds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_order_hides_a_command_that_would_succeed_on_it(case: Case) -> None:
    order = given(*case.given).order
    assert order is not None
    if case.then and isinstance(case.then, tuple) and type(case.command) in NAMES:
        assert NAMES[type(case.command)] in allowed_commands(order)
    assert set(allowed_commands(order)) <= set(ALLOWED[order.status])


NEVER_PAID = {"void-authorization", "record-refund", "record-capture"}
NOT_SHIPPED = {"update-tracking", "confirm-delivery", "report-lost", "request-return"}
NOT_ASKED_BACK = {"decide-return", "receive-return"}
a_cup = an_order_placed(cups(1))


@pytest.mark.parametrize(
    ("what_happened", "hopeless"),
    [
        ([a_cup], {"release-hold", *NEVER_PAID}),
        ([a_cup, an_order_held], {"confirm", "place-hold", *NEVER_PAID}),
        ([a_cup, authorized(250)], {"release-hold", "record-refund"}),
        ([a_cup, authorized(250), voided(250)], {"release-hold", "record-refund", "void-authorization"}),
        ([a_cup, authorized(250), captured(250)], {"release-hold", "record-capture", "void-authorization"}),
        ([a_cup, authorized(250), captured(250), refunded(250)], {"release-hold", *NEVER_PAID}),
        ([a_cup, an_order_confirmed], {"release-hold", *NEVER_PAID, *NOT_SHIPPED, *NOT_ASKED_BACK}),
        ([a_cup, an_order_confirmed, shipped(1)], {"release-hold", *NEVER_PAID, "cancel", *NOT_ASKED_BACK}),
        (
            [a_cup, an_order_confirmed, shipped(1), delivered(1), return_requested(("1", 1))],
            {"release-hold", *NEVER_PAID, "cancel"},
        ),
        (
            [a_cup, an_order_confirmed, authorized(500), captured(250), shipped(1), delivered(1), an_order_completed],
            {"record-authorization", "record-capture", *NOT_ASKED_BACK},
        ),
        (
            [a_cup, an_order_confirmed, authorized(500), shipped(1), delivered(1), an_order_completed],
            {"record-refund", *NOT_ASKED_BACK},
        ),
    ],
)
def test_what_cannot_succeed_as_things_stand_is_left_out(what_happened: list[OrderEvent], hopeless: set[str]) -> None:
    order = given(*what_happened).order
    assert order is not None
    assert set(ALLOWED[order.status]) - set(allowed_commands(order)) == hopeless


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_order_can_be_written_down_and_read_back(case: Case) -> None:
    order = given(*case.given).order
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order


def test_every_refusal_has_a_code_and_a_sentence_of_its_own() -> None:
    kinds = Refusal.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all((kind.__doc__ or "").endswith(".") for kind in kinds)
