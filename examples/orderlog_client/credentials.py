"""Who the client is, and the bearer token that says so: fetched when it is needed, renewed before it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote_plus

import httpx

EARLY = 0.1
"""The part of a token's life that is not made use of: clocks differ, and requests take their time."""


@dataclass(frozen=True)
class Bearer:
    """A token from elsewhere: another issuer, or `orderlog token`."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class Password:
    """A person's account."""

    name: str
    password: str = field(repr=False)
    scope: str = ""  # all that the account has, unless said

    def form(self) -> dict[str, str]:
        """RFC 6749, 4.3.2."""
        return {
            "grant_type": "password",
            "username": self.name,
            "password": self.password,
            **_wanted(self.scope),
        }

    def auth(self) -> httpx.Auth:
        """None: the form says it all."""
        return httpx.Auth()


@dataclass(frozen=True)
class ClientCredentials:
    """A machine's account."""

    client_id: str
    secret: str = field(repr=False)
    scope: str = ""  # all that the account has, unless said

    def form(self) -> dict[str, str]:
        """RFC 6749, 4.4.2."""
        return {"grant_type": "client_credentials", **_wanted(self.scope)}

    def auth(self) -> httpx.Auth:
        """RFC 6749, 2.3.1: both are encoded as in a form first."""
        return httpx.BasicAuth(quote_plus(self.client_id), quote_plus(self.secret))


Renewable = Password | ClientCredentials
Credentials = Bearer | Renewable


def _wanted(scope: str) -> dict[str, str]:
    return {"scope": scope} if scope else {}


class NoToken(Exception):
    """The credentials were answered otherwise than with a token."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"no token: {answer.status_code}")
        self.answer = answer


class Identity:
    """The token in use. However many requests want a new one at once, one is fetched."""

    def __init__(self, credentials: Credentials, ask: Callable[[Renewable], Awaitable[httpx.Response]]) -> None:
        self._credentials, self._ask = credentials, ask
        self._token = credentials.token if isinstance(credentials, Bearer) else ""
        self._renewed_at = 0.0  # monotonic seconds
        self._one_at_a_time = asyncio.Lock()

    async def token(self, refused: str | None = None) -> str:
        """One that is not the refused one, where another can be had. Raises `NoToken`."""
        if isinstance(self._credentials, Bearer):
            return self._token
        async with self._one_at_a_time:
            if self._token in ("", refused) or time.monotonic() >= self._renewed_at:
                await self._renew(self._credentials)
            return self._token

    async def _renew(self, credentials: Renewable) -> None:
        asked_at = time.monotonic()
        answer = await self._ask(credentials)
        if answer.status_code != httpx.codes.OK:
            raise NoToken(answer)
        given = answer.json()
        self._token = given["access_token"]
        self._renewed_at = asked_at + given["expires_in"] * (1 - EARLY)
