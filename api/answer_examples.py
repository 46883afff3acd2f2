"""What the OpenAPI document's example requests are answered: the orders' from their facts, the others as literals."""

from typing import Any
from uuid import UUID

import msgspec

from api.examples import BATCHES, CATALOGUE, ORDERS, Step, batched_steps, steps
from api.shapes import encode, order_view, product_view
from commands.command import Command, OrderCommand
from commands.order import Order, PlaceOrder
from commands.product import ProductCommand
from events import codec
from projections.shapes import OrderSummary

Json = dict[str, Any]


def answer_of(command: type[Command]) -> Json:
    """What the first example of a command is answered."""
    return _view(next(step for step in steps() if type(step.command) is command))


def read_answers() -> dict[str, Json]:
    """Name of a read to its answer: of products when the catalogue is there, of all else when the orders are over."""
    long, short = (_view(_story(order_id)[-1]) for order_id in ORDERS)
    cup, poster = (_view(_last_about(sku)) for sku in CATALOGUE)
    return {
        "order": long,
        "orders": {"items": [_summary(short), _summary(long)], "next_cursor": None, "prev_cursor": None},
        "history": {"items": _history(_story(UUID(short["order_id"])))},
        "product": cup,
        "products": {"items": [cup, poster], "next_cursor": None, "prev_cursor": None},
        **OTHERS,
    }


OTHERS: dict[str, Json] = {
    "daily_sales": {
        "items": [
            {
                "date": "2026-01-02",
                "currency": "EUR",
                "orders": 2,
                "units": 5,
                "gross": 3489,
                "refunded": 2853,
                "net": 636,
            }
        ]
    },
    "me": {"subject": "alice", "roles": ["customer"], "customer_id": "alice", "expires": "2026-01-02T13:00:00Z"},
    "livez": {"status": "ok", "parts": {}},
    "readyz": {"status": "ready", "parts": {}},
}


def batch_answers() -> list[Json]:
    """To each example batch."""
    left = iter(batched_steps())
    return [{"items": [_result(step) for _, step in zip(batch["items"], left, strict=False)]} for batch in BATCHES]


def _result(step: Step) -> Json:
    view = _view(step)
    place = {"Location": f"/v1/orders/{view['order_id']}"} if isinstance(step.command, PlaceOrder) else {}
    headers = {"Content-Type": "application/json", "ETag": f'"{step.version}"', "Consistency-Token": "c1-2a-2"}
    return {"status": 201 if place else 200, "headers": headers | place, "body": view}


def _story(order_id: UUID) -> list[Step]:
    return [step for step in steps() if isinstance(step.command, OrderCommand) and step.command.order_id == order_id]


def _last_about(sku: str) -> Step:
    return [step for step in steps() if isinstance(step.command, ProductCommand) and step.command.sku == sku][-1]


def _view(step: Step) -> Json:
    """As the command is answered and as it is read."""
    state = step.state
    shown = order_view(state, step.version) if isinstance(state, Order) else product_view(state, step.version)
    view: Json = _json(shown)
    return view


def _summary(view: Json) -> Json:
    units = sum(line["quantity"] for line in view["lines"])
    return {name: units if name == "units" else view[name] for name in OrderSummary.__struct_fields__}


def _history(story: list[Step]) -> list[Json]:
    facts = [fact for step in story for fact in step.facts]
    return [
        {
            "position": 40 + version,
            "version": version,
            "type": codec.event_type(fact),
            "time": _json(fact.at),
            "actor": "sam",
            "data": _json(msgspec.Raw(codec.data(fact))),
        }
        for version, fact in enumerate(facts, 1)
    ]


def _json(shown: Any) -> Any:
    return msgspec.json.decode(encode(shown))
