"""The lives that the read side is tested with hold everything that can happen, in a lawful order."""

import random
from collections import defaultdict
from typing import get_args

from events.order import OrderDrafted, OrderEvent, OrderPlaced
from events.product import ProductEvent, ProductListed, StockAdjusted, StockReceived
from tests.projections.lives import lives


def test_lives_hold_every_fact() -> None:
    told = {type(event) for _, event in lives(300, random.Random(1))}
    assert told == {*get_args(OrderEvent), *get_args(ProductEvent)} - {ProductListed, StockAdjusted, StockReceived}


def test_each_order_begins_with_its_content() -> None:
    first = dict[str, type]()
    often = defaultdict[str, int](int)
    for stream, event in lives(300, random.Random(2)):
        if isinstance(event, OrderEvent):
            first.setdefault(stream, type(event))
            often[stream] += isinstance(event, OrderPlaced)
    assert {*first.values()} == {OrderDrafted, OrderPlaced}
    assert {*often.values()} == {0, 1}
