"""One page of the orders: what may be asked of the list, and the statement that answers it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from events import numbers
from events.numbers import BadNumber
from events.status import FulfilmentStatus, PaymentStatus, ReturnStatus
from projections import words
from projections.order_search import FOUND_BY, of_customer, of_reference, of_sku, of_tag
from projections.order_views import SUMMARY_COLUMNS
from projections.shapes import OrderSummary

Key = tuple[datetime, UUID]
"""Where an order stands in the lists: when it was placed, or drafted if it was not yet, and its id."""

STRETCH = 1_000
"""Orders that are looked through one by one for a word, before it is looked up: what many have is found among them."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders; all of this must be true of each. Several statuses: any of them."""

    customer_id: str | None = None
    status: tuple[str, ...] = ()
    payment_status: tuple[PaymentStatus, ...] = ()
    fulfilment_status: tuple[FulfilmentStatus, ...] = ()
    return_status: tuple[ReturnStatus, ...] = ()
    on_hold: bool | None = None
    refund_due: bool | None = None
    number: str | None = None  # in canonical form
    external_reference: str | None = None
    sku: str | None = None
    tag: str | None = None
    text: str | None = None  # words, in any order, of which long ones may be the beginnings of longer ones
    currency: str | None = None
    total_from: int | None = None  # minor units; this and the following three inclusive
    total_to: int | None = None
    placed_from: datetime | None = None
    placed_to: datetime | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of them: so many, `after` an order on the way to the oldest, or just `before` one."""

    limit: int = 50
    after: Key | None = None
    before: Key | None = None


class Statement(msgspec.Struct, frozen=True):
    """One statement and its parameters; its rows are those of `SUMMARY_COLUMNS`, and `listed_at` behind them."""

    query: str
    parameters: dict[str, Any]


CONDITIONS = {
    "customer_id": "customer_id = %(customer_id)s",
    "number": "number = %(number)s",
    "currency": "currency = %(currency)s",
    "total_from": "total >= %(total_from)s",
    "total_to": "total <= %(total_to)s",
    "placed_from": "placed_at IS NOT NULL",
    "placed_to": "placed_at IS NOT NULL",
}
"""What may be asked of an order with a value; dates are a stretch of the list as well."""

STRETCHES = {
    "placed_from": "listed_at >= %(placed_from)s",
    "placed_to": "listed_at <= %(placed_to)s",
    "after": "(listed_at, order_id) < (%(at)s, %(order_id)s)",
    "before": "(listed_at, order_id) > (%(at)s, %(order_id)s)",
}
"""What part of the list is asked for."""

FLAGS = ("on_hold", "refund_due")
"""What may be asked of an order that is true or false."""

STATUSES = ("status", "payment_status", "fulfilment_status", "return_status")
"""What may be asked of an order with several values."""

KIND = f"""
SELECT {SUMMARY_COLUMNS}, listed_at FROM order_list {{where}}
ORDER BY listed_at {{way}}, order_id {{way}} LIMIT %(most)s
"""
"""The next orders of one kind: the newest of those that are older, or the oldest of those that are newer."""

KINDS = "SELECT * FROM ({kinds}) AS merged ORDER BY listed_at {way}, order_id {way} LIMIT %(most)s"
"""The next orders of several kinds, each read along the order of the lists."""

WALKED = f"""
WITH stretch AS MATERIALIZED ({{listed}}), walked AS (SELECT count(*) AS orders FROM stretch), fitting AS (
    SELECT stretch.* FROM stretch CROSS JOIN LATERAL (
        SELECT {FOUND_BY} AS found_by FROM order_search WHERE order_search.order_id = stretch.order_id OFFSET 0
    ) AS its WHERE its.found_by @@ %(found_by)s::tsquery
    ORDER BY stretch.listed_at {{way}}, stretch.order_id {{way}} LIMIT %(limit)s
)
SELECT orders, fitting.* FROM walked LEFT JOIN fitting ON true ORDER BY listed_at {{way}}, order_id {{way}}
"""
"""Of the next so many orders, those that are found by something; each behind how many were looked through.

