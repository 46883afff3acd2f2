"""docs/domain.md says what the code does: its diagram and its table, against the cases of the decisions' own tests.

`python -m tests.test_docs_domain` prints the table as it should be.
"""

import re
from collections import defaultdict
from pathlib import Path

from commands import order as orders
from commands.order import NAMES, TABLE, CompleteOrder, ExpireOrder, OrderCommand, PlaceOrder, Status
from commands.order_state import Order
from commands.refusals import Refusal
from commands.table import DECIDED, IGNORED
from events.order import OrderDrafted, OrderEvent, OrderPlaced
from tests.commands.given import given
from tests.commands.table import CASES, Case

PAGE = Path(__file__).parents[1].joinpath("docs", "domain.md").read_text()

BY_THEMSELVES: dict[type[OrderCommand], str] = {ExpireOrder: "*expire*", CompleteOrder: "*complete*"}
WRITTEN = NAMES | BY_THEMSELVES

_ARROW = re.compile(r"^    (\S+) --> (\S+): (.+)$", re.MULTILINE)


def table() -> list[str]:
    """The rows of the table, as the page has them."""
    head = f"| command | {' | '.join(Status)} |"
    return [head, re.sub(r"[^|]+", "---", head), *(_row(kind) for kind in TABLE if kind is not PlaceOrder)]


def _row(kind: type[OrderCommand]) -> str:
    return f"| {WRITTEN[kind]} | {' | '.join(_cell(kind, status) for status in Status)} |"


def _cell(kind: type[OrderCommand], status: Status) -> str:
    verdict = TABLE[kind][list(Status).index(status)]
    if verdict is IGNORED:
        return "ignored"
    if verdict is not DECIDED:
        assert isinstance(verdict, type)
        return f"`{verdict.code}`"
    cases = [case for case in CASES if type(case.command) is kind and case.status is status]
    return "; ".join(dict.fromkeys(map(_outcome, cases)))


def _outcome(case: Case) -> str:
    if isinstance(case.then, type):
        return f"`{case.then.code}`"
    facts = [fact[1] if isinstance(fact, tuple) else fact for fact in case.then]
    return ", ".join(dict.fromkeys(type(fact).__name__ for fact in facts)) or "ignored"


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    shown = [line for line in PAGE.splitlines() if line.startswith("|")]

    assert shown == table()


def test_the_arrows_of_the_diagram_are_the_changes_of_status_that_commands_make() -> None:
    arrows = {(before, after): {*label.split(", ")} for before, after, label in _ARROW.findall(PAGE)}

    assert arrows == {**_beginnings(), **_changes_of_status()}


def _beginnings() -> dict[tuple[str, str], set[str]]:
    """What the first fact of an order makes of it."""
    first = {type(fact): fact for case in CASES for fact in case.given if isinstance(fact, OrderDrafted | OrderPlaced)}
    return {
        ("[*]", orders.evolve(None, first[kind]).status.value): {label}
        for kind, label in ((OrderDrafted, "place as a draft"), (OrderPlaced, "place"))
    }


def _changes_of_status() -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for case in CASES:
        if isinstance(case.then, type) and issubclass(case.then, Refusal):
            continue
        before = given(*case.given).order
        after = _after(before, [fact for fact in case.then if isinstance(fact, OrderEvent)])
        if before is not None and after is not None and before.status is not after.status:
            found[before.status.value, after.status.value].add(WRITTEN[type(case.command)].strip("*"))
    return dict(found)


def _after(order: Order | None, facts: list[OrderEvent]) -> Order | None:
    for fact in facts:
        order = orders.evolve(order, fact)
    return order


if __name__ == "__main__":
    print("\n".join(table()))
