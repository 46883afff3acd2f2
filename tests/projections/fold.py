"""What the tables must hold: sums over the log, made without the code under test."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from events import codec, status
from events.codec import Row
from events.envelope import Recorded
from events.order import (
    LinesCancelled,
    MetadataSet,
    NoteAdded,
    OrderAmended,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderDrafted,
    OrderHeld,
    OrderPlaced,
    OrderReleased,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
    ReturnApproved,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    TagsSet,
    TrackingUpdated,
)
from events.product import (
    ProductListed,
    StockAdjusted,
    StockDispatched,
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
)

Tables = dict[str, dict[tuple[Any, ...], dict[str, Any]]]

TABLES: dict[str, tuple[str, ...]] = {
    "order_details": ("order_id",),
    "order_details_quantities": ("order_id", "line_id"),
    "order_details_shipments": ("order_id", "shipment_id"),
    "order_details_returns": ("order_id", "return_id"),
    "order_list": ("order_id",),
    "order_search": ("order_id",),
    "daily_sales": ("date", "currency"),
    "timeline": ("order_id", "version"),
    "stock_levels": ("sku",),
}
"""Each table that only the worker writes, with its key."""

ALL_TABLES = {**TABLES, "due_steps": ("order_id", "step", "reference")}
"""With the one from which steps also go when they are carried out."""


def folded(rows: Iterable[Row], tables: Iterable[str] = TABLES) -> Tables:
    """What these tables must hold."""
    streams: dict[str, list[Recorded]] = defaultdict(list)
    result: Tables = {name: {} for name in ALL_TABLES}
    for row in rows:
        recorded = codec.decode(row)
        streams[recorded.stream].append(recorded)
    for history in streams.values():
        if history[0].kind == "order":
            _fold_order(result, UUID(history[0].key), history)
        else:
            result["stock_levels"][history[0].key,] = _stock(history)
    return {name: result[name] for name in tables}


# An order, from the list of all that happened to it ----------------------------------------------------------

PIECES = {
    "cancelled": (LinesCancelled, OrderCancelled),
    "shipped": (ShipmentDispatched,),
    "delivered": (ShipmentDelivered,),
    "lost": (ShipmentLost,),
    "returned": (ReturnReceived,),
}
"""Column to the facts whose pieces it counts."""

LEDGER = {
    "authorized": PaymentAuthorized,
    "voided": PaymentVoided,
    "captured": PaymentCaptured,
    "refunded": PaymentRefunded,
}
"""Column to the facts whose amounts it sums up."""

STATUS = {
    OrderDrafted: "draft",
    OrderPlaced: "placed",
    OrderConfirmed: "confirmed",
    OrderCompleted: "completed",
    OrderCancelled: "cancelled",
}
"""What brings an order into a status."""

LATEST: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("number", "customer_id", "currency", "payment_terms"), (OrderDrafted, OrderPlaced)),
    **dict.fromkeys(("payment_method", "external_reference"), (OrderDrafted, OrderPlaced)),
    **dict.fromkeys(("lines", "subtotal", "discount", "shipping", "tax"), (OrderDrafted, OrderPlaced, OrderAmended)),
    **dict.fromkeys(("email", "shipping_address"), (OrderDrafted, OrderPlaced, OrderAmended)),
    "metadata": (OrderDrafted, OrderPlaced, MetadataSet),
    "tags": (TagsSet,),
}
"""Column to the facts of which the latest says its value."""

ADDRESSED = ("name", "postal_code", "city")
"""What of an address an order is found by."""

IN_BOTH = "number customer_id currency external_reference tags"
IN_DETAILS = "lines subtotal discount shipping tax payment_terms payment_method email shipping_address metadata"


def _fold_order(tables: Tables, order_id: UUID, history: list[Recorded]) -> None:
    events: list[Any] = [recorded.event for recorded in history]
    _fold_timeline(tables, order_id, history)
    _fold_sales(tables, events)
    _fold_movements(tables, order_id, history)
    _fold_steps(tables, order_id, history)
    both = _ledger(events) | {
        "version": history[-1].version,
        "status": [named for event in events for kind, named in STATUS.items() if type(event) is kind][-1],
        "created_at": events[0].at,
        "placed_at": next((event.at for event in events if isinstance(event, OrderPlaced)), None),
        "updated_at": events[-1].at,
    }
    held = [event.reason if isinstance(event, OrderHeld) else None for event in events if _is_of_a_hold(event)]
    own = {
        "notes": sum(isinstance(event, NoteAdded) for event in events),
        "hold_reason": held[-1] if held else None,
        "cancel_reason": next((event.reason for event in events if isinstance(event, OrderCancelled)), None),
    }
    values = {column: _latest(events, column) for column in LATEST}
    tables["order_details"][order_id,] = (
        both | own | {column: values[column] for column in f"{IN_BOTH} {IN_DETAILS}".split()}
    )
    summed = {column: sum(_pieces(events, column).values()) for column in PIECES}
    summed |= {"units": sum(line["quantity"] for line in values["lines"])}
    summed |= {
        "on_hold": own["hold_reason"] is not None,
        "refund_due": both["captured"] - both["refunded"] > both["total"],
    }
    tables["order_list"][order_id,] = both | summed | {column: values[column] for column in IN_BOTH.split()}
    tables["order_list"][order_id,] |= {"tags": values["tags"] or None, "listed_at": both["placed_at"] or events[0].at}
    tables["order_list"][order_id,] |= _statuses(both, summed)
    tables["order_search"][order_id,] = {"listed_at": both["placed_at"] or events[0].at} | _found_by(values)


def _statuses(both: dict[str, Any], pieces: dict[str, int]) -> dict[str, str]:
    total, authorized = both["total"], both["authorized"] - both["voided"]
    counted = [SimpleNamespace(quantity=pieces["units"], **pieces)]
    return {
        "payment_status": status.payment_status(total, authorized, both["captured"], both["refunded"]),
        "fulfilment_status": status.fulfilment_status(counted),
        "return_status": status.return_status(counted),
    }


def _found_by(values: dict[str, Any]) -> dict[str, list[str]]:
    """The lexemes of each vector, in PostgreSQL's order."""
    where_to = values["shipping_address"] or {}
    said = dict.fromkeys(word for line in values["lines"] for word in _words(f"{line['sku']} {line['name']}"))
    lines = {f"={line['sku']}" for line in values["lines"]} | {*[*said][:1_000]}
    card = {f"@{values['customer_id']}", *_words(f"{values['number']} {values['customer_id']}")}
    if values["external_reference"] is not None:
        card |= {f"#{values['external_reference']}", *_words(values["external_reference"])}
    labels = {word for tag in values["tags"] or () for word in (f"+{tag}", *_words(tag))}
    content = lines.union(_words(" ".join([values["email"] or "", *(where_to.get(name) or "" for name in ADDRESSED)])))
    return {
        name: sorted(its, key=str.encode) for name, its in (("card", card), ("content", content), ("tagged", labels))
    }


