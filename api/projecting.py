"""The worker of a process: which projections it keeps, and where their events come from."""

import asyncio

from api.settings import Settings
from events.log import Log
from projections.catalogue import PROJECTIONS
from projections.feed import Feed, LogFeed
from projections.worker import Worker


def worker(settings: Settings, events: Log, names: list[str]) -> Worker:
    """A worker for the named projections, or for all of them."""
    chosen = [PROJECTIONS[name] for name in names] if names else list(PROJECTIONS.values())
    return Worker(events.url, chosen, _feed(settings, events, names))


async def work(part: Worker) -> None:
    """Run a worker in a thread of its own, so that it does not hold up the answers of this one."""
    ended = asyncio.wrap_future(part.start())
    try:
        await asyncio.shield(ended)
    finally:
        await part.stop()


def _feed(settings: Settings, events: Log, names: list[str]) -> Feed:
    if settings.kafka_bootstrap_servers is None:
        return LogFeed(events)
    from projections.kafka_feed import KafkaFeed

    group = ".".join(["orderlog.projections", *sorted(names)])
    return KafkaFeed(settings.kafka_bootstrap_servers, group)
