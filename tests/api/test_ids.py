"""Ids that the edge makes."""

import time
from functools import reduce
from operator import and_, or_
from uuid import RFC_4122, UUID

from api.ids import fingerprint, new_order_id, stored_key

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


def test_what_is_kept_for_a_retry_is_found_again_by_another_version_of_the_code() -> None:
    assert stored_key("C-1", b"k-1") == "2010282904481813765cff2e4be655e0"
    assert stored_key("C-1", b"k-1") == stored_key("C-1", b"k-1") != stored_key("C-", b"1k-1")
    assert fingerprint("POST", "/v1/orders", b"{}") == "2e79c2a61999cf7aa5dad4807b8a02f8"
    assert fingerprint("POST", "/v1/orders", b"{}") != fingerprint("POST", "/v1/orders", b"[]")
