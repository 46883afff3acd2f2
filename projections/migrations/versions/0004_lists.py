"""What the lists of orders are filtered by: derived statuses, dates, totals, and all that an order can be found by.

The columns are computed from those that are there, so PostgreSQL fills them in, and nothing need be made anew. The
search is a projection that joins later: it reads the events from the beginning, and until it has caught up it is behind
as any projection may be.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE order_list
    ADD COLUMN payment_status text GENERATED ALWAYS AS (CASE
        WHEN refunded <> 0 THEN CASE WHEN refunded >= captured THEN 'refunded' ELSE 'partly_refunded' END
        WHEN captured <> 0 THEN CASE WHEN captured >= ordered - reduced THEN 'paid' ELSE 'partly_paid' END
        WHEN ordered - reduced = 0 THEN 'none'
        WHEN authorized - voided >= ordered - reduced THEN 'authorized' ELSE 'unpaid' END) STORED NOT NULL,
    ADD COLUMN fulfilment_status text GENERATED ALWAYS AS (CASE
        WHEN units - cancelled = 0 THEN 'none'
        WHEN delivered <> 0 THEN CASE WHEN delivered >= units - cancelled THEN 'delivered' ELSE 'partly_delivered' END
        WHEN shipped - lost <> 0 THEN
            CASE WHEN shipped - lost >= units - cancelled THEN 'shipped' ELSE 'partly_shipped' END
        ELSE 'unfulfilled' END) STORED NOT NULL,
    ADD COLUMN return_status text GENERATED ALWAYS AS (CASE
        WHEN returned = 0 THEN 'none' WHEN returned >= delivered THEN 'returned' ELSE 'partly_returned' END)
        STORED NOT NULL,
    ADD COLUMN listed_at timestamptz GENERATED ALWAYS AS (coalesce(placed_at, created_at)) STORED NOT NULL
"""

LISTED = ["listed_at", "order_id"]

INDEXES: dict[str, tuple[list[str], str | None]] = {
    "order_list_newest": (LISTED, None),
    "order_list_customer": (["customer_id", *LISTED], None),
    "order_list_status": (["status", *LISTED], None),
    "order_list_payment_status": (["payment_status", *LISTED], "payment_status <> 'paid'"),
    "order_list_fulfilment_status": (["fulfilment_status", *LISTED], "fulfilment_status <> 'delivered'"),
    "order_list_return_status": (["return_status", *LISTED], "return_status <> 'none'"),
    "order_list_refund_due": (LISTED, "refund_due"),
    "order_list_on_hold": (LISTED, "on_hold"),
    "order_list_total": (["currency", "total"], None),
}

STATISTICS = """
CREATE STATISTICS order_list_statuses (mcv)
ON status, payment_status, fulfilment_status, return_status, refund_due, on_hold FROM order_list
"""
"""Which of these go together: whoever planned as if they had nothing to do with each other would walk the whole list
for orders that are cancelled and delivered."""


def upgrade() -> None:
    for name in ("newest", "customer", "status", "refund_due", "tags"):
        op.drop_index(f"order_list_{name}", table_name="order_list")
    op.execute(COLUMNS)
    for name, (columns, where) in INDEXES.items():
        op.create_index(name, "order_list", columns, postgresql_where=sa.text(where) if where else None)
    op.execute(STATISTICS)
    op.execute("ANALYZE order_list")
    op.create_table(
        "order_search",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("card", postgresql.TSVECTOR(), nullable=False),
        sa.Column("content", postgresql.TSVECTOR(), nullable=False),
        sa.Column("tagged", postgresql.TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index(
        "order_search_found_by",
        "order_search",
        [sa.text("((card || content) || tagged)")],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 512},
    )


def downgrade() -> None:
    op.drop_table("order_search")
    op.execute("DROP STATISTICS order_list_statuses")
    for name in INDEXES:
        op.drop_index(name, table_name="order_list")
    for column in ("payment_status", "fulfilment_status", "return_status", "listed_at"):
        op.drop_column("order_list", column)
    created = ["created_at", "order_id"]
    op.create_index("order_list_customer", "order_list", ["customer_id", *created])
    op.create_index("order_list_newest", "order_list", created)
    op.create_index("order_list_refund_due", "order_list", created, postgresql_where=sa.text("refund_due"))
    op.create_index("order_list_status", "order_list", ["status", *created])
    op.create_index(
        "order_list_tags",
        "order_list",
        ["tags"],
        postgresql_using="gin",
        postgresql_ops={"tags": "jsonb_path_ops"},
        postgresql_where=sa.text("tags IS NOT NULL"),
    )
