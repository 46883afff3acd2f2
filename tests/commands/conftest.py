"""A log on a fresh database."""

from collections.abc import Iterator

import pytest

from events.log import Log


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    log = Log(database_url)
    log.create()
    yield log
    log.close()
