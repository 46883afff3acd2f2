"""Read sides to test, on the log and on Kafka."""

from collections.abc import Iterator

import pytest

from tests.projections.reading import ReadSide
from tests.projections.topics import Topics


@pytest.fixture(params=["log", "kafka"])
def read_side(request: pytest.FixtureRequest, database_url: str) -> Iterator[ReadSide]:
    """Once on each feed."""
    topics = Topics(request.getfixturevalue("broker").bootstrap_servers) if request.param == "kafka" else None
    side = ReadSide(database_url, topics)
    yield side
    side.log.close()


@pytest.fixture
def on_the_log(database_url: str) -> Iterator[ReadSide]:
    side = ReadSide(database_url)
    yield side
    side.log.close()
