"""The file of real invoices, and what it adds up to: read anew here, with nothing of the importer's."""

import csv
import gzip
import os
import random
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tests.projections.fold import Tables

FILE = "ORDERLOG_TEST_RETAIL_CSV"
BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "online_retail_2010-12.csv.gz"
HEADER = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

Sales = dict[str, tuple[int, int, int, int]]
"""Day to orders, units, pence ordered, and pence given back."""


@dataclass
class Sums:
    """What a file must come to."""

    lines: int = 0
    rejected: dict[int, list[str]] = field(default_factory=dict)  # line number in the file to its fields
    returns: int = 0  # one for each line of a credit note and order it is of
    refunds: int = 0  # of these, those that are of more than nothing
    sales: Sales = field(default_factory=dict)

    @property
    def orders(self) -> int:
        return sum(orders for orders, _, _, _ in self.sales.values())

    @property
    def gross(self) -> Decimal:
        """Pounds."""
        return Decimal(sum(gross for _, _, gross, _ in self.sales.values())) / 100

    @property
    def refunded(self) -> Decimal:
        """Pounds."""
        return Decimal(sum(refunded for _, _, _, refunded in self.sales.values())) / 100


@dataclass
class Line:
    """A line that can be one of an order, or of a credit note, whose quantity is below 0."""

    invoice: str
    code: str
    quantity: int
    at: datetime
    pence: int
    customer: str


@dataclass
class Order:
    customer: str
    when: tuple[datetime, int]
    pieces: Counter[str] = field(default_factory=Counter)  # by code, those that did not come back
    paid: int = 0  # and was not given back


def invoices_file(folder: Path) -> Path:
    """The real one where it is; otherwise a small one with the same kinds of dirt."""
    if named := os.environ.get(FILE):
        return Path(named)
    return BESIDE if BESIDE.exists() else made_up(folder / "made-up.csv.gz")


def sums(file: Path) -> Sums:
    result = Sums()
    ordered: dict[int, Line] = {}
    given_back: dict[int, Line] = {}
    for number, fields in _numbered(file):
        result.lines += 1
        line = line_of(fields)
        if line is None:
            result.rejected[number] = fields
        else:
            (ordered if line.quantity > 0 else given_back)[number] = line
    orders = _orders(ordered)
    fields_of = dict(_numbered(file))
    for number, line in sorted(given_back.items(), key=lambda each: (each[1].at, each[0])):
        parts = _given_back(line, number, orders)
        if not parts:
            result.rejected[number] = fields_of[number]
        result.returns += parts
        result.refunds += parts if line.pence else 0
    result.sales = sales_without(file, result.rejected)
    return result


def sales_without(file: Path, rejected: Container[int]) -> Sales:
    """What all other lines add up to."""
    invoices: dict[str, set[str]] = defaultdict(set)
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for number, fields in _numbered(file):
        if number not in rejected:
            invoice, _, _, quantity, when, price, _, _ = (text.strip() for text in fields)
            day, pence = _time(when).date().isoformat(), Decimal(quantity) * Decimal(price) * 100
            if int(quantity) > 0:
                invoices[day].add(invoice)
                totals[day].update(units=int(quantity), gross=int(pence))
            else:
                totals[day].update(refunded=-int(pence))
    return {
        day: (len(invoices[day]), total["units"], total["gross"], total["refunded"]) for day, total in totals.items()
    }


def _orders(lines: dict[int, Line]) -> dict[str, Order]:
    orders: dict[str, Order] = {}
    for number, line in lines.items():
        order = orders.setdefault(line.invoice, Order(line.customer, (line.at, number)))
        order.pieces[line.code] += line.quantity
        order.paid += line.quantity * line.pence
    return orders


def _given_back(line: Line, number: int, orders: dict[str, Order]) -> int:
    """From how many orders, piece by piece; 0 when it is not all of that customer's earlier orders."""
    earlier = [one for one in orders.values() if one.customer == line.customer and one.when < (line.at, number)]
    missing = -line.quantity if line.customer else 0
    taken: dict[int, int] = {}
    for index, order in sorted(enumerate(earlier), key=lambda each: each[1].when, reverse=True):
        while missing and order.pieces[line.code] > taken.get(index, 0):
            if order.paid < (taken.get(index, 0) + 1) * line.pence:
                break
            taken[index] = taken.get(index, 0) + 1
            missing -= 1
    if missing:
        return 0
    for index, pieces in taken.items():
        earlier[index].pieces[line.code] -= pieces
        earlier[index].paid -= pieces * line.pence
    return len(taken)


