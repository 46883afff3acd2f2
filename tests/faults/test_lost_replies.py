"""An API is killed after the commit and before the reply: whoever tries again gets the reply that was lost."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from api import answers
from api.tokens import Tokens
from tests.api.edge import STAFF, an_edge, an_order
from tests.faults.api_process import DyingApi
from tests.services.parts import SECRET_KEY, distributed_settings
from tests.system.clients import Caller
from tests.system.installation import a_home, until

TOKENS = Tokens(SECRET_KEY.encode(), issuer="orderlog", audience="orderlog")


@pytest.fixture
def home() -> Iterator[Path]:
    with a_home() as folder:
        yield folder


async def test_a_reply_that_was_lost_is_given_by_another_process(home: Path, database_url: str) -> None:
    async with an_edge(database_url) as other:
        await other.listed()
        order = an_order(customer_id="alice")
        lost = await lost_reply(DyingApi("api", home, distributed_settings(database_url, None)), order)
        head = other.log.head()
        replayed = [await other.post("/v1/orders", order, by=STAFF, key="k") for _ in range(2)]
        assert other.log.head() == head == 2, "the product and the order: it was committed"

    for one in replayed:
        assert (one.status_code, one.content) == (lost.status, lost.body)
        assert one.headers["idempotency-replayed"] == "true"
        assert {name: one.headers[name.decode()].encode() for name, _ in lost.headers} == dict(lost.headers)


async def lost_reply(dying: DyingApi, order: dict[str, object]) -> answers.Answer:
    """What the process would have answered that the order has killed."""
    await asyncio.to_thread(dying.start)
    try:
        async with Caller(dying.url, TOKENS.issue(STAFF, ["staff"], timedelta(hours=1))) as caller:
            with pytest.raises(httpx.TransportError):
                await caller.post("/v1/orders", order, key="k")
        until(lambda: dying.exit_code is not None)
        assert dying.exit_code == -9
    finally:
        dying.end()
    (unsaid,) = dying.unsaid()
    return answers.read(unsaid, 2)  # the head of the log: the product and the order
