"""How the relay is doing, for the process that runs it and for those that do not."""

import asyncio

import msgspec
from prometheus_client.core import Metric
from psycopg_pool import AsyncConnectionPool

from api.metrics import gauge
from api.operating import FAR_BEHIND, LATE
from events.log import Log
from events.relay import Relay
from events.relay_progress import noted

SILENT = 10.0
"""Seconds without a word of a relay after which it is told that none seems to run; each second it notes where it is."""

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
