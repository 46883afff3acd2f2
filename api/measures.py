"""How the parts of a process are doing: what each measures, and when it is too far behind to be ready."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from psycopg_pool import AsyncConnectionPool

from api.automation import ASIDE, Automation
from api.live import Live
from api.metrics import Source, gauge, gauges
from api.parts import Check
from commands.processor import Processor
from events.log import Log
from events.relay import Relay
from events.relay_progress import noted
from projections.arrivals import Arrivals
from projections.queries import Queries
from projections.worker import Worker

FAR_BEHIND = 10_000
"""A part so many events behind the log is not ready: what it shows is of another time."""

LATE = 60.0
"""Seconds after which it is told that something has waited; by then it is no peak of the load."""

SILENT = 10.0
"""Seconds without a word of a relay after which it is told that none seems to run; each second it notes where it is."""


class OfWrites(msgspec.Struct, frozen=True):
    processor: Processor

    async def measure(self) -> list[Metric]:
        sizes = HistogramMetricFamily("orderlog_batch_commands", "Commands that were committed together.")
        at_most, buckets = 0, []
        for bits, count in enumerate(self.processor.sizes):
            at_most += count
            buckets.append((str(2**bits - 1), at_most))
        sizes.add_metric([], [*buckets, ("+Inf", at_most)], self.processor.commands)
        return [sizes, gauge("commands_waiting", "Commands that wait, or are being decided.", self.processor.waiting)]


class OfListeners(msgspec.Struct, frozen=True):
    live: Live
    arrivals: Arrivals

    async def measure(self) -> list[Metric]:
        return [
            gauge("sockets", "Clients that listen for changes.", self.live.connections),
            gauge("readers_waiting", "Reads that wait to include a write.", self.arrivals.waiting),
        ]


class OfProjections(msgspec.Struct, frozen=True):
    """How far projections are: all of them, or those of a worker."""

    queries: Queries
    arrivals: Arrivals
    names: Iterable[str]

    async def measure(self) -> list[Metric]:
        head, horizons = await self._horizons()
        parked = await self.queries.parked()
        lags = [(name, head - horizon) for name, horizon in horizons.items()]
        left = [(name, parked.get(name, 0)) for name in self.names]
        return [
            gauge("log_position", "The position of the newest event.", head),
            gauges("projection_position", "Up to here everything was seen.", "projection", horizons.items()),
            gauges("projection_lag_events", "Positions from there to the head of the log.", "projection", lags),
            gauges("projection_parked_streams", "Streams left aside, to be mended.", "projection", left),
        ]

    async def problem(self) -> str | None:
        head, horizons = await self._horizons()
        lags = {name: head - horizon for name, horizon in horizons.items()}
        far = [f"{name} is {lag} events behind the log" for name, lag in lags.items() if lag > FAR_BEHIND]
        return ", ".join(far) or None

    async def _horizons(self) -> tuple[int, dict[str, int]]:
        head = await self.queries.head()
        horizons = await self.arrivals.horizons(head)
        return head, {name: horizons[name] for name in self.names}


class OfWorker(msgspec.Struct, frozen=True):
    worker: Worker

    async def measure(self) -> list[Metric]:
        events = "Events that the worker of this process has taken."
        return [CounterMetricFamily("orderlog_projected_events", events, value=self.worker.events)]

    async def problem(self) -> str | None:
        return self.worker.problem


POSITION = "Up to here the log is published."
LAG_EVENTS = "Events that are not published yet."
LAG_SECONDS = "How long the oldest of them has waited, at most."


class OfRelay(msgspec.Struct, frozen=True):
    """How far the relay is, if it is the elected one; a standby is never late."""

    relay: Relay
    events: Log

    async def measure(self) -> list[Metric]:
        elected = gauge("relay_elected", "1 if this process has the relay that publishes.", self.relay.leading)
        if not self.relay.leading:
            return [elected]
        lag = await asyncio.to_thread(self.events.head) - self.relay.position
        found = [
            elected,
            gauge("relay_position", POSITION, self.relay.position),
            gauge("relay_lag_events", LAG_EVENTS, lag),
        ]
        progress = self.relay.progress
        if progress is not None and progress.age is not None:
            found.append(gauge("relay_lag_seconds", LAG_SECONDS, progress.age if lag > 0 else 0))
        return found

    async def problem(self) -> str | None:
        if self.relay.problem is not None or not self.relay.leading:
            return self.relay.problem
        lag = await asyncio.to_thread(self.events.head) - self.relay.position
        return f"is {lag} events behind the log" if lag > FAR_BEHIND else None


class OfRelayElsewhere(msgspec.Struct, frozen=True):
    """How far the relay of this installation is, as it has noted itself; for a process that has none."""

    pool: AsyncConnectionPool

    async def measure(self) -> list[Metric]:
        found = await noted(self.pool)
        if found is None:
            return []
        return [
            gauge("relay_position", POSITION, found.position),
            gauge("relay_lag_events", LAG_EVENTS, found.events),
            gauge("relay_lag_seconds", LAG_SECONDS, found.seconds),
            gauge("relay_silent_seconds", "Since a relay has last noted where it is.", found.silent),
        ]

    async def problem(self) -> str | None:
        found = await noted(self.pool)
        if found is None:
            return "no relay has published anything yet"
        if found.silent > SILENT:
            return f"no relay has noted where it is for {found.silent:.0f} s; {found.events} events wait"
        if found.events > FAR_BEHIND or found.seconds > LATE:
            return f"the relay is {found.events} events behind the log, and up to {found.seconds:.0f} s"
        return None


class OfAutomation(msgspec.Struct, frozen=True):
    """The steps that orders take by themselves, if this process is the elected one that takes them."""

    automation: Automation

    async def measure(self) -> list[Metric]:
        elected = gauge("automation_elected", "1 if this process takes the automatic steps.", self.automation.leading)
        taken = "Automatic steps that this process has taken, or that needed to be taken no more."
        return [
            elected,
            CounterMetricFamily("orderlog_automation_steps", taken, value=self.automation.taken),
            gauge("automation_steps_aside", "Steps that could not be decided, for now.", self.automation.aside),
        ]

    async def problem(self) -> str | None:
        if self.automation.aside:
            return f"{self.automation.aside} steps could not be decided; they are tried again every {ASIDE:g} s"
        if (waited := self.automation.left_over_for) > LATE:
            return f"steps that are due have been left over for {waited:.0f} s"
        return self.automation.problem


class OfChecks(msgspec.Struct, frozen=True):
    checks: Mapping[str, Check]

    async def measure(self) -> list[Metric]:
        reasons = await asyncio.gather(*(check() for check in self.checks.values()), return_exceptions=True)
        ready = [(name, float(reason is None)) for name, reason in zip(self.checks, reasons, strict=True)]
        return [gauges("ready", "1 if a part is ready; /readyz says why one is not.", "part", ready)]


class Operated(msgspec.Struct, frozen=True):
    """What whoever operates a process is told of its parts: whether they are ready, and how they are doing."""

    checks: Mapping[str, Check]
    sources: Sequence[Source] = ()


def operated(asked: asyncio.Event, events: Log, worker: Worker | None = None, relay: Relay | None = None) -> Operated:
    """The parts of a process that is to end when `asked`."""
    checks: dict[str, Check] = {"process": _ending_check(asked)}
    sources: list[Source] = []
    if worker is not None:
        of_worker = OfWorker(worker)
        checks["projections"] = of_worker.problem
        sources.append(of_worker.measure)
    if relay is not None:
        of_relay = OfRelay(relay, events)
        checks["relay"] = of_relay.problem
        sources.append(of_relay.measure)
    return Operated(checks, sources)


def _ending_check(asked: asyncio.Event) -> Check:
    async def check() -> str | None:
        return "is shutting down" if asked.is_set() else None

    return check
