"""The command line: `orderlog`. Errors are one line that says what to do; the exit code is then 1."""

import asyncio
import csv
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from psycopg.conninfo import conninfo_to_dict
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

from api import identity_cli, importing, logs, measures, retail_csv, wiring
from api.embedded import EmbeddedError, EmbeddedPostgres
from api.importing import Imported
from api.retail_csv import COLUMNS, NotInvoices, Reject
from api.settings import Settings, SettingsError, load_settings
from api.wiring import CannotStart
from events.log import LogUnavailable
from events.topics import KafkaUnreachable, TopicMismatch, TopicRefused
from projections.catalogue import PROJECTIONS
from projections.feed import CannotFollow
from projections.migrate import DatabaseIsNewer

EXPLAINED = (
    CannotFollow,
    CannotStart,
    EmbeddedError,
    KafkaUnreachable,
    LogUnavailable,
    NotInvoices,
    DatabaseIsNewer,
    SettingsError,
    TopicMismatch,
    TopicRefused,
)
"""Errors whose sentence is all that a person needs."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT."""

app = typer.Typer(
    name="orderlog",
    help="An event-sourced order backend: commands over HTTP, a log of events, Kafka, read models, a live feed. "
    "Settings are ORDERLOG_… in the environment or in .env; the README lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(stderr=True)


def main() -> None:
    try:
        app()
    except EXPLAINED as error:
        sys.exit(f"orderlog: {error}")
    except ExceptionGroup as group:
        explained, others = group.split(EXPLAINED)
        if others is not None or explained is None:
            raise
        sys.exit("\n".join(f"orderlog: {error}" for error in _leaves(explained)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _version(wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if wanted:
        typer.echo(f"orderlog {version('orderlog')}")
        raise typer.Exit


@app.callback()
def _all(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# Serving -----------------------------------------------------------------------------------------------------


@app.command()
def serve() -> None:
    """Serve everything in one process: API and projections on the embedded PostgreSQL, or on the database that is set;
    the relay too when a Kafka address is set."""
    settings = _settings()
    listener = wiring.listen(settings, settings.port)
    with wiring.one_server(settings), wiring.database(settings) as url:
        uvloop.run(_serve_all(settings, listener, url))
    console.print("Stopped.")


async def _serve_all(settings: Settings, listener: Any, url: str) -> None:
    with wiring.opened(url) as events:
        await wiring.ready_topics(settings)
        _greet(settings, listener.getsockname()[1], url)
        worker = wiring.worker(settings, url, events, [])
        relay = wiring.relay(settings, events) if settings.kafka_bootstrap_servers else None
        async with wiring.until_asked_to_stop() as asked:
            operated = measures.operated(asked, events, worker, relay)
            async with wiring.http(settings, events, operated, projecting=True) as edge:
                serving = wiring.serve(
                    wiring.http_server(edge, wiring.client_limits(settings)), listener, asked, settings.drain
                )
                parts = [wiring.work(worker), *(work() for work in edge.work), *([relay.run()] if relay else [])]
                await wiring.run_until(asked, *parts, serving=serving)


@app.command()
def api() -> None:
    """Serve HTTP and WebSocket, and take the automatic steps. Run as many as you like on one database."""
    settings = _settings()
    listener = wiring.listen(settings, settings.port)

    async def run(events: Any) -> None:
        async with (
            wiring.until_asked_to_stop() as asked,
            wiring.http(settings, events, measures.operated(asked, events)) as edge,
        ):
            serving = wiring.serve(
                wiring.http_server(edge, wiring.client_limits(settings)), listener, asked, settings.drain
            )
            await wiring.run_until(asked, *(work() for work in edge.work), serving=serving)

    with wiring.database(settings) as url, wiring.opened(url) as events:
        _greet(settings, listener.getsockname()[1], url)
        uvloop.run(run(events))


@app.command()
def relay() -> None:
    """Publish the log to Kafka, exactly once. Run a second one as a standby."""
    settings = _settings()

    async def run(url: str) -> None:
        with wiring.opened(url) as events:
            part = wiring.relay(settings, events)
            async with _beside(settings, events, relay=part) as (asked, serving):
                await wiring.run_until(asked, part.run(), serving=serving)

    with wiring.database(settings) as url:
        uvloop.run(run(url))


@app.command()
def project(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME …]", help=f"Of: {', '.join(PROJECTIONS)}. All, unless named.")
    ] = None,
) -> None:
    """Keep read models up to date, from Kafka if it is set, else from the log. Run as many as you like."""
    settings = _settings()
    if unknown := [name for name in names or () if name not in PROJECTIONS]:
        raise CannotStart(f"no projection is called {', '.join(unknown)}; there are {', '.join(PROJECTIONS)}")

    async def run(url: str) -> None:
        await wiring.ready_topics(settings)
        with wiring.opened(url) as events:
            part = wiring.worker(settings, url, events, names or [])
            kept = names or list(PROJECTIONS)
            async with _beside(settings, events, worker=part, projections=kept) as (asked, serving):
                await wiring.run_until(asked, part.run(), serving=serving)

    with wiring.database(settings) as url:
        uvloop.run(run(url))


@asynccontextmanager
async def _beside(
    settings: Settings, events: Any, *, worker: Any = None, relay: Any = None, projections: Sequence[str] = ()
) -> AsyncIterator[tuple[asyncio.Event, Any]]:
    """What runs beside a part that has no HTTP of its own: /readyz and /metrics, if a port is set for them."""
    async with wiring.until_asked_to_stop() as asked:
        if settings.health_port is None:
            wiring.freeze()
            yield asked, None
            return
        listener = wiring.listen(settings, settings.health_port, "ORDERLOG_HEALTH_PORT")
        operated = measures.operated(asked, events, worker, relay)
        async with wiring.beside(settings, events, operated, projections) as edge:
            yield asked, wiring.serve(wiring.http_server(edge), listener, asked)


def _greet(settings: Settings, port: int, url: str) -> None:
    data = settings.data_dir.resolve() if settings.database_url is None else _without_password(url)
    base = f"http://{settings.host}:{port}"
    kafka = settings.kafka_bootstrap_servers or "none: projections follow the log"
    console.print(f"orderlog  {base}", highlight=False)
    console.print(f"data      {data}", highlight=False, soft_wrap=True)
    console.print(f"Kafka     {kafka}", highlight=False)
    console.print(f"docs      {base}/docs", highlight=False)
    token = f"{_orderlog()} token --role staff" if settings.has_own_issuer else f"from {settings.jwt_issuer}"
    console.print(f"token     {token}", highlight=False, soft_wrap=True)


def _orderlog() -> str:
    """How to type the command here."""
    local = Path(".venv/bin/orderlog")
    return str(local) if local.exists() else "orderlog"


def _without_password(url: str) -> str:
    where = conninfo_to_dict(url)
    return f"{where.get('host')}:{where.get('port', 5432)}/{where.get('dbname')}"


# Data --------------------------------------------------------------------------------------------------------


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV, perhaps gzipped, with the columns " + ", ".join(COLUMNS) + ".")],
    rejects: Annotated[
        Path | None, typer.Option(help="Where to write each line that was refused, with the reason.")
    ] = None,
) -> None:
    """Place real invoices as orders, paid and delivered, and take back what credit notes (C...) say, each at its own
    time. Run it again after an interruption: nothing is placed, returned or refunded twice."""
    settings = _settings()
    if not file.is_file():
        raise CannotStart(f"there is no file {file}")
    if rejects is not None:
        _require_writable(rejects)
    contents = retail_csv.read(file)
    with wiring.database(settings) as url, wiring.opened(url) as events, _progress() as progress:
        task = progress.add_task("importing", total=contents.lines)

        async def run() -> Imported:
            async with wiring.processing(events) as processor:
                return await importing.import_invoices(processor, contents, lambda n: progress.advance(task, n))

        try:
            done = uvloop.run(run())
        except KeyboardInterrupt:
            progress.stop()
            console.print("Interrupted. What is in the log stays there; run it again for the rest.")
            raise typer.Exit(INTERRUPTED) from None
    if rejects is not None:
        _write_rejects(rejects, done.rejects)
    _report(done, rejects)


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


@app.command("database-url")
def database_url() -> None:
    """Print the address of the database in use, for psql and notebooks."""
    settings = _settings()
    url = settings.database_url or EmbeddedPostgres(settings.data_dir).running()
    if url is None:
        raise CannotStart("the embedded PostgreSQL does not run; start it with `orderlog serve`")
    typer.echo(url)


@app.command()
def migrate() -> None:
    """Bring the database's tables up to this version. Every other command does so at its start, too."""
    with wiring.database(_settings()):
        console.print("The tables are up to date.")


def _settings() -> Settings:
    settings = load_settings()
    logs.configure(settings.log_format)
    return settings


identity_cli.add_to(app)


if __name__ == "__main__":
    main()
