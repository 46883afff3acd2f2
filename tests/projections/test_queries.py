"""What reads answer."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from events.envelope import order_stream, product_stream
from events.order import Address
from events.product import StockReserved
from projections.queries import Queries
from projections.shapes import DailySales, Money
from tests.examples import (
    CUSTOMER,
    NOON,
    ORDER,
    a_cup,
    a_poster,
    an_order_cancelled,
    an_order_confirmed,
    an_order_placed,
    authorized,
    captured,
    cups,
    cups_received,
    posters,
    shipped,
)
from tests.projections.logs import Recording
from tests.projections.reading import ReadSide

OF_ORDER = order_stream(ORDER)


@pytest.fixture
async def queries(on_the_log: ReadSide) -> AsyncIterator[Queries]:
    async with AsyncConnectionPool(on_the_log.url, min_size=1, max_size=2, open=False) as pool:
        yield Queries(pool)


async def shown(side: ReadSide, *recordings: Recording) -> None:
    await side.record(recordings)
    async with side.working():
        await side.shows_everything()


def other_order(number: int, **more: Any) -> Recording:
    order_id = UUID(int=ORDER.int + number)
    placed = an_order_placed(cups(number), order_id=order_id, **more)
    return order_stream(order_id), msgspec.structs.replace(placed, at=NOON + timedelta(minutes=number // 2))


async def test_an_order_is_shown_whole_with_its_lines_in_order(on_the_log: ReadSide, queries: Queries) -> None:
    lines = [posters(1, str(number)) for number in range(1, 12)]
    placed = msgspec.structs.replace(
        an_order_placed(cups(3, "12"), *lines),
        email="a@example.org",
        shipping_address=Address("Ann", "1 Road", "Bern", "CH", postal_code="3000"),
        metadata={"campaign": "spring"},
        external_reference="PO-1",
    )
    await shown(on_the_log, (OF_ORDER, placed), (OF_ORDER, authorized(placed.total)), (OF_ORDER, an_order_confirmed))
    await shown(on_the_log, (OF_ORDER, shipped(2, "12")), (OF_ORDER, captured(500)))
    view = await queries.order(ORDER)
    assert view is not None
    assert [line.line_id for line in view.lines] == [str(number) for number in range(1, 13)]
    assert view.shipping_address == placed.shipping_address
    assert (view.metadata, view.email, view.external_reference) == ({"campaign": "spring"}, "a@example.org", "PO-1")
    assert (view.status, view.payment_status, view.fulfilment_status) == ("confirmed", "partly_paid", "partly_shipped")
    assert (view.version, view.customer_id, view.placed_at) == (5, CUSTOMER, NOON)
    assert (view.total, view.captured) == (Money(placed.total, "EUR"), Money(500, "EUR"))
    assert view.balance == Money(placed.total - 500, "EUR")
    last = view.lines[-1]
    assert (last.sku, last.total, last.shipped, last.open) == ("CUP", Money(750, "EUR"), 2, 1)


async def test_an_order_that_is_not_there_is_none(queries: Queries) -> None:
    assert await queries.order(ORDER) is None


async def test_several_orders_come_at_once(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, *(other_order(number) for number in (1, 2, 3)))
    ids = [UUID(int=ORDER.int + number) for number in (1, 3, 9)]
    assert {key: view.lines[0].quantity for key, view in (await queries.orders_by_id(ids)).items()} == {
        ids[0]: 1,
        ids[1]: 3,
    }


async def test_orders_are_listed_newest_first_page_after_page(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, *(other_order(number) for number in range(1, 8)))
    seen: list[int] = []
    after = None
    while page := await queries.orders(limit=3, after=after):
        seen += [order.units for order in page]
        after = (page[-1].placed_at, page[-1].order_id)
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_orders_are_listed_for_a_customer_and_a_status(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(
        on_the_log,
        other_order(1, customer_id="C-1"),
        other_order(2, customer_id="C-2"),
        other_order(3, customer_id="C-2"),
        (other_order(3)[0], an_order_cancelled(("1", 3))),
    )
    assert [order.units for order in await queries.orders(customer_id="C-2")] == [3, 2]
    assert [order.units for order in await queries.orders(status="cancelled")] == [3]
    (cancelled,) = await queries.orders(customer_id="C-2", status="cancelled")
    assert (cancelled.fulfilment_status, cancelled.version) == ("none", 2)


async def test_a_history_is_the_facts_as_they_are_in_the_log(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, (OF_ORDER, an_order_placed(cups(1))), (OF_ORDER, authorized(250)))
    first, second = await queries.history(ORDER)
    assert (first.version, second.version, second.actor) == (1, 2, "tests")
    assert second.type == "orderlog.order.payment-authorized.v1"
    assert msgspec.json.decode(second.data)["amount"] == 250


async def test_a_history_is_empty_for_another_customer(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, (OF_ORDER, an_order_placed(cups(1))))
    assert await queries.history(ORDER, "C-2") == []
    assert len(await queries.history(ORDER, CUSTOMER)) == 1


async def test_products_show_their_prices_and_their_stock(on_the_log: ReadSide, queries: Queries) -> None:
    cup, poster = product_stream("CUP"), product_stream("POSTER")
    await shown(on_the_log, (cup, a_cup), (cup, cups_received(5)[1]), (poster, a_poster))
    await shown(on_the_log, (cup, StockReserved(NOON, ORDER, 2)))
    await shown(on_the_log, (cup, msgspec.structs.replace(a_cup, name="A better cup")))
    first, second = await queries.products()
    assert (first.sku, first.name, first.stock, first.version) == ("CUP", "A better cup", "tracked", 4)
    assert (first.on_hand, first.reserved, first.available) == (5, 2, 3)
    assert second.prices == (Money(1999, "EUR"), Money(3000, "JPY"))
    assert second.stock == "untracked"
    assert await queries.products(after_sku="CUP") == [second]
    assert await queries.product("CUP") == first
    assert await queries.product("CUPS") is None


async def test_daily_sales_are_sums_over_the_days_orders(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, other_order(1), other_order(2))
    day = date(2026, 1, 2)
    assert await queries.daily_sales(day, day) == [DailySales(day, "EUR", 2, 3, 750, 0, 750)]
    assert await queries.daily_sales(date(2026, 1, 3), date(2026, 1, 9)) == []


async def test_progress_tells_how_far_each_projection_is(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, other_order(1), other_order(2))
    progress = await queries.progress()
    assert {(one.projection, one.source, one.partition, one.position) for one in progress} == {
        (name, "log", -1, 2) for name in ("daily_sales", "order_details", "order_list", "stock_levels", "timeline")
    }
    assert await queries.parked() == {}
