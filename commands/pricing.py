"""What lines cost: prices from the command or the catalogue, shares of discount, shipping and tax, the sums."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from commands.command import Money, in_currency
from commands.product import Product
from commands.refusals import (
    AmountOverflow,
    AmountsSettled,
    DuplicateLines,
    NegativeTotal,
    NoPrice,
    TotalMismatch,
    UnknownProducts,
)
from events.money import MAX_AMOUNT, allocate
from events.order import Line


class Wanted(Protocol):
    """A line that is asked for."""

    @property
    def quantity(self) -> int: ...
    @property
    def unit_price(self) -> Money | None: ...


class Sums(msgspec.Struct, frozen=True, gc=False):
    subtotal: int
    discount: int
    shipping: int
    tax: int
    total: int

    @property
    def plain(self) -> bool:
        """The goods alone, with nothing to share."""
        return not (self.discount or self.shipping or self.tax)


def new_lines(
    wanted: Sequence[tuple[int, str, Wanted]], first: int, currency: str, products: Mapping[str, Product]
) -> list[Line]:
    """Lines for (place in the command, SKU, what is wanted), numbered from `first`.

    Raises `UnknownProducts`, `NoPrice` or `CurrencyMismatch`.
    """
    if unknown := [sku for _, sku, _ in wanted if sku not in products]:
        raise UnknownProducts(skus=sorted(set(unknown)))
    lines, unpriced = [], []
    for number, (place, sku, line) in enumerate(wanted, first):
        product = products[sku]
        price = price_of(line, place, currency, product.prices.get(currency))
        if price is None:
            unpriced.append(sku)
        else:
            lines.append(Line(str(number), sku, product.name, line.quantity, price, product.tracked))
    if unpriced:
        raise NoPrice(skus=sorted(set(unpriced)), currency=currency)
    return lines


def price_of(line: Wanted, place: int, currency: str, otherwise: int | None) -> int | None:
    """The price that rides in wins. Raises `CurrencyMismatch`."""
    price = line.unit_price
    return otherwise if price is None else in_currency(price, currency, f"/lines/{place}/unit_price")


def each_product_once(lines: Sequence[Line]) -> None:
    """At one price. Raises `DuplicateLines`."""
    if len({line.sku for line in lines}) == len(lines):
        return
    counted = Counter((line.sku, line.unit_price) for line in lines)
    if twice := {sku for (sku, _), times in counted.items() if times > 1}:
        raise DuplicateLines(skus=sorted(twice))


def summed(lines: Iterable[Line], discount: int, shipping: int, tax: int) -> Sums:
    """Raises `AmountOverflow` or `NegativeTotal`."""
    subtotal = 0
    for line in lines:
        subtotal += line.quantity * line.unit_price
    gross = subtotal + shipping + tax
    if gross > MAX_AMOUNT:
        raise AmountOverflow(subtotal=subtotal, total=gross - discount, largest=MAX_AMOUNT)
    if discount > gross:
        raise NegativeTotal(subtotal=subtotal, discount=discount)
    return Sums(subtotal, discount, shipping, tax, gross - discount)


def shared(lines: Sequence[Line], sums: Sums, standing: Sequence[Line] = ()) -> tuple[Line, ...]:
    """The lines with their shares of discount, shipping and tax, in proportion to their subtotals.

    What `standing` lines carry already stays with them, and the others share the rest. Raises `AmountsSettled`, or
    `NegativeTotal`.
    """
    rest = _left_to_share(sums, standing, others=bool(lines))
    shares = _shares([line.quantity * line.unit_price for line in lines], rest)
    return tuple(
        replace(line, discount=discount, shipping=shipping, tax=tax)
        for line, (discount, shipping, tax) in zip(lines, shares, strict=True)
    )


def expect(expected: Money | None, total: int, currency: str) -> None:
    """Raises `TotalMismatch`, which shows both."""
    if expected is not None and in_currency(expected, currency, "/expected_total") != total:
        raise TotalMismatch(expected=expected.amount, total=total)


def _shares(subtotals: list[int], sums: Sums) -> Iterable[tuple[int, int, int]]:
    """No line's total falls below 0: a discount on more than the goods is shared by what the lines cost in all."""
    shipping, tax = allocate(sums.shipping, subtotals), allocate(sums.tax, subtotals)
    gross = [sum(amounts) for amounts in zip(subtotals, shipping, tax, strict=True)]
    if sums.discount > sum(gross):
        raise NegativeTotal(subtotal=sum(subtotals), discount=sums.discount)
    discount = allocate(sums.discount, subtotals if sums.discount <= sum(subtotals) else gross)
    return zip(discount, shipping, tax, strict=True)


def _left_to_share(sums: Sums, standing: Sequence[Line], *, others: bool) -> Sums:
    settled = {name: sum(getattr(line, name) for line in standing) for name in ("discount", "shipping", "tax")}
    rest = {name: getattr(sums, name) - carried for name, carried in settled.items()}
    if wrong := {
        name: {"asked": getattr(sums, name), "settled": settled[name]}
        for name, left in rest.items()
        if left < 0 or (left and not others)
    }:
        raise AmountsSettled(amounts=wrong)
    return Sums(sums.subtotal, rest["discount"], rest["shipping"], rest["tax"], sums.total)
