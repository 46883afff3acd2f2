"""An edge for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.api.edge import Edge, an_edge


@pytest.fixture
async def edge(database_url: str) -> AsyncIterator[Edge]:
    async with an_edge(database_url) as edge:
        yield edge
