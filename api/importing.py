"""Places real invoices as orders: each is placed, confirmed and shipped at its own time, and never twice."""

import asyncio
from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from pydantic import ValidationError

from api.retail_csv import CURRENCY, Contents, Invoice, Reject
from commands.order import ConfirmOrder, PlaceOrder, ShipItems
from commands.processor import Accepted, AnyCommand, Processor, Refused, Request
from commands.product import ListProduct

AT_ONCE = 64
"""Invoices under way at the same time: enough to fill a batch."""

ACTOR = "import"
NAMESPACE = uuid5(NAMESPACE_URL, "orderlog:import:online-retail")


class Imported(msgspec.Struct):
    """What came of a file; each of its lines is counted once, in `lines_imported` or in `rejects`."""

    lines: int
    rejects: list[Reject]
    lines_imported: int = 0
    orders: int = 0  # that the log now holds
    placed: int = 0  # of these, by this run
    gross: int = 0  # of `orders`, pence


class _Outcome(msgspec.Struct):
    """The few words that an import needs of an outcome."""

    code: str | None = None
    sentence: str = ""
    changed: bool = False


class _NotTaken(Exception):
    """The order was refused."""


def order_id(invoice: str) -> UUID:
    """The same for the same invoice, so that a second run finds what the first one placed."""
    return uuid5(NAMESPACE, invoice)


async def import_invoices(processor: Processor, contents: Contents, advance: Callable[[int], None]) -> Imported:
    """Every invoice of the file into the log; `advance` is told how many lines are done."""
    done = Imported(contents.lines, list(contents.rejects))
    advance(len(done.rejects))
    ask = _Asking(processor)
    await _list_products(ask, contents)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(invoice: Invoice) -> None:
        try:
            await _place(ask, invoice, done)
        except (_NotTaken, ValidationError) as error:
            reason = f"invoice {invoice.number}: {_in_one_line(error)}"
            done.rejects += [Reject(source.line, reason, source.fields) for source in invoice.sources]
        finally:
            at_once.release()
        advance(len(invoice.sources))

    async with asyncio.TaskGroup() as group:
        for invoice in contents.invoices:
            await at_once.acquire()
            group.create_task(one(invoice))
    done.rejects.sort(key=lambda reject: reject.line)
    return done


async def _list_products(ask: "_Asking", contents: Contents) -> None:
    """What the catalogue lacks, untracked, at its first price; what it has is left alone."""
    first = {line.sku: (line, invoice) for invoice in reversed(contents.invoices) for line in invoice.lines.values()}
    commands = [
        ListProduct.model_validate(
            {
                "at": invoice.at,
                "sku": sku,
                "name": line.name,
                "prices": [{"amount": line.unit_price, "currency": CURRENCY}],
            }
        )
        for sku, (line, invoice) in first.items()
    ]
    for start in range(0, len(commands), 512):
        await asyncio.gather(*(ask(command, expected_version=0) for command in commands[start : start + 512]))


async def _place(ask: "_Asking", invoice: Invoice, done: Imported) -> None:
    ident = order_id(invoice.number)
    lines = list(invoice.lines.values())
    place = PlaceOrder.model_validate(
        {
            "order_id": ident,
            "at": invoice.at,
            "customer_id": invoice.customer or "guest",
            "currency": CURRENCY,
            "payment_terms": "invoice",
            "external_reference": invoice.number,
            "metadata": {"country": invoice.country} if invoice.country else {},
            "lines": [
                {
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "unit_price": {"amount": line.unit_price, "currency": CURRENCY},
                }
                for line in lines
            ],
        }
    )
    shipped = [{"line_id": str(number), "quantity": line.quantity} for number, line in enumerate(lines, 1)]
    placed = await ask(place)
    if placed.code not in {None, "order-exists"}:
        raise _NotTaken(placed.sentence)
    for command in (
        ConfirmOrder(order_id=ident, at=invoice.at),
        ShipItems.model_validate({"order_id": ident, "at": invoice.at, "lines": shipped, "shipment_id": "S1"}),
    ):
        follow_up = await ask(command)
        if follow_up.code is not None:
            raise _NotTaken(f"it is in the log already, with other contents or another fate ({follow_up.sentence})")
    done.lines_imported += len(invoice.sources)
    done.orders += 1
    done.placed += placed.code is None
    done.gross += sum(line.quantity * line.unit_price for line in lines)


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
