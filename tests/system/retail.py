"""The file of real invoices, and what it adds up to: read anew here, with nothing of the importer's."""

import csv
import gzip
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tests.projections.fold import Tables

FILE = "ORDERLOG_TEST_RETAIL_CSV"
BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "online_retail_2010-12.csv.gz"
HEADER = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

Sales = dict[str, tuple[int, int, int]]
"""Day to orders, units and pence."""


@dataclass
class Sums:
    """What a file must come to."""

    lines: int = 0
    rejected: dict[int, list[str]] = field(default_factory=dict)  # line number in the file to its fields
    sales: Sales = field(default_factory=dict)

    @property
    def orders(self) -> int:
        return sum(orders for orders, _, _ in self.sales.values())

    @property
    def gross(self) -> Decimal:
        """Pounds."""
        return Decimal(sum(pence for _, _, pence in self.sales.values())) / 100


def invoices_file(folder: Path) -> Path:
    """The real one where it is; otherwise a small one with the same kinds of dirt."""
    if named := os.environ.get(FILE):
        return Path(named)
    return BESIDE if BESIDE.exists() else made_up(folder / "made-up.csv.gz")


def sums(file: Path) -> Sums:
    result = Sums()
    invoices: dict[str, set[str]] = defaultdict(set)
    units: dict[str, int] = defaultdict(int)
    pence: dict[str, int] = defaultdict(int)
    for number, fields in _numbered(file):
        result.lines += 1
        line = _order_line(fields)
        if line is None:
            result.rejected[number] = fields
            continue
        day, quantity, price = line
        invoices[day].add(fields[0].strip())
        units[day] += quantity
        pence[day] += quantity * price
    result.sales = {day: (len(invoices[day]), units[day], pence[day]) for day in invoices}
    return result


def _numbered(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines after the header, each with the number of the line in the file that it begins on."""
    with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        assert next(reader) == HEADER
        begins = reader.line_num + 1
        for fields in reader:
            yield begins, fields
            begins = reader.line_num + 1


def _order_line(fields: list[str]) -> tuple[str, int, int] | None:
    """Day, quantity and pence of a line that can be one of an order."""
    if len(fields) != len(HEADER):
        return None
    invoice, code, _, quantity, when, price, _, _ = (text.strip() for text in fields)
    try:
        day, month, year = map(int, when.split(" ")[0].split("/"))
        at = date(year, month, day)
        amount, count = Decimal(price), int(quantity)
    except (ValueError, InvalidOperation):
        return None
    pence = amount * 100
    if not invoice or invoice[0] in "cC" or not code or count <= 0 or amount < 0 or pence != int(pence):
        return None
    return at.isoformat(), count, int(pence)


def daily_sales(tables: Tables) -> Sales:
    """What the read model says of the imported invoices, which are in pounds."""
    return {
        str(day): (row["orders"], row["units"], row["gross"])
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