def _words(text: str) -> list[str]:
    """Letters and digits that stand together, or with an apostrophe between; examples have no accents."""
    return "".join(one if one.isalnum() else "" if one == "'" else " " for one in text.lower()).split()


def _is_of_a_hold(event: Any) -> bool:
    return isinstance(event, OrderHeld | OrderReleased)


def _fold_timeline(tables: Tables, order_id: UUID, history: list[Recorded]) -> None:
    for one in history:
        tables["timeline"][order_id, one.version] = {
            "position": one.position,
            "type": codec.event_type(one.event),
            "time": one.cause.time,
            "actor": "tests",
            "data": codec.data(one.event).decode(),
        }


def _ledger(events: list[Any]) -> dict[str, int]:
    ordered = [event.total for event in events if isinstance(event, OrderDrafted | OrderPlaced | OrderAmended)][-1]
    less = sum(event.amount for event in events if isinstance(event, LinesCancelled | OrderCancelled | ReturnReceived))
    sums = {column: sum(event.amount for event in events if isinstance(event, kind)) for column, kind in LEDGER.items()}
    return sums | {"ordered": ordered, "reduced": less, "total": ordered - less}


def _latest(events: list[Any], column: str) -> Any:
    """As the JSON in the table is read back."""
    said = [getattr(event, column) for event in events if isinstance(event, LATEST[column])]
    return msgspec.json.decode(msgspec.json.encode(said[-1])) if said else None


def _pieces(events: list[Any], column: str) -> dict[str, int]:
    """How many of each line."""
    counted: dict[str, int] = defaultdict(int)
    for event in events:
        if isinstance(event, PIECES[column]):
            for line in event.lines:
                counted[line.line_id] += line.quantity
    return counted


def _fold_sales(tables: Tables, events: list[Any]) -> None:
    for event in events:
        if isinstance(event, OrderPlaced | PaymentRefunded):
            day = tables["daily_sales"].setdefault(
                (event.at.date(), event.currency), dict.fromkeys(("orders", "units", "gross", "refunded"), 0)
            )
            if isinstance(event, PaymentRefunded):
                day["refunded"] += event.amount
            else:
                day["orders"] += 1
                day["units"] += sum(line.quantity for line in event.lines)
                day["gross"] += event.total


