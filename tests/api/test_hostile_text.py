"""Hostile text in whatever takes text: refused with its place, or kept and shown as it came; no projection stops."""

import json
import os
import random
import sys
from typing import Any

import psycopg

from tests.api.edge import ALICE, Edge, an_order, projecting
from tests.texts import HOSTILE

SEED = int(os.environ.get("ORDERLOG_TEST_SEED") or random.randrange(10**6))

PARKED = "SELECT projection, stream, error FROM parked"
"""Events that a projection could not digest."""


def saying(text: str) -> dict[str, Any]:
    """What an order can be told in words."""
    address = dict.fromkeys(("name", "line1", "line2", "postal_code", "city", "region"), text) | {"country": "DE"}
    words = {"customer_id": text, "external_reference": text, "payment_method": text, "metadata": {text: text}}
    return an_order(shipping_address=address, **words)


def chance(dice: random.Random) -> str:
    """Any text that JSON can carry, but for NUL; edges of what programs tell apart more often than others."""
    edges = [1, 0x1F, 0x7F, 0x80, 0xFF, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFF, 0x10000, sys.maxunicode]
    letters = [dice.choice(edges) if dice.random() < 0.3 else dice.randrange(1, 0x10FFFF) for _ in range(8)]
    return "".join(chr(letter) for letter in letters if not 0xD800 <= letter < 0xE000) or "x"


async def test_what_is_accepted_is_shown_as_it_came_and_stops_nothing(edge: Edge) -> None:
    print(f"ORDERLOG_TEST_SEED={SEED}")
    dice = random.Random(SEED)
    await edge.listed()
    orders: dict[str, str] = {}
    async with projecting(edge):
        for text in [*HOSTILE.values(), *(chance(dice) for _ in range(10))]:
            placed = await edge.post("/v1/orders", saying(text))
            assert placed.status_code == 201, (text, placed.text)
            path = f"/v1/orders/{placed.json()['order_id']}"
            for command, body in {
                "add-note": {"note": text},
                "place-hold": {"reason": text},
                "record-authorization": {"amount": placed.json()["total"], "reference": text},
                "cancel": {"reason": text},
            }.items():
                answer = await edge.post(f"{path}/{command}", body)
                assert answer.status_code == 200, (command, text, answer.text)
            orders[path] = text
        await edge.projected()
        for path, text in orders.items():
            shown = (await edge.get(path)).json()
            for name, value in saying(text).items():
                assert name == "lines" or shown[name] == value, (name, text)
            assert shown["cancel_reason"] == text
            history = (await edge.get(f"{path}/events")).json()["items"]
            told = [one["data"].get("note") or one["data"].get("reason") for one in history]
            assert {one for one in told if one} == {text, "cancelled"}  # why an authorization is voided
            listed = await edge.client.get("/v1/orders", params={"customer_id": text}, headers=edge.bearer("sam"))
            assert [one["order_id"] for one in listed.json()["items"]] == [path.rpartition("/")[2]], text
    with psycopg.connect(edge.log.url) as database:
        assert database.execute(PARKED).fetchall() == []


async def test_what_cannot_be_kept_is_refused_with_its_place(edge: Edge) -> None:
    await edge.listed()
    before = edge.log.head()

    for text in ("\0", "a\0b", "x" * 500_000):
        answer = await edge.post("/v1/orders", an_order(customer_id="a", payment_method=text, email=f"{text}@b"))
        assert answer.status_code == 422
        assert [place["pointer"] for place in answer.json()["errors"]] == ["/payment_method", "/email"]
    assert edge.log.head() == before


async def test_half_a_character_is_no_text(edge: Edge) -> None:
    headers = edge.bearer(ALICE) | {"idempotency-key": "k", "content-type": "application/json"}

    for half in ("\\ud800", "\\udc00", "\\udc00\\ud800"):
        body = json.dumps(an_order()).replace("POSTER", half)
        answer = await edge.client.post("/v1/orders", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "not-json")
