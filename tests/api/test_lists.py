"""Lists over HTTP: every filter by its parameter, and the way from page to page and back."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from tests.api.edge import ALICE, BOB, STAFF, Edge, Json, projecting


@pytest.fixture
async def edge(edge: Edge) -> AsyncIterator[Edge]:
    """One whose read models follow the log."""
    async with projecting(edge):
        yield edge


async def ids(edge: Edge, query: str, by: str = STAFF) -> list[str]:
    answer = await edge.get(f"/v1/orders?{query}", by=by)
    assert answer.status_code == 200, answer.text
    return [one["order_id"] for one in answer.json()["items"]]


async def test_orders_are_filtered_by_what_is_known_of_them(edge: Edge) -> None:
    await edge.listed()
    await edge.listed("CUP%2F1", price=250)
    address = {"name": "Zoë O'Neil", "line1": "Road 1", "city": "Bern", "country": "CH", "postal_code": "3011"}
    about: Json = {"email": "zoe@example.org", "external_reference": "PO 4711", "shipping_address": address}
    cups = await edge.placed(lines=[{"sku": "CUP/1", "quantity": 3}], **about)
    posters = await edge.placed(by=BOB)
    path = f"/v1/orders/{cups['order_id']}"
    await edge.post(f"{path}/record-authorization", {"amount": cups["total"], "reference": "r"})
    await edge.post(f"{path}/place-hold", {"reason": "looks odd"})
    await edge.post(f"{path}/set-tags", {"tags": ["gift wrap"]})
    await edge.projected()

    at, day = quote(posters["placed_at"]), cups["placed_at"][:10]
    of_cups = [
        *("sku=CUP/1", "external_reference=PO+4711", "tag=gift+wrap", "on_hold=true", "payment_status=authorized"),
        *("currency=EUR&total_to=750", "currency=EUR&total_from=750&total_to=750"),
        *("text=zoe+oneil", "text=ZO%C3%8B+bern", "text=example.org", "text=3011", "text=gift", "text=alice+4711"),
        *(f"text={cups['number']}", f"text={cups['number'].replace('-', '').lower()}", "text=cup+1"),
    ]
    of_posters = [
        *("sku=POSTER", "on_hold=false", "payment_status=unpaid", "text=a+post", f"customer_id={BOB}"),
        *(f"placed_from={at}", "currency=EUR&total_from=751"),
    ]
    of_both = [
        *("status=placed", "status=draft&status=placed", "fulfilment_status=unfulfilled", "return_status=none"),
        *("payment_status=authorized&payment_status=unpaid", f"placed_from={day}", f"placed_to={at}"),
        *(f"placed_from={day}&placed_to=2999-01-01", "refund_due=false", "currency=EUR"),
    ]
    of_none = [
        *("sku=cup/1", "sku=CUP", "tag=gift", "external_reference=PO", "text=oneill", "text=zo", "refund_due=true"),
        *("sku=CUP/1&status=draft", f"sku=CUP/1&customer_id={BOB}", "currency=USD", "placed_to=2020-01-01"),
    ]
    both = [posters["order_id"], cups["order_id"]]
    for queries, expected in ((of_cups, both[1:]), (of_posters, both[:1]), (of_both, both), (of_none, [])):
        assert {query: await ids(edge, query) for query in queries} == dict.fromkeys(queries, expected)
    for query in ("", "text=poster", "sku=POSTER", f"text={BOB}", "payment_status=unpaid", "on_hold=false"):
        assert posters["order_id"] not in await ids(edge, query, by=ALICE), query


async def test_pages_lead_to_the_next_the_one_before_and_the_first(edge: Edge) -> None:
    await edge.listed()
    placed = [(await edge.placed())["order_id"] for _ in range(5)][::-1]
    await edge.projected()

    for filters in ("status=placed&status=draft&", "text=poster&"):
        first = await edge.get(f"/v1/orders?{filters}limit=2")
        second = await turned(edge, first, "next")
        third = await turned(edge, second, "next")
        back = await turned(edge, third, "prev")
        start = await turned(edge, back, "prev")

        assert [shown(one) for one in (first, second, third)] == [placed[:2], placed[2:4], placed[4:]]
        assert (shown(back), shown(start)) == (placed[2:4], placed[:2])
        assert [{*one.links} for one in (first, second, third, back, start)] == [
            {"next", "first"},
            {"next", "prev", "first"},
            {"prev", "first"},
            {"next", "prev", "first"},
            {"next", "first"},
        ]
        for one in (first, second, third, back, start):
            assert shown(await turned(edge, one, "first")) == placed[:2]
            assert (one.json()["next_cursor"] is not None) == ("next" in one.links)
            assert (one.json()["prev_cursor"] is not None) == ("prev" in one.links)


async def test_orders_that_come_meanwhile_move_no_page(edge: Edge) -> None:
    await edge.listed()
    placed = [(await edge.placed())["order_id"] for _ in range(4)][::-1]
    await edge.projected()
    first = await edge.get("/v1/orders?limit=2")
    newer = [(await edge.placed())["order_id"] for _ in range(3)][::-1]
    await edge.projected()

    second = await turned(edge, first, "next")
    back = await turned(edge, second, "prev")
    newest = await turned(edge, back, "prev")

    assert (shown(second), shown(back), shown(newest)) == (placed[2:], placed[:2], newer[1:])
    assert "prev" in newest.links


async def test_products_lead_there_and_back_as_well(edge: Edge) -> None:
    for sku in ("A", "B/ä", "C"):
        await edge.listed(quote(sku, safe=""))
    await edge.projected()

    first = await edge.get("/v1/products?limit=1")
    second = await turned(edge, first, "next")
    third = await turned(edge, second, "next")
    back = await turned(edge, third, "prev")

    assert [one.json()["items"][0]["sku"] for one in (first, second, third, back)] == ["A", "B/ä", "C", "B/ä"]
    assert ({*third.links}, third.json()["next_cursor"]) == ({"prev", "first"}, None)


async def turned(edge: Edge, page: httpx.Response, way: str) -> httpx.Response:
    answer = await edge.get(page.links[way]["url"])
    assert answer.status_code == 200, answer.text
    return answer


def shown(page: httpx.Response) -> list[str]:
    return [one["order_id"] for one in page.json()["items"]]


BAD = {
    "payment_status=paid&payment_status=lost": {"payment_status": "'paid'"},
    "fulfilment_status=": {"fulfilment_status": "'unfulfilled'"},
    "return_status=Returned": {"return_status": "'returned'"},
    "status=" + "&status=".join(["placed"] * 9): {"status": "at most 5"},
    "sku=+CUP": {"sku": "no space"},
    "sku=" + "x" * 65: {"sku": "64"},
    "tag=%00": {"tag": "printable"},
    "external_reference=%00": {"external_reference": "NUL"},
    "text=%E2%98%95+--": {"text": "no letter and no digit"},
    "text=" + "x" * 201: {"text": "200"},
    "total_from=1": {"currency": "is needed"},
    "currency=EUR&total_from=9&total_to=8": {"total_to": "less than total_from"},
    "currency=EUR&total_from=1.5": {"total_from": "integer"},
    "currency=EUR&total_to=-1": {"total_to": "greater than or equal to 0"},
    "currency=EUR&total_to=" + "9" * 30: {"total_to": "less than or equal to"},
    "currency=euro": {"currency": "ISO 4217"},
    "placed_from=2026-02-30": {"placed_from": "must be a day"},
    "placed_from=1700000000": {"placed_from": "must be a day"},
    "placed_to=2026-02-03T10:00:00": {"placed_to": "an instant"},
    "placed_to=2026-02-03T10:00:00+01:00": {"placed_to": "%2B"},
    "placed_from=2026-02-03&placed_to=2026-02-02": {"placed_to": "before placed_from"},
    "on_hold=maybe": {"on_hold": "boolean"},
    "colour=red&page=2": {"colour": "not permitted", "page": "not permitted"},
}
"""What cannot be asked, and what is said of which parameter."""


async def test_a_parameter_that_cannot_be_is_named_with_what_would_be_right(edge: Edge) -> None:
    for query, named in BAD.items():
        answer = await edge.get(f"/v1/orders?{query}")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), query
        places = {one["pointer"].removeprefix("/"): (one["in"], one["detail"]) for one in answer.json()["errors"]}
        assert {name: where for name, (where, _) in places.items()} == dict.fromkeys(named, "query"), query
        for name, what in named.items():
            assert what in places[name][1], query


async def test_a_cursor_is_good_for_its_own_filters_only(edge: Edge) -> None:
    await edge.listed()
    for _ in range(3):
        await edge.placed()
    await edge.projected()
    page = await edge.get("/v1/orders?limit=1&text=poster&status=placed")
    cursor = page.json()["next_cursor"]

    for query in ("text=poster", "status=placed", "text=posters&status=placed", "text=poster&status=draft", ""):
        answer = await edge.get(f"/v1/orders?{query}&cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor"), query
    assert (await edge.get(f"/v1/orders?status=placed&text=poster&limit=9&cursor={cursor}")).status_code == 200
