"""Money is whole minor units: no allocation loses or makes any."""

import ast
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import commands
import events
from events.money import EXPONENTS, MAX_AMOUNT, allocate, part

amounts = st.integers(0, MAX_AMOUNT)
weights = st.lists(st.integers(0, MAX_AMOUNT), min_size=1, max_size=50)


@given(amounts, weights)
def test_the_parts_sum_to_the_amount_exactly(amount: int, weights: list[int]) -> None:
    assert sum(allocate(amount, weights)) == amount


@given(amounts, weights)
def test_each_part_is_its_exact_share_rounded_up_or_down(amount: int, weights: list[int]) -> None:
    even = weights if any(weights) else [1] * len(weights)
    for share, weight in zip(allocate(amount, weights), even, strict=True):
        assert abs(share - Fraction(amount * weight, sum(even))) < 1


@given(amounts, weights)
def test_what_weighs_more_gets_no_less(amount: int, weights: list[int]) -> None:
    parts = [share for _, share in sorted(zip(weights, allocate(amount, weights), strict=True))]
    assert parts == sorted(parts)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_no_part_is_more_than_its_weight_while_the_amount_is_not_more_than_all(amount: int, weights: list[int]) -> None:
    """So a discount takes no line below nothing."""
    if amount <= sum(weights):
        assert all(share <= weight for share, weight in zip(allocate(amount, weights), weights, strict=True))


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),  # of equal remainders the first is served first
        (5, [0, 0], [3, 2]),  # nothing weighs: all weigh the same
        (7, [0, 5], [0, 7]),
        (10, [3, 3, 4], [3, 3, 4]),
        (1, [1, 2], [0, 1]),  # 1/3 and 2/3
        (0, [1, 2], [0, 0]),
    ],
)
def test_the_largest_remainders_are_served_first(amount: int, weights: list[int], parts: list[int]) -> None:
    assert allocate(amount, weights) == parts


@given(amounts, st.integers(1, 10**9), st.data())
def test_a_part_is_rounded_half_even(amount: int, of: int, data: st.DataObject) -> None:
    pieces = data.draw(st.integers(0, of))
    assert part(amount, pieces, of) == round(Fraction(amount * pieces, of))


@pytest.mark.parametrize(("amount", "worth"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_a_half_goes_to_the_even_neighbour(amount: int, worth: int) -> None:
    assert part(amount, 1, 2) == worth


def test_currencies_have_the_exponents_of_iso_4217() -> None:
    assert (EXPONENTS["EUR"], EXPONENTS["JPY"], EXPONENTS["KWD"], EXPONENTS["CLF"]) == (2, 0, 3, 4)
    assert "XXX" not in EXPONENTS
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)


COUNT_SECONDS = {"processor.py", "in_flight.py"}


@pytest.mark.parametrize(
    "file",
    [
        *(Path(events.__path__[0]) / name for name in ("money.py", "order.py", "product.py", "status.py")),
        *(path for path in Path(commands.__path__[0]).glob("*.py") if path.name not in COUNT_SECONDS),
    ],
    ids=lambda path: path.name,
)
def test_no_float_is_near_money(file: Path) -> None:
    """No number with a point, no true division, and the word nowhere; two files are left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Name) and node.id in {"float", "Decimal", "round"})
