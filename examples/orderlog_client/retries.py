"""Tries again what failed for now, until there is an answer or the time is up."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

NO_ANSWER = (httpx.TimeoutException, httpx.NetworkError, httpx.ProxyError, httpx.RemoteProtocolError)
"""Errors after which nobody knows what became of the request."""

PASSING = {429, 502, 503, 504}
"""Statuses that are of the moment. A 409 is one too where it says when to come back: the first attempt is under way."""

USED_UP = "not-caught-up"
"""The code of a read that has waited as long as it was asked to: that was the patience, it is not tried again."""


@dataclass(frozen=True)
class Patience:
    """In seconds."""

    in_all: float = 30.0  # of one call, whatever it does
    attempt: float = 15.0  # without a byte from the other side
    shortest_pause: float = 0.1  # doubled from attempt to attempt
    longest_pause: float = 5.0

    def pause(self, attempt: int, answer: httpx.Response | None) -> float:
        """Before the next attempt: at least what the answer says, and never the same for two clients."""
        backoff = min(self.shortest_pause * 2**attempt, self.longest_pause)
        asked = answer.headers.get("retry-after", "") if answer is not None else ""
        return (float(asked) if asked.isdecimal() else 0.0) + random.uniform(backoff / 2, backoff)  # noqa: S311  not secret


async def persistently(
    send: Callable[[], Awaitable[httpx.Response]], patience: Patience, again: Callable[[], None]
) -> httpx.Response:
    """The first answer that is final, or the last one for which there was time; `again` counts what is repeated.

    `send` must send the same request each time. Raises the last of `NO_ANSWER`.
    """
    end = time.monotonic() + patience.in_all
    attempt = 0
    while True:
        answer, error = await _attempted(send)
        if answer is not None and not _is_passing(answer):
            return answer
        pause = patience.pause(attempt, answer)
        if time.monotonic() + pause >= end:
            if answer is not None:
                return answer
            assert error is not None
            raise error
        await asyncio.sleep(pause)
        again()
        attempt += 1


async def _attempted(
    send: Callable[[], Awaitable[httpx.Response]],
) -> tuple[httpx.Response | None, httpx.HTTPError | None]:
    try:
        return await send(), None
    except NO_ANSWER as error:
        return None, error


def _is_passing(answer: httpx.Response) -> bool:
    status = answer.status_code
    if status == httpx.codes.CONFLICT:
        return "retry-after" in answer.headers
    return status in PASSING and f'"{USED_UP}"' not in answer.text
