"""Goods that come back, top to bottom: what may be asked, what a return is, what is decided."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace
from pydantic import Field

from commands.command import OrderCommand, Pieces, Reason, Reference
from commands.decision import NOTHING, Decision
from commands.lines import Lines, asked, worth
from commands.payment import Ledger, refund_required
from commands.refusals import (
    ExceedsDelivered,
    ExceedsReturn,
    ReturnDecided,
    ReturnExists,
    ReturnNotApproved,
    UnknownReturn,
)
from commands.shipment import next_id
from events.order import LineQuantity, ReturnApproved, ReturnReceived, ReturnRejected, ReturnRequested
from events.product import ProductEvent, StockReturned

# What may be asked -------------------------------------------------------------------------------------------


class RequestReturn(OrderCommand):
    """The customer wants to give back some of what was delivered."""

    lines: Pieces
    reason: Reason
    return_id: Reference | None = Field(default=None, description="R1, R2, ... unless given")


class DecideReturn(OrderCommand):
    """Let the goods come back, or not."""

    return_id: Reference
    approved: bool = Field(strict=True)


class ReceiveReturn(OrderCommand):
    """The goods of an approved return came back, all or some of them; this closes the return."""

    return_id: Reference
    lines: Pieces
    restock: bool = Field(default=True, strict=True, description="they can be sold again")


# What it is --------------------------------------------------------------------------------------------------


class Return(msgspec.Struct, frozen=True, gc=False):
    return_id: str
    lines: tuple[LineQuantity, ...]
    reason: str
    status: Literal["requested", "approved", "rejected", "received"] = "requested"
    received: tuple[LineQuantity, ...] = ()

    @property
    def awaited(self) -> tuple[LineQuantity, ...]:
        return self.lines if self.status in {"requested", "approved"} else ()


Returns = dict[str, Return]
"""By their ids, in the order in which they were asked for."""

ReturnEvent = ReturnRequested | ReturnApproved | ReturnRejected | ReturnReceived


def evolve(returns: Returns, event: ReturnEvent) -> Returns:
    known = event.return_id
    match event:
        case ReturnRequested():
            return returns | {known: Return(known, event.lines, event.reason)}
        case ReturnApproved():
            return returns | {known: replace(returns[known], status="approved")}
        case ReturnRejected():
            return returns | {known: replace(returns[known], status="rejected")}
        case ReturnReceived():
            return returns | {known: replace(returns[known], status="received", received=event.lines)}
        case _:
            assert_never(event)


# What is decided ---------------------------------------------------------------------------------------------


def request(command: RequestReturn, lines: Lines, returns: Returns) -> Decision:
    wanted = asked(command.lines, lines)
    if known := returns.get(command.return_id or ""):
        if _same(known.lines, wanted):
            return NOTHING
        raise ReturnExists(return_id=known.return_id)
    awaited = Counter[str]()
    for one in (one for each in returns.values() for one in each.awaited):
        awaited[one.line_id] += one.quantity
    returnable = {
        one.line_id: lines[one.line_id].delivered - lines[one.line_id].returned - awaited[one.line_id] for one in wanted
    }
    if over := _over(wanted, returnable, "returnable"):
        raise ExceedsDelivered(lines=over)
    return_id = command.return_id or next_id("R", returns)
    return Decision((ReturnRequested(command.at, return_id, wanted, command.reason),))


def decide(command: DecideReturn, returns: Returns) -> Decision:
    known = existing(returns, command.return_id)
    if known.status == "requested":
        kind = ReturnApproved if command.approved else ReturnRejected
        return Decision((kind(command.at, known.return_id),))
    if command.approved != (known.status in {"approved", "received"}):
        raise ReturnDecided(return_id=known.return_id, return_status=known.status)
    return NOTHING


def receive(command: ReceiveReturn, lines: Lines, returns: Returns, ledger: Ledger) -> Decision:
    known = existing(returns, command.return_id)
    received = asked(command.lines, lines)
    if known.status == "received" and _same(known.received, received):
        return NOTHING
    if known.status != "approved":
        raise ReturnNotApproved(return_id=known.return_id, return_status=known.status)
    approved = {one.line_id: one.quantity for one in known.lines}
    if over := _over(received, approved, "approved"):
        raise ExceedsReturn(lines=over)
    amount = worth(received, lines)
    fact = ReturnReceived(command.at, known.return_id, received, command.restock, amount)
    due = refund_required(ledger, (fact,), command.at, "goods returned")
    return Decision((fact, *due), _restocked(command, received, lines) if command.restock else {})


def existing(returns: Returns, return_id: str) -> Return:
    """Raises `UnknownReturn`."""
    known = returns.get(return_id)
    if known is None:
        raise UnknownReturn(return_id=return_id)
    return known


def _restocked(
    command: ReceiveReturn, received: Iterable[LineQuantity], lines: Lines
) -> dict[str, tuple[ProductEvent, ...]]:
    """What left the stock comes back to it."""
    back: Counter[str] = Counter()
    for one in received:
        if lines[one.line_id].reserved:
            back[lines[one.line_id].sku] += one.quantity
    return {sku: (StockReturned(command.at, command.order_id, quantity),) for sku, quantity in back.items()}


def _same(some: Iterable[LineQuantity], others: Iterable[LineQuantity]) -> bool:
    return {one.line_id: one.quantity for one in some} == {one.line_id: one.quantity for one in others}


def _over(wanted: Iterable[LineQuantity], limits: dict[str, int], name: str) -> dict[str, dict[str, int]]:
    return {
        one.line_id: {"asked": one.quantity, name: limits.get(one.line_id, 0)}
        for one in wanted
        if one.quantity > limits.get(one.line_id, 0)
    }