OFFSET 0 is a fence for the planner: each order is looked at by its id, and nothing is looked up.
"""

FOUND = f"""
SELECT {SUMMARY_COLUMNS}, listed_at FROM (
    SELECT order_id, order_search.listed_at AS found_at FROM order_search
    WHERE {FOUND_BY} @@ %(found_by)s::tsquery {{stretch}}
) AS found JOIN order_list USING (order_id) {{where}} ORDER BY found_at {{way}}, order_id {{way}} LIMIT %(limit)s
"""
"""The next orders of all that are found by something. Nothing that could be read in the order of the lists holds
`found_at`: so no plan hopes to meet, among the newest, orders that were all placed years ago."""


def found_by(wanted: Wanted) -> str | None:
    """The text form of the tsquery for all that is looked up in `order_search`; None where nothing is."""
    asked = [
        words.exactly(lexeme(value))
        for lexeme, value in (
            (of_sku, wanted.sku),
            (of_reference, wanted.external_reference),
            (of_tag, wanted.tag),
        )
        if value is not None
    ]
    if wanted.text is not None:
        asked.append(_written(wanted.text))
    if asked and wanted.customer_id is not None:
        asked.append(words.exactly(of_customer(wanted.customer_id)))
    return " & ".join(asked) or None


def read_by(wanted: Wanted) -> tuple[str, ...]:
    """The projections that answer it."""
    return ("order_list",) if found_by(wanted) is None else ("order_list", "order_search")


def _written(text: str) -> str:
    """What somebody typed: words, or else an order's number in whatever form."""
    try:
        number = numbers.read(text)
    except BadNumber:
        return words.query(text)
    return f"({words.query(text)} | {words.query(number)})"


def listed(wanted: Wanted, window: Window) -> Statement:
    """The page of a list in which nothing is looked up."""
    return Statement(_listed(wanted, window), _parameters(wanted, window) | {"most": window.limit})


def walked(wanted: Wanted, window: Window, stretch: int = STRETCH) -> Statement:
    """The page among the next so many orders; in front of each row how many these are, and one row at least."""
    query = WALKED.format(listed=_listed(wanted, window), way=_way(window))
    return Statement(query, _parameters(wanted, window) | {"most": stretch})


def looked_up(wanted: Wanted, window: Window) -> Statement:
    """The page among all orders that are found by something."""
    stretch = _stretch(wanted, window)
    statuses = [_one_of(name, range(len(values))) for name in STATUSES if (values := getattr(wanted, name))]
    query = FOUND.format(
        where=_where([*_conditions(wanted), *statuses, *stretch]),
        stretch="".join(f" AND {condition}" for condition in stretch),
        way=_way(window),
    )
    return Statement(query, _parameters(wanted, window))


def key_of(order: OrderSummary) -> Key:
    """Where it stands in the lists."""
    return order.placed_at or order.created_at, order.order_id


def _listed(wanted: Wanted, window: Window) -> str:
    way, conditions = _way(window), [*_conditions(wanted), *_stretch(wanted, window)]
    kinds = [KIND.format(where=_where([*conditions, *kind]), way=way) for kind in _kinds(wanted)]
    if len(kinds) == 1:
        return kinds[0]
    return KINDS.format(kinds=" UNION ALL ".join(f"({kind})" for kind in kinds), way=way)


def _kinds(wanted: Wanted) -> list[list[str]]:
    """The statuses wanted: one kind for each value of the first status with several, since an index holds each value
    by itself in the order of the lists."""
    numbers = {name: list(range(len(getattr(wanted, name)))) for name in STATUSES}
    split = next((name for name in STATUSES if len(numbers[name]) > 1), None)
    kinds = [numbers | {split: [number]} for number in numbers[split]] if split is not None else [numbers]
    return [[_one_of(name, kind[name]) for name in STATUSES if kind[name]] for kind in kinds]


def _one_of(name: str, numbers: Sequence[int]) -> str:
    values = ", ".join(f"%({name}_{number})s" for number in numbers)
    return f"{name} IN ({values})" if len(numbers) > 1 else f"{name} = {values}"


def _conditions(wanted: Wanted) -> list[str]:
    given = [condition for name, condition in CONDITIONS.items() if getattr(wanted, name) is not None]
    return given + [name if value else f"NOT {name}" for name in FLAGS if (value := getattr(wanted, name)) is not None]


def _stretch(wanted: Wanted, window: Window) -> list[str]:
    """At most one bound on either side: with two of them, PostgreSQL may read all that lies between the two."""
    first, last = wanted.placed_from, wanted.placed_to
    bounds = []
    if window.after is not None and (last is None or window.after[0] <= last):
        bounds.append("after")
    elif last is not None:
        bounds.append("placed_to")
    if window.before is not None and (first is None or window.before[0] >= first):
        bounds.append("before")
    elif first is not None:
        bounds.append("placed_from")
    return [STRETCHES[name] for name in bounds]


def _parameters(wanted: Wanted, window: Window) -> dict[str, Any]:
    at, order_id = window.after or window.before or (None, None)
    values = msgspec.structs.asdict(wanted)
    statuses = {f"{name}_{number}": value for name in STATUSES for number, value in enumerate(values.pop(name))}
    return values | statuses | {"at": at, "order_id": order_id, "limit": window.limit, "found_by": found_by(wanted)}


def _way(window: Window) -> str:
    return "ASC" if window.before is not None else "DESC"


def _where(conditions: Iterable[str]) -> str:
    given = " AND ".join(dict.fromkeys(conditions))
    return f"WHERE {given}" if given else ""
