"""Takes the steps that follow by themselves: an order is confirmed, completed, or expires; an authorization runs out.

A process manager. Facts come in as rows of `due_steps`, which a projection makes with a checkpoint of its own; commands
go out to the processor; a row is deleted when its command has been decided. After a crash in between, the command is
sent again, and changes nothing: it is decided against the order as it is. So each step is taken once in effect, however
many processes there are, and whatever their clocks say: a clock that jumps makes a timer early or late by as much.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import psycopg
import structlog

from commands.exchange import Accepted, AnyCommand, Busy, Failed, Refused, Request, Unavailable
from commands.order import CompleteOrder, ConfirmOrder, ExpireOrder, VoidAuthorization
from commands.processor import Processor
from commands.refusals import BeforeOrder
from events.leadership import AUTOMATION, Leadership
from events.tasks import ended
from events.wakeup import Wakeup
from projections.due_steps import Step
from projections.queries import DueStep, Queries

ACTOR = "automation"

BATCH = 100
"""Steps read, and under way, at once."""

POLL = 10.0
"""Seconds between two looks when nothing wakes us: a clock that was set, or a notification that was lost."""

REST = 0.05
"""Seconds between two looks at least: while orders stream in, each commit of a projection wakes us."""

RETRY = 1.0
"""Seconds until a step is tried again for which the processor had no time, or no database."""

ASIDE = 60.0
"""Seconds for which a step is left aside that could not be decided."""

AT_ONCE = datetime.max.replace(tzinfo=UTC)
"""Later than any step has waited for: steps without a timer are due whatever the clock says."""

log = structlog.get_logger()


class Automation:
    """`run` until cancelled: takes what is due whenever this process is the elected one.

    `changed` wakes it when projections have got on. `now` is the clock that the timers go by, and the business time of
    what follows.
    """

    def __init__(
        self,
        url: str,
        changed: Wakeup,
        processor: Processor,
        queries: Queries,
        *,
        order_expiry: timedelta = timedelta(hours=24),
        authorization_expiry: timedelta = timedelta(days=7),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll: float = POLL,
    ) -> None:
        self._url, self._changed, self._processor, self._queries = url, changed, processor, queries
        self._now, self._poll = now, poll
        self._timers: Mapping[Step, timedelta] = {"expire": order_expiry, "void": authorization_expiry}
        self._aside: dict[DueStep, float] = {}  # until when, in monotonic seconds
        self.leading = False
        """This process is the elected one."""
        self.problem: str | None = None
        """Why this process takes no steps, nor waits for its turn to."""
        self.taken = 0
        self._left_over_since: float | None = None  # monotonic seconds

    @property
    def aside(self) -> int:
        """Steps that could not be decided, and will be tried again."""
        return sum(until > time.monotonic() for until in self._aside.values())

    @property
    def left_over_for(self) -> float:
        """Seconds since everything that was due was last taken; 0 while it is."""
        since = self._left_over_since
        return time.monotonic() - since if since is not None else 0.0

    async def run(self) -> None:
        """A database that goes away is waited for."""
        while True:
            try:
                async with Leadership(self._url, AUTOMATION) as leadership:
                    self.problem = None
                    await leadership.won()
                    await self._lead(leadership)
            except (psycopg.Error, TimeoutError) as error:
                why = str(error).strip() or type(error).__name__
                self.problem = f"automatic steps wait for the database: {why}"
                log.warning("automatic steps wait for the database", why=why)
            await asyncio.sleep(RETRY)

    async def take_due(self) -> bool:
        """Take every step that is due by now; whether none was left over."""
        self._aside = {step: until for step, until in self._aside.items() if until > time.monotonic()}
        return all([await self._take_all(name) for name in ("confirm", "complete", "expire", "void")])

    async def _lead(self, leadership: Leadership) -> None:
        """Work while elected. Raises what ended it."""
        self.leading = True
        log.info("this process takes the automatic steps")
        working = asyncio.create_task(self._work(), name="takes automatic steps")
        losing = asyncio.create_task(leadership.lost(), name="keeps the leadership")
        try:
            over, _ = await asyncio.wait([working, losing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading, self._left_over_since = False, None
            await ended(working, losing)
        for task in over:
            task.result()

    async def _work(self) -> None:
        while True:
            clean = await self.take_due()
            self._left_over_since = None if clean else self._left_over_since or time.monotonic()
            await asyncio.sleep(REST)
            await self._changed.wait(await self._until_next_timer() if clean else RETRY)

    async def _until_next_timer(self) -> float:
        """Seconds. A timer that has run out already is one that was left over: it is for the next try."""
        waiting = await self._queries.next_due(tuple(self._timers))
        now = self._now()
        left = [(since + self._timers[name] - now).total_seconds() for name, since in waiting.items()]
        return min([self._poll, *(seconds if seconds > 0 else RETRY for seconds in left)])

    async def _take_all(self, name: Step) -> bool:
        until = self._now() - self._timers[name] if name in self._timers else AT_ONCE
        while True:
            due = await self._queries.due(name, until, BATCH + len(self._aside))
            steps = [step for step in due if step not in self._aside]
            decided = await asyncio.gather(*(self._take(step) for step in steps))
            await self._queries.done([step for step, so in zip(steps, decided, strict=True) if so])
            self.taken += sum(decided)
            if not all(decided) or len(steps) < BATCH:
                return all(decided)

    async def _take(self, step: DueStep) -> bool:
        """Whether it was decided: taken, or refused, which ends it as well."""
        request = Request(self._command(step), ACTOR, _answer)
        try:
            reply = await self._processor.submit(request)
        except (Busy, Unavailable):
            return False
        except Failed:  # the processor has logged why
            self._aside[step] = time.monotonic() + ASIDE
            return False
        if reply.answer == _TOO_EARLY:
            self._aside[step] = time.monotonic() + ASIDE
            return False
        log.debug("automatic step", step=step.step, order_id=str(step.order_id), outcome=reply.answer.decode())
        return True

    def _command(self, step: DueStep) -> AnyCommand:
        order_id, now = step.order_id, max(self._now(), step.started_at)
        match step.step:
            case "confirm":
                return ConfirmOrder(order_id=order_id, at=now)
            case "complete":
                return CompleteOrder(order_id=order_id, at=now)
            case "expire":
                return ExpireOrder(order_id=order_id, at=now)
            case "void":
                return VoidAuthorization(order_id=order_id, at=now, reference=step.reference, reason="expired")


_TOO_EARLY = BeforeOrder.code.encode()
"""The order is of a time that our clock has yet to reach: that is no answer yet."""


def _answer(outcome: Accepted | Refused) -> bytes:
    if isinstance(outcome, Refused):
        return outcome.refusal.code.encode()
    return b"taken" if outcome.events else b"so already"
