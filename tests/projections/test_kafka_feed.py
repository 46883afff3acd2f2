"""What a consumer of Kafka must stand."""

import asyncio
import random

import psycopg
from structlog.testing import capture_logs

from events.envelope import kind_of
from projections.catalogue import PROJECTIONS
from projections.kafka_feed import KafkaFeed
from projections.worker import Worker
from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide, until
from tests.projections.test_parking import parked
from tests.projections.topics import Topics
from tests.services.kafka import Cluster


def watchful(topics: Topics) -> KafkaFeed:
    return KafkaFeed(topics.bootstrap_servers, topics.prefix, topics=topics.names, idle=0.5)


async def test_a_consumer_that_stands_still_is_replaced(database_url: str, broker: Cluster) -> None:
    topics = Topics(broker.bootstrap_servers)
    side = ReadSide(database_url, topics)
    await side.record([*a_catalogue(), *lives(20, random.Random(30))])
    feed = watchful(topics)
    task = asyncio.create_task(Worker(side.url, PROJECTIONS.values(), feed).run())
    await side.shows_everything()
    with capture_logs() as logs:
        await asyncio.sleep(4)
        assert not any(line["event"] == "projections wait" for line in logs), "an idle consumer does not stand still"
        assert feed._consumer is not None
        feed._consumer.pause(*feed._consumer.assignment())
        await side.record(lives(20, random.Random(31)))
        await side.shows_everything()
    assert any("stands still" in str(line.get("problem")) for line in logs)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    side.log.close()


async def test_a_record_that_is_no_event_is_parked_and_the_others_go_on(database_url: str, broker: Cluster) -> None:
    topics = Topics(broker.bootstrap_servers, partitions=1)
    side = ReadSide(database_url, topics)
    await side.record(a_catalogue())
    await topics.publish_garbage(key=b"K\0\xff", value=b"{}")
    await side.record(lives(20, random.Random(32)))
    async with side.working():
        await side.shows_everything()
        await until(lambda: len(parked(side.url)) < 4)
    (error,) = {str(one[3]) for one in parked(side.url)}
    assert f"of topic '{topics.names['order']}', partition 0, cannot be read: it has no header" in error
    side.log.close()


async def test_a_record_without_a_position_takes_nothing_back_of_what_was_seen(
    database_url: str, broker: Cluster
) -> None:
    """Who waits for a write that is in the tables would wait again."""
    topics = Topics(broker.bootstrap_servers, partitions=1)
    side = ReadSide(database_url, topics)
    await side.record([*a_catalogue(), *lives(5, random.Random(33))])
    async with side.working():
        last = {kind_of(row[0]): row[2] for row in side.rows}
        everything = {name: last[projection.kind] for name, projection in PROJECTIONS.items()}
        await until(lambda: seen(side.url) != everything)
        await topics.publish_garbage(key=b"K", value=b"{}")
        ours = [name for name, projection in PROJECTIONS.items() if projection.kind == "order"]
        await until(lambda: {*ours} - {one[0] for one in parked(side.url)})
        assert seen(side.url) == everything
    side.log.close()


def seen(url: str) -> dict[str, int]:
    """The position up to which each projection has seen the log."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT projection, max(position) FROM checkpoints GROUP BY 1").fetchall())
