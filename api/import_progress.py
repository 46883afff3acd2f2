"""Imports a file of invoices while a terminal shows how far it is, and then what came of it: `orderlog import`."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import typer
import uvloop
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from api import retail_csv
from api.importing import Imported, import_invoices
from api.retail_columns import COLUMNS
from api.retail_csv import Contents, Reject
from api.settings import Settings
from api.starting import CannotStart, database
from commands.processor import processing
from events.log import Log

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT."""

console = Console(stderr=True)


def import_file(settings: Settings, file: Path, rejects: Path | None) -> None:
    if not file.is_file():
        raise CannotStart(f"there is no file {file}")
    if rejects is not None:
        _require_writable(rejects)
    contents = retail_csv.read(file)
    with database(settings) as url, closing(Log(url)) as events:
        done = _imported(events, contents)
    if rejects is not None:
        _write_rejects(rejects, done.rejects)
    _report(done, rejects)


def _imported(events: Log, contents: Contents) -> Imported:
    with _progress() as progress:
        task = progress.add_task("importing", total=contents.lines)

        async def run() -> Imported:
            async with processing(events) as processor:
                return await import_invoices(processor, contents, lambda n: progress.advance(task, n))

        try:
            return uvloop.run(run())
        except KeyboardInterrupt:
            progress.stop()
            console.print("Interrupted. What is in the log stays there; run it again for the rest.")
            raise typer.Exit(INTERRUPTED) from None


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("lines"),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


def _require_writable(path: Path) -> None:
    """Before anything is placed, not after an hour of it."""
    try:
        path.open("a").close()
    except OSError as error:
        raise CannotStart(f"the rejects cannot be written to {path} ({error.strerror}); name another file") from None


def _write_rejects(path: Path, rejects: list[Reject]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["line", "reason", *COLUMNS])
        writer.writerows([reject.line, reject.reason, *reject.fields] for reject in rejects)


def _report(done: Imported, rejects: Path | None) -> None:
    table = Table(show_header=False, box=None)
    rows = {
        "lines in the file": done.lines,
        "imported": done.lines_imported,
        "rejected": len(done.rejects),
        "orders": done.orders,
        "of these placed now": done.placed,
        "returns": done.returns,
        "of these received now": done.received,
        "refunds": done.refunds,
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    for name, pence in {"gross": done.gross, "refunded": done.refunded, "net": done.gross - done.refunded}.items():
        table.add_row(name, f"{pence / 100:,.2f} {retail_csv.CURRENCY}")
    console.print(table)
    for reason, count in Counter(_kind(reject) for reject in done.rejects).most_common():
        console.print(f"rejected {count:,}: {reason}", highlight=False)
    if done.rejects:
        console.print(f"rejects are in {rejects}" if rejects else "see each with --rejects FILE", highlight=False)


def _kind(reject: Reject) -> str:
    """The reason without what differs from line to line: values in quotes, numbers."""
    return re.sub(r"'[^']*'|-?\d+(\.\d+)?", "…", reject.reason)
