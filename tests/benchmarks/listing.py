"""What pages of the list of orders cost on a million orders, by filter, and by which plan.

`python -m tests.benchmarks.listing [--orders N]` prints the tables of docs/lists.md, on a PostgreSQL of its own.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

import msgspec
import psycopg

from projections.order_pages import STRETCH, Key, Statement, Wanted, Window, found_by, listed, looked_up, walked
from tests.projections.many_orders import many_orders
from tests.services.postgres import Postgres

LIMIT = 51
"""Fifty items, and one to know whether there are more."""

DEEP = 50_000
"""Orders before page 1,000; in shorter lists, three quarters of them."""

AGO = datetime.now(UTC) - timedelta(days=100)

FILTERS: dict[str, Wanted] = {
    "none": Wanted(),
    "`customer_id`, of 5 % of all orders": Wanted(customer_id="C-MARKET"),
    "`status=completed`, 87 %": Wanted(status=("completed",)),
    "`status=draft`": Wanted(status=("draft",)),
    "`status=placed&status=confirmed`": Wanted(status=("placed", "confirmed")),
    "`payment_status=unpaid`": Wanted(payment_status=("unpaid",)),
    "`payment_status=paid`, 86 %": Wanted(payment_status=("paid",)),
    "`fulfilment_status=shipped`": Wanted(fulfilment_status=("shipped",)),
    "`fulfilment_status=delivered`, 87 %": Wanted(fulfilment_status=("delivered",)),
    "`return_status=returned`": Wanted(return_status=("returned",)),
    "`on_hold=true`": Wanted(on_hold=True),
    "`refund_due=true`": Wanted(refund_due=True),
    "`number`": Wanted(number="N-4711"),
    "`currency`, `total_from=total_to`": Wanted(currency="EUR", total_from=12_345, total_to=12_345),
    "`currency`, a hundredth of all totals": Wanted(currency="EUR", total_from=20_000, total_to=20_600),
    "`placed_to`, 100 days ago": Wanted(placed_to=AGO),
    "`placed_from`, `placed_to`, 10 days": Wanted(placed_from=AGO, placed_to=AGO + timedelta(days=10)),
    "`customer_id`, `status=cancelled`": Wanted(customer_id="C-MARKET", status=("cancelled",)),
    "`external_reference`": Wanted(external_reference="PO-4711"),
    "`sku`, 1 in 8,000": Wanted(sku="SKU-9000"),
    "`sku`, 1 in 100": Wanted(sku="SKU-20"),
    "`sku`, 1 in 20": Wanted(sku="SKU-5"),
    "`sku`, 1 in 7": Wanted(sku="SKU-1"),
    "`sku`, 1 in 33, all older than 200 days": Wanted(sku="SKU-XMAS"),
    "`sku`, 1 in 7, `status=draft`": Wanted(sku="SKU-1", status=("draft",)),
    "`tag`, 60 %": Wanted(tag="web"),
    "`tag`, 1 in 140": Wanted(tag="vip"),
    "`text`, a word of all orders": Wanted(text="com"),
    "`text`, two words": Wanted(text="colour5 city7"),
    "`text`, the beginning of 111 words, 1 in 45": Wanted(text="surname12"),
    "`text`, `customer_id`": Wanted(text="com", customer_id="C-7"),
    "hard: `status=cancelled&fulfilment_status=delivered`, none": Wanted(
        status=("cancelled",), fulfilment_status=("delivered",)
    ),
    "hard: `currency`, 2 %, all in the oldest fifth": Wanted(currency="CHF", total_from=0),
}


SHORT = {
    "Index Scan order_list_newest, Index Scan order_search_pkey": "walk",
    "Index Scan order_list_status, Index Scan order_search_pkey": "walk along order_list_status",
    "Bitmap Index Scan order_search_found_by, Bitmap Heap Scan order_search": "Bitmap Scan order_search_found_by",
    "Bitmap Index Scan order_list_customer, Bitmap Heap Scan order_list": "Bitmap Scan order_list_customer",
    "Index Scan order_list_pkey": "order_list_pkey",
    "Index Scan order_search_pkey": "order_search_pkey",
}
"""How the table calls nodes that stand together, or are in every search."""


class Cost(msgspec.Struct, frozen=True):
    """Of one page: milliseconds (median of five, all in memory if it fits), pages of 8 kB touched, and the nodes."""

    ms: float
    buffers: int
    nodes: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    orders = parser.parse_args().orders
    with Postgres() as postgres, many_orders(postgres.create_database(), orders) as connection:
        print(f"{orders:,} orders, {datetime.now(UTC):%Y-%m-%d}\n")
        print("| filter | first page | page 1,000 | 8 kB pages touched, first / 1,000 | plan of page 1,000 |")
        print("|---|---|---|---|---|")
        for name, wanted in FILTERS.items():
            key = deep_in(connection, wanted)
            first = cost(connection, wanted, Window(limit=LIMIT))
            deep = cost(connection, wanted, Window(limit=LIMIT, after=key)) if key is not None else first
            figures = f"{first.ms:.1f} ms | {deep.ms:.1f} ms | {first.buffers:,} / {deep.buffers:,}"
            print(f"| {name} | {figures} | {deep.nodes} |", flush=True)
        print("\n| relation | size |\n|---|---|")
        for name, size in connection.execute(SIZES):
            print(f"| {name} | {size} |")


SIZES = """
SELECT relname, pg_size_pretty(pg_relation_size(oid)) FROM pg_class
WHERE relname LIKE ANY('{order_list%,order_search%}') AND relkind IN ('r', 'i') ORDER BY pg_relation_size(oid) DESC
"""
"""The tables and indexes of the lists, by size."""


def deep_in(connection: psycopg.Connection[Any], wanted: Wanted) -> Key | None:
    """Where page 1,000 begins; none for an empty list."""
    statement = looked_up if found_by(wanted) is not None else listed
    rows = run(connection, statement(wanted, Window(limit=DEEP)))
    row = rows[-1] if len(rows) == DEEP else rows[len(rows) * 3 // 4] if rows else None
    return (row[-1], row[0]) if row is not None else None


def cost(connection: psycopg.Connection[Any], wanted: Wanted, window: Window) -> Cost:
    """Of the statements that `Queries.orders` sends for it."""
    statements = list(sent(connection, wanted, window))
    seconds = []
    for _ in range(5):
        begun = perf_counter()
        for statement in statements:
            run(connection, statement)
        seconds.append(perf_counter() - begun)
    plans = [explained(connection, statement) for statement in statements]
    nodes = "; ".join(", ".join(dict.fromkeys(named(plan["Plan"]))) for plan in plans)
    for long, short in SHORT.items():
        nodes = nodes.replace(long, short)
    return Cost(1_000 * median(seconds), sum(touched(plan["Plan"]) for plan in plans), nodes)


def sent(connection: psycopg.Connection[Any], wanted: Wanted, window: Window) -> Iterator[Statement]:
    if found_by(wanted) is None:
        yield listed(wanted, window)
        return
    yield walked(wanted, window)
    rows = run(connection, walked(wanted, window))
    if len([row for row in rows if row[1] is not None]) < window.limit and rows[0][0] == STRETCH:
        yield looked_up(wanted, window)


def run(connection: psycopg.Connection[Any], statement: Statement) -> list[Any]:
    return connection.execute(statement.query, statement.parameters).fetchall()


def explained(connection: psycopg.Connection[Any], statement: Statement) -> dict[str, Any]:
    query = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.query}"
    plan: Any = (connection.execute(query, statement.parameters).fetchone() or [[]])[0][0]
    return dict(plan)


def touched(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def named(node: dict[str, Any]) -> Iterator[str]:
    """What reads or sorts, with what it left out, from the leaves up."""
    for below in node.get("Plans", ()):
        yield from named(below)
    about = node.get("Index Name") or node.get("Relation Name")
    if about is not None or node["Node Type"] == "Sort":
        left_out = node.get("Rows Removed by Filter", 0)
        rows = f" of {node['Actual Rows'] * node['Actual Loops']:,.0f}" if node["Node Type"] == "Sort" else ""
        out = f" ({left_out:,} left out)" if left_out else ""
        yield f"{node['Node Type']}{f' {about}' if about else ''}{rows}{out}"


if __name__ == "__main__":
    main()
