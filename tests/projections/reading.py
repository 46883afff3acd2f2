"""A read side under test: a log, the tables, and a feed from one to the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from events.codec import Row
from events.log import Log
from projections.catalogue import PROJECTIONS
from projections.feed import Feed, LogFeed
from projections.kafka_feed import KafkaFeed
from projections.migrate import migrate
from projections.tables import Projection
from projections.worker import Worker
from tests.projections.fold import ALL_TABLES, difference, folded, written
from tests.projections.logs import Book, Recording
from tests.projections.topics import Topics


class ReadSide:
    """On the log, or on topics of its own."""

    def __init__(self, url: str, topics: Topics | None = None) -> None:
        migrate(url)
        self.url = url
        self.log = Log(url)
        self.topics = topics
        self.rows: list[Row] = []
        self._book = Book(self.log)

    async def record(self, recordings: Iterable[Recording]) -> list[Row]:
        """Append to the log, and to the topics where there are some."""
        return await self.record_rows(await asyncio.to_thread(self._book.append, recordings))

    async def record_rows(self, rows: list[Row]) -> list[Row]:
        self.rows += rows
        if self.topics is not None:
            await self.topics.publish(rows)
        return rows

    def feed(self, *, largest: int = 2_000, group: str = "") -> Feed:
        if self.topics is None:
            return LogFeed(self.log, largest=largest)
        return KafkaFeed(
            self.topics.bootstrap_servers, self.topics.prefix + group, topics=self.topics.names, largest=largest, idle=2
        )

    @asynccontextmanager
    async def working(
        self, projections: Iterable[Projection] = tuple(PROJECTIONS.values()), *, largest: int = 2_000, group: str = ""
    ) -> AsyncIterator[Worker]:
        worker = Worker(self.url, projections, self.feed(largest=largest, group=group))
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(end, asyncio.CancelledError):
                raise AssertionError("the worker has ended") from end  # noqa: TRY004  it is no matter of types

    async def shows_everything(self, within: float = 40) -> None:
        """Wait until the tables hold what the log says."""
        expected = folded(self.rows, ALL_TABLES)
        await until(lambda: difference(expected, written(self.url, ALL_TABLES)), within)


async def until(what_is_missing: Callable[[], object], within: float = 60) -> None:
    """Wait until nothing is missing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while missing := await asyncio.to_thread(what_is_missing):
        assert loop.time() < deadline, missing
        await asyncio.sleep(0.1)
