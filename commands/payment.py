"""What is owed and what was paid, top to bottom: what may be asked, the ledger, what is decided.

What the payment provider did is recorded, not done, here.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace
from pydantic import Field

from commands.command import Money, OrderCommand, Reference, in_currency
from commands.refusals import (
    AmountOverflow,
    NothingOwed,
    NothingToVoid,
    OverCapture,
    OverRefund,
    ReferenceUsed,
)
from events.money import MAX_AMOUNT
from events.order import (
    LinesCancelled,
    OrderAmended,
    OrderCancelled,
    OrderEvent,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
    RefundRequired,
    ReturnReceived,
)

# What may be asked -------------------------------------------------------------------------------------------


class RecordAuthorization(OrderCommand):
    """The payment provider set an amount aside."""

    amount: Money
    reference: Reference = Field(description="of this authorization: each has its own")


class RecordCapture(OrderCommand):
    """The payment provider collected an amount that was authorized."""

    amount: Money
    reference: Reference = Field(description="the authorization's, or one of its own, by which it is then known")


class VoidAuthorization(OrderCommand):
    """What is left of an authorization is given up."""

    reference: Reference = Field(description="of the authorization")
    reason: Literal["voided", "expired"] = "voided"


class RecordRefund(OrderCommand):
    """The payment provider gave an amount back."""

    amount: Money
    reference: Reference = Field(description="of this refund: each has its own")


# What it is --------------------------------------------------------------------------------------------------


class Authorization(msgspec.Struct, frozen=True, gc=False):
    amount: int
    captured: int = 0
    voided: int = 0

    @property
    def left(self) -> int:
        return self.amount - self.captured - self.voided


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """Minor units of the order's currency, all of them."""

    currency: str
    total: int  # what the customer owes for what he keeps
    taken_off: int = 0  # it, by now, for what was cancelled or came back
    authorized: int = 0  # ever; this and the following three
    voided: int = 0
    captured: int = 0
    refunded: int = 0
    authorizations: dict[str, Authorization] = {}  # by reference, the oldest first
    captures: dict[str, int] = {}  # that have a reference of their own
    refunds: dict[str, int] = {}  # by reference

    @property
    def balance(self) -> int:
        """Still owed; below 0 it is to be given back."""
        return self.total - self.captured + self.refunded

    @property
    def refund_due(self) -> int:
        return max(0, -self.balance)

    @property
    def capturable(self) -> int:
        return sum(authorization.left for authorization in self.authorizations.values())


LedgerEvent = (
    PaymentAuthorized
    | PaymentCaptured
    | PaymentVoided
    | PaymentRefunded
    | OrderAmended
    | LinesCancelled
    | OrderCancelled
    | ReturnReceived
)


def evolve(ledger: Ledger, event: LedgerEvent) -> Ledger:
    match event:
        case PaymentAuthorized(amount=amount, reference=reference):
            authorizations = ledger.authorizations | {reference: Authorization(amount)}
            return replace(ledger, authorized=ledger.authorized + amount, authorizations=authorizations)
        case PaymentCaptured():
            return _captured(ledger, event)
        case PaymentVoided(amount=amount, reference=reference):
            given_up = replace(ledger.authorizations[reference], voided=amount)
            authorizations = ledger.authorizations | {reference: given_up}
            return replace(ledger, voided=ledger.voided + amount, authorizations=authorizations)
        case PaymentRefunded(amount=amount, reference=reference):
            return replace(ledger, refunded=ledger.refunded + amount, refunds=ledger.refunds | {reference: amount})
        case OrderAmended():
            return replace(ledger, total=event.total - ledger.taken_off)
        case LinesCancelled() | OrderCancelled() | ReturnReceived():
            return replace(ledger, total=ledger.total - event.amount, taken_off=ledger.taken_off + event.amount)
        case _:
            assert_never(event)


def _captured(ledger: Ledger, event: PaymentCaptured) -> Ledger:
    """Drawn on the authorization of the same reference, then on the oldest; a late capture draws on none."""
    authorizations, left = dict(ledger.authorizations), event.amount
    own = event.reference in authorizations
    for reference in [event.reference, *ledger.authorizations] if own else ledger.authorizations:
        drawn = min(left, authorizations[reference].left)
        if drawn:
            known = authorizations[reference]
            authorizations[reference] = replace(known, captured=known.captured + drawn)
            left -= drawn
        if not left:
            break
    captures = ledger.captures if own else ledger.captures | {event.reference: event.amount}
    return replace(ledger, captured=ledger.captured + event.amount, authorizations=authorizations, captures=captures)


