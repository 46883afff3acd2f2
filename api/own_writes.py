"""Reads that include what their caller has written: `Consistency-Token` from the write, `Prefer: wait` for patience."""

import time
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from api import consistency
from api.consistency import Preference, Token
from api.errors import Problem
from api.parts import Parts

VARY = b"prefer, consistency-token"

CURRENT, STALE = b"current", b"stale"
"""The header Consistency says whether what is answered includes the write of the token."""


class OwnWrites:
    """What one read must include. `seen_by` waits before it reads, `shows` looks at what was read."""

    def __init__(self, parts: Parts, token: Token | None, wish: Preference, told: dict[bytes, bytes]) -> None:
        self._parts, self._token, self._wish, self._told = parts, token, wish, told
        self._least: int | None = None
        told[b"vary"] = VARY

    async def seen_by(self, projection: str, *, stream: str | None = None) -> None:
        """Wait, as long as is wished, until a projection has the write: all of it, or what it did to one stream.

        Raises a `Problem` if it has not by then, and the caller wants nothing else.
        """
        if self._token is None:
            return
        begun = time.monotonic()
        written = await self._parts.queries.written(self._token.position, stream)
        if written.head < self._token.position:  # of another database, or of a later state of this one
            self._tell(includes=False)
            return
        self._least = written.version
        position = self._token.position if stream is None else written.position
        within = (self._wish.wait or 0) - (time.monotonic() - begun)
        reached = position is None or await self._parts.arrivals.reached(projection, position, within, stream=stream)
        self._tell(includes=reached and (stream is not None or not await self._left_aside(projection, self._token)))

    def shows(self, version: int) -> None:
        """What was read of the stream is of this version: less than was written, if the projection has left it aside.

        Raises a `Problem` as `seen_by` does.
        """
        if self._least is not None and version < self._least:
            self._tell(includes=False)

    async def at_once(self) -> None:
        """What is read comes from the log itself."""
        if self._token is not None:
            written = await self._parts.queries.written(self._token.position)
            self._tell(includes=written.head >= self._token.position)

    async def _left_aside(self, projection: str, token: Token) -> bool:
        return await self._parts.queries.parked_between([projection], token.position - token.recorded, token.position)

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
        WithJsonSchema({"type": "string", "pattern": consistency.FORM}),
        Header(description="of a write: the answer shall include it"),
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
    parts: Parts = request.app.state.parts
    return OwnWrites(parts, _token(consistency_token), consistency.preference(prefer or []), request.scope["told"])


def _token(text: str | None) -> Token | None:
    if text is None:
        return None
    try:
        return consistency.read(text)
    except ValueError as error:
        raise Problem("bad-header", f"The Consistency-Token {error}.") from None


Own = Annotated[OwnWrites, Depends(own_writes)]
