"""How projections are doing: how far they are, and the worker that keeps them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from prometheus_client.core import CounterMetricFamily, Metric
from psycopg_pool import AsyncConnectionPool

from api.metrics import gauge, gauges
from api.operating import FAR_BEHIND
from api.settings import Settings
from events.log import Log
from events.wakeup import Wakeup
from projections.arrivals import Arrivals
from projections.catalogue import PROJECTIONS
from projections.queries import Queries
from projections.worker import Worker


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

    async def left_aside(self) -> str | None:
        """Which projections have parked streams; to mend the code, not to wait, is what helps."""
        parked = await self.queries.parked()
        return (
            ", ".join(f"{name} has left {parked[name]} streams aside" for name in self.names if name in parked) or None
        )

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


@asynccontextmanager
async def progress(settings: Settings, events: Log, names: Iterable[str]) -> AsyncIterator[OfProjections]:
    """Of the projections of a process that has no edge."""
    async with AsyncConnectionPool(events.url, min_size=0, max_size=2, open=False) as pool:
        arrivals = Arrivals(Wakeup(), pool, PROJECTIONS, partitions=settings.kafka_partitions)
        yield OfProjections(Queries(pool), arrivals, names)
