"""A read side with as many orders as wanted, made by SQL in the shape in which the projections write them.

Twenty seconds lie between two orders. The newest hundredth is in every stage; older orders are completed, but for some.
Few SKUs sell most, customers differ as much, one product was sold long ago only, and one currency is gone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from projections.migrate import migrate

DRAWN = """
CREATE UNLOGGED TABLE drawn AS
SELECT n, uuidv7(-(n * interval '20 s')) AS order_id, date_trunc('second', now()) - n * interval '20 s' AS at,
    random() AS stage, random() AS back, random() AS paid, random() AS sent, random() AS odd,
    500 + (50000 * random() ^ 3)::bigint AS ordered, 1 + floor(4 * random())::int AS units,
    CASE WHEN random() < 0.05 THEN 'C-MARKET' ELSE 'C-' || floor(50000 * random() ^ 2) END AS customer_id,
    CASE WHEN random() < 0.9 THEN 'EUR' WHEN n > {orders} * 0.8 THEN 'CHF' ELSE 'USD' END AS currency,
    floor(exp(random() * ln(10000)))::int AS first, floor(exp(random() * ln(10000)))::int AS second,
    floor(10000 * random())::int AS third,
    CASE WHEN random() < 0.3 THEN 'PO-' || n END AS external_reference,
    CASE WHEN random() < 0.6 THEN 'web' WHEN random() < 0.1 THEN 'gift' WHEN random() < 0.02 THEN 'vip' END AS tag
FROM generate_series(1, {orders}) n
"""
"""What chance decides of each order, the newest first."""

LISTED = """
INSERT INTO order_list (order_id, version, number, customer_id, status, currency, ordered, reduced, authorized,
    captured, refunded, units, cancelled, shipped, delivered, returned, on_hold, tags, external_reference, created_at,
    placed_at, updated_at)
SELECT order_id, 5, 'N-' || n, customer_id, status, currency, ordered,
    CASE WHEN status = 'cancelled' THEN ordered WHEN is_back THEN ordered / units ELSE 0 END,
    CASE WHEN status = 'completed' OR back < 0.7 AND status <> 'draft' THEN ordered ELSE 0 END,
    CASE WHEN status = 'completed' OR status = 'cancelled' AND paid < 0.2 OR status = 'confirmed' AND paid < 0.6
        THEN ordered ELSE 0 END,
    CASE WHEN status = 'cancelled' AND paid < 0.19 THEN ordered WHEN is_back AND sent < 0.98 THEN ordered / units
        ELSE 0 END,
    units, CASE WHEN status = 'cancelled' THEN units ELSE 0 END,
    CASE WHEN status = 'completed' OR status = 'confirmed' AND sent < 0.5 THEN units ELSE 0 END,
    CASE WHEN status = 'completed' THEN units ELSE 0 END, CASE WHEN is_back THEN 1 ELSE 0 END,
    status IN ('placed', 'confirmed') AND odd < 0.05, CASE WHEN tag IS NOT NULL THEN jsonb_build_array(tag) END,
    external_reference, at, CASE WHEN status <> 'draft' THEN at END, at
FROM (SELECT *, status = 'completed' AND back < 0.03 AS is_back FROM (SELECT *, CASE
    WHEN n <= {orders} / 100 THEN CASE WHEN stage < 0.3 THEN 'placed' WHEN stage < 0.9 THEN 'confirmed'
        WHEN stage < 0.95 THEN 'cancelled' ELSE 'draft' END
    ELSE CASE WHEN stage < 0.88 THEN 'completed' WHEN stage < 0.97 THEN 'cancelled' WHEN stage < 0.99 THEN 'draft'
        ELSE 'confirmed' END
    END AS status FROM drawn) AS staged) AS orders
"""
"""The rows of `order_list`."""

SEARCHED = """
INSERT INTO order_search (order_id, listed_at, card, content, tagged)
SELECT order_id, at,
    array_to_tsvector(array_remove(
        ARRAY['n', n::text, 'c', lower(substr(customer_id, 3)), '@' || customer_id, 'po', '#' || external_reference],
        NULL)),
    array_to_tsvector(ARRAY['=SKU-' || first, '=SKU-' || second, '=SKU-' || third, 'sku', first::text, second::text,
        third::text, 'product', 'colour' || first % 20, 'kind' || second % 500, 'surname' || third % 7000,
        'name' || first % 900, 'city' || third % 300, 'example', 'com',
        CASE WHEN n > {orders} * 0.9 AND odd < 0.3 THEN '=SKU-XMAS' ELSE 'shop' END]),
    array_to_tsvector(array_remove(ARRAY[tag, '+' || tag], NULL))
FROM drawn
"""
"""The rows of `order_search`."""

FOUND_BY = (
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = 'order_search_found_by'::regclass",
    "DROP INDEX order_search_found_by",
)
"""What makes the index anew, and what drops it: it is quicker made from a full table."""


@contextmanager
def many_orders(url: str, orders: int) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty database that was filled, with statistics, as autovacuum makes them."""
    migrate(url)
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        definition, drop = FOUND_BY
        (index,) = connection.execute(definition).fetchone() or ("",)
        connection.execute(drop)
        connection.execute("SELECT setseed(0.5)")
        for statement in (DRAWN, LISTED, SEARCHED):
            connection.execute(statement.format(orders=orders))
        connection.execute(index)
        connection.execute("DROP TABLE drawn")
        connection.execute("VACUUM ANALYZE order_list, order_search")
        yield connection
