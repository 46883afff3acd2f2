"""A listener that passes back the token of its command is shown a state that includes it, or is told that it is not."""

import asyncio
from typing import Any

import pytest

from api import consistency, live_own_writes
from projections.catalogue import PROJECTIONS
from tests.api.test_live import ANNE, Client, Shop, serving, shop, until
from tests.api.test_own_writes import breaking

__all__ = ["shop"]  # a fixture


def token(shop: Shop, recorded: int = 1) -> str:
    """Of the command that came last."""
    return consistency.token(shop.log.head(), recorded)


async def subscribe(client: Client, *tokens: str, name: str = "s", **wanted: Any) -> None:
    await client.say(
        type="subscribe", id=name, filter=wanted, consistency_token=", ".join(tokens), **{"from": "snapshot"}
    )


async def test_a_snapshot_waits_until_it_includes_the_write(shop: Shop) -> None:
    await shop.worker.stop()
    async with shop.client() as client:
        first, second = await shop.place(), await shop.place()
        await subscribe(client, token(shop))
        await subscribe(client, token(shop), name="one", order_id=str(second))
        await until(lambda: shop.live.arrivals.waiting == 2)
        assert await client.rest() == [], "it is told nothing before it can be told all"
        shop.worker.start()
        messages = [await client.next() for _ in range(7)]

    kinds = {name: [one["type"] for one in messages if one["id"] == name] for name in ("s", "one")}
    assert kinds == {
        "s": ["subscribed", "snapshot", "snapshot", "caught_up"],
        "one": ["subscribed", "snapshot", "caught_up"],
    }
    shown = [one["order"]["order_id"] for one in messages if one["type"] == "snapshot" and one["id"] == "s"]
    assert {*shown} == {str(first), str(second)}


async def test_what_is_there_already_is_shown_at_once_and_events_follow(shop: Shop) -> None:
    order = await shop.place()
    async with shop.client() as client:
        await subscribe(client, token(shop))
        kinds = [(await client.next())["type"] for _ in range(3)]
        later = await shop.place()
        event = await client.next("event")

    assert kinds == ["subscribed", "snapshot", "caught_up"]
    assert event["order_id"] == str(later) != str(order)


async def test_a_snapshot_that_cannot_include_the_write_in_time_is_not_shown_and_may_be_asked_for_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_own_writes, "LONGEST_WAIT", 0)
    await shop.worker.stop()
    await shop.place()
    async with shop.client() as client:
        await subscribe(client, token(shop))
        error = await client.next("error")
        await client.subscribe("snapshot")
        await client.next("caught_up")

    assert (error["id"], error["problem"]["code"]) == ("s", "not-caught-up")


async def test_a_token_that_is_ahead_of_the_log_is_told_so_at_once(shop: Shop) -> None:
    await shop.place()
    async with shop.client() as client:
        await subscribe(client, consistency.token(1_000, 1))
        assert (await client.next("error", within=8))["problem"]["code"] == "not-caught-up"


async def test_a_snapshot_from_which_a_projection_has_left_the_write_aside_is_not_shown(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROJECTIONS, "order_list", breaking(PROJECTIONS["order_list"]))
    async with serving(database_url) as shop, shop.client() as client:
        await shop.place()
        await subscribe(client, token(shop))

        assert (await client.next("error", within=8))["problem"]["code"] == "not-caught-up"


async def test_a_subscription_that_waits_can_be_taken_back(database_url: str) -> None:
    async with serving(database_url) as shop:
        await shop.worker.stop()
        await shop.place()
        async with shop.client(ANNE) as client:
            await subscribe(client, token(shop))
            await until(lambda: shop.live.arrivals.waiting == 1)
            await client.say(type="unsubscribe", id="s")
            assert (await client.next("unsubscribed"))["id"] == "s"
            await until(lambda: shop.live.arrivals.waiting == 0)
            shop.worker.start()
            assert await asyncio.wait_for(client.rest(), 10) == []
