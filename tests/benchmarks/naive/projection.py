"""The baseline's read models: the library's own projections, as its documentation shows them, and how fast they are.

Each event is one transaction: the rows it changes, by plain SQL, and the position it came from.
"""

from collections.abc import Mapping
from time import perf_counter
from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from tests.benchmarks.naive.orders import Line, Order, Orders

TOPICS = (get_topic(Order.Placed), get_topic(Order.Confirmed), get_topic(Order.Cancelled))
LINES: list[Line] = [{"sku": f"SKU-{n}", "quantity": n, "unit_price": 1_999} for n in (1, 2, 3)]
TOTAL = 6 * 1_999


# order_details: one row an order, one row a line --------------------------------------------------------------


class OrderDetailsView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements += [
            SQL(
                "CREATE TABLE IF NOT EXISTS order_details (order_id uuid PRIMARY KEY, customer_id text NOT NULL, "
                "status text NOT NULL, version bigint NOT NULL, currency text NOT NULL, total bigint NOT NULL, "
                "placed_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)"
            ).format(),
            SQL(
                "CREATE TABLE IF NOT EXISTS order_lines (order_id uuid, line integer, sku text NOT NULL, "
                "quantity bigint NOT NULL, unit_price bigint NOT NULL, PRIMARY KEY (order_id, line))"
            ).format(),
        ]

    def insert_order(self, placed: Order.Placed, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "INSERT INTO order_details VALUES (%s, %s, 'placed', %s, %s, %s, %s, %s) "
                "ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, version = excluded.version",
                (
                    placed.originator_id,
                    placed.customer_id,
                    placed.originator_version,
                    placed.currency,
                    placed.total,
                    placed.timestamp,
                    placed.timestamp,
                ),
            )
            for number, line in enumerate(placed.lines, start=1):
                curs.execute(
                    "INSERT INTO order_lines VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (placed.originator_id, number, line["sku"], line["quantity"], line["unit_price"]),
                )

    def set_status(self, status: str, changed: Aggregate.Event, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "UPDATE order_details SET status = %s, version = %s, updated_at = %s WHERE order_id = %s",
                (status, changed.originator_version, changed.timestamp, changed.originator_id),
            )


