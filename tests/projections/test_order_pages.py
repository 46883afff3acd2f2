"""Each filter lists the orders that fit, all of them, each once, the newest first; on the way there and back."""

import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from events.envelope import order_stream
from events.order import Line, OrderPlaced, TagsSet
from projections.catalogue import PROJECTIONS
from projections.order_pages import Key, Wanted, Window, key_of
from projections.queries import Queries
from projections.shapes import OrderSummary
from tests.examples import NOON, ORDER, an_order_amended, an_order_drafted, an_order_placed, cups, posters
from tests.projections.fold import folded, written
from tests.projections.lives import lives
from tests.projections.logs import BEGIN, a_catalogue
from tests.projections.reading import ReadSide, until

Row = dict[str, Any]
MIDDLE = BEGIN + timedelta(hours=2)
LATER = BEGIN + timedelta(days=9)

FILTERS: list[tuple[Wanted, Callable[[Row], bool]]] = [
    (Wanted(), lambda row: True),  # noqa: ARG005  any
    (Wanted(customer_id="C-3"), lambda row: row["customer_id"] == "C-3"),
    (Wanted(status=("draft",)), lambda row: row["status"] == "draft"),
    (Wanted(status=("placed", "cancelled")), lambda row: row["status"] in ("placed", "cancelled")),
    (Wanted(payment_status=("unpaid",)), lambda row: row["payment_status"] == "unpaid"),
    (Wanted(payment_status=("paid", "partly_paid")), lambda row: row["payment_status"] in ("paid", "partly_paid")),
    (Wanted(fulfilment_status=("partly_shipped",)), lambda row: row["fulfilment_status"] == "partly_shipped"),
    (
        Wanted(status=("confirmed", "completed"), fulfilment_status=("shipped", "delivered"), return_status=("none",)),
        lambda row: (
            row["status"] in ("confirmed", "completed")
            and row["fulfilment_status"] in ("shipped", "delivered")
            and row["return_status"] == "none"
        ),
    ),
    (Wanted(return_status=("partly_returned", "returned")), lambda row: row["return_status"] != "none"),
    (Wanted(on_hold=True), lambda row: bool(row["on_hold"])),
    (Wanted(on_hold=False, refund_due=True), lambda row: row["refund_due"] and not row["on_hold"]),
    (Wanted(tag="vip"), lambda row: "vip" in (row["tags"] or ())),
    (Wanted(tag='"x"', status=("placed",)), lambda row: '"x"' in (row["tags"] or ()) and row["status"] == "placed"),
    (Wanted(sku="SKU-1"), lambda row: "=SKU-1" in row["content"]),
    (
        Wanted(sku="SKU-2", payment_status=("unpaid", "paid", "partly_paid")),
        lambda row: "=SKU-2" in row["content"] and row["payment_status"] in ("unpaid", "paid", "partly_paid"),
    ),
    (Wanted(text="ANN o'neil"), lambda row: {"ann", "oneil"} <= {*row["content"]}),
    (
        Wanted(text="exam", customer_id="C-4"),
        lambda row: "example" in row["content"] and row["customer_id"] == "C-4",
    ),
    (Wanted(currency="JPY"), lambda row: row["currency"] == "JPY"),
    (
        Wanted(currency="EUR", total_from=1_000, total_to=2_000),
        lambda row: row["currency"] == "EUR" and 1_000 <= row["total"] <= 2_000,
    ),
    (Wanted(placed_from=MIDDLE), lambda row: row["placed_at"] is not None and row["placed_at"] >= MIDDLE),
    (
        Wanted(placed_to=MIDDLE, text="product", status=("confirmed", "placed")),
        lambda row: (
            row["placed_at"] is not None and row["placed_at"] <= MIDDLE and row["status"] in ("confirmed", "placed")
        ),
    ),
]


@pytest.fixture(params=[5, 1_000], ids=["looked up", "walked"])
async def queries(request: pytest.FixtureRequest, on_the_log: ReadSide) -> AsyncIterator[Queries]:
    """Once with a search soon, and once with hardly any."""
    async with AsyncConnectionPool(on_the_log.url, min_size=1, max_size=2, open=False) as pool:
        yield Queries(pool, stretch=request.param)


