"""An edge for each test, and the event loop it runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.api.edge import Edge, an_edge


@pytest.fixture
async def edge(database_url: str) -> AsyncIterator[Edge]:
    async with an_edge(database_url) as edge:
        yield edge


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """How connections end depends on the loop, so it is tested on the one that is served with."""
    if item.path.name == "test_closing.py":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
