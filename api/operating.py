"""What whoever operates a process is told of it: whether its parts are ready, and how they are doing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from prometheus_client.core import Metric

from api.metrics import Source, gauges

Check = Callable[[], Awaitable[str | None]]
"""Whether a part is ready: None, or the reason why not."""

FAR_BEHIND = 10_000
"""A part so many events behind the log is not ready: what it shows is of another time."""

LATE = 60.0
"""Seconds after which it is told that something has waited; by then it is no peak of the load."""


class OfChecks(msgspec.Struct, frozen=True):
    checks: Mapping[str, Check]

    async def measure(self) -> list[Metric]:
        reasons = await asyncio.gather(*(check() for check in self.checks.values()), return_exceptions=True)
        ready = [(name, float(reason is None)) for name, reason in zip(self.checks, reasons, strict=True)]
        return [gauges("ready", "1 if a part is ready; /readyz says why one is not.", "part", ready)]


class Part(Protocol):
    """A part of a process that can be watched."""

    async def measure(self) -> Iterable[Metric]: ...

    async def problem(self) -> str | None: ...


class Operated(msgspec.Struct, frozen=True):
    """What whoever operates a process is told of its parts: whether they are ready, and how they are doing."""

    checks: Mapping[str, Check]
    sources: Sequence[Source] = ()


def operated(asked: asyncio.Event, parts: Mapping[str, Part]) -> Operated:
    """The parts of a process that is to end when `asked`, by the names that /readyz gives them."""
    checks: dict[str, Check] = {"process": _ending_check(asked)}
    checks |= {name: part.problem for name, part in parts.items()}
    return Operated(checks, [part.measure for part in parts.values()])


def _ending_check(asked: asyncio.Event) -> Check:
    async def check() -> str | None:
        return "is shutting down" if asked.is_set() else None

    return check
