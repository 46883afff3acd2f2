"""The idempotency keys of commands that are under way in this process: who repeats one waits for the first."""

import asyncio

import msgspec

from commands.exchange import Reply

WAIT = 2.0
"""Seconds that a repeated command waits for the first one's answer."""


class InFlight(Exception):
    """The first command with this key is not decided yet; try again with the same key."""


class First(msgspec.Struct, frozen=True, gc=False):
    """How the first command with a key ended."""

    fingerprint: str
    reply: Reply | None  # None: it ended without one, and is nobody's example


class KeysInFlight(dict[str, "asyncio.Future[First] | None"]):
    """Key to who waits for its command, if anybody does. For one event loop.

    A plain dictionary, since every command goes through it: None stands for nobody, and who takes a key out tells
    the future that may be there.
    """

    async def first(self, key: str, until: float) -> First | None:
        """How the first command with the key ended; None when none is under way.

        Raises `InFlight` at `until`, in seconds of the event loop.
        """
        if key not in self:
            return None
        loop = asyncio.get_running_loop()
        ended = self[key] or loop.create_future()
        self[key] = ended
        await asyncio.wait({ended}, timeout=max(until - loop.time(), 0))
        if not ended.done():
            raise InFlight
        return ended.result()