class OrderDetails(Projection[OrderDetailsView]):
    name = "order_details"
    topics = TOPICS

    @singledispatchmethod
    def process_event(self, _domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def placed(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.insert_order(domain_event, tracking)

    @process_event.register
    def confirmed(self, domain_event: Order.Confirmed, tracking: Tracking) -> None:
        self.view.set_status("confirmed", domain_event, tracking)

    @process_event.register
    def cancelled(self, domain_event: Order.Cancelled, tracking: Tracking) -> None:
        self.view.set_status("cancelled", domain_event, tracking)


# order_list: one row an order ---------------------------------------------------------------------------------


class OrderListView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS order_list (order_id uuid PRIMARY KEY, customer_id text NOT NULL, "
                "status text NOT NULL, currency text NOT NULL, total bigint NOT NULL, skus text[] NOT NULL, "
                "placed_at timestamptz NOT NULL)"
            ).format()
        )

    def insert_order(self, placed: Order.Placed, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "INSERT INTO order_list VALUES (%s, %s, 'placed', %s, %s, %s, %s) "
                "ON CONFLICT (order_id) DO UPDATE SET status = excluded.status",
                (
                    placed.originator_id,
                    placed.customer_id,
                    placed.currency,
                    placed.total,
                    [line["sku"] for line in placed.lines],
                    placed.timestamp,
                ),
            )

    def set_status(self, status: str, order_id: UUID, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute("UPDATE order_list SET status = %s WHERE order_id = %s", (status, order_id))


class OrderList(Projection[OrderListView]):
    name = "order_list"
    topics = TOPICS

    @singledispatchmethod
    def process_event(self, _domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def placed(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.insert_order(domain_event, tracking)

    @process_event.register
    def confirmed(self, domain_event: Order.Confirmed, tracking: Tracking) -> None:
        self.view.set_status("confirmed", domain_event.originator_id, tracking)

    @process_event.register
    def cancelled(self, domain_event: Order.Cancelled, tracking: Tracking) -> None:
        self.view.set_status("cancelled", domain_event.originator_id, tracking)


# daily_sales: counters per day and currency -------------------------------------------------------------------


class DailySalesView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS daily_sales (day date, currency text, orders bigint NOT NULL, "
                "units bigint NOT NULL, gross bigint NOT NULL, PRIMARY KEY (day, currency))"
            ).format()
        )

    def add_sale(self, placed: Order.Placed, tracking: Tracking) -> None:
        units = sum(line["quantity"] for line in placed.lines)
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "INSERT INTO daily_sales AS sales VALUES (%s, %s, 1, %s, %s) "
                "ON CONFLICT (day, currency) DO UPDATE SET orders = sales.orders + 1, "
                "units = sales.units + excluded.units, gross = sales.gross + excluded.gross",
                (placed.timestamp.date(), placed.currency, units, placed.total),
            )


class DailySales(Projection[DailySalesView]):
    name = "daily_sales"
    topics = TOPICS  # all of them, so that its position is the log's

    @singledispatchmethod
    def process_event(self, _domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def placed(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.add_sale(domain_event, tracking)


# timeline: one row an event -----------------------------------------------------------------------------------


class TimelineView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS timeline (position bigint PRIMARY KEY, order_id uuid NOT NULL, "
                "version bigint NOT NULL, event text NOT NULL, at timestamptz NOT NULL)"
            ).format()
        )

    def insert_entry(self, happened: Aggregate.Event, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "INSERT INTO timeline VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    tracking.notification_id,
                    happened.originator_id,
                    happened.originator_version,
                    type(happened).__name__,
                    happened.timestamp,
                ),
            )


class Timeline(Projection[TimelineView]):
    name = "timeline"
    topics = TOPICS

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_entry(domain_event, tracking)


# How fast -----------------------------------------------------------------------------------------------------

VIEWS: dict[type[Projection[Any]], type[PostgresTrackingRecorder]] = {
    OrderDetails: OrderDetailsView,
    OrderList: OrderListView,
    DailySales: DailySalesView,
    Timeline: TimelineView,
}


class ProjectionStopped(Exception):
    """The library's runner ended before it had projected the log."""


def record_orders(environment: Mapping[str, str], events: int, batch: int = 100) -> int:
    """Record `events` events, each order placed and confirmed; the log's last position. Batched, to be done soon."""
    with Orders(dict(environment)) as application:
        for first in range(0, events, 2 * batch):
            confirmed = [confirmed_order() for _ in range(min(batch, (events - first + 1) // 2))]
            application.save(*confirmed)
        return application.recorder.max_notification_id() or 0


def confirmed_order() -> Order:
    order = Order("customer-1", "EUR", LINES, TOTAL)
    order.confirm()
    return order


def projected_events_per_second(
    environment: Mapping[str, str], projection: type[Projection[Any]], events: int
) -> float:
    """How many events a second the library's runner takes from the log into `projection`; the first tenth warms up.

    The database must hold the log of `record_orders`, at least `events` long, and nothing of this projection yet.
    """
    runner = ProjectionRunner(
        application_class=Orders, projection_class=projection, view_class=VIEWS[projection], env=dict(environment)
    )
    with runner:
        began, first = reached(runner, events // 10)
        ended, last = reached(runner, events)
    return (last - first) / (ended - began)


def reached(runner: ProjectionRunner[Orders, Any], position: int) -> tuple[float, int]:
    """When the projection was seen at or after `position`, and where it was. Its own `wait` looks too seldom."""
    while True:
        projected = runner.view.max_tracking_id(Orders.name) or 0
        if projected >= position:
            return perf_counter(), projected
        runner.run_forever(timeout=0.05)  # raises what the projection raised
        if runner.is_interrupted.is_set():
            raise ProjectionStopped(f"the projection stopped at {projected} of {position}")


def saves_per_second(environment: Mapping[str, str], saves: int) -> float:
    """How many times a second one thread saves one new order, a transaction each; after a tenth as many to warm up."""
    with Orders(dict(environment)) as application:
        for _ in range(saves // 10):
            application.place_order("customer-1", "EUR", LINES)
        began = perf_counter()
        for _ in range(saves):
            application.place_order("customer-1", "EUR", LINES)
        return saves / (perf_counter() - began)
