"""Words, as they are looked for: however they are written, and by how they begin."""

import re
import unicodedata
from collections.abc import Iterable

WHOLE = 2
"""Words of at most so many letters are found whole only: too many begin like them."""

_words = re.compile(r"[^\W_]{1,100}").findall  # a longer one is several: PostgreSQL takes no more than 2,046 bytes


def words(text: str) -> list[str]:
    """The words of a text, without capitals, accents and apostrophes; digits are letters, and all else parts words."""
    if not text.isascii():
        text = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
        text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return _words(text.casefold().replace("'", ""))


def vector(lexemes: Iterable[str]) -> str:
    """The text form of a tsvector without positions (PostgreSQL 18, 8.11.1)."""
    return " ".join(map(_quoted, lexemes))


def query(text: str) -> str:
    """The text form of a tsquery for all words of a text, each as it is or as the beginning of a longer one."""
    return " & ".join(f"{_quoted(word)}:*" if len(word) > WHOLE else _quoted(word) for word in words(text))


def exactly(lexeme: str) -> str:
    """The text form of a tsquery for one lexeme."""
    return _quoted(lexeme)


def _quoted(lexeme: str) -> str:
    if lexeme.isalnum():
        return lexeme
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
