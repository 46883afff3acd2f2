"""What reads answer."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from events.envelope import Event, order_stream, product_stream
from events.order import Address, MetadataSet, NoteAdded, OrderPlaced, ReturnApproved, ReturnRejected, TagsSet
from events.product import StockDispatched, StockReserved, StockReturned
from projections.catalogue import PROJECTIONS
from projections.order_pages import Key, Wanted, Window, key_of
from projections.queries import Queries
from projections.shapes import DailySales, Money, ReturnView, ShipmentView
from tests.examples import (
    CUSTOMER,
    NOON,
    ORDER,
    a_cup,
    a_poster,
    an_order_amended,
    an_order_cancelled,
    an_order_confirmed,
    an_order_drafted,
    an_order_held,
    an_order_placed,
    an_order_released,
    authorized,
    captured,
    cups,
    cups_received,
    delivered,
    lines_cancelled,
    lost,
    pieces,
    posters,
    refund_required,
    refunded,
    return_approved,
    return_received,
    return_requested,
    shipped,
    tracked,
    voided,
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


def an_order_of(recording: Recording) -> OrderPlaced:
    assert isinstance(recording[1], OrderPlaced)
    return recording[1]


def other_order(number: int, **more: Any) -> Recording:
    order_id = UUID(int=ORDER.int + number)
    placed = an_order_placed(cups(number), order_id=order_id, **more)
    return order_stream(order_id), msgspec.structs.replace(placed, at=NOON + timedelta(minutes=number // 2))


async def test_an_order_is_shown_whole_with_its_lines_in_its_own_order(on_the_log: ReadSide, queries: Queries) -> None:
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
    assert [line.line_id for line in view.lines] == ["12", *(str(number) for number in range(1, 12))]
    assert view.shipping_address == placed.shipping_address
    assert (view.metadata, view.email, view.external_reference) == ({"campaign": "spring"}, "a@example.org", "PO-1")
    assert (view.status, view.payment_status, view.fulfilment_status) == ("confirmed", "partly_paid", "partly_shipped")
    assert (view.version, view.customer_id, view.placed_at) == (5, CUSTOMER, NOON)
    assert (view.total, view.captured) == (Money(placed.total, "EUR"), Money(500, "EUR"))
    assert view.balance == Money(placed.total - 500, "EUR")
    first = view.lines[0]
    assert (first.sku, first.total, first.shipped, first.open) == ("CUP", Money(750, "EUR"), 2, 1)


async def test_a_draft_is_shown_and_listed_but_is_not_placed(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, (OF_ORDER, an_order_drafted(cups(3))))
    view = await queries.order(ORDER)
    assert view is not None
    assert (view.status, view.created_at, view.placed_at) == ("draft", NOON, None)
    (summary,) = await queries.orders(Wanted(status=("draft",)))
    assert (summary.order_id, summary.created_at, summary.placed_at) == (ORDER, NOON, None)
    assert await queries.daily_sales(NOON.date(), NOON.date()) == []


async def test_a_draft_that_is_placed_keeps_what_was_said_of_it_and_its_place_in_the_list(
    on_the_log: ReadSide, queries: Queries
) -> None:
    later = NOON + timedelta(days=1)
    await shown(on_the_log, (OF_ORDER, an_order_drafted(cups(3))), (OF_ORDER, TagsSet(NOON, ("vip",))), other_order(2))
    placed = msgspec.structs.replace(an_order_placed(cups(4)), at=later)
    await shown(on_the_log, (OF_ORDER, NoteAdded(NOON, "call first")), (OF_ORDER, placed))
    view = await queries.order(ORDER)
    assert view is not None
    assert (view.status, view.created_at, view.placed_at) == ("placed", NOON, later)
    assert (view.tags, view.notes, view.total) == (("vip",), 1, Money(1000, "EUR"))
    assert [order.units for order in await queries.orders()] == [4, 2]
    (day,) = await queries.daily_sales(later.date(), later.date())
    assert (day.date, day.orders, day.units, day.gross) == (later.date(), 1, 4, 1000)


async def test_an_amendment_replaces_the_lines_and_keeps_what_became_of_their_pieces(
    on_the_log: ReadSide, queries: Queries
) -> None:
    placed = msgspec.structs.replace(an_order_placed(cups(3), posters(1, "2")), email="a@example.org")
    await shown(on_the_log, (OF_ORDER, placed), (OF_ORDER, lines_cancelled(("1", 1), amount=250)))
    await shown(
        on_the_log,
        (OF_ORDER, msgspec.structs.replace(an_order_amended(cups(5), posters(2, "3")), email="b@example.org")),
    )
    view = await queries.order(ORDER)
    assert view is not None
    assert [(line.line_id, line.quantity, line.cancelled, line.open) for line in view.lines] == [
        ("1", 5, 1, 4),
        ("3", 2, 0, 2),
    ]
    assert (view.subtotal, view.total) == (Money(5248, "EUR"), Money(4998, "EUR"))
    assert (view.email, view.shipping_address) == ("b@example.org", None)
    (summary,) = await queries.orders()
    assert (summary.units, summary.total) == (7, view.total)


async def test_each_line_shows_its_share_of_the_orders_amounts(on_the_log: ReadSide, queries: Queries) -> None:
    line = msgspec.structs.replace(cups(3), discount=50, shipping=490, tax=7)
    await shown(on_the_log, (OF_ORDER, an_order_placed(line)))
    view = await queries.order(ORDER)
    assert view is not None
    (shown_line,) = view.lines
    shares = (shown_line.discount, shown_line.shipping, shown_line.tax, shown_line.total)
    assert [share.amount for share in shares] == [50, 490, 7, 750 - 50 + 490 + 7]


async def test_an_order_shows_its_shipments_in_the_order_in_which_they_left(
    on_the_log: ReadSide, queries: Queries
) -> None:
    followed = msgspec.structs.replace(shipped(1, shipment_id="Z"), carrier="Swiss Post", tracking_number="T-1")
    await shown(on_the_log, (OF_ORDER, an_order_placed(cups(4))), (OF_ORDER, followed), (OF_ORDER, shipped(2)))
    await shown(
        on_the_log,
        (OF_ORDER, shipped(1, shipment_id="A")),
        (OF_ORDER, tracked("DHL", "T-2")),
        (OF_ORDER, delivered(1, shipment_id="Z")),
        (OF_ORDER, lost(1, shipment_id="A")),
    )
    view = await queries.order(ORDER)
    assert view is not None
    assert view.shipments == (
        ShipmentView("Z", pieces(("1", 1)), "Swiss Post", "T-1", "delivered"),
        ShipmentView("S1", pieces(("1", 2)), "DHL", "T-2", "dispatched"),
        ShipmentView("A", pieces(("1", 1)), None, None, "lost"),
    )
    (line,) = view.lines
    assert (line.shipped, line.delivered, line.lost, line.open) == (4, 1, 1, 1)
    (summary,) = await queries.orders()
    assert summary.fulfilment_status == view.fulfilment_status == "partly_delivered"


async def test_an_order_shows_its_returns_and_owes_less_for_what_came_back(
    on_the_log: ReadSide, queries: Queries
) -> None:
    await shown(
        on_the_log,
        (OF_ORDER, an_order_placed(cups(4))),
        (OF_ORDER, captured(1000)),
        (OF_ORDER, shipped(4)),
        (OF_ORDER, delivered(4)),
        *((OF_ORDER, return_requested(("1", 2), return_id=return_id)) for return_id in ("R3", "R1", "R2", "R4")),
        (OF_ORDER, return_approved),
        (OF_ORDER, ReturnRejected(NOON, "R3")),
        (OF_ORDER, ReturnApproved(NOON, "R2")),
        (OF_ORDER, return_received(("1", 1), amount=250)),
    )
    view = await queries.order(ORDER)
    assert view is not None
    assert view.returns == (
        ReturnView("R3", "too small", pieces(("1", 2)), (), "rejected"),
        ReturnView("R1", "too small", pieces(("1", 2)), pieces(("1", 1)), "received"),
        ReturnView("R2", "too small", pieces(("1", 2)), (), "approved"),
        ReturnView("R4", "too small", pieces(("1", 2)), (), "requested"),
    )
    assert (view.total.amount, view.balance.amount, view.refund_due.amount) == (750, -250, 250)
    assert (view.lines[0].returned, view.return_status) == (1, "partly_returned")


async def test_an_order_shows_its_hold_its_tags_its_metadata_and_how_many_notes_it_has(
    on_the_log: ReadSide, queries: Queries
) -> None:
    await shown(
        on_the_log,
        (OF_ORDER, an_order_placed(cups(1))),
        (OF_ORDER, an_order_held),
        (OF_ORDER, NoteAdded(NOON, "one")),
        (OF_ORDER, NoteAdded(NOON, "two")),
        (OF_ORDER, TagsSet(NOON, ("gift", "vip"))),
        (OF_ORDER, MetadataSet(NOON, {"k": "v"})),
    )
    view = await queries.order(ORDER)
    assert view is not None
    assert (view.on_hold, view.hold_reason, view.notes) == (True, "looks odd", 2)
    assert (view.tags, view.metadata) == (("gift", "vip"), {"k": "v"})
    assert [order.on_hold for order in await queries.orders()] == [True]
    await shown(on_the_log, (OF_ORDER, an_order_released))
    view = await queries.order(ORDER)
    assert view is not None
    assert (view.on_hold, view.hold_reason) == (False, None)
    assert [order.on_hold for order in await queries.orders()] == [False]


async def test_what_was_voided_is_no_longer_authorized_for_the_payment_status(
    on_the_log: ReadSide, queries: Queries
) -> None:
    await shown(on_the_log, (OF_ORDER, an_order_placed(cups(2))), (OF_ORDER, authorized(500)))
    assert [order.payment_status for order in await queries.orders()] == ["authorized"]
    await shown(on_the_log, (OF_ORDER, voided(500)))
    view = await queries.order(ORDER)
    assert view is not None
    assert (view.payment_status, view.authorized.amount, view.voided.amount) == ("unpaid", 500, 500)
    assert [order.payment_status for order in await queries.orders()] == ["unpaid"]


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
    after: Key | None = None
    while page := await queries.orders(window=Window(limit=3, after=after)):
        seen += [order.units for order in page]
        after = key_of(page[-1])
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_orders_are_listed_for_a_customer_and_a_status(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(
        on_the_log,
        other_order(1, customer_id="C-1"),
        other_order(2, customer_id="C-2"),
        other_order(3, customer_id="C-2"),
        (other_order(3)[0], an_order_cancelled(("1", 3))),
    )
    assert [order.units for order in await queries.orders(Wanted(customer_id="C-2"))] == [3, 2]
    assert [order.units for order in await queries.orders(Wanted(status=("cancelled",)))] == [3]
    (cancelled,) = await queries.orders(Wanted(customer_id="C-2", status=("cancelled",)))
    assert (cancelled.fulfilment_status, cancelled.version) == ("none", 2)


async def test_an_order_that_owes_money_back_is_listed_as_such_until_it_is_given_back(
    on_the_log: ReadSide, queries: Queries
) -> None:
    stream, placed = other_order(2)
    await shown(on_the_log, other_order(1), (stream, placed), (stream, authorized(500)), (stream, captured(500)))
    assert await queries.orders(Wanted(refund_due=True)) == []
    await shown(on_the_log, (stream, an_order_cancelled(("1", 2), amount=500)), (stream, refund_required(500, "")))
    (owing,) = await queries.orders(Wanted(refund_due=True))
    assert (owing.units, owing.total, owing.refund_due) == (2, Money(0, "EUR"), Money(500, "EUR"))
    assert [order.units for order in await queries.orders(Wanted(refund_due=False))] == [1]
    await shown(on_the_log, (stream, refunded(499)))
    assert [order.refund_due.amount for order in await queries.orders(Wanted(refund_due=True))] == [1]
    await shown(on_the_log, (stream, refunded(1, "refund-2")))
    assert await queries.orders(Wanted(refund_due=True)) == []
    assert len(await queries.orders(Wanted(refund_due=False))) == 2


async def test_an_order_is_found_by_its_number(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, other_order(1), other_order(2, customer_id="C-2"))
    number = an_order_of(other_order(2)).number
    assert [order.units for order in await queries.orders(Wanted(number=number))] == [2]
    assert await queries.orders(Wanted(number=number, customer_id="C-1")) == []
    assert await queries.orders(Wanted(number="nobody's")) == []
    found = await queries.order_by_number(number)
    assert found is not None
    assert found == await queries.order(found.order_id)
    assert found.number == number
    assert await queries.order_by_number("nobody's") is None


async def test_orders_are_listed_by_a_tag(on_the_log: ReadSide, queries: Queries) -> None:
    first, second = other_order(1), other_order(2)
    await shown(on_the_log, first, second, other_order(3))
    await shown(on_the_log, (first[0], TagsSet(NOON, ("gift", "vip"))), (second[0], TagsSet(NOON, ('a "b"', "gift"))))
    assert [order.units for order in await queries.orders(Wanted(tag="gift"))] == [2, 1]
    assert [order.tags for order in await queries.orders(Wanted(tag='a "b"'))] == [('a "b"', "gift")]
    await shown(on_the_log, (first[0], TagsSet(NOON, ())), (second[0], TagsSet(NOON, ("vip",))))
    assert await queries.orders(Wanted(tag="gift")) == []
    assert [order.tags for order in await queries.orders()] == [(), ("vip",), ()]


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
    moved: list[Event] = [StockReserved(NOON, ORDER, 4), StockDispatched(NOON, ORDER, 2), StockReturned(NOON, ORDER, 1)]
    await shown(on_the_log, *((cup, event) for event in moved))
    await shown(on_the_log, (cup, msgspec.structs.replace(a_cup, name="A better cup")))
    first, second = await queries.products()
    assert (first.sku, first.name, first.stock, first.version) == ("CUP", "A better cup", "tracked", 6)
    assert (first.on_hand, first.reserved, first.available) == (4, 2, 2)
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


async def test_a_refund_counts_on_its_own_day(on_the_log: ReadSide, queries: Queries) -> None:
    later = NOON + timedelta(days=3)
    await shown(on_the_log, other_order(1), (other_order(1)[0], msgspec.structs.replace(refunded(100), at=later)))
    assert await queries.daily_sales(NOON.date(), later.date()) == [
        DailySales(NOON.date(), "EUR", 1, 1, 250, 0, 250),
        DailySales(later.date(), "EUR", 0, 0, 0, 100, -100),
    ]


async def test_progress_tells_how_far_each_projection_is(on_the_log: ReadSide, queries: Queries) -> None:
    await shown(on_the_log, other_order(1), other_order(2))
    progress = await queries.progress()
    assert {(one.projection, one.source, one.partition, one.position) for one in progress} == {
        (name, "log", -1, 2) for name in PROJECTIONS
    }
    assert await queries.parked() == {}
