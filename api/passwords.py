"""Passwords: hashed with Argon2id (RFC 9106), off the event loop, and only so many at once."""

import asyncio
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.errors import Problem

SHORTEST_PASSWORD = 15
"""Characters: NIST SP 800-63B-4, 3.1.1.2, for a password that is the only factor. It asks for no digits or signs."""

LONGEST_PASSWORD = 1_000

TIME, MEMORY, LANES = 3, 65_536, 1
"""RFC 9106, 4, the second choice: 3 passes over 64 MiB; in one lane, so that a sign-in takes one core and not all."""

AT_ONCE = 2
"""Hashes of one process at the same time: 128 MiB at most, and one core of two is left to the orders."""

WAITING = 30
"""So many more may wait, some two seconds; the next one is told to try again."""

T = TypeVar("T")


class Passwords:
    def __init__(self, *, time: int = TIME, memory: int = MEMORY, waiting: int = WAITING) -> None:
        """`memory` in KiB. Cheaper than the defaults is for tests alone."""
        self._hasher = PasswordHasher(time_cost=time, memory_cost=memory, parallelism=LANES)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._most = AT_ONCE + waiting
        self._under_way = 0
        self._nobodys = _hash_of_nothing(time, memory)

    async def hashed(self, password: str) -> str:
        """What is kept of a password. Raises the `Problem` `busy`."""
        return await self._in_a_thread(lambda: self._hasher.hash(_normal(password)))

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether it is the password that was kept; where none was, it takes as long to say no.

        Raises the `Problem` `busy`.
        """
        given = _normal(password)
        return await self._in_a_thread(lambda: self._verify(kept or self._nobodys, given))

    def is_outdated(self, kept: str) -> bool:
        """Whether it was hashed at another cost than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_a_thread(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._most:
            raise Problem("busy", "Too many sign-ins wait; try again in a second.", headers=[(b"retry-after", b"1")])
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1


def _normal(password: str) -> str:
    """The same characters are the same password, however a keyboard puts them together (NIST SP 800-63B-4)."""
    return unicodedata.normalize("NFKC", password)


def _hash_of_nothing(time: int, memory: int) -> str:
    """A hash that no password has, and that costs as much to refuse."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={memory},t={time},p={LANES}${salt}${digest}"
