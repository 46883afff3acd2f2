"""The topics are made as they must be, and refused when they are not."""

import asyncio
import socket

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewTopic

from events.topics import KafkaUnreachable, TopicMismatch, TopicRefused, ensure_topics
from tests.events.test_relay_reader import remove_topics
from tests.services.child import free_port
from tests.services.kafka import Cluster


@pytest.fixture
def admin(broker: Cluster) -> AdminClient:
    remove_topics(broker)
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


def partitions(admin: AdminClient) -> dict[str, int]:
    topics = admin.list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if name.endswith(".v1")}


def settings(admin: AdminClient, topic: str) -> dict[str, str | None]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result(timeout=10)
    return {name: entry.value for name, entry in entries.items()}


async def test_missing_topics_are_made_with_explicit_settings(broker: Cluster, admin: AdminClient) -> None:
    await ensure_topics(broker.bootstrap_servers)

    made = partitions(admin)
    assert {name: made[name] for name in ("orders.events.v1", "products.events.v1", "orders.relay-position.v1")} == {
        "orders.events.v1": 6,
        "products.events.v1": 6,
        "orders.relay-position.v1": 1,
    }
    for topic in ("orders.events.v1", "products.events.v1"):
        found = settings(admin, topic)
        assert (found["cleanup.policy"], found["retention.ms"], found["retention.bytes"]) == ("delete", "-1", "-1")
    assert settings(admin, "orders.relay-position.v1")["cleanup.policy"] == "compact"


async def test_topics_that_are_there_are_left_as_they_are(broker: Cluster, admin: AdminClient) -> None:
    await ensure_topics(broker.bootstrap_servers, 3)
    await ensure_topics(broker.bootstrap_servers, 3)

    assert partitions(admin)["orders.events.v1"] == 3


async def test_several_may_start_at_once(broker: Cluster, admin: AdminClient) -> None:
    await asyncio.gather(*(ensure_topics(broker.bootstrap_servers) for _ in range(8)))

    assert partitions(admin)["products.events.v1"] == 6


async def test_a_wrong_number_of_partitions_is_refused(broker: Cluster, admin: AdminClient) -> None:
    admin.create_topics([NewTopic("products.events.v1", num_partitions=4, replication_factor=1)])[
        "products.events.v1"
    ].result(timeout=10)

    with pytest.raises(TopicMismatch) as refused:
        await ensure_topics(broker.bootstrap_servers)

    assert str(refused.value) == (
        "topic 'products.events.v1' has 4 partitions where 6 are expected: set the number of partitions to 4, "
        "or delete the topics and publish the log anew"
    )
    remove_topics(broker)


async def test_a_topic_that_kafka_refuses_to_make_is_named(broker: Cluster, admin: AdminClient) -> None:
    with pytest.raises(TopicRefused, match=r"Kafka would not create topic 'orders\.events\.v1': .*partitions"):
        await ensure_topics(broker.bootstrap_servers, 0)

    assert "orders.events.v1" not in partitions(admin)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "kafka.invalid:9092", "127.0.0.1:ninety"])
async def test_a_kafka_that_does_not_answer_is_named(address: str) -> None:
    address = address.format(port=free_port())

    with pytest.raises(KafkaUnreachable) as refused:
        await ensure_topics(address, within=5)

    assert str(refused.value).startswith(f"Kafka does not answer at {address} (")
    assert "\n" not in str(refused.value)


async def test_something_else_that_listens_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(KafkaUnreachable, match=r"no answer within 1 s"):
            await ensure_topics(f"127.0.0.1:{port}", within=1)
