"""Puts the parts together: each part is a context manager here, and a command of the command line is a few of them."""

import asyncio
import fcntl
import gc
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import msgspec
import psycopg
import structlog
import uvicorn
from psycopg_pool import AsyncConnectionPool
from starlette.types import ASGIApp

from api import shapes
from api.accounts import Accounts
from api.answers import SECURITY_HEADERS
from api.app import create_app
from api.auth import Verifier
from api.automation import Automation
from api.cursors import Cursors
from api.embedded import EmbeddedPostgres
from api.health import health
from api.limits import Limits, Quota
from api.live import Live
from api.measures import OfAutomation, OfChecks, OfListeners, OfProjections, OfRelayElsewhere, OfWrites, Operated
from api.oidc import Jwks
from api.parts import Check, Identity, Parts
from api.passwords import Passwords
from api.protocol import ClientLimits, within
from api.routes import ON_ORDER
from api.settings import Settings, secret_key
from api.sign_in import SignIn
from api.sse import Events
from api.standing import Standing
from api.tokens import Tokens
from api.websocket import WebSocket
from commands.processor import Processor
from events.expiry import Expiry
from events.log import Log
from events.relay import Relay
from events.tasks import ended
from events.topics import ensure_topics
from events.wakeup import Listening, Wakeup
from projections.arrivals import Arrivals
from projections.catalogue import PROJECTIONS
from projections.changes import Changes
from projections.feed import Feed, LogFeed
from projections.kafka_feed import KafkaFeed
from projections.migrate import migrate
from projections.queries import Queries
from projections.worker import CHANGES, Worker

OTHER_FILES = 200
"""That a process has open besides the connections of clients."""

GRACE = 3
"""Seconds that requests under way have to finish when the process is asked to stop."""

log = structlog.get_logger()


class CannotStart(Exception):
    """The process cannot start; the sentence says why and what would be right."""


# The database ------------------------------------------------------------------------------------------------


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The address of the log's and the read side's database, ready for use; the embedded one runs meanwhile."""
    if settings.database_url is not None:
        yield _prepared(settings.database_url)
        return
    postgres = EmbeddedPostgres(settings.data_dir)
    url = postgres.start()
    try:
        yield _prepared(url)
    finally:
        postgres.stop()


def _prepared(url: str) -> str:
    try:
        with psycopg.connect(url, connect_timeout=5):
            pass
    except psycopg.OperationalError as error:
        where = psycopg.conninfo.conninfo_to_dict(url)
        address = f"{where.get('host')}:{where.get('port', 5432)}/{where.get('dbname', '')}"
        why = " ".join(str(error).split())
        raise CannotStart(
            f"the database at {address} does not answer ({why}); start it, or set ORDERLOG_DATABASE_URL to where it is"
        ) from error
    log_ = Log(url)
    try:
        log_.create()
    finally:
        log_.close()
    migrate(url)
    return url


@contextmanager
def one_server(settings: Settings) -> Iterator[None]:
    """Keeps a second `orderlog serve` off a data folder; a database that is set takes as many as like to use it."""
    if settings.database_url is not None:
        yield
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "serve.lock").open("w")
    except OSError as error:
        raise CannotStart(
            f"the data folder {settings.data_dir.resolve()} cannot be made or written ({error.strerror}); "
            "set ORDERLOG_DATA_DIR to a folder that you may write"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"another `orderlog serve` uses the data folder {settings.data_dir.resolve()}; "
                "stop it, or set ORDERLOG_DATA_DIR to another folder"
            ) from None
        yield


@contextmanager
def opened(url: str) -> Iterator[Log]:
    events = Log(url)
    try:
        yield events
    finally:
        events.close()


# The parts ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def processing(events: Log) -> AsyncIterator[Processor]:
    processor = Processor(events)
    processor.start()
    try:
        yield processor
    finally:
        await processor.stop()


class Edge(msgspec.Struct, frozen=True):
    """What is served, and what must be told first that the server ends."""

    app: ASGIApp
    work: tuple[Callable[[], Awaitable[None]], ...] = ()  # beside it, for whoever opens it to run
    closing: tuple[Callable[[], Awaitable[None]], ...] = ()


@asynccontextmanager
async def http(settings: Settings, events: Log, operated: Operated, *, projecting: bool = False) -> AsyncIterator[Edge]:
    """The whole edge: writes, reads and the live feed.

    Where the process is `projecting` itself, projections that lag make it unready; elsewhere /readyz only notes it,
    since sending nobody here any more would help nobody. So it is with a relay that lags elsewhere, and with the
    automatic steps, which any process may be elected to take.
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
        steps = OfAutomation(automation)
        lag: dict[str, Check] = {"projection lag": progress.problem}
        notes: dict[str, Check] = {"automation": steps.problem, **({} if projecting else lag)}
        sources = [OfWrites(processor).measure, OfListeners(live, arrivals).measure, progress.measure, steps.measure]
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
    jwks = Jwks(settings.jwt_issuer, settings.jwks_url)
    verifier = Verifier(jwks, issuer=settings.jwt_issuer, audience=settings.jwt_audience, leeway=CLOCKS_DIFFER)
    work = asyncio.create_task(jwks.run(verifier.forget), name="jwks")
    try:
        yield verifier, None, {"issuer": jwks.problem}
    finally:
        await ended(work)
        await jwks.close()


