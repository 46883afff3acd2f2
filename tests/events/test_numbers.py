"""Order numbers: no two alike, none to be guessed from another, and every slip of the pen is noticed."""

from collections import Counter
from contextlib import closing
from hashlib import blake2b
from itertools import pairwise

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.log import Log
from events.numbers import FIRST_DRAWN, LENGTH, PLACES, SYMBOLS, BadNumber, Numbers, read
from tests.services.postgres import DatabaseServer

numbers = Numbers(b"sixteen octets, ")
others = Numbers(b"sixteen octets. ")

places = st.integers(0, PLACES - 1)


def bare(number: str) -> str:
    return number.replace("-", "")


def value(number: str) -> int:
    symbols = bare(number)[:LENGTH]
    return sum(SYMBOLS.index(symbol) << 5 * place for place, symbol in enumerate(reversed(symbols)))


@given(places)
def test_a_number_leads_back_to_its_place(place: int) -> None:
    assert numbers.place(numbers.number(place)) == place


@given(places, places)
def test_two_places_have_two_numbers(one: int, another: int) -> None:
    assert (numbers.number(one) == numbers.number(another)) == (one == another)


@given(st.text(SYMBOLS, min_size=LENGTH, max_size=LENGTH))
def test_every_number_belongs_to_a_place(symbols: str) -> None:
    (number,) = [symbols + check for check in SYMBOLS if _is_number(symbols + check)]

    assert bare(numbers.number(numbers.place(number))) == number


def test_the_first_and_the_last_place_have_numbers_and_those_beyond_have_none() -> None:
    assert numbers.place(numbers.number(0)) == 0
    assert numbers.place(numbers.number(PLACES - 1)) == PLACES - 1
    for beyond in (-1, PLACES):
        with pytest.raises(ValueError, match=str(PLACES)):
            numbers.number(beyond)


@pytest.mark.parametrize(
    ("place", "number"),
    [
        (0, "XBV4-2B0H-C"),
        (1, "CQY3-3BZA-F"),
        (2, "XJRD-3TVT-1"),
        (1_000, "021H-994T-Z"),
        (PLACES - 1, "DQXC-EBTC-W"),
    ],
)
def test_a_place_keeps_its_number_for_ever(place: int, number: str) -> None:
    """Logs hold them, and people have written them down."""
    assert numbers.number(place) == number
    assert numbers.place(number) == place


@given(places)
def test_a_number_is_what_the_algorithm_written_plainly_makes_of_the_place(place: int) -> None:
    left, right = place >> 20, place & 0xFFFFF
    for step in range(4):
        keyed = blake2b(right.to_bytes(3), key=b"sixteen octets, ", person=b"order number %d" % step, digest_size=3)
        left, right = right, left ^ int.from_bytes(keyed.digest()) & 0xFFFFF
    symbols = "".join(SYMBOLS[half >> 5 * place & 31] for half in (left, right) for place in (3, 2, 1, 0))
    with_check = f"{symbols[:4]}-{symbols[4:]}-"

    assert [with_check + check for check in SYMBOLS if _is_number(with_check + check)] == [numbers.number(place)]


def test_a_number_is_written_in_groups() -> None:
    assert [len(group) for group in numbers.number(1).split("-")] == [4, 4, 1]


# Not to be guessed -------------------------------------------------------------------------------------------


def test_numbers_of_neighbours_have_nothing_in_common_beyond_chance() -> None:
    """Of 20,000 neighbours each place agrees in 1 of 32, each bit in 1 of 2 (within five standard deviations), and no
    difference between two neighbours is ever repeated."""
    count = 20_000
    shown = [numbers.number(place) for place in range(1, count + 2)]

    agreeing = Counter(
        place
        for one, next_one in pairwise(map(bare, shown))
        for place in range(LENGTH)
        if one[place] == next_one[place]
    )
    differences = [value(one) ^ value(next_one) for one, next_one in pairwise(shown)]
    flipped = [sum(difference >> bit & 1 for difference in differences) for bit in range(5 * LENGTH)]

    assert all(abs(agreeing[place] - count / 32) < 5 * (count / 32 * 31 / 32) ** 0.5 for place in range(LENGTH))
    assert all(abs(flips - count / 2) < 5 * (count / 4) ** 0.5 for flips in flipped)
    assert len(set(differences)) == count


