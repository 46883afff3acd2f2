"""An example of each problem, as the edge would answer it: the refusals go the way that real ones go."""

from typing import Any, cast

import msgspec

from api.errors import Place, Problem
from api.examples import BEGIN, CUP, ORDERS, Step, bodies_of, steps
from api.oauth import TITLES, Error
from api.problems import every_problem, every_refusal
from api.refusable import BY_RULES
from api.refusals import refused
from commands.command import MOST_LINES, Command
from commands.exchange import AnyCommand, Refused
from commands.order import MAX_EVENTS, TABLE, AddNote, Order, OrderCommand, PlaceOrder, Status
from commands.refusals import NoSuchOrder, Refusal
from events.money import MAX_AMOUNT

Json = dict[str, Any]

REQUEST_ID = "0192d3b47c517d2f9c530f6f7a3b1e55"

MEMBERS: dict[str, Json] = {
    "address-fixed": {"pointer": "/shipping_address"},
    "already-shipped": {"shipments": ["S1"]},
    "amount-overflow": {"subtotal": MAX_AMOUNT + 1, "total": MAX_AMOUNT + 1, "largest": MAX_AMOUNT},
    "amounts-settled": {"amounts": {"discount": {"asked": 10, "settled": 50}}},
    "before-order": {"at": BEGIN.replace(hour=11), "order_at": BEGIN},
    "below-fulfilled": {"lines": {"1": {"asked": 1, "least": 2}}},
    "currency-mismatch": {"pointer": "/amount", "expected": "EUR", "got": "USD"},
    "delivered-already": {"shipment_id": "S2"},
    "duplicate-lines": {"skus": ["CUP"]},
    "exceeds-delivered": {"lines": {"1": {"asked": 1, "returnable": 0}}},
    "exceeds-open": {"lines": {"1": {"asked": 2, "open": 1}}},
    "exceeds-return": {"lines": {"1": {"asked": 1, "approved": 0}}},
    "line-fixed": {"line_ids": ["1"]},
    "lost-already": {"shipment_id": "S1"},
    "negative-total": {"subtotal": 2749, "discount": 3000},
    "no-price": {"skus": ["CUP"], "currency": "EUR"},
    "not-reserved": {"line_ids": ["1"]},
    "nothing-owed": {"balance": 0},
    "nothing-to-void": {"reference": "auth-2"},
    "on-hold": {"hold_reason": "the address is being checked"},
    "out-of-stock": {"short": {"CUP": {"asked": 2, "available": 1}}},
    "over-capture": {"amount": 3139, "capturable": 3000, "authorized": 3000, "captured": 0},
    "over-refund": {"amount": 2568, "captured": 2000, "refunded": 0},
    "payment-required": {"total": 3139, "paid": 0, "authorized": 0},
    "reference-used": {"reference": "auth-1", "recorded": 2749, "amount": 3139},
    "return-decided": {"return_id": "R1", "return_status": "rejected"},
    "return-exists": {"return_id": "RMA-77"},
    "return-not-approved": {"return_id": "R1", "return_status": "requested"},
    "shipment-exists": {"shipment_id": "S1"},
    "stale-version": {"expected": 2},
    "stock-below-reserved": {"on_hand": 118, "reserved": 117, "adjustment": -2},
    "stock-not-tracked": {"sku": "POSTER/A2"},
    "too-many-events": {"events": MAX_EVENTS, "most": MAX_EVENTS},
    "too-many-lines": {"lines": MOST_LINES + 1, "most": MOST_LINES},
    "total-mismatch": {"expected": 3139, "total": 3239},
    "unknown-lines": {"line_ids": ["1"]},
    "unknown-products": {"skus": ["CUP"]},
    "unknown-return": {"return_id": "R1"},
    "unknown-shipment": {"shipment_id": "S1"},
}
"""What a refusal says besides, by its code."""

PLACES: dict[str, Place] = {
    "invalid-request": Place("/lines/0/quantity", "Input should be greater than 0"),
    "bad-number": Place("/number", "'7K3M-9Q2X-J' is miswritten: its last symbol does not fit the others", "query"),
}

PARTS: dict[str, Json] = {"not-ready": {"parts": {"projection lag": "order_list is 7 s behind"}}}


def problem_example(code: str) -> Json:
    """An Example Object of OpenAPI."""
    refusal = {one.code: one for one in every_refusal()}.get(code)
    problem = _refused(refusal) if refusal is not None else _edges(code)
    return {"summary": problem.title, "value": _shown(problem)}


def token_error(error: Error) -> Json:
    """One that the token endpoint answers."""
    status, title = TITLES[error]
    sentence = f"{title}."
    problem = Problem(
        error.replace("_", "-"),
        sentence,
        status_and_title=(status, title),
        error=error,
        error_description=sentence,
    )
    return _shown(problem)


def _edges(code: str) -> Problem:
    title = every_problem()[code]
    places = [PLACES[code]] if code in PLACES else []
    return Problem(code, f"{title[1]}.", errors=places, status_and_title=title, **PARTS.get(code, {}))


def _refused(kind: type[Refusal]) -> Problem:
    """As it is answered to an example command that may be refused so."""
    command, at = _asked(kind)
    version, state = (at.version, at.state) if at is not None else (0, None)
    return refused(Refused(kind(**MEMBERS.get(kind.code, {})), version, state), cast(AnyCommand, command))


def _asked(kind: type[Refusal]) -> tuple[Command, Step | None]:
    """A command that may be refused so, and the order that it finds."""
    for asked, row in TABLE.items():
        if kind in row:
            return _example(asked), _order_in([*Status][row.index(kind)])
    command = next((one for one, kinds in BY_RULES.items() if kind in kinds), AddNote)
    finds_none = kind is NoSuchOrder or command is PlaceOrder or not issubclass(command, OrderCommand)
    return _example(command), None if finds_none else _order_in(Status.CONFIRMED)


def _example(command: type[Command]) -> Command:
    rides_in = {"order_id": next(iter(ORDERS)), "sku": CUP, "at": BEGIN}
    known = {name: value for name, value in rides_in.items() if name in command.model_fields}
    return command.model_validate(known | bodies_of(command)[0])


def _order_in(status: Status) -> Step:
    return next(step for step in steps() if isinstance(step.state, Order) and step.state.status is status)


def _shown(problem: Problem) -> Json:
    value: Json = msgspec.json.decode(problem.answer(REQUEST_ID).body)
    return value