def token_maker(settings: Settings, secret: bytes) -> Tokens:
    """Raises `CannotStart` where tokens are another issuer's."""
    if not settings.has_own_issuer:
        raise CannotStart(
            f"tokens, accounts and keys are those of {settings.jwt_issuer}; get a token there, "
            "or unset ORDERLOG_JWT_ISSUER and ORDERLOG_JWKS_URL"
        )
    return Tokens(secret, issuer=settings.jwt_issuer, audience=settings.jwt_audience)


def worker(settings: Settings, url: str, events: Log, names: list[str]) -> Worker:
    """A worker for the named projections, or for all of them."""
    chosen = [PROJECTIONS[name] for name in names] if names else list(PROJECTIONS.values())
    return Worker(url, chosen, _feed(settings, events, names))


async def work(part: Worker) -> None:
    """Run a worker in a thread of its own, so that it does not hold up the answers of this one."""
    ended = asyncio.wrap_future(part.start())
    try:
        await asyncio.shield(ended)
    finally:
        await part.stop()


def _feed(settings: Settings, events: Log, names: list[str]) -> Feed:
    if settings.kafka_bootstrap_servers is None:
        return LogFeed(events)
    group = ".".join(["orderlog.projections", *sorted(names)])
    return KafkaFeed(settings.kafka_bootstrap_servers, group)


def relay(settings: Settings, events: Log) -> Relay:
    if settings.kafka_bootstrap_servers is None:
        raise CannotStart("the relay needs ORDERLOG_KAFKA_BOOTSTRAP_SERVERS, such as kafka:9092")
    return Relay(events, settings.kafka_bootstrap_servers, partitions=settings.kafka_partitions)


async def ready_topics(settings: Settings) -> None:
    """Make the topics, where Kafka is used. Raises what `ensure_topics` raises."""
    if settings.kafka_bootstrap_servers is not None:
        await ensure_topics(settings.kafka_bootstrap_servers, settings.kafka_partitions)


# Whether they are ready --------------------------------------------------------------------------------------


def _database_check(events: Log) -> Check:
    async def check() -> str | None:
        try:
            await asyncio.wait_for(asyncio.to_thread(events.head), 3)
        except Exception as error:  # noqa: BLE001  whatever it is, it is why the database is not ready
            return f"the log's database does not answer: {error}"
        return None

    return check


