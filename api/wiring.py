"""Puts the parts of the edge together: writes, reads, the live feed, and what tells who calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from api import shapes
from api.accounts import Accounts
from api.app import create_app
from api.auth import Verifier
from api.automation import Automation
from api.cursors import Cursors
from api.limits import Limits, Quota
from api.live import Live
from api.measures import OfAutomation, OfListeners, OfWrites
from api.operating import Check, OfChecks, Operated
from api.parts import Identity, Parts
from api.passwords import Passwords
from api.projection_measures import OfProjections
from api.relay_measures import OfRelayElsewhere
from api.routes import ON_ORDER
from api.serving import Edge
from api.settings import Settings, secret_key
from api.sign_in import SignIn
from api.sse import Events
from api.standing import Standing
from api.tokens import token_maker
from commands.processor import processing
from events.expiry import Expiry
from events.log import Log
from events.tasks import ended
from events.wakeup import Listening
from projections.arrivals import Arrivals
from projections.catalogue import PROJECTIONS
from projections.changes import Changes
from projections.queries import Queries
from projections.worker import CHANGES


@asynccontextmanager
async def http(settings: Settings, events: Log, operated: Operated, *, projecting: bool = False) -> AsyncIterator[Edge]:
    """The whole edge: writes, reads and the live feed.

    Where the process is `projecting` itself, projections that lag make it unready; elsewhere /readyz only notes it,
    since sending nobody here any more would help nobody. So it is with a relay that lags elsewhere, with the automatic
    steps, which any process may be elected to take, with streams that projections have left aside, and with changes
    that listeners cannot be told.
    """
    secret = secret_key(settings)
    async with (
        AsyncConnectionPool(events.url, min_size=1, max_size=8, open=False, kwargs={"autocommit": True}) as pool,
        processing(events) as processor,
        Listening(events.url, CHANGES) as projected,
        identifying(settings, secret, pool) as (tokens, identity, issuer_checks),
    ):
        queries = Queries(pool)
        changes = Changes(projected.waiter(), pool, queries, complete=shapes.with_allowed_commands)
        arrivals = Arrivals(projected.waiter(), pool, PROJECTIONS, partitions=settings.kafka_partitions)
        arrivals.start()
        rate = Limits(Quota.parse(settings.rate_limit)) if settings.rate_limit else None
        live = Live(changes, tokens, queries, arrivals=arrivals, rate=rate)
        live.start()
        progress = OfProjections(queries, arrivals, list(PROJECTIONS))
        automation = Automation(
            events.url,
            projected.waiter(),
            processor,
            queries,
            order_expiry=settings.order_expiry,
            authorization_expiry=settings.authorization_expiry,
        )
        steps, listeners = OfAutomation(automation), OfListeners(live, arrivals)
        lag: dict[str, Check] = {"projection lag": progress.problem}
        notes: dict[str, Check] = {
            "automation": steps.problem,
            "live feed": listeners.problem,
            "parked": progress.left_aside,
            **({} if projecting else lag),
        }
        sources = [OfWrites(processor).measure, listeners.measure, progress.measure, steps.measure]
        if settings.kafka_bootstrap_servers and "relay" not in operated.checks:
            elsewhere = OfRelayElsewhere(pool)
            notes["relay lag"] = elsewhere.problem
            sources.append(elsewhere.measure)
        checks = {
            "database": _database_check(events),
            **issuer_checks,
            **operated.checks,
            **(lag if projecting else {}),
        }
        parts = Parts(
            processor=processor,
            queries=queries,
            arrivals=arrivals,
            tokens=tokens,
            identity=identity,
            cursors=Cursors(secret),
            checks=checks,
            notes=notes,
            sources=[*sources, OfChecks(checks).measure, *operated.sources],
            limits=rate,
            versioned=frozenset(ON_ORDER[name].command for name in settings.require_if_match),
            cors_origins=settings.cors_origins,
        )
        try:
            work = (automation.run, Expiry(events.url, settings.idempotency_expiry).run)
            app = create_app(parts, routes=[*live.routes, Events(live).route])
            yield Edge(app, work, (live.stop, arrivals.stop))
        finally:
            await live.stop()
            await arrivals.stop()


# Who calls ---------------------------------------------------------------------------------------------------


CLOCKS_DIFFER = 30.0
"""Seconds by which the clock of an issuer elsewhere may be off (RFC 7519, 4.1.4)."""


@asynccontextmanager
async def identifying(
    settings: Settings, secret: bytes, pool: AsyncConnectionPool
) -> AsyncIterator[tuple[Verifier, Identity | None, dict[str, Check]]]:
    """What verifies tokens, what gives them out if that is ours to do, and whether it is well."""
    if settings.has_own_issuer:
        tokens = token_maker(settings, secret)
        passwords = Passwords()
        standing = Standing(pool, tokens)
        accounts = Accounts(pool, passwords)
        await standing.look()
        work = asyncio.create_task(standing.run(), name="standing")
        try:
            yield tokens, Identity(tokens, accounts, SignIn(accounts, secret)), {"identity": standing.problem}
        finally:
            await ended(work)
            passwords.close()
        return
    from api.oidc import Jwks  # noqa: PLC0415  httpx with it, which our own issuer does not need

    jwks = Jwks(settings.jwt_issuer, settings.jwks_url)
    verifier = Verifier(jwks, issuer=settings.jwt_issuer, audience=settings.jwt_audience, leeway=CLOCKS_DIFFER)
    work = asyncio.create_task(jwks.run(verifier.forget), name="jwks")
    try:
        yield verifier, None, {"issuer": jwks.problem}
    finally:
        await ended(work)
        await jwks.close()


# Whether they are ready --------------------------------------------------------------------------------------


def _database_check(events: Log) -> Check:
    async def check() -> str | None:
        try:
            await asyncio.wait_for(asyncio.to_thread(events.head), 3)
        except Exception as error:  # noqa: BLE001  whatever it is, it is why the database is not ready
            return f"the log's database does not answer: {error}"
        return None

    return check
