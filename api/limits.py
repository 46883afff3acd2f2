"""How many requests one caller may make: a bucket of tokens for each, in the memory of this process.

Told in the headers RateLimit-Policy and RateLimit as draft-ietf-httpapi-ratelimit-headers-10 has them. Each process
counts for itself: behind a load balancer a caller may have as many times the quota as there are processes.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371).
"""

import math
import re
import time
from collections.abc import Callable, MutableMapping

import msgspec

from api.errors import Problem

_FORM = re.compile(r"([1-9]\d{0,6})/([1-9]\d{0,3})?([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

REMEMBERED = 100_000
"""Callers; with more, those are dropped whose bucket is full."""


class Quota(msgspec.Struct, frozen=True):
    """So many requests in so many seconds; all of them may come at once."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Quota":
        """From such as 1000/1s, 600/m or 5000/12h. Raises ValueError."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a number of requests in a time")
        return cls(int(found[1]), int(found[2] or 1) * _SECONDS[found[3]])


class Limits:
    """`take` for each request, before it costs more than knowing whose it is."""

    def __init__(self, quota: Quota, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._interval = quota.seconds / quota.requests
        self._policy = b'"caller";q=%d;w=%d' % (quota.requests, quota.seconds)
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._sweep_at = REMEMBERED

    @property
    def most(self) -> int:
        """Requests that may come at once."""
        return self._quota.requests

    def take(self, caller: str, told: MutableMapping[bytes, bytes], requests: int = 1) -> None:
        """Count requests of a caller, and put into `told` what the answer says of it. Raises a `Problem`: 429."""
        now = self._clock()
        was_full_at = max(self._full_at.get(caller, now), now)
        full_at = was_full_at + self._interval * requests
        told[b"ratelimit-policy"] = self._policy
        if full_at - now > self._quota.seconds + _ROUNDING:
            told[b"ratelimit"] = self._left(was_full_at - now)
            raise self._used_up(full_at - now - self._quota.seconds)
        self._full_at[caller] = full_at
        told[b"ratelimit"] = self._left(full_at - now)
        if len(self._full_at) > self._sweep_at:
            self._sweep(now)

    def _left(self, missing: float) -> bytes:
        left = int((self._quota.seconds - missing) / self._interval + _ROUNDING)
        return b'"caller";r=%d;t=%d' % (left, _seconds(missing))

    def _used_up(self, wait: float) -> Problem:
        return Problem(
            "too-many-requests",
            f"A caller may make {self._quota.requests} requests in {self._quota.seconds} s.",
            headers=[(b"retry-after", b"%d" % max(1, _seconds(wait)))],
        )

    def _sweep(self, now: float) -> None:
        self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}
        self._sweep_at = max(REMEMBERED, 2 * len(self._full_at))


_ROUNDING = 1e-6


def _seconds(seconds: float) -> int:
    """Whole ones, rounded up; but for what is only the error of numbers with a point."""
    return math.ceil(seconds - _ROUNDING)
