"""Reads that include what their caller has written: `Consistency-Token` from the write, `Prefer: wait` for patience."""

import time
from collections.abc import Iterable
from typing import Annotated, Protocol

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from api import consistency
from api.consistency import Preference, Token
from api.errors import Problem
from projections.arrivals import Arrivals
from projections.queries import Queries

VARY = b"prefer, consistency-token"

CURRENT, STALE = b"current", b"stale"
"""The header Consistency says whether what is answered includes the write of the token."""


class Source(Protocol):
    """What is read, and what tells how far it has come."""

    @property
    def queries(self) -> Queries: ...
    @property
    def arrivals(self) -> Arrivals: ...


class OwnWrites:
    """What one read must include. `seen_by` waits before it reads, `shows` looks at what was read."""

    def __init__(
        self, source: Source, tokens: tuple[Token, ...], wish: Preference, told: dict[bytes, bytes] | None = None
    ) -> None:
        self._source, self._tokens, self._wish = source, tokens, wish
        self._told = told = {} if told is None else told
        self._until = time.monotonic() + (wish.wait or 0)
        self._position = max((token.position for token in tokens), default=0)
        self._least: int | None = None
        told[b"vary"] = VARY

    async def seen_by(self, *projections: str, stream: str | None = None) -> None:
        """Wait, as long as is wished, until projections have the write: all of it, or what it did to one stream.

        Raises a `Problem` if it has not by then, and the caller wants nothing else.
        """
        if not self._tokens:
            return
        written = await self._source.queries.written(self._position, stream)
        if written.head < self._position:  # of another database, or of a later state of this one
            self._tell(includes=False)
            return
        self._least = written.version
        position = self._position if stream is None else written.position
        reached = position is None or await self._reached(projections, position, stream)
        self._tell(includes=reached and (stream is not None or not await self._left_aside(projections)))

    async def _reached(self, projections: Iterable[str], position: int, stream: str | None) -> bool:
        for projection in projections:
            within = self._until - time.monotonic()
            if not await self._source.arrivals.reached(projection, position, within, stream=stream):
                return False
        return True

    def shows(self, version: int) -> None:
        """What was read of the stream is of this version: less than was written, if the projection has left it aside.

        Raises a `Problem` as `seen_by` does.
        """
        if self._least is not None and version < self._least:
            self._tell(includes=False)

    async def at_once(self) -> None:
        """What is read comes from the log itself."""
        if self._tokens:
            written = await self._source.queries.written(self._position)
            self._tell(includes=written.head >= self._position)

    async def _left_aside(self, projections: Iterable[str]) -> bool:
        for one in self._tokens:
            if await self._source.queries.parked_between(projections, one.position - one.recorded, one.position):
                return True
        return False

    def _tell(self, *, includes: bool) -> None:
        if applied := self._wish.applied:
            self._told[b"preference-applied"] = applied.encode()
        self._told[b"consistency"] = CURRENT if includes else STALE
        if self._wish.strict and not includes:
            raise Problem(
                "not-caught-up",
                "Ask again, with a longer wait or without handling=strict; the write itself is safe.",
                headers=[(b"retry-after", b"1")],
            )


async def own_writes(
    request: Request,
    consistency_token: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "pattern": consistency.SEVERAL}),
        Header(description="of a write: the answer shall include it; of several, with commas between them"),
    ] = None,
    prefer: Annotated[
        list[str] | None,
        WithJsonSchema({"type": "string"}),
        Header(
            description="wait=2: so many seconds for the answer to include the write; handling=strict: or no answer",
        ),
    ] = None,
) -> OwnWrites:
    """The dependency of each read that a projection answers. Raises a `Problem` for what is no token."""
    source: Source = request.app.state.parts
    return OwnWrites(source, _tokens(consistency_token), consistency.preference(prefer or []), request.scope["told"])


def _tokens(text: str | None) -> tuple[Token, ...]:
    if text is None:
        return ()
    try:
        return consistency.read_all(text)
    except ValueError as error:
        raise Problem("bad-header", f"The Consistency-Token {error}.") from None


Own = Annotated[OwnWrites, Depends(own_writes)]