@asynccontextmanager
async def beside(settings: Settings, events: Log, parts: Operated, projections: Sequence[str]) -> AsyncIterator[Edge]:
    """/livez, /readyz and /metrics of a process without an edge, which may have projections that it keeps."""
    async with AsyncConnectionPool(events.url, min_size=0, max_size=2, open=False) as pool:
        arrivals = Arrivals(Wakeup(), pool, PROJECTIONS, partitions=settings.kafka_partitions)
        progress = OfProjections(Queries(pool), arrivals, projections)
        lag: dict[str, Check] = {"projection lag": progress.problem} if projections else {}
        checks = {**parts.checks, **lag}
        sources = [OfChecks(checks).measure, *parts.sources, *([progress.measure] if projections else [])]
        yield Edge(health(checks, sources))


# The process -------------------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn, but for signals, which are the process's own, and for what is told first that the server ends."""

    def __init__(self, config: uvicorn.Config, edge: Edge) -> None:
        super().__init__(config)
        self._edge = edge

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = [asyncio.ensure_future(close()) for close in self._edge.closing]
        await super().shutdown(sockets)
        await asyncio.gather(*closing)


def listen(settings: Settings, port: int, setting: str = "ORDERLOG_PORT") -> socket.socket:
    """The socket to serve on. Raises `CannotStart`, which names the port's setting, when the port is in use."""
    _allow_files(2 * (settings.connections + OTHER_FILES))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {settings.host}:{port} ({error.strerror}); "
            f"stop what listens there, or set {setting} to another port"
        ) from None
    return listener


def _allow_files(wanted: int) -> None:
    """As many open files as that, as far as the system lets us: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted // 2:
            log.warning("ORDERLOG_CONNECTIONS asks for more files than may be open", open_files=allowed)


def client_limits(settings: Settings) -> ClientLimits:
    return ClientLimits(
        settings.header_timeout.total_seconds(), settings.body_timeout.total_seconds(), settings.connections
    )


def http_server(edge: Edge, limits: ClientLimits = ClientLimits()) -> Server:  # noqa: B008  it is frozen
    return Server(
        uvicorn.Config(
            edge.app,
            loop="none",
            http=within(limits),
            ws=WebSocket,
            ws_per_message_deflate=False,
            ws_max_size=1024 * 1024,
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            headers=[(name.decode(), value.decode()) for name, value in SECURITY_HEADERS],
            backlog=4096,
            timeout_graceful_shutdown=GRACE,
        ),
        edge,
    )


@asynccontextmanager
async def until_asked_to_stop() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second one ends the process at once."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, _at_once)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    yield asked


def _at_once(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


async def serve(server: Server, listener: socket.socket, asked: asyncio.Event, drain: float = 0) -> None:
    """Until asked to stop; then, after so many seconds of being served but not ready, what is under way is finished."""
    freeze()
    serving = asyncio.create_task(server.serve([listener]))
    asking = asyncio.create_task(asked.wait())
    await asyncio.wait([serving, asking], return_when=asyncio.FIRST_COMPLETED)
    if drain and asking.done():
        await asyncio.wait([serving], timeout=drain)
    server.should_exit = True
    asking.cancel()
    await serving


async def run_until(asked: asyncio.Event, *parts: Any, serving: Any = None) -> None:
    """Run coroutines until asked to stop, when `serving` ends by itself. One that fails ends them all, loudly."""
    server = asyncio.ensure_future(serving) if serving is not None else None
    tasks = [*([server] if server else []), *(asyncio.ensure_future(part) for part in parts)]
    asking = asyncio.create_task(asked.wait())
    try:
        done, _ = await asyncio.wait([asking, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if asking in done and server:
            await server
        for task in done - {asking}:
            task.result()
    finally:
        await ended(asking, *tasks)


def freeze() -> None:
    """Keep what lives as long as the process from the garbage collector, which makes the slowest answers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    sys.setswitchinterval(0.0005)  # the processor's thread holds the log's lock: it must not wait long for its turn
