"""The Consistency-Token: how far the log had come when a command was answered, so that a read can ask for as much."""

import re

_TOKEN = re.compile(r"c1-([0-9a-f]{1,15})")


def token(position: int) -> str:
    return f"c1-{position:x}"


def position(text: str) -> int:
    """The log position in a token. Raises ValueError."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise ValueError("must be a Consistency-Token as a command's answer carries it")
    return int(found[1], 16)
