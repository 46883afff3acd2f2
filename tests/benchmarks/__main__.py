"""`python -m tests.benchmarks [NAME …]` measures what is named, or everything, and prints one table of ratios."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from statistics import mean

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks import ours, reading
from tests.benchmarks.servers import idle_share
from tests.benchmarks.stage import Stage, in_turn, stage

COMMAND = "python -m tests.benchmarks"
TIMES = "×"  # noqa: RUF001 - the sign, not the letter


class Row(msgspec.Struct, frozen=True):
    """One line of the table, as it is printed; empty where there is nothing to say."""

    work: str
    baseline: str = ""
    ours: str = ""
    ratio: str = ""
    target: str = ""
    note: str = ""


Benchmark = Callable[[Stage], Iterator[Row]]


# The baselines ----------------------------------------------------------------------------------------------


def ceiling(stage: Stage) -> Iterator[Row]:
    yield Row("HTTP, nothing stored", per_second(stage.bare.rate), note="what the load generator can do at most")


def naive(stage: Stage) -> Iterator[Row]:
    plain, remembering = stage.naive(), stage.naive_with_idempotency()
    yield Row(
        "orders over HTTP, 64 connections, naive",
        per_second(plain.rate),
        note=f"p50 {plain.p50_ms:.0f} ms, p99 {plain.p99_ms:.0f} ms; without Idempotency-Key",
    )
    yield Row(
        "the same with Idempotency-Key",
        per_second(remembering.rate),
        note=f"p50 {remembering.p50_ms:.0f} ms, p99 {remembering.p99_ms:.0f} ms",
    )


def library_save(stage: Stage) -> Iterator[Row]:
    yield Row("library's save(), one order each, one thread", per_second(stage.library_saves))


def library_projections(stage: Stage) -> Iterator[Row]:
    for name, rate in stage.library_projections.items():
        yield Row(f"library's ProjectionRunner, {name}", per_second(rate))


# Ours against them ------------------------------------------------------------------------------------------


def writes(stage: Stage) -> Iterator[Row]:
    load, naive = in_turn(partial(ours.writes, stage), stage.naive)
    work = "POST /v1/orders, three lines, 64 connections, token and key"
    yield compared(work, naive.rate, load.rate, 8, "medians of three runs each, in turn")
    yield Row(
        "its p99",
        f"{naive.p99_ms:.0f} ms",
        f"{load.p99_ms:.1f} ms",
        f"1/{naive.p99_ms / load.p99_ms:.1f}",
        "≤ 1/6",
        f"p50 {load.p50_ms:.1f} ms",
    )


def tracked(stage: Stage) -> Iterator[Row]:
    load, naive = in_turn(partial(ours.three_lines, stage), stage.naive_tracked)
    note = f"p99 {load.p99_ms:.1f} ms, against {naive.p99_ms:.0f} ms"
    yield compared("the same of tracked stock, 10,000 products", naive.rate, load.rate, 10, note)


def flash(stage: Stage) -> Iterator[Row]:
    free, same = ours.flash(stage)
    slowest = [max(load.p99_ms for load in loads) for loads in (same, free)]
    note = "p99 {:.1f} ms, against {:.1f} ms; one process".format(*slowest)
    baseline, rate = [mean(load.rate for load in loads) for loads in (free, same)]
    yield compared("all orders of one tracked product, against of 10,000", baseline, rate, 0.75, note)


def get(stage: Stage) -> Iterator[Row]:
    baseline, read = reading.reads(stage)
    note = f"p99 {read.p99_ms:.1f} ms, against {baseline.p99_ms:.0f} ms"
    yield compared("GET of an order, against FastAPI + SQLAlchemy ORM", baseline.rate, read.rate, 3, note)


def processes(stage: Stage) -> Iterator[Row]:
    one, three = in_turn(partial(ours.writes_to_one, stage), partial(ours.writes_to_three, stage))
    yield compared("three API processes on one log, against one", one.rate, three.rate, 1, "3 x 64 connections")


def deciding(_: Stage) -> Iterator[Row]:
    took = ours.deciding()
    yield Row("decide and evolve, placing three lines", "", f"{took['place_three_lines_us']:.1f} µs", "", "≤ 20 µs")
    note = f"with 10,000 events {took['load_10000_events_ms']:.0f} ms"
    yield Row("an order from its 100 events", "", f"{took['load_100_events_ms']:.2f} ms", "", "≤ 1 ms", note)


def loading(stage: Stage) -> Iterator[Row]:
    took = ours.loading(stage)
    work, note = "a product with 1,000,000 events, after a restart", f"without its snapshot {took['whole_ms']:,.0f} ms"
    yield Row(work, "", f"{took['snapshot_ms']:.1f} ms", "", "≤ 50 ms", note)


def processor(stage: Stage) -> Iterator[Row]:
    note = "512 callers, with key; target 25,000/s"
    yield compared("processor alone", stage.library_saves, ours.processor(stage), None, note)


def projections(stage: Stage) -> Iterator[Row]:
    library = stage.library_projections
    rates = ours.projections(stage)
    for name, rate in rates.items():
        if name in library:
            yield compared(f"projection catch-up, {name}", library[name], rate, 15, "200,000 events")
        else:
            mean = len(library) / sum(1 / each for each in library.values())
            note = "against the mean (harmonic) of the library's four"
            yield compared("projection catch-up, all four in one worker", mean, rate, 6, note)


def relay(stage: Stage) -> Iterator[Row]:
    rate = ours.relay(stage)
    yield Row("relay into a real broker", "", per_second(rate), "", "≥ 20,000/s", "200,000 events, 1,000 a transaction")


def live(stage: Stage) -> Iterator[Row]:
    ways = {"log": (ours.heard_from_the_log, 100), "Kafka": (ours.heard_through_kafka, 200)}
    for way, (heard_through, target) in ways.items():
        rate, heard = heard_through(stage)
        note = f"p50 {heard['p50_ms']:.0f} ms, max {heard['max_ms']:.0f} ms, {heard['events']:,.0f} events"
        work = f"accept to socket at half load ({rate:,.0f}/s), {way}, p99"
        yield Row(work, "", f"{heard['p99_ms']:.0f} ms", "", f"≤ {target} ms", note)


def memory(stage: Stage) -> Iterator[Row]:
    rest, after = ours.memory(stage)
    work = "memory of `orderlog serve` after 200,000 orders, against at rest"
    yield Row(work, f"{rest / 1e6:.0f} MB", f"{after / 1e6:.0f} MB", f"{after / rest:.2f} {TIMES}", f"≤ 2 {TIMES}")


# The table --------------------------------------------------------------------------------------------------

BENCHMARKS: dict[str, Benchmark] = {
    "ceiling": ceiling,
    "naive": naive,
    "library_save": library_save,
    "library_projections": library_projections,
    "writes": writes,
    "tracked": tracked,
    "flash": flash,
    "get": get,
    "processes": processes,
    "deciding": deciding,
    "loading": loading,
    "processor": processor,
    "projections": projections,
    "relay": relay,
    "live": live,
    "memory": memory,
}


def compared(work: str, baseline: float, ours: float, target: float | None = None, note: str = "") -> Row:
    """A row of two rates; `target` is the ratio that DESIGN asks for."""
    asked = "" if target is None else f"≥ {target:g} {TIMES}"
    ratio = ours / baseline
    times = f"{ratio:.1f} {TIMES}" if ratio >= 2 else f"{ratio:.2f} {TIMES}"
    return Row(work, per_second(baseline), per_second(ours), times, asked, note)


def per_second(rate: float) -> str:
    return f"{rate:,.0f}/s"


def table(rows: list[Row], names: list[str], idle: float) -> Table:
    """`idle` is the least share of the CPUs that others left before a benchmark: below 0.9 the figures are noise."""
    command = shlex.join([*shlex.split(COMMAND), *names])
    machine = f"{os.cpu_count()} CPUs, {idle:.0%} idle before"
    printed = Table(caption=f"{command}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}")
    for heading in Row.__struct_fields__:
        printed.add_column(heading, justify="left" if heading in ("work", "note") else "right")
    for row in rows:
        printed.add_row(*msgspec.structs.astuple(row))
    return printed


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"No benchmark is called {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    progress = Console(stderr=True)
    rows: list[Row] = []
    idle: list[float] = []
    with stage() as on:
        for name in names or BENCHMARKS:
            idle.append(idle_share())
            progress.print(f"measuring {name} … (others leave {idle[-1]:.0%} of the CPUs idle)")
            rows.extend(BENCHMARKS[name](on))
    Console(width=None if sys.stdout.isatty() else 160).print(table(rows, names, min(idle)))


if __name__ == "__main__":
    main(sys.argv[1:])
