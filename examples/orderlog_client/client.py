"""The client: commands that are carried out once, and reads that include them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from .credentials import Credentials, Identity, NoToken, Renewable
from .problem import Problem
from .retries import NO_ANSWER, Patience, persistently
from .shapes import Card, CommandName, DailySales, HistoryEntry, NewOrder, Order, OrderSummary, Product
from .written import Written


class Client:
    """Talks to one orderlog as one caller; for one event loop. `async with` closes its connections.

    Each call ends within `patience`, by an answer or by a `Problem`; no other exception is for the caller to expect.
    A read that does not include this client's writes within `wait` seconds (at most 10) is a `Problem` as well.
    """

    def __init__(self, url: str, credentials: Credentials, *, patience: Patience | None = None, wait: int = 5) -> None:
        self.url = url
        self.patience = patience or Patience()
        self.wait = wait
        self.written = Written()
        self.retried = 0
        """Attempts that were made again so far."""
        self._http = httpx.AsyncClient(base_url=url, timeout=self.patience.attempt)
        self._identity = Identity(credentials, self._asked_for_a_token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    # Orders

    async def place(self, order: NewOrder, *, key: str | None = None) -> Order:
        """A new order. A `key` that the caller keeps makes it the same order after a crash of the caller, too."""
        placed: Order = await self.write("POST", "/v1/orders", order, key=key)
        return placed

    async def command(
        self,
        order_id: str,
        name: CommandName,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        version: int | None = None,
    ) -> Order:
        """The order after the command; with a `version`, only if that is the one it has before."""
        path = f"/v1/orders/{order_id}/{name}"
        after: Order = await self.write("POST", path, body or {}, key=key, version=version)
        return after

    async def order(self, order_id: str) -> Order:
        """As it is now: this read is never behind."""
        found: Order = await self.read(f"/v1/orders/{order_id}")
        return found

    async def history(self, order_id: str) -> list[HistoryEntry]:
        return [entry async for entry in self.pages(f"/v1/orders/{order_id}/events")]

    def orders(self, **wanted: str | int | bool) -> AsyncIterator[OrderSummary]:
        """The newest first, page after page; filters are those of GET /v1/orders, such as `status="placed"`."""
        return self.pages("/v1/orders", **wanted)

    # Products and reports

    async def put_product(self, sku: str, card: Card, *, version: int | None = None) -> Product:
        listed: Product = await self.write("PUT", _product(sku), card, version=version)
        return listed

    async def receive_stock(self, sku: str, quantity: int, *, key: str | None = None) -> Product:
        received: Product = await self.write("POST", f"{_product(sku)}/receive-stock", {"quantity": quantity}, key=key)
        return received

    async def product(self, sku: str) -> Product:
        found: Product = await self.read(_product(sku))
        return found

    def products(self) -> AsyncIterator[Product]:
        """By SKU."""
        return self.pages("/v1/products")

    async def daily_sales(self, first: str, last: str) -> list[DailySales]:
        """Of the days from first to last, such as 2010-12-01; amounts in minor units."""
        return [day async for day in self.pages("/v1/reports/daily-sales", **{"from": first, "to": last})]

    # Any route

    async def write(
        self, method: str, path: str, body: Any, *, key: str | None = None, version: int | None = None
    ) -> Any:
        """Send a command until it is answered, each time under one key; without one, under a key of its own."""
        key = key or uuid4().hex
        headers = {"idempotency-key": key, "content-type": "application/json"}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        begun = self.written.begun()
        # Encoded once: the same key with another body would be refused.
        answer = await self._answered(method, path, key, headers=headers, content=json.dumps(body).encode())
        if token := answer.headers.get("consistency-token"):
            self.written.answered(token, begun, replayed="idempotency-replayed" in answer.headers)
        return answer.json()

    async def read(self, path: str, **query: str | int | bool) -> Any:
        """Read what includes all that this client has written."""
        headers = {}
        if tokens := self.written.tokens:
            headers = {"consistency-token": tokens, "prefer": f"wait={self.wait}, handling=strict"}
        seconds = self.patience.attempt + self.wait
        return (await self._answered("GET", path, None, headers=headers, params=query, timeout=seconds)).json()

    async def pages(self, path: str, **query: str | int | bool) -> AsyncIterator[Any]:
        """The items of a list, one by one; the next page is read when it is come to."""
        while True:
            page = await self.read(path, **query)
            for item in page["items"]:
                yield item
            if page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]

    # How

    async def _answered(self, method: str, path: str, key: str | None, **request: Any) -> httpx.Response:
        """The answer that is a success. Raises `Problem`."""
        send = partial(self._sent, method, path, **request)
        answer = await self._kept_at(send, key)
        if not answer.is_success:
            raise Problem.of(answer, key)
        return answer

    async def _kept_at(self, send: Callable[[], Awaitable[httpx.Response]], key: str | None) -> httpx.Response:
        seconds = self.patience.in_all
        try:
            async with asyncio.timeout(seconds):
                return await persistently(send, self.patience, self._again)
        except NoToken as refused:
            return refused.answer
        except (*NO_ANSWER, TimeoutError) as error:
            raise Problem.unreachable(self.url, error, seconds, key) from error

    async def _sent(self, method: str, path: str, headers: Mapping[str, str], **request: Any) -> httpx.Response:
        """One attempt; two, where the token was one that can be renewed."""
        token = await self._identity.token()
        answer = await self._http.request(method, path, headers={**headers, **_bearer(token)}, **request)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            another = await self._identity.token(refused=token)
            if another != token:
                answer = await self._http.request(method, path, headers={**headers, **_bearer(another)}, **request)
        return answer

    async def _asked_for_a_token(self, credentials: Renewable) -> httpx.Response:
        ask = partial(self._http.post, "/v1/auth/token", data=credentials.form(), auth=credentials.auth())
        return await persistently(ask, self.patience, self._again)

    def _again(self) -> None:
        self.retried += 1


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _product(sku: str) -> str:
    """A SKU may have a slash in it."""
    return f"/v1/products/{quote(sku, safe='')}"