def _numbered(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines after the header, each with the number of the line in the file that it begins on."""
    with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        assert next(reader) == HEADER
        begins = reader.line_num + 1
        for fields in reader:
            yield begins, fields
            begins = reader.line_num + 1


def lines_of(file: Path) -> list[Line]:
    """Those that can be of an order or a credit note."""
    return [line for _, fields in _numbered(file) if (line := line_of(fields))]


def line_of(fields: list[str]) -> Line | None:
    if len(fields) != len(HEADER):
        return None
    invoice, code, _, quantity, when, price, customer, _ = (text.strip() for text in fields)
    try:
        line = Line(invoice, code, int(quantity), _time(when), int(Decimal(price) * 100), customer)
    except (ValueError, InvalidOperation):
        return None
    wrong = not invoice or not code or line.pence < 0 or line.pence != Decimal(price) * 100
    back = invoice[:1] in {"c", "C"}
    return None if wrong or (line.quantity >= 0 if back else line.quantity <= 0) else line


def _time(text: str) -> datetime:
    day, _, time = text.partition(" ")
    of_month, month, year = map(int, day.split("/"))
    hour, minute = map(int, time.split(":")) if time else (0, 0)
    return datetime(year, month, of_month, hour, minute, tzinfo=UTC)


def daily_sales(tables: Tables) -> Sales:
    """What the read model says of the imported invoices, which are in pounds."""
    return {
        str(day): (row["orders"], row["units"], row["gross"], row["refunded"])
        for (day, currency), row in tables["daily_sales"].items()
        if currency == "GBP"
    }


def made_up(file: Path, invoices: int = 400) -> Path:
    dice = random.Random(5)
    lines = [HEADER]
    for number in range(536_365, 536_365 + invoices):
        day = f"{1 + number * 4 // (536_365 + invoices) + dice.randrange(4)}/12/2010"
        customer = dice.choice(["17850", "13047", "12583", ""])
        for _ in range(dice.randint(1, 20)):
            code, price = dice.choice(
                [("85123A", "2.55"), ("71053", "3.39"), ("POST", "18"), ("M", "0"), ("22086", "1")]
            )
            fields = [str(number), code, f"A {code}", str(dice.randint(1, 48)), day, price, customer, "United Kingdom"]
            lines.append(_dirty(fields, dice) if dice.random() < 0.1 else fields)
    with gzip.open(file, "wt", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(lines)
    return file


def _dirty(fields: list[str], dice: random.Random) -> list[str]:
    number, code, name, quantity, day, price, customer, country = fields
    return dice.choice(
        [
            ["C" + number, code, name, "-" + quantity, day, price, customer, country],
            ["C" + number, code, name, "-" + quantity, day + " 9:05", price, customer, country],
            ["C" + number, code, name, f"-{int(quantity) * 30}", day, price, customer, country],
            ["C" + number, code, name, "-" + quantity, day, "99", customer, country],
            ["C" + number, code, name, quantity, day, price, customer, country],
            ["C" + number, "NEVER BOUGHT", name, "-" + quantity, day, price, customer, country],
            [number, code, name, "-" + quantity, day, price, customer, country],
            [number, "", name, quantity, day, price, customer, country],
            [number, code, name, quantity, day, "-11062.06", customer, country],
            [number, code, name, quantity, day, "1.005", customer, country],
            [number, code, name, "some", day, price, customer, country],
            [number, code, name, quantity, "2010-12-01", price, customer, country],
            [number, code, '?\x07 CLOTH \N{POUND SIGN}, "3\'"\nlong', quantity, f"{day} 8:26", price, "", country],
            [number, code, "", quantity, day, price, customer, country],
            [number, code, name],
        ]
    )


def copies(file: Path, times: int, to: Path) -> Path:
    """The file's invoices several times, with new numbers: for tests that need more time than the file takes."""
    with gzip.open(to, "wt", encoding="utf-8", newline="", compresslevel=1) as text:
        writer = csv.writer(text)
        writer.writerow(HEADER)
        for copy in range(times):
            writer.writerows([f"{fields[0]}-{copy}", *fields[1:]] for _, fields in _numbered(file))
    return to
