"""Reads invoices from a CSV in the form of the data set "Online Retail": which lines can be of an order, which give
something back, and which can do neither and why.

Columns: InvoiceNo, StockCode, Description, Quantity, InvoiceDate (d/m/yyyy, perhaps with h:mm), UnitPrice (GBP),
CustomerID, Country. An invoice number that begins with C is a credit note's; its quantities are below 0.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO

import msgspec

from api.retail_columns import COLUMNS
from events.explained import Explained

CURRENCY = "GBP"
MOST = 1_000_000_000


class NotInvoices(Explained):
    """The file is not such a CSV; the sentence says what is missing."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is not imported."""

    line: int  # in the file, from 1, the header included
    reason: str
    fields: list[str]


class InvoiceLine(msgspec.Struct, frozen=True):
    sku: str
    name: str
    quantity: int
    unit_price: int  # pence


class Invoice(msgspec.Struct):
    number: str
    customer: str | None
    country: str
    at: datetime
    lines: dict[tuple[str, int], InvoiceLine]  # by code and price: such lines are merged
    sources: list[Reject]  # its lines in the file, should it be refused as a whole

    @property
    def when(self) -> "When":
        return self.at, self.sources[0].line

    @property
    def total(self) -> int:
        """Pence."""
        return sum(line.quantity * line.unit_price for line in self.lines.values())


When = tuple[datetime, int]
"""Time and line in the file, which decides where the file tells the day only."""


class CreditLine(msgspec.Struct, frozen=True):
    """A line of a credit note: so many pieces came back, and so much was given back for each."""

    number: str
    position: int  # among the credit note's lines, from 1
    customer: str | None
    at: datetime
    sku: str
    quantity: int  # above 0
    unit_price: int  # pence
    source: Reject

    @property
    def when(self) -> When:
        return self.at, self.source.line


class Contents(msgspec.Struct, frozen=True):
    invoices: list[Invoice]
    credits: list[CreditLine]
    rejects: list[Reject]
    lines: int  # of data, all of them


class _Unfit(Exception):
    """A line can be neither an order's nor a credit note's."""


def read(path: Path) -> Contents:
    """The file's invoices and credit notes, in its order. Raises `NotInvoices` or `OSError`."""
    invoices: dict[str, Invoice] = {}
    credit_notes: dict[str, list[CreditLine]] = {}
    rejects: list[Reject] = []
    lines = 0
    with _opened(path) as text:
        for number, fields, row in _rows(path, text):
            lines += 1
            source = Reject(number, "", fields)
            try:
                invoice = _number(row, source, complete=len(fields) == len(row))
                if invoice.upper().startswith("C"):
                    _add_credit(credit_notes.setdefault(invoice, []), invoice, row, source)
                else:
                    _add(invoices, invoice, row, source)
            except _Unfit as unfit:
                rejects.append(Reject(number, str(unfit), fields))
    credit_lines = [line for credit_note in credit_notes.values() for line in credit_note]
    return Contents(list(invoices.values()), credit_lines, rejects, lines)


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str], dict[str, str]]]:
    try:
        reader = csv.reader(text)
        header = next(reader, [])
        if missing := [column for column in COLUMNS if column not in header]:
            raise NotInvoices(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(header) or 'none'}")
        last = reader.line_num
        for fields in reader:
            yield last + 1, fields, dict(zip(header, fields, strict=False))
            last = reader.line_num
    except (csv.Error, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise NotInvoices(f"{path} is not a readable CSV: {error}") from error


def _number(row: dict[str, str], source: Reject, *, complete: bool) -> str:
    if not complete or any(column not in row for column in COLUMNS):
        raise _Unfit(f"the line has {len(source.fields)} fields, not as many as the header")
    number = row["InvoiceNo"].strip()
    if not number:
        raise _Unfit("no invoice number")
    if len(number) > 64 or not number.isprintable():  # noqa: PLR2004  references are made of it, which have their bounds
        raise _Unfit(f"invoice number {number!r} is not 1 to 64 printable characters")
    return number


def _add(invoices: dict[str, Invoice], number: str, row: dict[str, str], source: Reject) -> None:
    at = _date(row["InvoiceDate"].strip())
    line = _line(row)
    invoice = invoices.get(number)
    if invoice is None:
        invoice = invoices[number] = Invoice(number, _customer(row), row["Country"].strip(), at, {}, [])
    same = invoice.lines.get((line.sku, line.unit_price))
    if same:
        line = InvoiceLine(line.sku, same.name, same.quantity + line.quantity, line.unit_price)
    invoice.lines[line.sku, line.unit_price] = line
    invoice.sources.append(source)


def _add_credit(credit_note: list[CreditLine], number: str, row: dict[str, str], source: Reject) -> None:
    credit_note.append(
        CreditLine(
            number=number,
            position=len(credit_note) + 1,
            customer=_customer(row),
            at=_date(row["InvoiceDate"].strip()),
            sku=_sku(row),
            quantity=-_quantity(row, -MOST, -1),
            unit_price=_pence(row["UnitPrice"].strip()),
            source=source,
        )
    )


def _customer(row: dict[str, str]) -> str | None:
    return row["CustomerID"].strip() or None


def _line(row: dict[str, str]) -> InvoiceLine:
    sku = _sku(row)
    quantity = _quantity(row, 1, MOST)
    name = "".join(filter(str.isprintable, row["Description"])).strip()[:200]
    return InvoiceLine(sku, name or sku, quantity, _pence(row["UnitPrice"].strip()))


def _sku(row: dict[str, str]) -> str:
    sku = row["StockCode"].strip()
    if not sku:
        raise _Unfit("no stock code")
    if len(sku) > 64 or not sku.isprintable():  # noqa: PLR2004  as commands.command.Sku
        raise _Unfit(f"stock code {sku!r} is not 1 to 64 printable characters")
    return sku


def _quantity(row: dict[str, str], least: int, most: int) -> int:
    text = row["Quantity"].strip()
    try:
        quantity = int(text)
    except ValueError:
        raise _Unfit(f"quantity {text!r} is not a whole number") from None
    if not least <= quantity <= most:
        raise _Unfit(f"quantity {quantity} is not between {least} and {most}")
    return quantity


def _pence(text: str) -> int:
    try:
        pence = Decimal(text) * 100
        whole = int(pence)
    except (InvalidOperation, ValueError, OverflowError):
        raise _Unfit(f"unit price {text!r} is not an amount") from None
    if pence < 0 or whole > MOST:
        raise _Unfit(f"unit price {text} is not between 0 and {MOST // 100}")
    if pence != whole:
        raise _Unfit(f"unit price {text} has more decimals than {CURRENCY} has")
    return whole


def _date(text: str) -> datetime:
    for form in ("%d/%m/%Y", "%d/%m/%Y %H:%M"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise _Unfit(f"invoice date {text!r} is not d/m/yyyy, perhaps with h:mm")
