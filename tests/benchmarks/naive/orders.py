"""The baseline's orders: an aggregate and an application just as the `eventsourcing` documentation shows them."""

from typing import Any, Literal
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

Line = dict[str, Any]  # {"sku", "quantity", "unit_price"}: what the library's JSON transcoder takes as it is

Status = Literal["placed", "confirmed", "cancelled"]


class Order(Aggregate):
    class Placed(Aggregate.Created):
        customer_id: str
        currency: str
        lines: list[Line]
        total: int

    class Confirmed(Aggregate.Event):
        pass

    class Cancelled(Aggregate.Event):
        reason: str

    @event(Placed)
    def __init__(self, customer_id: str, currency: str, lines: list[Line], total: int) -> None:
        self.customer_id = customer_id
        self.currency = currency
        self.lines = lines
        self.total = total
        self.status: Status = "placed"

    @event(Confirmed)
    def confirm(self) -> None:
        self.status = "confirmed"

    @event(Cancelled)
    def cancel(self, reason: str) -> None:
        self.status = "cancelled"
        self.reason = reason


class Orders(Application[UUID]):
    name = "orders"

    def place_order(self, customer_id: str, currency: str, lines: list[Line]) -> Order:
        total = sum(line["quantity"] * line["unit_price"] for line in lines)
        order = Order(customer_id, currency, lines, total)
        self.save(order)
        return order


def library_environment(url: str) -> dict[str, str]:
    """The library's settings for the PostgreSQL at `url`; all else stays as the library has it."""
    address = conninfo_to_dict(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(address["dbname"]),
        "POSTGRES_HOST": str(address["host"]),
        "POSTGRES_PORT": str(address.get("port", "5432")),
        "POSTGRES_USER": str(address["user"]),
        "POSTGRES_PASSWORD": str(address.get("password", "")),
    }
