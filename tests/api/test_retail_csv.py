"""Which lines of a file of invoices can be of an order or of a credit note, and what is said of the others."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.retail_columns import COLUMNS
from api.retail_csv import Contents, CreditLine, InvoiceLine, NotInvoices, read

LINE = {
    "InvoiceNo": "536365",
    "StockCode": "85123A",
    "Description": "WHITE HANGING HEART",
    "Quantity": "6",
    "InvoiceDate": "1/12/2010",
    "UnitPrice": "2.55",
    "CustomerID": "17850",
    "Country": "United Kingdom",
}


def contents(folder: Path, *lines: dict[str, str]) -> Contents:
    return of_text(folder, "\n".join(",".join(one.values()) for one in lines))


def of_text(folder: Path, text: str, header: str = ",".join(COLUMNS)) -> Contents:
    file = folder / "invoices.csv"
    file.write_text(f"{header}\n{text}\n", encoding="utf-8")
    return read(file)


def test_the_lines_of_an_invoice_make_one_order(tmp_path: Path) -> None:
    found = contents(tmp_path, LINE, LINE | {"StockCode": "71053", "UnitPrice": "3"}, LINE | {"InvoiceNo": "536366"})

    assert (found.lines, found.rejects) == (3, [])
    first, second = found.invoices
    assert (first.number, first.customer, first.country) == ("536365", "17850", "United Kingdom")
    assert first.at == datetime(2010, 12, 1, tzinfo=UTC)
    assert list(first.lines.values()) == [
        InvoiceLine("85123A", "WHITE HANGING HEART", 6, 255),
        InvoiceLine("71053", "WHITE HANGING HEART", 6, 300),
    ]
    assert [source.line for source in first.sources] == [2, 3]
    assert (second.number, len(second.lines)) == ("536366", 1)


def test_lines_with_the_same_code_and_price_are_merged(tmp_path: Path) -> None:
    found = contents(tmp_path, LINE, LINE | {"Quantity": "4"}, LINE | {"UnitPrice": "2.10"})

    (invoice,) = found.invoices
    assert [(line.quantity, line.unit_price) for line in invoice.lines.values()] == [(10, 255), (6, 210)]
    assert len(invoice.sources) == 3


@pytest.mark.parametrize("letter", ["C", "c"])
def test_the_lines_of_a_credit_note_give_something_back(tmp_path: Path, letter: str) -> None:
    gives_back = LINE | {"InvoiceNo": f"{letter}536379", "Quantity": "-6", "InvoiceDate": "2/12/2010 9:41"}

    found = contents(tmp_path, LINE, gives_back, gives_back | {"CustomerID": " ", "Quantity": "-2"})

    assert (found.lines, len(found.invoices), found.rejects) == (3, 1, [])
    first, second = found.credits
    at = datetime(2010, 12, 2, 9, 41, tzinfo=UTC)
    assert first == CreditLine(f"{letter}536379", 1, "17850", at, "85123A", 6, 255, first.source)
    assert (first.source.line, first.source.fields) == (3, list(gives_back.values()))
    assert (second.position, second.customer, second.quantity, second.source.line) == (2, None, 2, 4)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"InvoiceNo": " "}, "no invoice number"),
        ({"InvoiceNo": "5" * 65}, "is not 1 to 64 printable characters"),
        ({"InvoiceNo": "C536379"}, "quantity 6 is not between -1000000000 and -1"),
        ({"InvoiceNo": "c536379", "Quantity": "0"}, "quantity 0 is not between -1000000000 and -1"),
        ({"InvoiceNo": "C536379", "Quantity": "-1000000001"}, "is not between -1000000000 and -1"),
        ({"InvoiceNo": "C536379", "Quantity": "-1", "StockCode": " "}, "no stock code"),
        ({"InvoiceNo": "C536379", "Quantity": "-1", "UnitPrice": "-1"}, "unit price -1 is not between"),
        ({"InvoiceNo": "C536379", "Quantity": "-1", "InvoiceDate": "soon"}, "invoice date 'soon' is not d/m/yyyy"),
        ({"StockCode": ""}, "no stock code"),
        ({"StockCode": "A" * 65}, "is not 1 to 64 printable characters"),
        ({"Quantity": "-1"}, "quantity -1 is not between"),
        ({"Quantity": "0"}, "quantity 0 is not between"),
        ({"Quantity": "1000000001"}, "is not between"),
        ({"Quantity": "1.5"}, "quantity '1.5' is not a whole number"),
        ({"Quantity": ""}, "quantity '' is not a whole number"),
        ({"UnitPrice": "-11062.06"}, "unit price -11062.06 is not between"),
        ({"UnitPrice": "1.005"}, "unit price 1.005 has more decimals than GBP has"),
        ({"UnitPrice": "free"}, "unit price 'free' is not an amount"),
        ({"UnitPrice": "NaN"}, "unit price 'NaN' is not an amount"),
        ({"UnitPrice": "Infinity"}, "unit price 'Infinity' is not an amount"),
        ({"UnitPrice": "1e99"}, "unit price 1e99 is not between"),
        ({"InvoiceDate": "2010-12-01"}, "invoice date '2010-12-01' is not d/m/yyyy"),
        ({"InvoiceDate": "30/2/2010"}, "invoice date '30/2/2010' is not d/m/yyyy"),
    ],
)
def test_a_line_that_cannot_be_an_order_line_is_rejected(tmp_path: Path, wrong: dict[str, str], reason: str) -> None:
    found = contents(tmp_path, LINE, LINE | wrong)

    assert (found.lines, len(found.invoices), found.credits) == (2, 1, [])
    (reject,) = found.rejects
    assert (reject.line, reject.fields) == (3, list((LINE | wrong).values()))
    assert reason in reject.reason


@pytest.mark.parametrize(
    "odd",
    [
        {"UnitPrice": "0"},
        {"UnitPrice": "2.550"},
        {"CustomerID": ""},
        {"Description": ""},
        {"Description": "?\x07 stray"},
        {"InvoiceDate": "01/12/2010 8:26"},
        {"StockCode": "BANK CHARGES"},
        {"Quantity": " 6 "},
    ],
)
def test_what_is_odd_but_possible_is_taken(tmp_path: Path, odd: dict[str, str]) -> None:
    found = contents(tmp_path, LINE | odd)

    assert (len(found.invoices), found.rejects) == (1, [])
    (line,) = found.invoices[0].lines.values()
    assert line.name
    assert line.name.isprintable()


def test_a_line_with_too_few_or_too_many_fields_is_rejected(tmp_path: Path) -> None:
    found = of_text(tmp_path, "536365,85123A\n" + ",".join([*LINE.values(), "more"]))

    assert [reject.line for reject in found.rejects] == [2, 3]
    assert ["2 fields" in found.rejects[0].reason, "9 fields" in found.rejects[1].reason] == [True, True]


def test_a_line_number_is_where_the_line_begins_in_the_file(tmp_path: Path) -> None:
    of_three = ",".join((LINE | {"Description": '"A\nB\nC"'}).values())
    wrong = ",".join((LINE | {"Quantity": "-1"}).values())

    found = of_text(tmp_path, f"{of_three}\n{wrong}")

    assert [source.line for source in found.invoices[0].sources] == [2]
    assert [reject.line for reject in found.rejects] == [5]


def test_columns_may_come_in_another_order_and_with_others(tmp_path: Path) -> None:
    header = ",".join(["Remark", *reversed(COLUMNS)])

    found = of_text(tmp_path, ",".join(["new", *reversed(LINE.values())]), header)

    assert found.invoices[0].lines.keys() == {("85123A", 255)}


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotInvoices, match="lacks the columns StockCode, UnitPrice, CustomerID; it has InvoiceNo, Desc"):
        of_text(tmp_path, "", "InvoiceNo,Description,Quantity,InvoiceDate,Country")


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(",".join(COLUMNS).encode() * 99)[:-9]])
def test_a_file_that_is_not_whole_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "invoices.csv.gz"
    file.write_bytes(content)

    with pytest.raises(NotInvoices, match=r"invoices\.csv\.gz (is not a readable CSV|lacks the columns)"):
        read(file)


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_damaged_gzip_is_refused(tmp_path: Path, place: float) -> None:
    file = tmp_path / "invoices.csv.gz"
    lines = [",".join(COLUMNS), *(",".join((LINE | {"InvoiceNo": str(number)}).values()) for number in range(9_999))]
    whole = bytearray(gzip.compress("\n".join(lines).encode()))
    whole[int(len(whole) * place)] ^= 0xFF
    file.write_bytes(whole)

    with pytest.raises(NotInvoices, match=r"is not a readable CSV"):
        read(file)


def test_gzip_with_a_block_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "invoices.csv.gz"
    whole = bytearray(gzip.compress(b"InvoiceNo"))
    whole[10] = 0b111  # the first block, of the type that is reserved
    file.write_bytes(whole)

    with pytest.raises(NotInvoices, match=r"is not a readable CSV"):
        read(file)
