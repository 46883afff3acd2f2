"""The examples of the OpenAPI document: every command once at least, as two orders take them, and what happened then.

The facts are not written down a second time: they are what the commands decide.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast
from uuid import UUID

import msgspec

from commands import order as orders
from commands import product as products
from commands.command import Command
from commands.order import (
    AddNote,
    AmendOrder,
    AnyOrderCommand,
    CancelLines,
    CancelOrder,
    CompleteOrder,
    ConfirmDelivery,
    ConfirmOrder,
    DecideReturn,
    PlaceDraft,
    PlaceHold,
    PlaceOrder,
    ReceiveReturn,
    RecordAuthorization,
    RecordCapture,
    RecordRefund,
    ReleaseHold,
    ReportLost,
    RequestReturn,
    SetMetadata,
    SetTags,
    ShipItems,
    UpdateTracking,
    VoidAuthorization,
)
from commands.product import AdjustStock, AnyProductCommand, ListProduct, Product, ReceiveStock
from events.envelope import Event
from events.numbers import KEY_BYTES, Numbers
from events.order import OrderEvent

Json = dict[str, Any]


class Example(msgspec.Struct, frozen=True):
    """A command, and its body as it is sent."""

    command: type[Command]
    body: Json = {}


def eur(amount: int) -> Json:
    return {"amount": amount, "currency": "EUR"}


def _pieces(**quantities: int) -> list[Json]:
    return [{"line_id": name.removeprefix("line"), "quantity": quantity} for name, quantity in quantities.items()]


CUP, POSTER = "CUP", "POSTER/A2"

CATALOGUE: Mapping[str, tuple[Example, ...]] = {
    CUP: (
        Example(ListProduct, {"name": "A cup", "prices": [eur(250)], "stock": "tracked"}),
        Example(ReceiveStock, {"quantity": 120, "reason": "delivery 8812"}),
        Example(AdjustStock, {"quantity": -2, "reason": "broken"}),
    ),
    POSTER: (Example(ListProduct, {"name": "A poster", "prices": [eur(1999)]}),),
}

_ADDRESS = {"name": "Alice Doe", "line1": "1 Main Street", "postal_code": "10115", "city": "Berlin", "country": "DE"}

WHOLE_LIFE: tuple[Example, ...] = (
    Example(
        PlaceOrder,
        {
            "customer_id": "alice",
            "currency": "EUR",
            "lines": [{"sku": CUP, "quantity": 2}, {"sku": POSTER, "quantity": 1}],
            "shipping": eur(490),
            "payment_method": "card",
            "external_reference": "basket-4711",
            "email": "alice@example.org",
            "shipping_address": _ADDRESS,
            "draft": True,
        },
    ),
    Example(SetTags, {"tags": ["gift"]}),
    Example(SetMetadata, {"metadata": {"campaign": "spring"}}),
    Example(AddNote, {"note": "Wrap the cups one by one."}),
    Example(PlaceDraft),
    Example(
        AmendOrder,
        {
            "lines": [{"line_id": "1", "quantity": 3}, {"line_id": "2", "quantity": 1}],
            "discount": eur(100),
            "expected_total": eur(3139),
        },
    ),
    Example(PlaceHold, {"reason": "the address is being checked"}),
    Example(ReleaseHold),
    Example(RecordAuthorization, {"amount": eur(3139), "reference": "auth-1"}),
    Example(ConfirmOrder),
    Example(RecordCapture, {"amount": eur(3139), "reference": "auth-1"}),
    Example(ShipItems, {"lines": _pieces(line1=2), "carrier": "DHL", "tracking_number": "00340434161094042557"}),
    Example(UpdateTracking, {"shipment_id": "S1", "carrier": "DHL", "tracking_number": "00340434161094042558"}),
    Example(ConfirmDelivery, {"shipment_id": "S1"}),
    Example(ShipItems, {"lines": _pieces(line2=1)}),
    Example(ReportLost, {"shipment_id": "S2"}),
    Example(CancelLines, {"lines": _pieces(line1=1, line2=1), "reason": "lost on the way"}),
    Example(RecordRefund, {"amount": eur(2568), "reference": "refund-1"}),
    Example(CompleteOrder),
    Example(RequestReturn, {"lines": _pieces(line1=1), "reason": "chipped"}),
    Example(DecideReturn, {"return_id": "R1", "approved": True}),
    Example(ReceiveReturn, {"return_id": "R1", "lines": _pieces(line1=1), "restock": False}),
    Example(RecordRefund, {"amount": eur(285), "reference": "refund-2"}),
    Example(RequestReturn, {"lines": _pieces(line1=1), "reason": "does not please", "return_id": "RMA-77"}),
    Example(DecideReturn, {"return_id": "RMA-77", "approved": False}),
)

CALLED_OFF: tuple[Example, ...] = (
    Example(PlaceOrder, {"customer_id": "alice", "currency": "EUR", "lines": [{"sku": CUP, "quantity": 2}]}),
    Example(RecordAuthorization, {"amount": eur(500), "reference": "auth-2"}),
    Example(VoidAuthorization, {"reference": "auth-2"}),
    Example(CancelOrder, {"reason": "changed my mind"}),
)

ORDERS: Mapping[UUID, tuple[Example, ...]] = {
    UUID("0192d3b4-7c51-7000-8000-000000000001"): WHOLE_LIFE,
    UUID("0192d3b4-7c51-7000-8000-000000000002"): CALLED_OFF,
}

_BATCHED = "0192d3b4-7c51-7000-8000-000000000003"

BATCHES: tuple[Json, ...] = (
    {
        "items": [
            {
                "command": "place",
                "idempotency_key": "import-1",
                "body": {
                    "order_id": _BATCHED,
                    "customer_id": "alice",
                    "currency": "EUR",
                    "payment_terms": "invoice",
                    "lines": [{"sku": CUP, "quantity": 2}],
                },
            },
            {"command": "confirm", "order_id": _BATCHED, "expected_version": 1},
            {
                "command": "ship-items",
                "order_id": _BATCHED,
                "idempotency_key": "import-2",
                "body": {"lines": _pieces(line1=2)},
            },
        ]
    },
    {
        "atomic": True,
        "items": [
            {"command": "set-tags", "order_id": _BATCHED, "body": {"tags": ["imported"]}},
            {"command": "confirm-delivery", "order_id": _BATCHED, "body": {"shipment_id": "S1"}},
        ],
    },
)
"""What is sent to `POST /v1/orders:batch`, one after the other."""

BEGIN = datetime(2026, 1, 2, 12, tzinfo=UTC)


def bodies_of(command: type[Command]) -> list[Json]:
    """The examples of a command, as they are sent."""
    everything = [*CATALOGUE.values(), *ORDERS.values()]
    return [one.body for story in everything for one in story if one.command is command]


class Step(msgspec.Struct, frozen=True):
    """What an example came to."""

    command: Command
    facts: tuple[Event, ...]  # of the command's own stream
    state: orders.Order | Product
    version: int  # of it


@cache
def steps() -> tuple[Step, ...]:
    """All the examples, decided one after another: the catalogue's, then order after order."""
    return tuple(_decided())


