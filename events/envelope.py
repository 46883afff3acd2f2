"""One recorded event: the fact, and where, when, by whom and why it was recorded."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from events.order import OrderEvent
from events.product import ProductEvent

Event = OrderEvent | ProductEvent
Kind = Literal["order", "product"]


class Cause(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who asked, when the log took it, and the request that it came from."""

    time: datetime  # when it was recorded, UTC
    actor: str  # the token's subject, or the part of the system that acted
    request_id: str | None = None
    traceparent: str | None = None  # W3C Trace Context


class Recorded(msgspec.Struct, frozen=True, gc=False):
    stream: str
    version: int  # gap-free within the stream, from 1
    position: int  # gap-free over the whole log, from 1
    event: Event
    cause: Cause

    @property
    def id(self) -> str:
        """Unique for ever: a stream has each version once."""
        return f"{self.stream}/{self.version}"

    @property
    def kind(self) -> Kind:
        return kind_of(self.stream)

    @property
    def key(self) -> str:
        """What the stream is about: the order id or the SKU."""
        return key_of(self.stream)


def order_stream(order_id: UUID | str) -> str:
    return f"order-{msgspec.to_builtins(order_id)}"  # what str() says of a UUID, in a quarter of the time


def product_stream(sku: str) -> str:
    return f"product-{sku}"


def kind_of(stream: str) -> Kind:
    return "order" if stream.startswith("order-") else "product"


def key_of(stream: str) -> str:
    return stream[stream.index("-") + 1 :]
