"""Real invoices and credit notes come in whole and once, and the daily sales equal the file's sums to the penny."""

import csv
import gzip
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from signal import Signals
from typing import Any

import httpx
import psycopg
import pytest

from events import codec
from events.envelope import Recorded
from events.order import OrderPlaced, PaymentRefunded, ReturnApproved, ReturnReceived, ReturnRequested
from tests.services.parts import ORDERLOG
from tests.system.installation import Installation, a_home, environment, orderlog, until
from tests.system.retail import HEADER, Sales, Sums, invoices_file, lines_of, made_up, sales_without, sums

PLACED = "SELECT count(*) FROM events WHERE topic = 'orderlog.order.placed.v1'"
"""How many orders the log has."""

GATE = 20101201
"""An advisory lock, which whoever writes a parcel waits for."""

SHUT = (
    f"""
    CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END$$
    """,
    """
    CREATE TRIGGER gate BEFORE INSERT ON events FOR EACH ROW
    WHEN (NEW.topic = 'orderlog.order.shipment-dispatched.v1') EXECUTE FUNCTION gate()
    """,
)
"""The gate, in two statements."""

AT_THE_GATE = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
"""Whether somebody waits there."""


@pytest.fixture(scope="module")
def file(home: Path) -> Path:
    return invoices_file(home)


@pytest.fixture(scope="module")
def expected(file: Path) -> Sums:
    return sums(file)


