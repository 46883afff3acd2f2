"""An import that stops anywhere and is run again leaves what one that never stopped leaves."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from api.importing import Imported, import_invoices
from api.retail_columns import COLUMNS
from api.retail_commands import order_id
from api.retail_csv import Contents, read
from api.retail_returns import match
from commands.order import CompleteOrder, RequestReturn
from commands.processor import processing
from events.log import Log
from events.order import (
    LineQuantity,
    OrderEvent,
    OrderPlaced,
    PaymentCaptured,
    PaymentRefunded,
    RefundRequired,
    ReturnApproved,
    ReturnReceived,
    ReturnRequested,
)
from tests.commands.asking import asking, recorded
from tests.services.postgres import DatabaseServer
from tests.system.retail import made_up, sums

CUPS = ["536365", "CUP", "A cup", "6", "1/12/2010", "2.55", "17850", "United Kingdom"]
BACK = ["C536379", "CUP", "A cup", "-4", "2/12/2010", "2.55", "17850", "United Kingdom"]


class _Stopped(Exception):
    """As Ctrl-C would."""


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with created(database_url) as log:
        yield log


@pytest.fixture
def another_log(postgres: DatabaseServer) -> Iterator[Log]:
    url = postgres.create_database()
    with created(url) as log:
        yield log
    postgres.drop_database(url)


@contextmanager
def created(database_url: str) -> Iterator[Log]:
    with closing(Log(database_url)) as log:
        log.create()
        yield log


async def imported(log: Log, contents: Contents, stop_after: int | None = None) -> Imported:
    """To the end, or until so many lines are done."""
    lines = 0

    def advance(more: int) -> None:
        nonlocal lines
        lines += more
        if stop_after is not None and lines >= stop_after:
            raise _Stopped

    async with processing(log) as processor:
        done = await import_invoices(processor, contents, advance)
    assert lines == contents.lines == done.lines_imported + len(done.rejects)
    return done


def histories(log: Log) -> dict[str, list[OrderEvent]]:
    """Order by order, what happened; but for the order's number, which is another one in each log."""
    found: dict[str, list[OrderEvent]] = defaultdict(list)
    for one in recorded(log):
        if isinstance(one.event, OrderPlaced):
            found[one.key].append(replace(one.event, number=""))
        elif isinstance(one.event, OrderEvent):
            found[one.key].append(one.event)
    return found


async def test_stopped_anywhere_and_run_again_it_leaves_the_same(tmp_path: Path, log: Log, another_log: Log) -> None:
    file = made_up(tmp_path / "invoices.csv.gz", 80)
    contents, expected = read(file), sums(file)
    whole = await imported(another_log, contents)
    assert whole.received == whole.returns == expected.returns > whole.refunds == expected.refunds > 0

    returns_begin = contents.lines - len(match(contents.invoices, contents.credits)[0])
    anywhere = [*sorted(random.Random(1).sample(range(returns_begin), 4)), returns_begin + 1, contents.lines - 2]
    for stop in anywhere:
        with pytest.raises((_Stopped, ExceptionGroup)):
            await imported(log, contents, stop)
    last = await imported(log, contents)

    assert 0 < last.received < whole.returns
    assert last.rejects == whole.rejects
    assert (last.orders, last.returns, last.refunds) == (whole.orders, whole.returns, whole.refunds)
    assert (last.gross, last.refunded) == (whole.gross, whole.refunded)
    assert histories(log) == histories(another_log)


async def test_the_orders_refunds_never_exceed_what_was_paid(tmp_path: Path, log: Log) -> None:
    """The made-up credit notes give back at prices far above those that were paid, and more than was bought."""
    done = await imported(log, read(made_up(tmp_path / "invoices.csv.gz", 80)))

    refunded = 0
    for events in histories(log).values():
        paid = sum(event.amount for event in events if isinstance(event, PaymentCaptured))
        back = sum(event.amount for event in events if isinstance(event, PaymentRefunded))
        assert back <= paid
        refunded += back
    assert refunded == done.refunded > 0


async def test_a_line_of_a_credit_note_is_a_return_that_is_asked_for_approved_received_and_refunded(
    tmp_path: Path, log: Log
) -> None:
    done = await imported(log, invoices(tmp_path, CUPS, BACK))

    assert (done.orders, done.returns, done.received, done.refunds) == (1, 1, 1, 1)
    assert (done.gross, done.refunded, done.rejects) == (6 * 255, 4 * 255, [])
    four, at = (LineQuantity("1", 4),), datetime(2010, 12, 2, tzinfo=UTC)
    (events,) = histories(log).values()
    assert events[6:] == [
        ReturnRequested(at, "C536379-1", four, "credit note C536379"),
        ReturnApproved(at, "C536379-1"),
        ReturnReceived(at, "C536379-1", four, restock=True, amount=4 * 255),
        RefundRequired(at, 4 * 255, "goods returned"),
        PaymentRefunded(at, 4 * 255, "C536379-1", "GBP"),
    ]


async def test_what_an_order_gives_back_when_it_was_completed_is_taken(tmp_path: Path, log: Log) -> None:
    await imported(log, invoices(tmp_path, CUPS))
    async with asking(log) as ask:
        assert (await ask.one(CompleteOrder(order_id=order_id("536365"), at=datetime.now(UTC)))).accepted

    done = await imported(log, invoices(tmp_path, CUPS, BACK))

    assert (done.placed, done.received, done.refunded, done.rejects) == (0, 1, 4 * 255, [])


async def test_a_longer_file_takes_up_where_a_shorter_one_ended(tmp_path: Path, log: Log) -> None:
    later = [*CUPS]
    later[0], later[4] = "536999", "3/12/2010"
    await imported(log, invoices(tmp_path, CUPS, BACK))

    done = await imported(log, invoices(tmp_path, later, CUPS, BACK))

    assert (done.orders, done.placed, done.returns, done.received, done.rejects) == (2, 1, 1, 0, [])


async def test_what_a_refused_order_would_give_back_is_refused_too(tmp_path: Path, log: Log) -> None:
    too_dear = [*CUPS]
    too_dear[3], too_dear[5] = "1000000000", "10000000"

    done = await imported(log, invoices(tmp_path, too_dear, BACK))

    assert [reject.line for reject in done.rejects] == [2, 3]
    assert "gives back, but its order was refused: invoice 536365: " in done.rejects[1].reason
    assert histories(log) == {}


async def test_what_came_back_otherwise_meanwhile_is_refused_and_not_refunded(tmp_path: Path, log: Log) -> None:
    await imported(log, invoices(tmp_path, CUPS))
    async with asking(log) as ask:
        lines = [{"line_id": "1", "quantity": 5}]
        asked = {"order_id": order_id("536365"), "at": datetime.now(UTC), "lines": lines, "reason": "too many"}
        assert (await ask.one(RequestReturn.model_validate(asked))).accepted

    done = await imported(log, invoices(tmp_path, CUPS, BACK))

    (reject,) = done.rejects
    assert (reject.line, done.orders, done.returns, done.refunded) == (3, 1, 0, 0)
    assert "gives back, but the order of invoice 536365 does not take it" in reject.reason
    assert not [event for events in histories(log).values() for event in events if isinstance(event, PaymentRefunded)]


def invoices(folder: Path, *lines: list[str]) -> Contents:
    file = folder / "invoices.csv"
    file.write_text("\n".join(",".join(fields) for fields in [list(COLUMNS), *lines]), encoding="utf-8")
    return read(file)
