"""What a process counts and times, and how that becomes the text of /metrics (Prometheus).

Counting is a few additions to plain numbers; names, labels and text are made when somebody asks for them.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from time import perf_counter

import structlog
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The upper bounds of what is told apart of a request's duration."""

WITHIN = 2.0
"""Seconds that a source may take."""

Source = Callable[[], Awaitable[Iterable[Metric]]]
"""A part's measurements, as they are now."""

log = structlog.get_logger()


class Histogram:
    """How many values lie at or below each bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def into(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        at_most, buckets = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            at_most += count
            buckets.append((bound, at_most))
        family.add_metric(labels, buckets, self._sum)


class Requests:
    """What HTTP answered, by route, and what became of the commands. For one event loop."""

    def __init__(self) -> None:
        self._commands: Counter[tuple[str, str]] = Counter()  # by name and outcome
        self._answers: Counter[tuple[str, str, int]] = Counter()  # by method, route and status
        self._durations: dict[tuple[str, str], Histogram] = {}

    def answered(self, method: str, route: str, status: int, begun: float) -> None:
        """An answer was sent to a request that began at this time of `perf_counter`."""
        self._answers[method, route, status] += 1
        duration = self._durations.get((method, route))
        if duration is None:
            duration = self._durations[method, route] = Histogram(SECONDS)
        duration.add(perf_counter() - begun)

    def decided(self, command: str, outcome: str) -> None:
        """A command was accepted, or replayed, or answered with the code of a problem."""
        self._commands[command, outcome] += 1

    async def measure(self) -> list[Metric]:
        commands = CounterMetricFamily(
            "orderlog_commands", "Commands by name and what became of them.", labels=["command", "outcome"]
        )
        for labels, count in self._commands.items():
            commands.add_metric(labels, count)
        answers = CounterMetricFamily(
            "orderlog_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._answers.items():
            answers.add_metric([method, route, str(status)], count)
        durations = HistogramMetricFamily(
            "orderlog_http_request_duration_seconds",
            "From the request's head to the end of its answer.",
            labels=["method", "route"],
        )
        for key, duration in self._durations.items():
            duration.into(durations, key)
        return [commands, answers, durations]


def gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"orderlog_{name}", told, value=value)


def gauges(name: str, told: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    """One number for each value of a label."""
    family = GaugeMetricFamily(f"orderlog_{name}", told, labels=[label])
    for by, value in values:
        family.add_metric([by], value)
    return family


async def exposition(sources: Iterable[Source]) -> bytes:
    """The text of /metrics. A source that fails is left out, and why is logged: the others are needed all the more."""
    found: list[Metric] = []
    for source in sources:
        try:
            async with asyncio.timeout(WITHIN):
                found += await source()
        except Exception as error:  # noqa: BLE001  whatever it is, it must not hide the other parts
            part = getattr(source, "__qualname__", repr(source))
            log.warning("a part cannot be measured", part=part, error=repr(error))
    return generate_latest(_Collected([*found, *_PROCESS.collect()]))


class _Collected(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


_PROCESS = ProcessCollector(registry=None)
