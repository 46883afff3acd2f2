"""The push over plain HTTP: what the socket tells, as server-sent events that a client goes on from by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from api import consistency, live_own_writes
from api.limits import Limits as RateLimit
from api.limits import Quota
from api.live import Limits
from projections.changes import Cursor
from tests.api.test_live import ANNE, BOB, Shop, nobody_catching_up, serving, shop, until, until_read
from tests.examples import an_order_confirmed

__all__ = ["shop"]  # a fixture


class Stream:
    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id: str | None = None
        self._lines = answer.aiter_lines()

    async def next(self, kind: str, within: float = 20) -> dict[str, Any]:
        """What the next event tells, which must be of this kind."""
        fields = await asyncio.wait_for(self._fields(), within)
        assert fields.get("event") == kind, fields
        self.last_id = fields.get("id", self.last_id)
        told: dict[str, Any] = json.loads(fields["data"])
        assert told["type"] == kind
        return told

    async def ends(self, within: float = 20) -> None:
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(self._fields(), within)

    async def _fields(self) -> dict[str, str]:
        """Those of the next event that has data."""
        while True:
            lines = []
            while line := await anext(self._lines):
                lines.append(line.split(": ", 1))
            fields = dict(lines)
            if "data" in fields:
                return fields


def address(shop: Shop) -> str:
    return shop.address.replace("ws", "http", 1).replace("/v1/live", "/v1/events")


def bearer(shop: Shop, *who: Any, **more: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {shop.token(*who, **more)}"}


@asynccontextmanager
async def listening(
    shop: Shop, *who: Any, headers: dict[str, str] | None = None, **wanted: str
) -> AsyncIterator[Stream]:
    query = {name.rstrip("_"): value for name, value in wanted.items()}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", address(shop), params=query, headers=bearer(shop, *who) | (headers or {})) as answer,
    ):
        assert answer.status_code == 200
        yield Stream(answer)


async def refused(shop: Shop, headers: dict[str, str], **query: str) -> tuple[int, str]:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.get(address(shop), params=query, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["request-id"]
    return answer.status_code, answer.json()["code"]


async def test_a_listener_is_told_what_happens_to_its_orders_and_to_no_others(shop: Shop) -> None:
    async with listening(shop) as stream:
        await stream.next("subscribed")
        await shop.place(BOB)
        order = await shop.place(ANNE)
        event = await stream.next("event")

        assert (event["order_id"], event["order"]["customer_id"]) == (str(order), ANNE)
        assert stream.last_id == event["cursor"]
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"


async def test_who_comes_back_with_its_last_id_misses_nothing_and_is_told_nothing_twice(shop: Shop) -> None:
    first = await shop.place()
    await until_read(shop, 1)
    async with listening(shop, from_="snapshot") as stream:
        for kind in ("subscribed", "snapshot", "caught_up"):
            await stream.next(kind)
    await shop.record(first, an_order_confirmed)
    missed = await shop.place()
    await until_read(shop, 3)

    assert stream.last_id is not None
    async with listening(shop, headers={"last-event-id": stream.last_id}) as again:
        await again.next("subscribed")
        told = [await again.next("event") for _ in range(2)]
        await again.next("caught_up")

    assert [(one["order_id"], one["version"]) for one in told] == [(str(first), 2), (str(missed), 1)]


async def test_a_snapshot_that_was_told_in_part_is_no_place_to_go_on_from(shop: Shop) -> None:
    await shop.place()
    await until_read(shop, 1)
    async with listening(shop, from_="snapshot") as stream:
        for kind, named in (("subscribed", False), ("snapshot", False), ("caught_up", True)):
            await stream.next(kind)
            assert (stream.last_id is not None) == named


async def test_heartbeats_name_the_place(database_url: str) -> None:
    async with serving(database_url, Limits(heartbeat=0.1)) as shop, listening(shop) as stream:
        await stream.next("subscribed")
        assert (await stream.next("heartbeat"))["cursor"] == stream.last_id


async def test_a_heartbeat_is_no_place_to_go_on_from_while_there_is_more_to_catch_up_with(database_url: str) -> None:
    begin = Cursor({}).text
    async with serving(database_url, Limits(heartbeat=0.1)) as shop:
        await shop.place()
        await until_read(shop, 1)
        async with AsyncExitStack() as stack:
            async with nobody_catching_up(shop):
                stream = await stack.enter_async_context(listening(shop, headers={"last-event-id": begin}))
                await stream.next("subscribed")
                for _ in range(2):
                    assert (await stream.next("heartbeat"))["cursor"] != begin
                    assert stream.last_id == begin
            while (fields := await asyncio.wait_for(stream._fields(), 20))["event"] == "heartbeat":
                assert "id" not in fields
            assert (fields["event"], fields.get("id", begin) != begin) == ("event", True)


async def test_a_filter_and_own_writes_are_as_on_the_socket(shop: Shop) -> None:
    await shop.place()
    order = await shop.place(BOB)
    token = {"consistency-token": consistency.token(shop.log.head(), 1)}
    async with listening(shop, "x", "staff", headers=token, from_="snapshot", customer_id=BOB) as stream:
        await stream.next("subscribed")
        assert (await stream.next("snapshot"))["order"]["order_id"] == str(order)
        await stream.next("caught_up")


async def test_what_cannot_be_listened_to_is_a_problem(shop: Shop) -> None:
    shop.live.changes._patience = 0.1
    wrong: list[tuple[dict[str, str], int, str]] = [
        ({"from": "yesterday"}, 400, "bad-cursor"),
        ({"status": "lost"}, 400, "malformed-message"),
        ({"sku": "X"}, 400, "malformed-message"),
        ({"customer_id": BOB}, 403, "forbidden"),
        ({"from": Cursor({-1: 1_000}).text}, 400, "bad-cursor"),
    ]
    for query, status, code in wrong:
        assert await refused(shop, bearer(shop), **query) == (status, code)
    await until(lambda: shop.live.connections == 0)


async def test_who_may_not_listen_is_refused(shop: Shop) -> None:
    nobody = {"authorization": f"Bearer {shop.tokens.issue(ANNE, [])}"}

    assert await refused(shop, {}) == (401, "token-missing")
    assert await refused(shop, {"authorization": "Bearer x"}) == (401, "token-invalid")
    assert await refused(shop, nobody) == (403, "forbidden")
    async with httpx.AsyncClient() as client:
        assert (await client.head(address(shop), headers=bearer(shop))).status_code == 405


async def test_a_stream_ends_with_its_token(shop: Shop) -> None:
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", address(shop), headers=bearer(shop, seconds=2)) as answer,
    ):
        stream = Stream(answer)
        await stream.next("subscribed")
        assert (await stream.next("error"))["problem"]["code"] == "token-expired"
        await stream.ends()
    await until(lambda: shop.live.connections == 0)


async def test_a_stream_ends_when_its_process_does(shop: Shop) -> None:
    async with listening(shop) as stream:
        await stream.next("subscribed")
        ending = asyncio.create_task(shop.live.stop())
        await stream.ends()
        await ending


async def test_a_client_that_goes_away_is_forgotten(shop: Shop) -> None:
    async with listening(shop) as stream:
        await stream.next("subscribed")
        assert shop.live.connections == 1

    await until(lambda: shop.live.connections == 0)


async def test_a_write_that_is_not_seen_in_time_is_a_503_that_says_when_to_come_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_own_writes, "LONGEST_WAIT", 0)
    await shop.worker.stop()
    await shop.place()
    token = {"consistency-token": consistency.token(shop.log.head(), 1)}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.get(address(shop), params={"from": "snapshot"}, headers=bearer(shop) | token)

    assert (answer.status_code, answer.json()["code"]) == (503, "not-caught-up")
    assert answer.headers["retry-after"] == "2"


async def test_a_stream_counts_as_one_request(database_url: str) -> None:
    async with (
        serving(database_url, rate=RateLimit(Quota.parse("1/h"))) as shop,
        listening(shop) as stream,
        httpx.AsyncClient(timeout=30) as client,
    ):
        async with client.stream("GET", address(shop), headers=bearer(shop)) as again:
            assert again.status_code == 429
            await again.aread()

        assert stream.answer.headers["ratelimit-policy"] == '"caller";q=1;w=3600'
        assert again.json()["code"] == "too-many-requests"
        assert int(again.headers["retry-after"]) > 3_000


async def test_streams_and_sockets_share_one_limit(database_url: str) -> None:
    async with serving(database_url, Limits(connections=1)) as shop, shop.client():
        assert await refused(shop, bearer(shop)) == (503, "busy")
