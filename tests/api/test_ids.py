"""Ids that the edge makes."""

import time
from functools import reduce
from operator import and_, or_
from uuid import RFC_4122, UUID

from api.ids import new_order_id

RANDOM = 0xFFF << 64 | (1 << 62) - 1  # bits; RFC 9562, 5.7: rand_a and rand_b


def test_an_order_id_tells_the_millisecond_it_was_made_in() -> None:
    before = time.time_ns() // 1_000_000
    made = new_order_id()

    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000
    assert (made.version, made.variant, UUID(str(made))) == (7, RFC_4122, made)


def test_the_rest_of_an_order_id_is_random() -> None:
    made = [new_order_id().int for _ in range(1_000)]

    assert len(set(made)) == len(made)
    assert reduce(or_, made) & RANDOM == RANDOM
    assert reduce(and_, made) & RANDOM == 0