def test_an_interrupted_import_is_completed_and_nothing_is_placed_or_returned_twice(
    installation: Installation, home: Path, file: Path, expected: Sums
) -> None:
    url = installation.database_url()
    interrupted = stopped_in_the_middle(installation, url, file, signal.SIGINT)
    assert interrupted.returncode == 130  # 128 + SIGINT
    assert "Traceback" not in interrupted.stderr
    assert "run it again" in interrupted.stderr
    killed = stopped_in_the_middle(installation, url, file, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL

    rejects = home / "rejects.csv"
    completed = orderlog("import", file, "--rejects", rejects, settings=installation.settings, home=home)
    again = orderlog("import", file, settings=installation.settings, home=home)

    for run in (completed, again):
        assert counted(run.stderr, "lines in the file") == expected.lines
        assert counted(run.stderr, "imported") + counted(run.stderr, "rejected") == expected.lines
        assert counted(run.stderr, "rejected") == len(expected.rejected)
        assert counted(run.stderr, "orders") == expected.orders
        assert counted(run.stderr, "returns") == expected.returns
        assert counted(run.stderr, "refunds") == expected.refunds
        assert amounts(run.stderr) == (expected.gross, expected.refunded, expected.gross - expected.refunded)
    assert 0 < counted(completed.stderr, "of these placed now") < expected.orders
    assert 0 < counted(completed.stderr, "of these received now") <= expected.returns
    assert counted(again.stderr, "of these placed now") == counted(again.stderr, "of these received now") == 0
    assert_rejects(rejects, expected)
    until(lambda: reported(installation) == expected.sales, says=lambda: difference(reported(installation), expected))
    assert reported(installation) == sales_without(file, {int(row["line"]) for row in read_rejects(rejects)})


def test_each_order_is_paid_and_delivered_and_completes_by_itself(
    installation: Installation, home: Path, file: Path
) -> None:
    orderlog("import", file, settings=installation.settings, home=home)

    with staff(installation) as client:
        page = until(lambda: completed_page(client), 60)
    assert all(one["placed_at"][:7] == "2010-12" for one in page)
    assert {one["fulfilment_status"] for one in page} == {"delivered"}
    assert {one["payment_status"] for one in page if one["total"]["amount"]} == {"paid"}


def test_all_that_is_recorded_is_of_its_invoices_or_credit_notes_own_time(
    installation: Installation, home: Path, file: Path
) -> None:
    orderlog("import", file, settings=installation.settings, home=home)

    times = {line.invoice: line.at for line in reversed(lines_of(file))}
    histories: dict[str, list[Recorded]] = defaultdict(list)
    for recorded in map(codec.decode, installation.log()):
        if recorded.kind == "order" and recorded.cause.actor == "import":
            histories[recorded.key].append(recorded)
    assert histories
    for history in histories.values():
        placed = history[0].event
        assert isinstance(placed, OrderPlaced)
        credit_note = placed.external_reference or ""
        for event in (one.event for one in history):
            if isinstance(event, ReturnRequested):
                credit_note = event.reason.removeprefix("credit note ")
            elif isinstance(event, ReturnReceived | PaymentRefunded | ReturnApproved):
                known = event.reference if isinstance(event, PaymentRefunded) else event.return_id
                credit_note = known.rpartition("-")[0]
            assert event.at.date() == times[credit_note].date(), event


def test_every_reject_has_a_reason_that_fits_its_line(home: Path) -> None:
    """The real file has two kinds of lines that cannot be; this one has many."""
    dirty = made_up(home / "dirty.csv.gz")
    expected = sums(dirty)
    rejects = home / "dirty-rejects.csv"

    with a_home() as other:
        done = orderlog("import", dirty, "--rejects", rejects, settings={"ORDERLOG_DATA_DIR": f"{other}/d"}, home=home)

    assert_rejects(rejects, expected)
    assert counted(done.stderr, "imported") == expected.lines - len(expected.rejected)
    assert amounts(done.stderr) == (expected.gross, expected.refunded, expected.gross - expected.refunded)
    assert counted(done.stderr, "returns") == expected.returns > counted(done.stderr, "refunds") == expected.refunds
    assert sum(int(count) for count in re.findall(r"^rejected (\d+): ", done.stderr, re.MULTILINE)) == len(
        expected.rejected
    )
    for row in read_rejects(rejects):
        assert fits(row), row


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"InvoiceNo,Description,Price\n1,a,2\n"), r"lacks the columns StockCode, Quantity, .*UnitPrice"),
        (gzip.compress(b""), "lacks the columns InvoiceNo"),
        (b"", "is not|lacks the columns InvoiceNo"),
        (b"InvoiceNo,StockCode\n", "is not a readable CSV"),
        (gzip.compress(",".join(HEADER).encode() + b"\n" + b"1,2,3\n" * 9999)[:60], "is not a readable CSV"),
    ],
    ids=["columns", "nothing-zipped", "nothing", "not-gzip", "cut-off"],
)
def test_a_file_that_holds_no_invoices_is_refused(home: Path, content: bytes, says: str) -> None:
    wrong = home / "wrong.csv.gz"
    wrong.write_bytes(content)

    done = orderlog("import", wrong, settings={"ORDERLOG_DATA_DIR": str(home / "none")}, home=home, code=1)

    assert re.search(says, one_line(done)), done.stderr
    assert str(wrong) in done.stderr
    assert not (home / "none").exists()


def test_a_file_that_is_not_there_is_named(home: Path) -> None:
    for missing in (home / "missing.csv", home):
        done = orderlog("import", missing, settings={"ORDERLOG_DATA_DIR": str(home / "none")}, home=home, code=1)

        assert str(missing) in one_line(done)


def test_rejects_that_cannot_be_written_are_said_before_anything_is_placed(home: Path) -> None:
    small = made_up(home / "small.csv.gz", 2)
    nowhere = home / "no such folder" / "rejects.csv"
    settings = {"ORDERLOG_DATA_DIR": str(home / "none")}

    done = orderlog("import", small, "--rejects", nowhere, settings=settings, home=home, code=1)

    assert str(nowhere) in one_line(done)
    assert not (home / "none").exists()


def test_a_file_without_a_single_order_line_is_all_rejects(home: Path) -> None:
    only_header = home / "header.csv"
    only_header.write_text(",".join(HEADER) + "\n")

    with a_home() as other:
        done = orderlog("import", only_header, settings={"ORDERLOG_DATA_DIR": f"{other}/d"}, home=home)

    assert counted(done.stderr, "lines in the file") == 0


