"""The whole HTTP edge on a real PostgreSQL, in one process, and short ways to send requests to it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
from psycopg_pool import AsyncConnectionPool

from api.accounts import Accounts
from api.app import create_app
from api.cursors import Cursors
from api.metrics import Source
from api.operating import Check
from api.parts import Identity, Parts
from api.passwords import Passwords
from api.roles import Role
from api.sign_in import SignIn
from api.tokens import Tokens
from commands.processor import Processor
from events.log import Log
from events.wakeup import Listening
from projections.arrivals import Arrivals
from projections.catalogue import PROJECTIONS
from projections.feed import LogFeed
from projections.migrate import migrate
from projections.queries import Queries
from projections.worker import CHANGES, Worker

SECRET = b"a secret that only these tests know, of 32 bytes or more"

ALICE = "alice"
BOB = "bob"
STAFF = "sam"

Json = dict[str, Any]


class Edge:
    def __init__(
        self,
        client: httpx.AsyncClient,
        log: Log,
        parts: Parts,
        tokens: Tokens,
        *,
        changes: Listening,
        sources: list[Source],
    ) -> None:
        self.client, self.log, self.parts, self.tokens = client, log, parts, tokens
        self.changes = changes
        """Wakes who waits for the read models."""
        self.sources = sources
        """What /metrics shows; a test may add to it."""

    async def projected(self) -> None:
        """Wait until every read model has come to the end of the log."""
        head = await asyncio.to_thread(self.log.head)
        async with asyncio.timeout(20):
            while not await self._is_projected(head):  # noqa: ASYNC110  what ends the wait is in the database
                await asyncio.sleep(0.01)

    async def _is_projected(self, head: int) -> bool:
        done = await self.parts.queries.progress()
        return len(done) == len(PROJECTIONS) and all(one.position >= head for one in done)

    def bearer(self, subject: str, *roles: Role, lifetime: timedelta = timedelta(hours=1)) -> dict[str, str]:
        """The header of a caller: of these roles, or of those that the name stands for."""
        named: dict[str, tuple[Role, ...]] = {STAFF: ("staff",), "ann": ("analyst",), "ada": ("admin",)}
        token = self.tokens.issue(subject, roles or named.get(subject, ("customer",)), lifetime)
        return {"authorization": f"Bearer {token}"}

    async def post(
        self, path: str, body: Any = None, *, by: str = STAFF, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """POST some JSON, with an idempotency key of its own unless one is given."""
        sent = self.bearer(by) | {"idempotency-key": key or uuid4().hex} | _named(headers)
        return await self.client.post(path, json=body if body is not None else {}, headers=sent)

    async def put(self, path: str, body: Any, *, by: str = STAFF, **headers: str) -> httpx.Response:
        return await self.client.put(path, json=body, headers=self.bearer(by) | _named(headers))

    async def get(self, path: str, *, by: str = STAFF, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=self.bearer(by) | _named(headers))

    async def listed(self, sku: str = "POSTER", stock: str = "untracked", received: int = 0, price: int = 1999) -> None:
        """A product in the catalogue."""
        card = {"name": f"A {sku.lower()}", "prices": [eur(price)], "stock": stock}
        assert (await self.put(f"/v1/products/{sku}", card)).status_code == 200
        if received:
            assert (await self.post(f"/v1/products/{sku}/receive-stock", {"quantity": received})).status_code == 200

    async def placed(self, by: str = ALICE, **more: Any) -> Json:
        """An order of two posters."""
        answer = await self.post("/v1/orders", an_order(**more), by=by)
        assert answer.status_code == 201, answer.text
        order: Json = answer.json()
        return order


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def eur(amount: int) -> Json:
    return {"amount": amount, "currency": "EUR"}


def an_order(**more: Any) -> Json:
    return {"currency": "EUR", "lines": [{"sku": "POSTER", "quantity": 2}]} | more


@asynccontextmanager
async def projecting(edge: Edge) -> AsyncIterator[None]:
    """The read models follow the log for as long as the block runs."""
    work = asyncio.create_task(Worker(edge.log.url, PROJECTIONS.values(), LogFeed(edge.log, poll=0.05)).run())
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


@asynccontextmanager
async def an_edge(
    url: str, checks: Mapping[str, Check] | None = None, *, patience: float = 10, **parts: Any
) -> AsyncIterator[Edge]:
    log = Log(url)
    log.create()
    migrate(url)
    processor = Processor(log, patience=patience)
    processor.start()
    tokens = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    passwords = Passwords(time=1, memory=8)
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}) as pool,
        Listening(url, CHANGES) as changes,
    ):
        arrivals = Arrivals(changes.waiter(), pool, PROJECTIONS, partitions=6)
        arrivals.start()
        accounts = Accounts(pool, passwords)
        sources: list[Source] = []
        wired: dict[str, Any] = {
            "processor": processor,
            "queries": Queries(pool),
            "arrivals": arrivals,
            "tokens": tokens,
            "identity": Identity(tokens, accounts, SignIn(accounts, SECRET)),
            "cursors": Cursors(SECRET),
            "checks": checks or {},
            "sources": sources,
        }
        given = Parts(**(wired | parts))
        transport = httpx.ASGITransport(create_app(given))
        async with httpx.AsyncClient(transport=transport, base_url="http://orderlog") as client:
            yield Edge(client, log, given, tokens, changes=changes, sources=sources)
        await arrivals.stop()
    passwords.close()
    await processor.stop()
    log.close()