def test_another_key_makes_other_numbers() -> None:
    assert not [place for place in range(1_000) if numbers.number(place) == others.number(place)]


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 17])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(key)} bytes; it must have 16"):
        Numbers(key)


# What people write -------------------------------------------------------------------------------------------


def _is_number(text: str) -> bool:
    try:
        read(text)
    except BadNumber:
        return False
    return True


@given(places)
def test_one_wrong_symbol_is_noticed_wherever_it_stands(place: int) -> None:
    number = bare(numbers.number(place))
    wrong = [
        number[:at] + symbol + number[at + 1 :]
        for at in range(LENGTH + 1)
        for symbol in SYMBOLS
        if symbol != number[at]
    ]

    assert len(wrong) == 31 * (LENGTH + 1)
    assert not [one for one in wrong if _is_number(one)]


@given(places)
def test_two_symbols_that_change_places_are_noticed(place: int) -> None:
    """Neighbours, which is what happens when people type, and any other two as well."""
    number = bare(numbers.number(place))
    for first in range(LENGTH + 1):
        for second in range(first + 1, LENGTH + 1):
            swapped = list(number)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            assert _is_number("".join(swapped)) == (number[first] == number[second])


@given(places)
def test_a_number_is_read_as_people_write_it(place: int) -> None:
    number = numbers.number(place)
    misread = bare(number).replace("0", "o").replace("1", "l")

    for written in (number.lower(), bare(number), f" {number} ", misread, misread.upper(), misread.replace("l", "i")):
        assert read(written) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 9 symbols, and this one has 0"),
        ("7K3M-9Q2X", "has 9 symbols, and this one has 8"),
        ("7K3M-9Q2X-JJ", "has 9 symbols, and this one has 10"),
        ("7K3M-9Q2X-K", "does not fit"),
        ("7K3M-9QX2-J", "does not fit"),
        ("7K3M-9QU2-J", "'U' is not among the symbols"),
        ("7K3M 9Q2X J", "' ' is not among the symbols"),
        ("7K3M-9Q2ẞ-J", "'ẞ' is not among the symbols"),
        ("\u0667K3M-9Q2X-J", "'\u0667' is not among the symbols"),
        ("7K3M-9Q2\x00-J", r"'\\x00' is not among the symbols"),
    ],
)
def test_what_is_not_a_number_is_told(text: str, why: str) -> None:
    with pytest.raises(BadNumber, match=why):
        read(text)
    with pytest.raises(BadNumber, match=why):
        numbers.place(text)


def test_the_example_in_the_documents_is_a_number() -> None:
    assert read("7K3M-9Q2X-J") == "7K3M-9Q2X-J"


# The key -----------------------------------------------------------------------------------------------------


def test_a_log_has_one_key_for_ever(database_url: str) -> None:
    with closing(Log(database_url)) as log:
        log.create()
        with closing(log.writer()) as writer:
            first = writer.numbers_key()
        log.create()
        with closing(log.writer()) as writer:
            again = writer.numbers_key()

    assert first == again
    assert len(first) == 16


def test_two_logs_have_two_keys(database_url: str, postgres: DatabaseServer) -> None:
    keys = set()
    urls = [database_url, postgres.create_database()]
    for url in urls:
        with closing(Log(url)) as log:
            log.create()
            with closing(log.writer()) as writer:
                keys.add(writer.numbers_key())
    postgres.drop_database(urls[1])

    assert len(keys) == 2


def test_numbers_are_drawn_once(database_url: str) -> None:
    with closing(Log(database_url)) as log:
        log.create()
        with closing(log.writer()) as one, closing(log.writer()) as two:
            drawn = [*one.draw_numbers(3), *two.draw_numbers(4), *one.draw_numbers(1)]
    assert drawn == [*range(FIRST_DRAWN, FIRST_DRAWN + 8)]


def test_numbers_can_be_drawn_in_a_log_that_gave_them_by_position(database_url: str) -> None:
    with closing(Log(database_url)) as log:
        log.create()
        with psycopg.connect(database_url) as before:
            before.execute("ALTER TABLE order_numbers DROP COLUMN drawn")
        log.create()
        with closing(log.writer()) as writer:
            assert writer.draw_numbers(2) == range(FIRST_DRAWN, FIRST_DRAWN + 2)