@cache
def batched_steps() -> tuple[Step, ...]:
    """What the commands of the batches come to, one after another."""
    shelf: dict[str, Product] = {}
    for sku, story in CATALOGUE.items():
        deque(_listed(sku, story, shelf), maxlen=0)
    items = [item for batch in BATCHES for item in batch["items"]]
    story = tuple(Example(_BY_NAME[item["command"]], item.get("body", {})) for item in items)
    return tuple(_lived(UUID(_BATCHED), story, shelf, Numbers(bytes(KEY_BYTES)).number(3)))


_BY_NAME: Mapping[str, type[Command]] = {name: command for command, name in orders.NAMES.items()} | {
    "place": PlaceOrder  # a new one: none of these batches places a draft
}


def facts() -> tuple[OrderEvent, ...]:
    """All that happens to the example orders, order after order."""
    return tuple(fact for step in steps() for fact in step.facts if isinstance(fact, OrderEvent))


def _decided() -> Iterator[Step]:
    shelf: dict[str, Product] = {}
    for sku, story in CATALOGUE.items():
        yield from _listed(sku, story, shelf)
    numbers = Numbers(bytes(KEY_BYTES))
    for place, (order_id, story) in enumerate(ORDERS.items(), 1):
        yield from _lived(order_id, story, shelf, numbers.number(place))


def _listed(sku: str, story: tuple[Example, ...], shelf: dict[str, Product]) -> Iterator[Step]:
    for version, example in enumerate(story, 1):
        command = example.command.model_validate({"sku": sku, "at": BEGIN} | example.body)
        fact = products.decide(cast(AnyProductCommand, command), shelf.get(sku))
        assert fact is not None
        shelf[sku] = products.evolve(shelf.get(sku), fact)
        yield Step(command, (fact,), shelf[sku], version)


def _lived(order_id: UUID, story: tuple[Example, ...], shelf: dict[str, Product], number: str) -> Iterator[Step]:
    order: orders.Order | None = None
    version = 0
    for minute, example in enumerate(story):
        at = BEGIN + timedelta(minutes=minute)
        command = example.command.model_validate({"order_id": order_id, "at": at} | example.body)
        decision = orders.decide(cast(AnyOrderCommand, command), order, shelf, number)
        for fact in decision.order:
            order = orders.evolve(order, fact)
            version += 1
        for sku, moves in decision.products.items():
            for move in moves:
                shelf[sku] = products.evolve(shelf[sku], move)
        assert order is not None
        yield Step(command, decision.order, order, version)