def _fold_movements(tables: Tables, order_id: UUID, history: list[Recorded]) -> None:
    pieces = {column: _pieces([one.event for one in history], column) for column in PIECES}
    for line_id in {line_id for counted in pieces.values() for line_id in counted}:
        row = {column: counted[line_id] for column, counted in pieces.items()}
        tables["order_details_quantities"][order_id, line_id] = row
    shipments, returns = tables["order_details_shipments"], tables["order_details_returns"]
    for one in history:
        match event := one.event:
            case ShipmentDispatched():
                shipments[order_id, event.shipment_id] = {"version": one.version, "lines": _read_back(event.lines)}
            case ReturnRequested():
                values = {"version": one.version, "lines": _read_back(event.lines), "reason": event.reason}
                returns[order_id, event.return_id] = values | {"received": []}
            case ReturnReceived():
                returns[order_id, event.return_id]["received"] = _read_back(event.lines)
        match event:
            case ShipmentDispatched() | TrackingUpdated():
                tracking = {"carrier": event.carrier, "tracking_number": event.tracking_number}
                shipments[order_id, event.shipment_id] |= tracking
        match event:
            case ShipmentDispatched() | ShipmentDelivered() | ShipmentLost():
                shipments[order_id, event.shipment_id]["status"] = codec.event_type(event).split("-")[-1][:-3]
            case ReturnRequested() | ReturnApproved() | ReturnRejected() | ReturnReceived():
                returns[order_id, event.return_id]["status"] = codec.event_type(event).split("-")[-1][:-3]


def _read_back(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _fold_steps(tables: Tables, order_id: UUID, history: list[Recorded]) -> None:
    steps = tables["due_steps"]
    for one in history:
        begun, over = _steps(one.event)
        for step, reference in begun:
            steps[order_id, step, reference] = {"started_at": one.cause.time, "position": one.position}
        for step, reference in over:
            steps.pop((order_id, step, reference), None)


def _steps(event: Any) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:  # noqa: PLR0911  one case for each fact
    """The steps, each with its reference, that begin to wait by a fact, and those that no longer do."""
    confirm, complete, expire = ("confirm", ""), ("complete", ""), ("expire", "")
    match event:
        case OrderPlaced(payment_terms="prepaid"):
            return {expire if event.total else confirm}, set()
        case OrderConfirmed():
            return set(), {confirm, expire}
        case OrderCancelled():
            return set(), {confirm, complete, expire}
        case OrderCompleted():
            return set(), {complete}
        case PaymentAuthorized():
            return {confirm, ("void", event.reference)}, set()
        case PaymentVoided():
            return set(), {("void", event.reference)}
        case PaymentCaptured():
            return {complete}, {expire}
        case OrderReleased() | OrderAmended() | LinesCancelled():
            return {confirm, complete}, set()
        case ShipmentDelivered() | ShipmentLost() | PaymentRefunded() | ReturnReceived():
            return {complete}, set()
    return set(), set()


# A product ---------------------------------------------------------------------------------------------------


def _stock(history: list[Recorded]) -> dict[str, Any]:
    stock: dict[str, Any] = {"on_hand": 0, "reserved": 0}
    for one in history:
        match event := one.event:
            case ProductListed():
                stock |= {"name": event.name, "tracked": event.tracked, "prices": event.prices}
            case StockReceived() | StockAdjusted() | StockReturned():
                stock["on_hand"] += event.quantity
            case StockReserved():
                stock["reserved"] += event.quantity
            case StockReleased():
                stock["reserved"] -= event.quantity
            case StockDispatched():
                stock["on_hand"] -= event.quantity
                stock["reserved"] -= event.quantity
    return stock | {"version": history[-1].version, "updated_at": history[-1].event.at}


# What is there -----------------------------------------------------------------------------------------------

READ_BACK = {
    "timeline": "order_id, version, position, type, time, actor, data::text",
    "order_search": "order_id, listed_at, "
    + ", ".join(f"tsvector_to_array({name}) AS {name}" for name in ("card", "content", "tagged")),
}
"""Tables that are read otherwise than column by column."""

NOT_FOLDED = {"partition"}
"""Where an event came by, which the log does not know."""


def written(url: str, tables: Iterable[str] = TABLES) -> Tables:
    """What these tables do hold."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {name: dict(_rows(connection, name, ALL_TABLES[name])) for name in tables}


def _rows(
    connection: psycopg.Connection[dict[str, Any]], table: str, key: tuple[str, ...]
) -> Iterable[tuple[tuple[Any, ...], dict[str, Any]]]:
    for row in connection.execute(f"SELECT {READ_BACK.get(table, '*')} FROM {table}"):
        rest = row.keys() - {*key} - NOT_FOLDED
        yield tuple(row[name] for name in key), {name: row[name] for name in rest}


def difference(expected: Tables, found: Mapping[str, Any]) -> str:
    """The first few rows that differ; empty when none does."""
    differing = [
        f"{table} {key}: expected {expected[table].get(key)}, found {found[table].get(key)}"
        for table in expected
        for key in expected[table].keys() | found[table].keys()
        if expected[table].get(key) != found[table].get(key)
    ]
    return "\n".join([f"{len(differing)} rows differ", *differing[:5]]) if differing else ""