def stopped_in_the_middle(
    installation: Installation, url: str, file: Path, by: Signals
) -> subprocess.CompletedProcess[str]:
    """An import that gets a signal while a parcel, the first that it ships, cannot be written."""
    # The tests may themselves be run by a process that ignores Ctrl-C, which is inherited.
    command = ["env", "--default-signal=INT", str(ORDERLOG), "import", str(file)]
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        for statement in SHUT:
            database.execute(statement)
        process = subprocess.Popen(
            command, env=environment(installation.settings), cwd=installation.home, stderr=subprocess.PIPE, text=True
        )
        with process:
            until(lambda: database.execute(AT_THE_GATE).fetchone() or process.poll() is not None, pause=0.01)
            process.send_signal(by)
            time.sleep(1)  # for the signal to be heeded: what is under way is then finished, and no more
            database.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
            _, said = process.communicate(timeout=30)
        database.execute("DROP TRIGGER gate ON events")
    return subprocess.CompletedProcess(command, process.returncode, "", said)


def placed(database: psycopg.Connection[tuple[int]]) -> int:
    row = database.execute(PLACED).fetchone()
    assert row is not None
    return row[0]


def counted(report: str, name: str) -> int:
    found = re.search(rf"^ *{name} +([\d,]+) *$", report, re.MULTILINE)
    assert found, report
    return int(found[1].replace(",", ""))


def amounts(report: str) -> tuple[Decimal, ...]:
    """Gross, refunded and net, in pounds."""
    found = [re.search(rf"^ *{name} +([\d,.-]+) GBP *$", report, re.MULTILINE) for name in ("gross", "refunded", "net")]
    assert all(found), report
    return tuple(Decimal(one[1].replace(",", "")) for one in found if one)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def read_rejects(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def assert_rejects(file: Path, expected: Sums) -> None:
    with file.open(newline="", encoding="utf-8") as text:
        reader = csv.reader(text)
        assert next(reader) == ["line", "reason", *HEADER]
        rows = list(reader)
    assert {int(row[0]): row[2:] for row in rows} == expected.rejected
    assert [int(row[0]) for row in rows] == sorted(expected.rejected)
    assert all(row[1] for row in rows)


def fits(row: dict[str, str]) -> bool:
    """Whether the reason is about what is wrong with the line."""
    reason = row["reason"]
    if row["Quantity"] is None:
        return "fields" in reason
    back = row["InvoiceNo"].startswith("C")
    wrong = {
        "names no customer": back and not row["CustomerID"],
        "no earlier order of this customer": back and bool(row["CustomerID"]),
        "left of this code": back and int(row["Quantity"]) < -1,
        "stock code": not row["StockCode"],
        "quantity": back == row["Quantity"].isdigit(),
        "unit price": row["UnitPrice"] in {"-11062.06", "1.005"},
        "date": row["InvoiceDate"] == "2010-12-01",
    }
    return any(is_so and word in reason for word, is_so in wrong.items())


@contextmanager
def staff(installation: Installation) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {installation.token('staff')}"}
    with httpx.Client(base_url=installation.urls[-1], headers=headers) as client:
        yield client


def reported(installation: Installation) -> Sales:
    """Daily sales as the API tells them."""
    with staff(installation) as client:
        answer = client.get("/v1/reports/daily-sales", params={"from": "2000-01-01", "to": "2030-01-01"})
        assert answer.status_code == httpx.codes.OK, answer.text
    items = answer.json()["items"]
    assert {item["currency"] for item in items} <= {"GBP"}
    assert all(item["net"] == item["gross"] - item["refunded"] for item in items)
    return {item["date"]: (item["orders"], item["units"], item["gross"], item["refunded"]) for item in items}


def difference(found: Sales, expected: Sums) -> str:
    return f"found {found}, expected {expected.sales}"


def completed_page(client: httpx.Client) -> list[dict[str, Any]]:
    """The newest orders of which nothing came back, if all of them are completed."""
    items: list[dict[str, Any]] = client.get("/v1/orders", params={"limit": 200}).json()["items"]
    kept = [item for item in items if item["return_status"] == "none"]
    return kept if all(item["status"] == "completed" for item in kept) else []
