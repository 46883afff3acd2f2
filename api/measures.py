"""How the parts of the edge are doing: the processor, who listens and waits, the automatic steps."""

import msgspec
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from api.automation import ASIDE, Automation
from api.live import Live
from api.metrics import gauge
from api.operating import LATE
from commands.processor import Processor
from projections.arrivals import Arrivals


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

    async def problem(self) -> str | None:
        return self.live.changes.problem


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
