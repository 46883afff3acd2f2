"""Relays are killed, stopped and cut off while others write to the log; every event is published once all the same."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from events.cloudevents import TOPICS
from events.relay import Relay
from events.tasks import ended
from events.topics import POSITION_TOPIC
from tests.events.test_relay import until
from tests.events.test_relay_reader import (
    Appender,
    assert_published_once,
    filled_log,
    read_topics,
    remove_topics,
    some_streams,
)
from tests.faults.relay_process import RelayProcess
from tests.services.kafka import Broker
from tests.services.postgres import Postgres

WHOLE = 10**9
SEED = int(os.environ.get("ORDERLOG_TEST_SEED") or time.time_ns() % 10**6)


class Scene:
    """A log that grows, Kafka, and relays."""

    def __init__(self, kafka: Broker, postgres: Postgres, folder: Path) -> None:
        self.kafka, self.postgres, self._folder = kafka, postgres, folder
        self.random = Random(SEED)
        self.url = postgres.create_database()
        self.log = filled_log(self.url, 2_000, self.random)
        self._relays: list[RelayProcess] = []
        looks = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "looks", "log_level": 0}
        self._position = Consumer(looks)
        self._uncommitted = Consumer({**looks, "isolation.level": "read_uncommitted"})
        self._writing = True
        self._writers = [threading.Thread(target=self._write, args=(seed,)) for seed in range(2)]
        for writer in self._writers:
            writer.start()

    def relay(self, *, largest_batch: int = 50) -> RelayProcess:
        folder = self._folder / str(len(self._relays))
        folder.mkdir()
        self._relays.append(RelayProcess(self.url, self.kafka.bootstrap_servers, folder, largest_batch=largest_batch))
        return self._relays[-1]

    def wait_for_progress(self, within: float = 60) -> None:
        """Until transactions have been written since now."""
        before, deadline = self._transactions(), time.monotonic() + within
        while self._transactions() < before + 4:
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.01)

    def give_work(self) -> None:
        """For several transactions of a thousand events, one right after another."""
        with closing(Appender(self.url)) as appender:
            appender.append(some_streams(4_000, self.random))

    def freeze_in_the_middle(self, relay: RelayProcess, within: float = 60) -> None:
        """When it has written something, and what would commit it is not on its way."""
        deadline = time.monotonic() + within
        while True:
            assert time.monotonic() < deadline, self._said()
            self.give_work()
            if not self._in_a_transaction(within=1):
                continue
            relay.freeze()
            time.sleep(0.2)  # what it had sent before arrives
            if self._in_a_transaction():
                return
            relay.thaw()

    def _in_a_transaction(self, within: float = 0) -> bool:
        """Whether something is written and not committed, or is before so many seconds have passed."""
        place, deadline = TopicPartition(TOPICS["order"], 0), time.monotonic() + within
        while True:
            written = self._uncommitted.get_watermark_offsets(place, timeout=1)[1]
            if self._position.get_watermark_offsets(place, timeout=1)[1] < written:
                return True
            if time.monotonic() >= deadline:
                return False

    def sleep_at_random(self, longest: float) -> None:
        time.sleep(self.random.uniform(0, longest))

    def assert_all_published_once(self) -> None:
        """Stop the writers, let a relay publish the rest, and count."""
        self._writing = False
        for writer in self._writers:
            writer.join(20)
        rows = self.log.read(0, WHOLE)
        found = read_topics(self.kafka, len(rows), within=40)
        try:
            assert_published_once(found, rows)
        except AssertionError as error:
            raise AssertionError(self._said()) from error

    def close(self) -> None:
        self._writing = False
        for relay in self._relays:
            relay.kill()
        for writer in self._writers:
            writer.join(20)
        self._position.close()
        self._uncommitted.close()
        self.log.close()

    def _transactions(self) -> int:
        """A number that grows with each of them."""
        for _ in range(30):
            try:
                return int(self._position.get_watermark_offsets(TopicPartition(POSITION_TOPIC, 0), timeout=1)[1])
            except KafkaException as error:  # no broker or no topic yet
                print("no transactions to be seen:", error)
                time.sleep(0.1)
        raise AssertionError(f"{POSITION_TOPIC} cannot be seen\n{self._said()}")

    def _write(self, seed: int) -> None:
        random = Random(f"{SEED} {seed}")
        with closing(Appender(self.url)) as appender:
            while self._writing:
                try:
                    appender.append(some_streams(random.randint(1, 20), random))
                except psycopg.OperationalError:  # PostgreSQL is being restarted
                    appender.close()
                    time.sleep(0.1)
                time.sleep(0.02)

    def _said(self) -> str:
        return f"seed {SEED}\n" + "\n".join(
            f"--- relay {number}\n{relay.output.read_text()[-3000:]}" for number, relay in enumerate(self._relays)
        )


@pytest.fixture
def scene(restartable_broker: Broker, restartable_postgres: Postgres, tmp_path: Path) -> Iterator[Scene]:
    print("ORDERLOG_TEST_SEED =", SEED)
    restartable_broker.start()
    restartable_postgres.start()
    remove_topics(restartable_broker)
    with closing(Scene(restartable_broker, restartable_postgres, tmp_path)) as scene:
        yield scene


def test_a_relay_that_is_killed_in_the_middle_of_a_transaction_publishes_nothing_twice(scene: Scene) -> None:
    for _ in range(5):
        relay = scene.relay(largest_batch=1_000)
        scene.wait_for_progress()
        scene.freeze_in_the_middle(relay)
        relay.kill()
    scene.relay()

    scene.assert_all_published_once()
    everything = read_topics(scene.kafka, 0, isolation="read_uncommitted")
    assert len(everything) > len({recorded.id for recorded in everything}), (
        "what is written twice was not committed once"
    )


def test_the_second_of_two_relays_takes_over_from_one_that_is_killed(scene: Scene) -> None:
    relays = [scene.relay(), scene.relay()]
    scene.wait_for_progress()
    for _ in range(4):
        leader = elected(relays)
        leader.kill()
        relays = [relay for relay in relays if relay is not leader]
        start = time.monotonic()
        scene.wait_for_progress()
        assert time.monotonic() - start < 5
        relays.append(scene.relay())

    scene.assert_all_published_once()


def test_a_relay_that_was_frozen_while_another_took_over_publishes_nothing_twice(scene: Scene) -> None:
    relays = [scene.relay()]
    scene.wait_for_progress()
    for _ in range(2):
        zombie = relays[0]
        relays.append(scene.relay())
        scene.sleep_at_random(0.1)
        zombie.freeze()
        wait_until(lambda zombie=zombie, relays=relays: elected(relays) is not zombie)  # type: ignore[misc]
        scene.wait_for_progress()
        zombie.thaw()
        scene.wait_for_progress()
        assert zombie.running
        relays.remove(zombie)
        zombie.stop()

    scene.assert_all_published_once()


def kill_and_start(server: Broker) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("end", [Broker.restart, kill_and_start])
def test_a_kafka_that_is_restarted_has_every_event_once(scene: Scene, end: Callable[[Broker], None]) -> None:
    relay = scene.relay()
    scene.wait_for_progress()
    scene.sleep_at_random(0.2)
    end(scene.kafka)
    scene.wait_for_progress(60)

    scene.assert_all_published_once()
    assert relay.running


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_postgres_that_is_restarted_has_every_event_published_once(scene: Scene, mode: str) -> None:
    relay = scene.relay()
    for _ in range(2):
        scene.wait_for_progress()
        scene.sleep_at_random(0.2)
        scene.postgres.restart("fast" if mode == "fast" else "immediate")
    scene.wait_for_progress()

    scene.assert_all_published_once()
    assert relay.running


def test_a_relay_can_be_stopped_within_five_seconds_while_kafka_is_away(scene: Scene) -> None:
    relay = scene.relay()
    scene.wait_for_progress()
    with away(scene.kafka):
        time.sleep(1)
        start = time.monotonic()
        relay.stop(within=10)
        assert time.monotonic() - start < 5
    scene.relay()

    scene.assert_all_published_once()


@contextmanager
def away(server: Broker) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


def elected(relays: list[RelayProcess]) -> RelayProcess:
    """The one that said last that it is elected."""
    said: dict[float, RelayProcess] = {}
    deadline = time.monotonic() + 60
    while not said:
        assert time.monotonic() < deadline
        for relay in relays:
            if "the relay is elected" in relay.output.read_text():
                said[relay.output.stat().st_mtime] = relay
    return said[max(said)]


def wait_until(so: Callable[[], bool], within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_an_idle_relay_notices_that_kafka_is_away_and_that_it_is_back(
    restartable_broker: Broker, restartable_postgres: Postgres
) -> None:
    restartable_broker.start()
    restartable_postgres.start()
    remove_topics(restartable_broker)
    log = filled_log(restartable_postgres.create_database(), 10, Random(SEED))
    relay = Relay(log, restartable_broker.bootstrap_servers)
    running = asyncio.create_task(relay.run())
    await until(lambda: relay.position == log.head() and relay.problem is None)

    await asyncio.to_thread(restartable_broker.kill)
    await until(lambda: relay.problem is not None, within=40)
    await asyncio.to_thread(restartable_broker.start)
    await until(lambda: relay.problem is None, within=40)

    await ended(running)
    log.close()
