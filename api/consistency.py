"""The Consistency-Token of a write, and what a read asks with it: to include the write, at most so many seconds later.

A token says how far the log had come when the command was answered, and how many of the last events were its own. It is
opaque to clients. The wish to wait is the Prefer header of RFC 7240: `Prefer: wait=2, handling=strict`.
"""

import re
from collections.abc import Iterator
from urllib.request import parse_http_list

import msgspec

FORM = "^c1-([0-9a-f]{1,15})-([0-9a-f]{1,8})$"
_TOKEN = re.compile(FORM)
LONGEST_WAIT = 10
"""Seconds; who prefers to wait longer waits so long."""


class Token(msgspec.Struct, frozen=True):
    position: int
    """The head of the log right after the command."""
    recorded: int
    """Its own events: the last ones up to the position."""

    def __str__(self) -> str:
        return f"c1-{self.position:x}-{self.recorded:x}"


def token(position: int, recorded: int) -> str:
    return f"c1-{position:x}-{recorded:x}"


def read(text: str) -> Token:
    """The token in a header's value. Raises ValueError."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise ValueError("must be a Consistency-Token as a command's answer carries it")
    return Token(int(found[1], 16), int(found[2], 16))


class Preference(msgspec.Struct, frozen=True):
    """What a Prefer header asks of a read; what orderlog does not know of it is left out, as RFC 7240 says."""

    wait: int | None = None  # seconds
    strict: bool = False

    @property
    def applied(self) -> str:
        """The value of Preference-Applied."""
        told = [f"wait={self.wait}"] if self.wait is not None else []
        return ", ".join([*told, "handling=strict"] if self.strict else told)


def preference(values: list[str]) -> Preference:
    """What the Prefer headers of a request ask for; of a preference that is there twice, the first counts."""
    found: dict[str, str] = {}
    for name, value in _preferences(", ".join(values)):
        found.setdefault(name, value)
    seconds = found.get("wait", "")
    usable = seconds.isascii() and seconds.isdecimal()
    return Preference(
        wait=min(int(seconds[:9]), LONGEST_WAIT) if usable else None, strict=found.get("handling", "") == "strict"
    )


def _preferences(text: str) -> Iterator[tuple[str, str]]:
    for one in parse_http_list(text):
        name, _, value = one.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"').lower()
