"""A worker as a process, to be killed: `worker_process URL LARGEST [BOOTSTRAP_SERVERS PREFIX]`."""

import asyncio
import signal
import sys

from events.log import Log
from projections.catalogue import PROJECTIONS
from projections.feed import Feed, LogFeed
from projections.kafka_feed import KafkaFeed
from projections.worker import Worker
from tests.projections.topics import named


async def main(url: str, largest: str, *kafka: str) -> None:
    feed: Feed = LogFeed(Log(url), largest=int(largest))
    if kafka:
        servers, prefix = kafka
        feed = KafkaFeed(servers, prefix, topics=named(prefix), largest=int(largest), idle=2)
    task = asyncio.ensure_future(Worker(url, PROJECTIONS.values(), feed).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
