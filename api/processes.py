"""The processes that run until they are asked to stop: `orderlog serve`, `api`, `relay` and `project`.

Each looks first at what could keep it from starting, and then loads the parts that it runs, and no others.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import typer
import uvloop
from psycopg.conninfo import conninfo_to_dict

from api.listening import listen
from api.running import freeze, run_until, until_asked_to_stop
from api.settings import Settings
from api.starting import CannotStart, configured, database, one_server
from events.log import Log
from projections.names import NAMES

# With an edge ------------------------------------------------------------------------------------------------


def serve() -> None:
    settings = configured()
    listener = listen(settings, settings.port)
    with one_server(settings):
        _run(settings, lambda events: _serve(settings, listener, events))
    typer.echo("Stopped.", err=True)


async def _serve(settings: Settings, listener: socket.socket, events: Log) -> None:
    await _ready_topics(settings)
    async with until_asked_to_stop() as asked:
        from api import projecting, wiring
        from api.operating import Part, operated
        from api.projection_measures import OfWorker
        from api.serving import client_limits, http_server, serve

        worker = projecting.worker(settings, events, [])
        parts: dict[str, Part] = {"projections": OfWorker(worker)}
        work = [lambda: projecting.work(worker)]
        if settings.kafka_bootstrap_servers:
            relay, parts["relay"] = _relay(settings, events)
            work.append(relay.run)
        _greet(settings, listener, events)
        async with wiring.http(settings, events, operated(asked, parts), projecting=True) as edge:
            server = http_server(edge, client_limits(settings))
            serving = serve(server, listener, asked, settings.drain)
            await run_until(asked, *(one() for one in (*work, *edge.work)), serving=serving)


def api() -> None:
    settings = configured()
    listener = listen(settings, settings.port)
    _run(settings, lambda events: _api(settings, listener, events))


async def _api(settings: Settings, listener: socket.socket, events: Log) -> None:
    async with until_asked_to_stop() as asked:
        from api import wiring
        from api.operating import operated
        from api.serving import client_limits, http_server, serve

        _greet(settings, listener, events)
        async with wiring.http(settings, events, operated(asked, {})) as edge:
            server = http_server(edge, client_limits(settings))
            serving = serve(server, listener, asked, settings.drain)
            await run_until(asked, *(one() for one in edge.work), serving=serving)


def _greet(settings: Settings, listener: socket.socket, events: Log) -> None:
    data = settings.data_dir.resolve() if settings.database_url is None else _without_password(events.url)
    base = f"http://{settings.host}:{listener.getsockname()[1]}"
    lines = {
        "orderlog": base,
        "data": data,
        "Kafka": settings.kafka_bootstrap_servers or "none: projections follow the log",
        "docs": f"{base}/docs",
        "token": f"{_orderlog()} token --role staff" if settings.has_own_issuer else f"from {settings.jwt_issuer}",
    }
    for name, told in lines.items():
        typer.echo(f"{name:8}  {told}", err=True)


def _orderlog() -> str:
    """How to type the command here."""
    local = Path(".venv/bin/orderlog")
    return str(local) if local.exists() else "orderlog"


def _without_password(url: str) -> str:
    where = conninfo_to_dict(url)
    return f"{where.get('host')}:{where.get('port', 5432)}/{where.get('dbname')}"


# Without one -------------------------------------------------------------------------------------------------


def relay() -> None:
    settings = configured()
    listener = _health_listener(settings)
    _run(settings, lambda events: _publish(settings, listener, events))


async def _publish(settings: Settings, listener: socket.socket | None, events: Log) -> None:
    relay, measured = _relay(settings, events)
    async with until_asked_to_stop() as asked:
        from api.operating import operated

        serving = _beside(listener, asked, operated(asked, {"relay": measured}))
        await run_until(asked, relay.run(), serving=serving)


def _relay(settings: Settings, events: Log) -> tuple[Any, Any]:
    """The relay, and what measures it."""
    if settings.kafka_bootstrap_servers is None:
        raise CannotStart("the relay needs ORDERLOG_KAFKA_BOOTSTRAP_SERVERS, such as kafka:9092")
    from api.relay_measures import OfRelay
    from events.relay import Relay

    relay = Relay(events, settings.kafka_bootstrap_servers, partitions=settings.kafka_partitions)
    return relay, OfRelay(relay, events)


def project(names: list[str]) -> None:
    settings = configured()
    if unknown := [name for name in names if name not in NAMES]:
        raise CannotStart(f"no projection is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    listener = _health_listener(settings)
    _run(settings, lambda events: _project(settings, listener, events, names))


async def _project(settings: Settings, listener: socket.socket | None, events: Log, names: list[str]) -> None:
    await _ready_topics(settings)
    async with until_asked_to_stop() as asked:
        from api import projecting
        from api.operating import operated
        from api.projection_measures import OfWorker, progress

        worker = projecting.worker(settings, events, names)
        async with progress(settings, events, names or NAMES) as lag:
            parts = operated(asked, {"projections": OfWorker(worker), "projection lag": lag})
            await run_until(asked, worker.run(), serving=_beside(listener, asked, parts))


def _health_listener(settings: Settings) -> socket.socket | None:
    return listen(settings, settings.health_port, "ORDERLOG_HEALTH_PORT") if settings.health_port is not None else None


def _beside(listener: socket.socket | None, asked: asyncio.Event, parts: Any) -> Coroutine[Any, Any, None] | None:
    """/readyz and /metrics for a part that has no HTTP of its own, if a port is set for them."""
    if listener is None:
        freeze()
        return None
    from api.health import health
    from api.operating import OfChecks
    from api.serving import Edge, http_server, serve

    edge = Edge(health(parts.checks, [OfChecks(parts.checks).measure, *parts.sources]))
    return serve(http_server(edge), listener, asked)


# What they share ---------------------------------------------------------------------------------------------


def _run(settings: Settings, part: Callable[[Log], Coroutine[Any, Any, None]]) -> None:
    with database(settings) as url, closing(Log(url)) as events:
        uvloop.run(part(events))


async def _ready_topics(settings: Settings) -> None:
    """Make the topics, where Kafka is used. Raises what `ensure_topics` raises."""
    if settings.kafka_bootstrap_servers is not None:
        from events.topics import ensure_topics

        await ensure_topics(settings.kafka_bootstrap_servers, settings.kafka_partitions)
