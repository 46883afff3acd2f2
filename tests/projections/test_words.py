"""Words are found however they are written, and by how they begin."""

import pytest

from projections.order_pages import Wanted, found_by
from projections.words import query, vector, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann O'Neil", ["ann", "oneil"]),
        ("O\N{RIGHT SINGLE QUOTATION MARK}Neil's", ["oneils"]),
        ("ann.oneil+shop@example.org", ["ann", "oneil", "shop", "example", "org"]),
        ("Zürich Straße ÅNGSTRÖM", ["zurich", "strasse", "angstrom"]),
        ("Zu\N{COMBINING DIAERESIS}rich", ["zurich"]),
        ("SKU_12-b/3", ["sku", "12", "b", "3"]),
        ("東京 カップ", ["東京", "カッフ"]),
        ("½ m²", ["1", "2", "m2"]),
        ("\0 ☕ -- ' \\", []),
        ("\N{SQUARE APAATO}" * 30, ["アハート" * 25, "アハート" * 5]),
    ],
)
def test_words_are_letters_and_digits_without_capitals_and_accents(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_a_text_is_the_same_words_however_often_it_is_taken_apart() -> None:
    for text in ("İstanbul ǅ ﬁne Ω µ", "Ǆ ẞ ŉ", "ⓐ Ⅻ ㎏"):
        assert words(" ".join(words(text))) == words(text)


def test_long_words_find_longer_ones_and_short_ones_only_themselves() -> None:
    assert query("Ann O. Neil") == "ann:* & o & neil:*"


def test_what_is_no_word_is_quoted() -> None:
    assert vector(["=A'B\\C", "+two words", "plain"]) == "'=A''B\\\\C' '+two words' plain"


def test_an_order_number_is_found_however_it_is_typed() -> None:
    assert found_by(Wanted(text="7k3m9q2xj")) == found_by(Wanted(text="7K3M9Q2XJ"))
    assert "'7k3m'" not in (found_by(Wanted(text="7K3M9Q2XJ")) or "")
    assert "7k3m:* & 9q2x:* & j" in (found_by(Wanted(text="7K3M9Q2XJ")) or "")


def test_what_a_customer_searches_is_its_own_orders() -> None:
    assert found_by(Wanted(text="cup", customer_id="C-1")) == "cup:* & '@C-1'"
    assert found_by(Wanted(customer_id="C-1")) is None