async def test_each_filter_lists_what_fits_page_by_page_and_back(on_the_log: ReadSide, queries: Queries) -> None:
    await on_the_log.record([*a_catalogue(), *lives(250, random.Random(50))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    tables = folded(on_the_log.rows)
    orders = [
        {"order_id": key[0]} | row | {"content": tables["order_search"][key]["content"]}
        for key, row in tables["order_list"].items()
    ]
    orders.sort(key=lambda row: (row["listed_at"], row["order_id"]), reverse=True)
    for wanted, fits in FILTERS:
        expected = [row["order_id"] for row in orders if fits(row)]
        assert expected, wanted
        listed, keys = await forth(queries, wanted)
        assert listed == expected, wanted
        assert await back(queries, wanted, keys[-1]) == expected[:-1], wanted


def another_order(order_id: UUID) -> OrderPlaced:
    """Placed a minute after the examples."""
    return msgspec.structs.replace(an_order_placed(cups(1), order_id=order_id), at=NOON + timedelta(minutes=1))


async def forth(queries: Queries, wanted: Wanted) -> tuple[list[UUID], list[Key]]:
    """All pages of a list: its orders, and where they stand."""
    listed: list[OrderSummary] = []
    while page := await queries.orders(wanted, Window(limit=40, after=key_of(listed[-1]) if listed else None)):
        listed += page
    return [one.order_id for one in listed], [key_of(one) for one in listed]


async def back(queries: Queries, wanted: Wanted, last: Key) -> list[UUID]:
    """All pages before an order."""
    listed: list[OrderSummary] = []
    while page := await queries.orders(wanted, Window(limit=40, before=key_of(listed[0]) if listed else last)):
        listed = [*page, *listed]
    return [one.order_id for one in listed]


async def test_a_draft_that_is_placed_is_the_newest(on_the_log: ReadSide, queries: Queries) -> None:
    drafted, placed = an_order_drafted(cups(1)), msgspec.structs.replace(an_order_placed(cups(1)), at=LATER)
    other = UUID(int=ORDER.int + 1)
    await on_the_log.record([(order_stream(ORDER), drafted), (order_stream(other), another_order(other))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
        assert [one.order_id for one in await queries.orders()] == [other, ORDER]
        await on_the_log.record([(order_stream(ORDER), placed)])
        await on_the_log.shows_everything()
    assert [one.order_id for one in await queries.orders()] == [ORDER, other]
    assert [one.order_id for one in await queries.orders(Wanted(text="cup", placed_from=LATER))] == [ORDER]


async def test_what_an_amendment_takes_out_is_found_no_longer(on_the_log: ReadSide, queries: Queries) -> None:
    await on_the_log.record([(order_stream(ORDER), an_order_placed(cups(3), posters(1, "2")))])
    await on_the_log.record([(order_stream(ORDER), TagsSet(NOON, ("gift wrap",)))])
    await on_the_log.record([(order_stream(ORDER), an_order_amended(cups(3)))])
    async with on_the_log.working():
        await on_the_log.shows_everything()
    assert await queries.orders(Wanted(sku="POSTER")) == []
    for wanted in (Wanted(sku="CUP"), Wanted(tag="gift wrap"), Wanted(text="wrap cup"), Wanted(text="c-1")):
        assert [one.order_id for one in await queries.orders(wanted)] == [ORDER], wanted
    for wanted in (
        Wanted(sku="cup"),
        Wanted(tag="gift"),
        Wanted(text="cup rap"),
        Wanted(text="cup", customer_id="C-2"),
    ):
        assert await queries.orders(wanted) == [], wanted


async def test_an_order_of_two_thousand_lines_can_be_found(on_the_log: ReadSide, queries: Queries) -> None:
    """PostgreSQL takes no vector of more than a megabyte."""
    long = "\N{CJK UNIFIED IDEOGRAPH-20000}"  # four bytes
    lines = [
        Line(str(n), f"{n:04}{long * 60}", f"{n:04}{long * 95} {n:04}{long * 95}", 1, 1, reserved=False)
        for n in range(2_000)
    ]
    await on_the_log.record([(order_stream(ORDER), an_order_placed(*lines))])
    async with on_the_log.working([PROJECTIONS["order_search"], PROJECTIONS["order_list"]]):
        await until(lambda: not written(on_the_log.url, ["order_search"])["order_search"])
    assert [one.order_id for one in await queries.orders(Wanted(sku=lines[-1].sku))] == [ORDER]
