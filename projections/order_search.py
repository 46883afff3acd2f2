"""Which orders have this SKU, reference, tag or word? One row an order, with all it can be found by.

A table of its own, since its index is the costliest of all: an order is written here when its content or its tags
change, and in `order_list` at each step that it takes.
"""

from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from sqlalchemy import Column, DateTime, Index, Table, Uuid, text
from sqlalchemy.dialects.postgresql import TSVECTOR

from events.envelope import Recorded
from events.order import (
    Address,
    Content,
    Line,
    LinesCancelled,
    MetadataSet,
    NoteAdded,
    OrderAmended,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderDrafted,
    OrderEvent,
    OrderHeld,
    OrderPlaced,
    OrderReleased,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
    RefundRequired,
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
from projections.tables import Change, Projection, Put, Set, metadata
from projections.words import vector, words

FOUND_BY = "((card || content) || tagged)"
"""All that an order can be found by."""

order_search = Table(
    "order_search",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("listed_at", DateTime(timezone=True), nullable=False),  # as in `order_list`
    # Apart, since each is said whole by facts that do not name the others.
    Column("card", TSVECTOR, nullable=False),  # what no amendment changes
    Column("content", TSVECTOR, nullable=False),
    Column("tagged", TSVECTOR, nullable=False),
    Index(
        "order_search_found_by",
        text(FOUND_BY),
        postgresql_using="gin",
        # What is not in its place yet is read through by each search: a thousand orders, rather than ten thousand.
        postgresql_with={"gin_pending_list_limit": 512},
    ),
)

MOST_WORDS = 1_000
"""Of an order's lines: the vector of an order of 2,000 lines, with their SKUs whole, stays below PostgreSQL's 1 MB."""


def of_sku(sku: str) -> str:
    """The lexeme of a SKU as it is. No word begins with a sign; this and the following three."""
    return f"={sku}"


def of_reference(reference: str) -> str:
    return f"#{reference}"


def of_tag(tag: str) -> str:
    return f"+{tag}"


def of_customer(customer_id: str) -> str:
    return f"@{customer_id}"


def react(recorded: Recorded) -> Iterator[Change]:
    event, key = recorded.event, (recorded.key,)
    assert isinstance(event, OrderEvent)
    match event:
        case OrderDrafted() | OrderPlaced():
            yield _content(recorded, event)
        case OrderAmended():
            yield Set(order_search, key, {"content": vector(_in_content(event))})
        case TagsSet():
            named = {of_tag(tag) for tag in event.tags}
            yield Set(order_search, key, {"tagged": vector(named.union(*map(words, event.tags)))})
        case (
            OrderConfirmed()
            | LinesCancelled()
            | OrderCancelled()
            | OrderCompleted()
            | OrderHeld()
            | OrderReleased()
            | PaymentAuthorized()
            | PaymentCaptured()
            | PaymentVoided()
            | RefundRequired()
            | PaymentRefunded()
            | ShipmentDispatched()
            | TrackingUpdated()
            | ShipmentDelivered()
            | ShipmentLost()
            | ReturnRequested()
            | ReturnApproved()
            | ReturnRejected()
            | ReturnReceived()
            | NoteAdded()
            | MetadataSet()
        ):
            pass
        case _:
            assert_never(event)


def _content(recorded: Recorded, event: OrderDrafted | OrderPlaced) -> Change:
    values: dict[str, Any] = {
        "listed_at": event.at,
        "card": vector(_on_card(event)),
        "content": vector(_in_content(event)),
    }
    if recorded.version > 1:  # a draft is placed: its tags stand
        return Set(order_search, (recorded.key,), values)
    return Put(order_search, (recorded.key,), values | {"tagged": ""})


def _on_card(event: Content) -> set[str]:
    found_by = {*words(event.number), *words(event.customer_id), of_customer(event.customer_id)}
    if event.external_reference is not None:
        found_by |= {*words(event.external_reference), of_reference(event.external_reference)}
    return found_by


def _in_content(event: Content | OrderAmended) -> set[str]:
    found_by = _in_lines(event.lines)
    if event.email is not None:
        found_by.update(words(event.email))
    if event.shipping_address is not None:
        found_by.update(words(_where_to(event.shipping_address)))
    return found_by


def _in_lines(lines: Iterable[Line]) -> set[str]:
    skus = {line.sku for line in lines}
    said = dict.fromkeys(words(" ".join([f"{line.sku} {line.name}" for line in lines])))
    return {*list(said)[:MOST_WORDS], *map(of_sku, skus)}


def _where_to(address: Address) -> str:
    return f"{address.name} {address.postal_code or ''} {address.city}"


PROJECTION = Projection("order_search", "order", (order_search,), react)
