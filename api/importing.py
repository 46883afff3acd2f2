"""Places real invoices as orders, paid and delivered, and takes back what credit notes say: each at its own time, and
never twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
from pydantic import ValidationError

from api.retail_commands import given_back, listed, order, paid_and_delivered
from api.retail_csv import Contents, Invoice, Reject
from api.retail_returns import Credit, Return, match
from commands.exchange import Accepted, AnyCommand, Refused, Request
from commands.order import AnyOrderCommand
from commands.processor import Processor

AT_ONCE = 64
"""Invoices, or customers who give back, under way at the same time: enough to fill a batch."""

ACTOR = "import"

T = TypeVar("T")


class Imported(msgspec.Struct):
    """What came of a file; each of its lines is counted once, in `lines_imported` or in `rejects`."""

    lines: int
    rejects: list[Reject]
    lines_imported: int = 0
    orders: int = 0  # that the log now holds
    placed: int = 0  # of these, by this run
    returns: int = 0  # that the log now holds
    received: int = 0  # of these, by this run
    refunds: int = 0  # that the log now holds: of `returns`, those for which something was paid
    gross: int = 0  # of `orders`, pence
    refunded: int = 0  # by `refunds`, pence


class _Outcome(msgspec.Struct):
    """The few words that an import needs of an outcome."""

    code: str | None = None
    sentence: str = ""
    changed: bool = False


class _NotTaken(Exception):
    """The order or the return was refused."""


async def import_invoices(processor: Processor, contents: Contents, advance: Callable[[int], None]) -> Imported:
    """Every invoice of the file into the log, then what came back; `advance` is told how many lines are done."""
    credit_lines, unmatched = match(contents.invoices, contents.credits)
    done = Imported(contents.lines, [*contents.rejects, *unmatched])
    advance(len(done.rejects))
    ask = _Asking(processor)
    refused: dict[str, str] = {}
    await _list_products(ask, contents)

    async def one(invoice: Invoice) -> None:
        try:
            await _place(ask, invoice, done)
        except (_NotTaken, ValidationError) as error:
            refused[invoice.number] = _in_one_line(error)
            reason = f"invoice {invoice.number}: {refused[invoice.number]}"
            done.rejects += [Reject(source.line, reason, source.fields) for source in invoice.sources]
        advance(len(invoice.sources))

    async def back(of_a_customer: list[Credit]) -> None:
        for credit in of_a_customer:
            try:
                await _take_back(ask, credit, refused, done)
            except (_NotTaken, ValidationError) as error:
                source = credit.line.source
                done.rejects.append(Reject(source.line, f"gives back, but {_in_one_line(error)}", source.fields))
            advance(1)

    await _each(contents.invoices, one)
    await _each(_by_customer(credit_lines), back)
    done.rejects.sort(key=lambda reject: reject.line)
    return done


def _by_customer(credit_lines: list[Credit]) -> list[list[Credit]]:
    """One after another, so that the orders' histories are in the order of time."""
    groups: dict[str | None, list[Credit]] = defaultdict(list)
    for credit in credit_lines:
        groups[credit.line.customer].append(credit)
    return list(groups.values())


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """A few at once, in their order."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> None:
        try:
            await work(item)
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for item in items:
            await free.acquire()
            group.create_task(one(item))


async def _list_products(ask: "_Asking", contents: Contents) -> None:
    """What the catalogue lacks, untracked, at its first price; what it has is left alone."""
    first = {line.sku: (line, invoice) for invoice in reversed(contents.invoices) for line in invoice.lines.values()}
    commands = [listed(line, invoice.at) for line, invoice in first.values()]
    for start in range(0, len(commands), 512):
        await asyncio.gather(*(ask(command, expected_version=0) for command in commands[start : start + 512]))


async def _place(ask: "_Asking", invoice: Invoice, done: Imported) -> None:
    placed = await ask(order(invoice))
    if placed.code not in {None, "order-exists"}:
        raise _NotTaken(placed.sentence)
    for command in paid_and_delivered(invoice):
        follow_up = await ask(command)
        if follow_up.code is not None:
            raise _NotTaken(f"it is in the log already, with other contents or another fate ({follow_up.sentence})")
    done.lines_imported += len(invoice.sources)
    done.orders += 1
    done.placed += placed.code is None
    done.gross += invoice.total


async def _take_back(ask: "_Asking", credit: Credit, refused: dict[str, str], done: Imported) -> None:
    """All that a line of a credit note gives back, from as many orders as it is of."""
    for one in credit.returns:
        if one.invoice in refused:
            raise _NotTaken(f"its order was refused: invoice {one.invoice}: {refused[one.invoice]}")
    asked = [(one, given_back(credit.line, one)) for one in credit.returns]
    received = 0
    for one, commands in asked:
        changed = [await _taken(ask, command, one) for command in commands]
        received += any(changed)
    done.lines_imported += 1
    done.returns += len(credit.returns)
    done.received += received
    done.refunds += sum(one.amount > 0 for one in credit.returns)
    done.refunded += sum(one.amount for one in credit.returns)


async def _taken(ask: "_Asking", command: AnyOrderCommand, one: Return) -> bool:
    """Whether it was news."""
    outcome = await ask(command)
    if outcome.code is not None:
        raise _NotTaken(f"the order of invoice {one.invoice} does not take it: {outcome.sentence}")
    return outcome.changed


class _Asking:
    def __init__(self, processor: Processor) -> None:
        self._processor = processor

    async def __call__(self, command: AnyCommand, expected_version: int | None = None) -> _Outcome:
        reply = await self._processor.submit(Request(command, ACTOR, _answer, expected_version=expected_version))
        return msgspec.json.decode(reply.answer, type=_Outcome)


def _answer(outcome: Accepted | Refused) -> bytes:
    if isinstance(outcome, Refused):
        refusal = outcome.refusal
        details = "; ".join(f"{name}: {value}" for name, value in refusal.details.items())
        return msgspec.json.encode(_Outcome(refusal.code, f"{refusal}{' ' if details else ''}{details}"))
    return msgspec.json.encode(_Outcome(changed=bool(outcome.events)))


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'/'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return str(error)
