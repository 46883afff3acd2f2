"""What a command comes to, when it is not refused."""

from collections.abc import Mapping

import msgspec

from events.order import OrderEvent
from events.product import ProductEvent


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Facts for the order and for each product (by SKU), to be appended together or not at all."""

    order: tuple[OrderEvent, ...] = ()
    products: Mapping[str, tuple[ProductEvent, ...]] = {}


NOTHING = Decision()  # it is so already
