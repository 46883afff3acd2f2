"""Own writes on the socket: a snapshot that includes the commands whose tokens its listener passes back."""

from api import consistency
from api.consistency import LONGEST_WAIT, Preference, Token
from api.errors import Problem
from api.own_writes import STALE, OwnWrites, Source
from projections.changes import SHOWN


def read(text: str | None, begin: str) -> tuple[Token, ...]:
    """The tokens in `subscribe`. Raises ValueError: only a snapshot shows a state, all else what happens after."""
    if text is None:
        return ()
    if begin != "snapshot":
        raise ValueError("goes with from: snapshot; what comes after a cursor includes every later write by itself")
    return consistency.read_all(text)


async def include(source: Source, tokens: tuple[Token, ...]) -> None:
    """Wait until all that a snapshot shows includes the writes; what happens later comes as events.

    Raises a `Problem` when that takes too long: a snapshot without them would be taken for one with them.
    """
    told: dict[bytes, bytes] = {}
    own = OwnWrites(source, tokens, Preference(wait=LONGEST_WAIT), told)
    for projection in SHOWN if tokens else ():
        await own.seen_by(projection)
        if told[b"consistency"] == STALE:
            why = "Subscribe again in a moment, or without the token; the write itself is safe."
            raise Problem("not-caught-up", why)
