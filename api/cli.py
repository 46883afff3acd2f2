"""The command line: `orderlog`. Errors are one line that says what to do; the exit code is then 1.

This says what can be typed. What a command runs is loaded when it runs, since who asks for help waits for all that is
loaded before.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api import identity_cli
from api.retail_columns import COLUMNS
from events.explained import Explained
from projections.names import NAMES

app = typer.Typer(
    name="orderlog",
    help="An event-sourced order backend: commands over HTTP, a log of events, Kafka, read models, a live feed. "
    "Settings are ORDERLOG_… in the environment or in .env; the README lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    try:
        app()
    except Explained as error:
        sys.exit(f"orderlog: {error}")
    except ExceptionGroup as group:
        explained, others = group.split(Explained)
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
        from importlib.metadata import version

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
    from api import processes

    processes.serve()


@app.command()
def api() -> None:
    """Serve HTTP and WebSocket, and take the automatic steps. Run as many as you like on one database."""
    from api import processes

    processes.api()


@app.command()
def relay() -> None:
    """Publish the log to Kafka, exactly once. Run a second one as a standby."""
    from api import processes

    processes.relay()


@app.command()
def project(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME …]", help=f"Of: {', '.join(NAMES)}. All, unless named.")
    ] = None,
) -> None:
    """Keep read models up to date, from Kafka if it is set, else from the log. Run as many as you like."""
    from api import processes

    processes.project(names or [])


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
    from api.starting import configured

    settings = configured()
    from api.import_progress import import_file

    import_file(settings, file, rejects)


@app.command("database-url")
def database_url() -> None:
    """Print the address of the database in use, for psql and notebooks."""
    from api.starting import running_database

    typer.echo(running_database())


@app.command()
def migrate() -> None:
    """Bring the database's tables up to this version. Every other command does so at its start, too."""
    from api.starting import configured, database

    with database(configured()):
        typer.echo("The tables are up to date.", err=True)


identity_cli.add_to(app)


if __name__ == "__main__":
    main()
