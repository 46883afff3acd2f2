"""What this client has written, as the tokens that its reads pass back so that they include it."""

from itertools import count

MOST = 50
"""Tokens that a read may carry."""


class Written:
    """The Consistency-Tokens of the writes so far: as few as include them all.

    A write that began after another was answered includes it, so only those that were under way together are kept
    beside each other.
    """

    def __init__(self) -> None:
        self._clock = count(1)
        self._kept: list[tuple[int, str]] = []  # when it was answered

    def begun(self) -> int:
        """A write begins: what to say when it is answered."""
        return next(self._clock)

    def answered(self, token: str, begun: int, *, replayed: bool = False) -> None:
        """An answer that was replayed may be of any time before, and so includes nothing else."""
        others = [one for one in self._kept if replayed or one[0] > begun]
        self._kept = [*others, (next(self._clock), token)][-MOST:]

    @property
    def tokens(self) -> str:
        """The header's value; empty when nothing was written."""
        return ", ".join(dict.fromkeys(token for _, token in self._kept))
