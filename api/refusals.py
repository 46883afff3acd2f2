"""From a refusal of the domain to the problem that people read: one table of statuses, and the places in the body."""

from collections.abc import Iterable
from typing import Any

import msgspec

from api.errors import Place, Problem
from commands.exchange import AnyCommand, Refused
from commands.order import Order
from commands.refusals import (
    CurrencyMismatch,
    NegativeTotal,
    NoSuchOrder,
    NoSuchProduct,
    Refusal,
    StaleVersion,
    TooManyLines,
    TotalMismatch,
    UnknownLines,
    UnknownProducts,
    UnknownReturn,
    UnknownShipment,
)
from commands.table import allowed_commands

REFUSED = 409
"""The status of a refusal that the next table does not name."""

STATUS: dict[type[Refusal], int] = {
    NoSuchOrder: 404,
    NoSuchProduct: 404,
    UnknownProducts: 404,
    UnknownLines: 404,
    UnknownShipment: 404,
    UnknownReturn: 404,
    StaleVersion: 412,
}

ABOUT: dict[type[Refusal], str] = {TotalMismatch: "expected_total", NegativeTotal: "discount", TooManyLines: "lines"}
"""The field that a refusal is about, where its details do not name it."""

FIELDS = ("shipment_id", "return_id", "reference", "amount")
"""Details that are fields of the command as well."""

LONGEST_TOLD = 300
"""Characters of the details that the sentence repeats; the members of the problem have them whole."""


def refused(outcome: Refused, command: AnyCommand) -> Problem:
    """The problem that a refusal of the domain is."""
    refusal, state = outcome.refusal, outcome.state
    title = (refusal.__doc__ or "The command was refused.").rstrip(".")
    details = dict(refusal.details)
    errors = _refused_places(refusal, command, details)
    current: dict[str, Any] = {"current_version": outcome.version} if outcome.version else {}
    if isinstance(state, Order):
        current |= {"current_status": state.status, "allowed_commands": allowed_commands(state)}
    return Problem(
        refusal.code,
        f"{title}{_told(details)}.",
        errors=errors,
        status_and_title=(STATUS.get(type(refusal), REFUSED), title),
        **(details | current),
    )


def refused_read(refusal: Refusal) -> Problem:
    """The problem that a read answers for what is not there: the same as a command's."""
    title = (refusal.__doc__ or "").rstrip(".")
    return Problem(refusal.code, f"{title}.", status_and_title=(STATUS[type(refusal)], title))


def _told(details: dict[str, Any]) -> str:
    told = "; ".join(
        f"{name.replace('_', ' ')} {msgspec.json.encode(value).decode()}" for name, value in details.items()
    )
    if len(told) > LONGEST_TOLD:
        told = f"{told[:LONGEST_TOLD]} …"
    return f": {told}" if told else ""


def _refused_places(refusal: Refusal, command: AnyCommand, details: dict[str, Any]) -> list[Place]:
    """Where in the body the things stand that the refusal speaks of."""
    if at := details.pop("pointer", None):
        return [Place(at, _why_there(refusal))]
    if field := ABOUT.get(type(refusal)) or _field(command, details):
        return [Place(f"/{field}", _told(details).removeprefix(": "))]
    named = {**dict.fromkeys(details.get("skus", ())), **details.get("short", {})}
    lines = {**dict.fromkeys(details.get("line_ids", ())), **_mapping(details.get("lines"))}
    return [
        Place(f"/lines/{number}/{field}", _told({name: about[name]}).removeprefix(": "))
        for number, field, name, about in _lines_of(command, named, lines)
    ]


def _why_there(refusal: Refusal) -> str:
    if isinstance(refusal, CurrencyMismatch):
        return f"is in {refusal.details['got']}, but the order is in {refusal.details['expected']}"
    return str(refusal).rstrip(".")


def _field(command: AnyCommand, details: dict[str, Any]) -> str | None:
    return next((name for name in details if name in FIELDS and name in type(command).model_fields), None)


def _lines_of(
    command: AnyCommand, skus: dict[str, Any], line_ids: dict[str, Any]
) -> Iterable[tuple[int, str, str, dict[str, Any]]]:
    for number, line in enumerate(getattr(command, "lines", None) or ()):
        for field, about in (("sku", skus), ("line_id", line_ids)):
            if (name := getattr(line, field, None)) in about:
                yield number, field, name, about


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
