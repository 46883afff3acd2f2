"""The lines of an order: what has become of their pieces, and what a part of them is worth."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from commands.command import LinePieces, OrderCommand
from commands.product import Product
from commands.refusals import ExceedsOpen, OutOfStock, UnknownLines
from events.money import part
from events.order import (
    Line,
    LineQuantity,
    LinesCancelled,
    OrderCancelled,
    ReturnReceived,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
)
from events.product import ProductEvent, StockReleased, StockReserved
from events.status import open_quantity

PiecesMoved = LinesCancelled | OrderCancelled | ShipmentDispatched | ShipmentDelivered | ShipmentLost | ReturnReceived


class OrderLine(msgspec.Struct, frozen=True, gc=False):
    """A line as ordered, and how many of its pieces went which way."""

    ordered: Line
    kept: int = 0  # of the open ones: so many have stock reserved for them
    cancelled: int = 0
    shipped: int = 0
    delivered: int = 0  # of the shipped ones, as are the lost
    lost: int = 0
    returned: int = 0  # of the delivered ones

    @property
    def line_id(self) -> str:
        return self.ordered.line_id

    @property
    def sku(self) -> str:
        return self.ordered.sku

    @property
    def name(self) -> str:
        return self.ordered.name

    @property
    def quantity(self) -> int:
        return self.ordered.quantity

    @property
    def unit_price(self) -> int:
        return self.ordered.unit_price

    @property
    def reserved(self) -> bool:
        return self.ordered.reserved

    @property
    def total(self) -> int:
        return self.ordered.total

    @property
    def open(self) -> int:
        return open_quantity(self)

    @property
    def untouched(self) -> bool:
        """Nothing of it was cancelled or shipped."""
        return not (self.cancelled or self.shipped)

    @property
    def settled(self) -> bool:
        """Something was taken off what it costs, so that the rest of it stands."""
        return bool(self.cancelled or self.returned)

    def worth(self, pieces: int) -> int:
        """What so many more pieces, cancelled or returned, take off what is owed.

        Each is the difference of two sums rounded half-even, so all pieces of a line sum to its total exactly.
        """
        gone, quantity, total = self.cancelled + self.returned, self.ordered.quantity, self.ordered.total
        return part(total, gone + pieces, quantity) - part(total, gone, quantity)


Lines = dict[str, OrderLine]
"""By their ids, in the order's own order."""


def begun(lines: Iterable[Line], *, draft: bool) -> Lines:
    """Lines as they are drafted, which keeps no stock for them, or placed."""
    return {line.line_id: OrderLine(line, line.quantity if line.reserved and not draft else 0) for line in lines}


def amended(lines: Lines, now: Sequence[Line], *, draft: bool) -> Lines:
    """What has become of their pieces stays; more pieces have stock reserved, fewer leave only open ones."""
    return begun(now, draft=draft) | {
        line.line_id: _amended(lines[line.line_id], line, draft=draft) for line in now if line.line_id in lines
    }


def _amended(known: OrderLine, line: Line, *, draft: bool) -> OrderLine:
    more = line.quantity - known.quantity
    if more > 0:
        return replace(known, ordered=line, kept=known.kept + (more if line.reserved and not draft else 0))
    return replace(known, ordered=line, kept=min(known.kept, known.open + more))


def evolve(lines: Lines, event: PiecesMoved) -> Lines:
    move = _MOVES[type(event)]
    return lines | {one.line_id: move(lines[one.line_id], one.quantity) for one in event.lines}


def _cancelled(line: OrderLine, pieces: int) -> OrderLine:
    """Pieces that have no stock reserved go first."""
    return replace(line, cancelled=line.cancelled + pieces, kept=min(line.kept, line.open - pieces))


def _shipped(line: OrderLine, pieces: int) -> OrderLine:
    """Pieces that have stock reserved go first."""
    return replace(line, shipped=line.shipped + pieces, kept=max(line.kept - pieces, 0))


def _delivered(line: OrderLine, pieces: int) -> OrderLine:
    return replace(line, delivered=line.delivered + pieces)


def _lost(line: OrderLine, pieces: int) -> OrderLine:
    return replace(line, lost=line.lost + pieces)


def _returned(line: OrderLine, pieces: int) -> OrderLine:
    return replace(line, returned=line.returned + pieces)


_MOVES: dict[type[PiecesMoved], Callable[[OrderLine, int], OrderLine]] = {
    LinesCancelled: _cancelled,
    OrderCancelled: _cancelled,
    ShipmentDispatched: _shipped,
    ShipmentDelivered: _delivered,
    ShipmentLost: _lost,
    ReturnReceived: _returned,
}


def asked(pieces: tuple[LinePieces, ...], lines: Lines) -> tuple[LineQuantity, ...]:
    """What a command asks of lines that are there. Raises `UnknownLines`."""
    if unknown := sorted(one.line_id for one in pieces if one.line_id not in lines):
        raise UnknownLines(line_ids=unknown)
    return tuple([LineQuantity(one.line_id, one.quantity) for one in pieces])


def within_open(pieces: Iterable[LineQuantity], lines: Lines) -> None:
    """Raises `ExceedsOpen`."""
    if over := {
        one.line_id: {"asked": one.quantity, "open": lines[one.line_id].open}
        for one in pieces
        if one.quantity > lines[one.line_id].open
    }:
        raise ExceedsOpen(lines=over)


def worth(pieces: Iterable[LineQuantity], lines: Lines) -> int:
    return sum(lines[one.line_id].worth(one.quantity) for one in pieces)


# Their stock -------------------------------------------------------------------------------------------------


def in_stock(wanted: Mapping[str, int], products: Mapping[str, Product]) -> None:
    """Raises `OutOfStock`, which lists every product that is short."""
    if short := {
        sku: {"asked": quantity, "available": products[sku].available}
        for sku, quantity in wanted.items()
        if quantity > products[sku].available
    }:
        raise OutOfStock(short=short)


def reservations(
    command: OrderCommand, before: Lines, after: Lines, products: Mapping[str, Product]
) -> dict[str, tuple[ProductEvent, ...]]:
    """What it takes to keep stock for lines as they become. Raises `OutOfStock`."""
    more = _kept_more(before, after)
    in_stock({sku: quantity for sku, quantity in more.items() if quantity > 0}, products)
    at, order_id = command.at, command.order_id
    return {
        sku: (StockReserved(at, order_id, quantity) if quantity > 0 else StockReleased(at, order_id, -quantity),)
        for sku, quantity in more.items()
        if quantity
    }


def _kept_more(before: Lines, after: Lines) -> Counter[str]:
    more: Counter[str] = Counter()
    for line_id, line in after.items():
        if (was := before.get(line_id)) is not line:
            more[line.sku] += line.kept - (was.kept if was else 0)
    for line_id in before.keys() - after.keys():
        more[before[line_id].sku] -= before[line_id].kept
    return more
