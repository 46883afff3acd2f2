"""No list of orders costs a scan of all of them, and no page costs more than the first."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from projections.order_pages import Key, Statement, Wanted, Window, found_by, listed, looked_up, walked
from tests.projections.many_orders import many_orders
from tests.services.postgres import DatabaseServer

ORDERS = 10_000
PAGE = Window(limit=51)
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def connection(postgres: DatabaseServer) -> Iterator[psycopg.Connection[Any]]:
    url = postgres.create_database()
    with many_orders(url, ORDERS) as filled:
        yield filled
    postgres.drop_database(url)


DEEP = """
WITH whole AS ({whole}) SELECT listed_at, order_id FROM whole
ORDER BY listed_at DESC, order_id DESC OFFSET (SELECT count(*) * 3 / 4 FROM whole) LIMIT 1
"""
"""The key of the order at which the last quarter of a list begins."""

LISTS: list[tuple[Wanted, str]] = [
    (Wanted(), "order_list_newest"),
    (Wanted(customer_id="C-MARKET"), "order_list_customer"),
    (Wanted(status=("draft",)), "order_list_status"),
    (Wanted(status=("draft", "cancelled")), "order_list_status"),
    (Wanted(status=("completed",)), "order_list_newest"),
    (Wanted(payment_status=("unpaid",)), "order_list_payment_status"),
    (Wanted(payment_status=("paid",)), "order_list_newest"),
    (Wanted(payment_status=("unpaid", "refunded")), "order_list_payment_status"),
    (Wanted(fulfilment_status=("shipped",)), "order_list_fulfilment_status"),
    (Wanted(fulfilment_status=("delivered",)), "order_list_newest"),
    (Wanted(return_status=("returned",)), "order_list_return_status"),
    (Wanted(on_hold=True), "order_list_on_hold"),
    (Wanted(on_hold=False), "order_list_newest"),
    (Wanted(refund_due=True), "order_list_refund_due"),
    (Wanted(refund_due=False), "order_list_newest"),
    (Wanted(number="N-4711"), "order_list_number"),
    (Wanted(currency="EUR", total_from=12_345, total_to=12_350), "order_list_total"),
    (Wanted(currency="EUR", total_from=1_000), "order_list_newest"),
    (Wanted(placed_to=NOW - timedelta(days=1)), "order_list_newest"),
    (Wanted(placed_from=NOW - timedelta(days=3), placed_to=NOW - timedelta(days=1)), "order_list_newest"),
    (Wanted(customer_id="C-MARKET", status=("cancelled", "completed")), "order_list_customer"),
    (Wanted(status=("cancelled",), payment_status=("refunded",)), "order_list_"),
    (Wanted(status=("completed",), return_status=("returned",)), "order_list_return_status"),
]
"""What is asked, and the index that answers it."""

SEARCHES = [
    Wanted(sku="SKU-1"),
    Wanted(sku="SKU-9000"),
    Wanted(sku="SKU-XMAS"),
    Wanted(sku="SKU-1", status=("draft",)),
    Wanted(tag="web"),
    Wanted(tag="vip"),
    Wanted(external_reference="PO-4711"),
    Wanted(text="com"),
    Wanted(text="colour1 kind7"),
    Wanted(text="surname12", customer_id="C-MARKET"),
]

COMMON = [Wanted(tag="web"), Wanted(text="com")]
"""Of these most orders are found, so that to look them up is to read all. Their page is found before that."""


@pytest.mark.parametrize(("wanted", "index"), LISTS)
def test_each_page_of_a_list_is_read_from_an_index_and_costs_what_the_first_does(
    connection: psycopg.Connection[Any], wanted: Wanted, index: str
) -> None:
    first, _ = explained(connection, listed(wanted, PAGE))
    for window in pages(connection, wanted):
        buffers, nodes = explained(connection, listed(wanted, window))
        assert any(node.get("Index Name", "").startswith(index) for node in nodes), nodes
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
        assert buffers <= 2 * first + 60, window  # whoever reads up to there reads hundreds


@pytest.mark.parametrize("wanted", SEARCHES)
def test_a_search_costs_what_it_finds_and_no_more_on_later_pages(
    connection: psycopg.Connection[Any], wanted: Wanted
) -> None:
    first, _ = explained(connection, looked_up(wanted, PAGE))
    for window in pages(connection, wanted):
        buffers, nodes = explained(connection, looked_up(wanted, window))
        assert "order_search_found_by" in [node.get("Index Name") for node in nodes] or wanted in COMMON
        assert buffers <= first + 20


@pytest.mark.parametrize("wanted", SEARCHES)
def test_what_many_orders_have_is_found_among_the_next_thousand_without_a_search(
    connection: psycopg.Connection[Any], wanted: Wanted
) -> None:
    for window in pages(connection, wanted):
        buffers, nodes = explained(connection, walked(wanted, window))
        assert "order_search_found_by" not in [node.get("Index Name") for node in nodes]
        assert buffers < 5_000  # of a thousand orders, each by its id


@pytest.mark.parametrize("wanted", SEARCHES)
def test_both_ways_find_the_same(connection: psycopg.Connection[Any], wanted: Wanted) -> None:
    for window in pages(connection, wanted):
        near = [row[1:] for row in rows(connection, walked(wanted, window)) if row[1] is not None]
        assert near == rows(connection, looked_up(wanted, window))[: len(near)]


def pages(connection: psycopg.Connection[Any], wanted: Wanted) -> list[Window]:
    """The first page, one where the last quarter of the list begins, and the one before that."""
    deep = deep_in(connection, wanted)
    return [PAGE, replace(PAGE, after=deep), replace(PAGE, before=deep)] if deep is not None else [PAGE]


def deep_in(connection: psycopg.Connection[Any], wanted: Wanted) -> Key | None:
    """Where the last quarter of a list begins; none for an empty one."""
    way = looked_up if found_by(wanted) is not None else listed
    whole = way(wanted, Window(limit=ORDERS))
    row = connection.execute(DEEP.format(whole=whole.query), whole.parameters).fetchone()
    return (row[0], row[1]) if row is not None else None


def rows(connection: psycopg.Connection[Any], statement: Statement) -> list[Any]:
    return connection.execute(statement.query, statement.parameters).fetchall()


def explained(connection: psycopg.Connection[Any], statement: Statement) -> tuple[int, list[dict[str, Any]]]:
    """The pages that were touched, and the nodes of the plan."""
    query = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.query}"
    plan: Any = (connection.execute(query, statement.parameters).fetchone() or [[]])[0][0]
    nodes = list(_nodes(plan["Plan"]))
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"], nodes


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
