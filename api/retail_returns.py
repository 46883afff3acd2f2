"""Which orders the lines of credit notes give back from: that customer's earlier ones of the same code, newest first.

It follows from the file alone, and from nothing that comes later in it, so that each run finds the same.
"""

from collections import defaultdict

import msgspec

from api.retail_csv import CreditLine, Invoice, Reject, When


class Return(msgspec.Struct, frozen=True):
    """What comes back from one order."""

    invoice: str  # the order's
    lines: dict[str, int]  # line id to pieces
    amount: int  # to be refunded, pence: at the credit note's price, never more than was paid


class Credit(msgspec.Struct, frozen=True):
    """A line of a credit note, whole: perhaps from several orders."""

    line: CreditLine
    returns: list[Return]


class _Bought(msgspec.Struct):
    """A line of an order."""

    when: When
    invoice: str
    line_id: str
    unit_price: int
    left: int  # pieces that did not come back yet


class _Unmatched(Exception):
    """No orders can be found that it gives back from."""


def match(invoices: list[Invoice], lines: list[CreditLine]) -> tuple[list[Credit], list[Reject]]:
    """All lines of credit notes, by time: those that are of orders, and the others, each with the reason."""
    matching = _Matching(invoices)
    found: list[Credit] = []
    rejects: list[Reject] = []
    for line in sorted(lines, key=lambda line: line.when):
        try:
            found.append(Credit(line, matching.take(line)))
        except _Unmatched as unmatched:
            rejects.append(Reject(line.source.line, str(unmatched), line.source.fields))
    return found, rejects


class _Matching:
    """What is left of the orders, in pieces and in money."""

    def __init__(self, invoices: list[Invoice]) -> None:
        self._bought: dict[tuple[str, str], list[_Bought]] = defaultdict(list)
        self._paid = {invoice.number: invoice.total for invoice in invoices}
        for invoice in invoices:
            if invoice.customer is not None:
                for number, line in enumerate(invoice.lines.values(), 1):
                    bought = _Bought(invoice.when, invoice.number, str(number), line.unit_price, line.quantity)
                    self._bought[invoice.customer, line.sku].append(bought)

    def take(self, line: CreditLine) -> list[Return]:
        """All of its pieces, or none. Raises `_Unmatched`."""
        earlier = self._earlier(line)
        taken = self._pieces(line, earlier)
        if sum(taken) < line.quantity:
            raise _Unmatched(_why(line, earlier))
        returns: dict[str, Return] = {}
        for bought, pieces in zip(earlier, taken, strict=True):
            if pieces:
                bought.left -= pieces
                self._paid[bought.invoice] -= pieces * line.unit_price
                known = returns.get(bought.invoice, Return(bought.invoice, {}, 0))
                amount = known.amount + pieces * line.unit_price
                returns[bought.invoice] = Return(bought.invoice, known.lines | {bought.line_id: pieces}, amount)
        return list(returns.values())

    def _earlier(self, line: CreditLine) -> list[_Bought]:
        """The newest first; within an order, what was bought at the same price. Raises `_Unmatched`."""
        if line.customer is None:
            raise _Unmatched("gives back, and names no customer whose order it could be of")
        earlier = [one for one in self._bought.get((line.customer, line.sku), ()) if one.when < line.when]
        if not earlier:
            raise _Unmatched("gives back, and no earlier order of this customer has this code")
        return sorted(earlier, key=lambda one: (one.when, one.unit_price == line.unit_price), reverse=True)

    def _pieces(self, line: CreditLine, earlier: list[_Bought]) -> list[int]:
        """How many of each, as far as they and the money paid for their orders go."""
        wanted = line.quantity
        paid = {one.invoice: self._paid[one.invoice] for one in earlier}
        taken = []
        for one in earlier:
            affordable = paid[one.invoice] // line.unit_price if line.unit_price else wanted
            pieces = min(wanted, one.left, affordable)
            paid[one.invoice] -= pieces * line.unit_price
            wanted -= pieces
            taken.append(pieces)
        return taken


def _why(line: CreditLine, earlier: list[_Bought]) -> str:
    left = sum(one.left for one in earlier)
    if left < line.quantity:
        return f"gives back {line.quantity}, and this customer's earlier orders have {left} left of this code"
    amount = line.quantity * line.unit_price
    return (
        f"gives back {amount} pence, and less is left of what was paid for this customer's earlier orders of this code"
    )
