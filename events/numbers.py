"""The number that people read out for an order: a place in a count, scrambled, in base32 with a check symbol.

Written like 7K3M-9Q2X-J: eight symbols of Crockford's base32 (www.crockford.com/base32.html: no I, L, O and U) and one
that checks them. Each place in the count is drawn once, so no number is there twice; and the order of the numbers says
nothing of the order of the places to whoever has not the key.
"""

from collections.abc import Iterable
from hashlib import blake2b

SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 8
"""Symbols before the one that checks them; five bits each."""

PLACES = 1 << 5 * LENGTH
"""So many numbers there are: for the places from 0 to this, exclusive."""

FIRST_DRAWN = PLACES // 2
"""The numbers from here on are drawn; those below were given to orders by the position of their first event, which does
not come so far."""

KEY_BYTES = 16

ROUNDS = 4
"""With as many, what a Feistel network makes cannot be told from chance, forth or back (Luby and Rackoff, 1988)."""

_HALF = 5 * LENGTH // 2  # bits
_LOW = (1 << _HALF) - 1
_HALF_BYTES = (_HALF + 7) // 8
_PAIRS = [first + second for first in SYMBOLS for second in SYMBOLS]
_VALUES = {symbol: value for value, symbol in enumerate(SYMBOLS)}
_AS_MEANT = str.maketrans(SYMBOLS.lower() + "ILOilo", SYMBOLS + "110110", "-")

_TIMES_2 = [value << 1 ^ (0b100101 if value & 16 else 0) for value in range(32)]
"""Products in the field of 32 elements, modulo x^5 + x^2 + 1, whose powers of x are all different."""


class BadNumber(ValueError):
    """The text is not an order number; the message says why."""


class Numbers:
    """The numbers of one log, by its key: a permutation of the places."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of the numbers has {len(key)} bytes; it must have {KEY_BYTES}")
        self._rounds = [
            blake2b(key=key, person=b"order number %d" % number, digest_size=_HALF_BYTES) for number in range(ROUNDS)
        ]

    def number(self, place: int) -> str:
        """The number for a place. Raises ValueError for one outside `PLACES`."""
        if not 0 <= place < PLACES:
            raise ValueError(f"there are order numbers for places below {PLACES}, not for {place}")
        left, right = _scrambled(self._rounds, place >> _HALF, place & _LOW)
        first, second, third, last = left >> 10, left & 1023, right >> 10, right & 1023
        check = _CHECKS[0][first] ^ _CHECKS[1][second] ^ _CHECKS[2][third] ^ _CHECKS[3][last]
        return f"{_PAIRS[first]}{_PAIRS[second]}-{_PAIRS[third]}{_PAIRS[last]}-{SYMBOLS[check]}"

    def place(self, number: str) -> int:
        """The place whose number it is. Raises `BadNumber`."""
        value = 0
        for symbol in read(number).replace("-", "")[:LENGTH]:
            value = value << 5 | _VALUES[symbol]
        right, left = _scrambled(reversed(self._rounds), value & _LOW, value >> _HALF)
        return left << _HALF | right


def read(text: str) -> str:
    """The number that somebody wrote, in the form in which it is kept.

    Capitals or not, with hyphens or without; I and L are read as 1, and O as 0, as Crockford has it. Raises
    `BadNumber` for what is not a number, or not a whole one, or has been miswritten.
    """
    symbols = text.strip().translate(_AS_MEANT)
    if wrong := [symbol for symbol in symbols if symbol not in _VALUES]:
        raise BadNumber(f"{wrong[0]!r} is not among the symbols of an order number, which are {SYMBOLS}")
    if len(symbols) != LENGTH + 1:
        raise BadNumber(f"an order number has {LENGTH + 1} symbols, and this one has {len(symbols)}")
    if _check(symbols[:LENGTH]) != symbols[LENGTH]:
        raise BadNumber("the last symbol does not fit the others: one of them is wrong, or two have changed places")
    return f"{symbols[:4]}-{symbols[4:8]}-{symbols[8]}"


def _scrambled(rounds: Iterable[blake2b], left: int, right: int) -> tuple[int, int]:
    """The halves, sent through a Feistel network whose rounds are keyed BLAKE2b (RFC 7693).

    The same rounds backwards undo it, when they are given the halves the other way round.
    """
    for keyed in rounds:
        digest = keyed.copy()
        digest.update(right.to_bytes(_HALF_BYTES))
        left, right = right, left ^ int.from_bytes(digest.digest()) & _LOW
    return left, right


def _check(symbols: str) -> str:
    """The symbol with which these are a word of the Reed-Solomon code over 32 elements that has one check symbol.

    Each place has a weight of its own, which is not 0, so one wrong symbol and any two that change places are found,
    the check symbol included (I. S. Reed and G. Solomon, "Polynomial Codes over Certain Finite Fields", 1960).
    Crockford's own check, modulo 37, needs the symbols * ~ $ = and U, which nobody can say and not every address keeps.
    """
    weighed = 0
    for symbol in symbols:
        weighed = _TIMES_2[weighed ^ _VALUES[symbol]]
    return SYMBOLS[weighed]


_CHECKS = [[_VALUES[_check(pair + "00" * after)] for pair in _PAIRS] for after in (3, 2, 1, 0)]
"""What a pair of symbols adds to the one that checks them, by its place: the code is linear, so these are summed."""