# What is decided ---------------------------------------------------------------------------------------------


def authorize(command: RecordAuthorization, ledger: Ledger, *, completed: bool) -> tuple[OrderEvent, ...]:
    amount = in_currency(command.amount, ledger.currency, "/amount")
    known = ledger.authorizations.get(command.reference)
    if not amount or _repeated(command.reference, amount, known.amount if known else None):
        return ()
    if completed:
        _something_owed(ledger)
    if ledger.authorized + amount > MAX_AMOUNT:
        raise AmountOverflow(authorized=ledger.authorized, amount=amount, largest=MAX_AMOUNT)
    return (PaymentAuthorized(command.at, amount, command.reference),)


def capture(command: RecordCapture, ledger: Ledger, *, completed: bool) -> tuple[OrderEvent, ...]:
    amount = in_currency(command.amount, ledger.currency, "/amount")
    if not amount or _repeated(command.reference, amount, ledger.captures.get(command.reference)):
        return ()
    if completed:
        _something_owed(ledger)
    return _captured_of(command, amount, ledger, ledger.capturable, "captured more than is owed")


def capture_late(command: RecordCapture, ledger: Ledger) -> tuple[OrderEvent, ...]:
    """On a cancelled order: its authorizations were given up, but the money came; so it is to be given back."""
    amount = in_currency(command.amount, ledger.currency, "/amount")
    if not amount or _repeated(command.reference, amount, ledger.captures.get(command.reference)):
        return ()
    return _captured_of(command, amount, ledger, ledger.authorized - ledger.captured, "late capture")


def _captured_of(
    command: RecordCapture, amount: int, ledger: Ledger, capturable: int, why: str
) -> tuple[OrderEvent, ...]:
    if amount > capturable:
        raise OverCapture(amount=amount, capturable=capturable, authorized=ledger.authorized, captured=ledger.captured)
    fact = PaymentCaptured(command.at, amount, command.reference)
    return (fact, *refund_required(ledger, (fact,), command.at, why))


def void(command: VoidAuthorization, ledger: Ledger) -> tuple[OrderEvent, ...]:
    known = ledger.authorizations.get(command.reference)
    if known is not None and known.voided:
        return ()
    if known is None or not known.left:
        raise NothingToVoid(reference=command.reference)
    return (PaymentVoided(command.at, known.left, command.reference, command.reason),)


def void_all(ledger: Ledger, at: datetime, reason: Literal["expired", "cancelled"]) -> tuple[PaymentVoided, ...]:
    return tuple(
        PaymentVoided(at, known.left, reference, reason)
        for reference, known in ledger.authorizations.items()
        if known.left
    )


def refund(command: RecordRefund, ledger: Ledger) -> tuple[OrderEvent, ...]:
    amount = in_currency(command.amount, ledger.currency, "/amount")
    if not amount or _repeated(command.reference, amount, ledger.refunds.get(command.reference)):
        return ()
    if ledger.refunded + amount > ledger.captured:
        raise OverRefund(amount=amount, captured=ledger.captured, refunded=ledger.refunded)
    return (PaymentRefunded(command.at, amount, command.reference, ledger.currency),)


def refund_required(ledger: Ledger, facts: Iterable[LedgerEvent], at: datetime, why: str) -> tuple[RefundRequired, ...]:
    """Said when these facts make more due to be given back; with how much more."""
    more = reduce(evolve, facts, ledger).refund_due - ledger.refund_due
    return (RefundRequired(at, more, why),) if more > 0 else ()


def _something_owed(ledger: Ledger) -> None:
    """Raises `NothingOwed`."""
    if ledger.balance <= 0:
        raise NothingOwed(balance=ledger.balance)


def _repeated(reference: str, amount: int, known: int | None) -> bool:
    """Whether it is known already. Raises `ReferenceUsed` when something else is known by this reference."""
    if known is not None and known != amount:
        raise ReferenceUsed(reference=reference, recorded=known, amount=amount)
    return known is not None
