"""The push: who listens at /v1/live is told every change of the orders that it may see, over a WebSocket.

One connection has one bounded queue and any number of subscriptions up to a limit. What goes wrong is told in an
`error` message, a problem, before the connection is closed with one of the codes below.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec import Meta
from psycopg_pool import PoolTimeout
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from api import live_own_writes
from api.auth import Caller, Verifier
from api.consistency import Token
from api.errors import Place, Problem, pointer, unavailable
from api.ids import request_id_from
from api.limits import Limits as RateLimit
from api.websocket import refuse
from events.codec import TYPES
from events.tasks import ended
from projections.arrivals import Arrivals
from projections.changes import PAGE, BadCursor, Batch, Change, Changes, Cursor, CursorAhead, Interest
from projections.order_pages import Wanted, Window, key_of
from projections.queries import Queries
from projections.shapes import OrderView

log = structlog.get_logger()

SUBPROTOCOL = "orderlog.v1"

# The close codes. After those marked with *, connect again and subscribe from the last cursor.
MALFORMED = 4400
UNAUTHENTICATED = 4401  # * with a new token
FORBIDDEN = 4403
NOT_CONNECTED_IN_TIME = 4408  # *
TOO_MANY = 4429
TOO_SLOW = 4508  # *
RESTARTING = 1012  # *
FAILED = 1011  # *

ORDER_EVENTS = frozenset(name for name in TYPES if name.startswith("orderlog.order."))
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")  # where msgspec says that something is wrong
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")

_json = msgspec.json.Encoder().encode


class Limits(msgspec.Struct, frozen=True):
    """What one connection may take, and how long things may last, in seconds."""

    connections: int = 5_000
    subscriptions: int = 50  # of one connection
    queue: int = 1_000  # messages that wait for a client that reads too slowly
    snapshot: int = 10_000  # orders
    message: int = 65_536  # characters of one message from the client
    connect: float = 5.0
    heartbeat: float = 15.0
    closing: float = 5.0


# What clients say ----------------------------------------------------------------------------------------------

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00]*\Z")]
Status = Literal["draft", "placed", "confirmed", "completed", "cancelled"]


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class Connect(_Said, frozen=True, tag="connect"):
    token: str


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    order_id: UUID | None = None
    customer_id: Name | None = None
    status: Status | None = None
    event: str | None = None


class Subscribe(_Said, frozen=True, tag="subscribe", rename={"begin": "from"}):
    id: Name
    begin: str  # now, snapshot, or a cursor
    filter: Filter = Filter()
    consistency_token: str | None = None  # of writes that a snapshot shall include


class Unsubscribe(_Said, frozen=True, tag="unsubscribe"):
    id: Name


class Refresh(_Said, frozen=True, tag="refresh"):
    token: str


Message = Connect | Subscribe | Unsubscribe | Refresh

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


Start = Cursor | Literal["now", "snapshot"]
"""Where a subscription begins."""


class Stop(Exception):
    """The client is told a problem, and the connection is closed with a code; without one it goes on."""

    def __init__(self, code: int | None, problem: Problem, subscription: str | None = None) -> None:
        super().__init__(str(problem))
        self.code, self.problem, self.subscription = code, problem, subscription


class Live:
    """The push to all the clients of this process. `start` and `stop` belong into the application's lifespan."""

    def __init__(
        self,
        changes: Changes,
        tokens: Verifier,
        queries: Queries,
        limits: Limits | None = None,
        *,
        arrivals: Arrivals,
        rate: RateLimit | None = None,
    ) -> None:
        self.changes, self.tokens, self.queries, self.arrivals = changes, tokens, queries, arrivals
        self.limits = limits or Limits()
        self.rate = rate
        if self.limits.queue < 2 * PAGE:  # half of it must take a page of what a client missed
            raise ValueError(f"the queue of a client holds {self.limits.queue} messages; it needs at least {2 * PAGE}")
        self.routes: list[BaseRoute] = [WebSocketRoute("/v1/live", self, name="live")]
        self._connections: set[Connection] = set()
        self._left = asyncio.Event()
        self._stopping = False
        self._heart: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.changes.start()
        self._heart = asyncio.create_task(self._beat(), name="heartbeat")

    async def stop(self) -> None:
        """Close all connections as for a restart, then stop reading changes."""
        self._stopping = True
        for connection in self._connections:
            connection.close(RESTARTING, "restarting: connect again and go on from your cursor")
        while self._connections:
            self._left.clear()
            await self._left.wait()
        if self._heart is not None:
            await ended(self._heart)
        await self.changes.stop()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: one WebSocket from handshake to close."""
        request_id = request_id_from(dict(scope["headers"]))
        await receive()  # websocket.connect
        try:
            caller = await self._shake_hands(scope)
        except Problem as problem:
            await refuse(scope, send, problem, request_id)
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        await self.listen(caller, receive, send, request_id, rate=self.rate)

    async def listen(
        self, caller: Caller | None, receive: Receive, send: Send, request_id: str, *, rate: RateLimit | None
    ) -> None:
        """Tell one client what it wants to hear until either side ends; `caller` is None if it has yet to say who.

        Each subscription counts as a request at `rate`, if that is given.
        """
        connection = Connection(self, receive, send, request_id, rate)
        self._connections.add(connection)
        try:
            await connection.serve(caller)
        finally:
            self._connections.discard(connection)
            self._left.set()

    async def _shake_hands(self, scope: Scope) -> Caller | None:
        """The caller, or None who has yet to say so in its first message. Raises `Problem`."""
        if SUBPROTOCOL not in scope["subprotocols"]:
            offered = ", ".join(scope["subprotocols"]) or "none"
            raise Problem("bad-header", f"Sec-WebSocket-Protocol must offer {SUBPROTOCOL}; it offers {offered}.")
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) > 1:
            raise Problem("token-invalid", "There must be one Authorization header.", headers=_CHALLENGE)
        if given:
            return await self.admitted(given[0])
        self._require_room()
        return None

    async def admitted(self, authorization: bytes | None) -> Caller:
        """The caller behind an Authorization header, for whom there is room. Raises `Problem`."""
        caller = _listening(await self.tokens.verify(authorization))
        self._require_room()
        return caller

    def _require_room(self) -> None:
        if self._stopping or len(self._connections) >= self.limits.connections:
            why = "This process is about to end" if self._stopping else "Too many clients listen here"
            raise Problem("busy", f"{why}; try again.", headers=[(b"retry-after", b"2")])

    async def _beat(self) -> None:
        await self.changes.ready()
        while True:
            await asyncio.sleep(self.limits.heartbeat)
            cursor = self.changes.cursor.text
            for connection in list(self._connections):
                connection.beat(cursor)


_CHALLENGE = [(b"www-authenticate", b'Bearer realm="orderlog", error="invalid_token"')]


class Connection:
    """One client: what waits for it, what it subscribed to, and the tasks that work for it."""

    def __init__(self, live: Live, receive: Receive, send: Send, request_id: str, rate: RateLimit | None) -> None:
        self._live = live
        self._rate = rate
        self._limits = live.limits
        self._receive, self._send = receive, send
        self._request_id = request_id
        self._queue: deque[tuple[str, str]] = deque()  # messages in two parts, so that many queues can share one part
        self._news = asyncio.Event()
        self._sent = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._caller: Caller | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._writer = asyncio.create_task(self.guard(self._write()))

    async def serve(self, caller: Caller | None) -> None:
        """Until either side closes. `caller` is None if the first message must say who it is."""
        reader = asyncio.create_task(self.guard(self._read(caller)))
        try:
            await asyncio.wait({self._writer, reader}, return_when=asyncio.FIRST_COMPLETED)
            if self._closing:  # what was told before goes out first
                await asyncio.wait({self._writer}, timeout=self._limits.closing)
        finally:
            if self._expiry:
                self._expiry.cancel()
            for subscription in self._subscriptions.values():
                subscription.end()
            await ended(self._writer, reader, *(one.task for one in self._subscriptions.values()))

    def put(self, first: str, second: str = "", *, paced: bool = False) -> None:
        """Queue a message. A queue that is full closes the connection, unless the sender keeps to `room`."""
        if self._closing:
            return
        if len(self._queue) >= self._limits.queue and not paced:
            self._queue.clear()
            self.close(TOO_SLOW, "you read too slowly: connect again and go on from your last cursor")
            return
        self._queue.append((first, second))
        self._news.set()

    async def room(self) -> None:
        """Wait until half of the queue is free."""
        while len(self._queue) > self._limits.queue // 2:
            self._sent.clear()
            await self._sent.wait()

    def tell(self, kind: str, members: dict[str, Any], *, paced: bool = False) -> None:
        self.put(_json({"type": kind, **members}).decode(), paced=paced)

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued. The first reason counts."""
        if self._closing is None:
            self._closing = (code, reason)
            self._news.set()

    def beat(self, cursor: str) -> None:
        """A cursor that holds for every subscription but those that are still catching up; the end, for a token that
        was revoked."""
        if self._caller is not None and not self._live.tokens.is_good(self._caller):
            problem = Problem("token-revoked", "The token was revoked; connect again with a new one.")
            self._explain(Stop(UNAUTHENTICATED, problem))
        elif self._caller is not None:
            late = [name for name, subscription in self._subscriptions.items() if not subscription.live]
            self.tell("heartbeat", {"cursor": cursor, **({"catching_up": late} if late else {})})

    async def guard(self, work: Awaitable[None]) -> None:
        """Tell the client what ends the work."""
        try:
            await work
        except Stop as stop:
            self._explain(stop)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("a listener is sent away: the database does not answer", error=str(error))
            self._explain(Stop(RESTARTING, unavailable()))
        except Exception:
            log.exception("a listener is sent away", request_id=self._request_id)
            problem = Problem("internal-error", "The error was logged under this request_id.")
            self._explain(Stop(FAILED, problem))

    def _explain(self, stop: Stop) -> None:
        problem = msgspec.Raw(stop.problem.answer(self._request_id).body)
        name = {} if stop.subscription is None else {"id": stop.subscription}
        self.tell("error", {**name, "problem": problem})
        if stop.code is not None:
            self.close(stop.code, _reason(stop.problem.detail))

    # To the client

    async def _write(self) -> None:
        try:
            while not (self._closing and not self._queue):
                while self._queue:
                    first, second = self._queue.popleft()
                    await self._send({"type": "websocket.send", "text": first + second})
                self._sent.set()
                self._news.clear()
                if not self._closing:
                    await self._news.wait()
            code, reason = self._closing
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:
            log.debug("a listener is gone", request_id=self._request_id)

    # From the client

    async def _read(self, caller: Caller | None) -> None:
        if caller is None:
            caller = await self._introduced()
            if caller is None:
                return
        self._admit(caller)
        self.tell("connected", {**_who(caller), "heartbeat": self._limits.heartbeat})
        while (text := await self._text()) is not None:
            await self._answer(_read_message(text))
            if self._closing:
                return

    async def _introduced(self) -> Caller | None:
        """Who the first message says that the caller is; None if the client went away."""
        try:
            async with asyncio.timeout(self._limits.connect):
                text = await self._text()
        except TimeoutError:
            problem = Problem("token-missing", f"No connect message came within {self._limits.connect:g} s.")
            raise Stop(NOT_CONNECTED_IN_TIME, problem) from None
        if text is None:
            return None
        message = _read_message(text)
        if not isinstance(message, Connect):
            raise _malformed("/type", "the first message must be connect, since the handshake had no Authorization")
        return await self._verified(message.token)

    async def _verified(self, token: str) -> Caller:
        try:
            caller = await self._live.tokens.verify_token(token)
        except Problem as problem:
            raise Stop(UNAUTHENTICATED, problem) from None
        try:
            return _listening(caller)
        except Problem as problem:
            raise Stop(FORBIDDEN, problem) from None

    async def _text(self) -> str | None:
        """The next message; None when the client is gone."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        if text is None:
            raise _malformed("", "messages are text, not binary")
        if len(text) > self._limits.message:
            raise _malformed("", f"the message has {len(text)} characters; at most {self._limits.message} are read")
        return text

    async def _answer(self, message: Message) -> None:
        match message:
            case Connect():
                raise _malformed("/type", "this connection has a token already; refresh replaces it")
            case Subscribe():
                self._subscribe(message)
            case Unsubscribe():
                self._unsubscribe(message)
            case Refresh():
                await self._refresh(message)

    def _subscribe(self, wanted: Subscribe) -> None:
        assert self._caller is not None
        if wanted.id in self._subscriptions:
            raise _malformed("/id", f"{wanted.id!r} is subscribed already", wanted.id)
        if len(self._subscriptions) >= self._limits.subscriptions:
            detail = f"A connection has at most {self._limits.subscriptions} subscriptions."
            raise Stop(TOO_MANY, Problem("too-many-subscriptions", detail), wanted.id)
        interest, start, tokens = _interest(self._caller, wanted), _start(wanted), _tokens(wanted)
        if self._rate is not None:
            try:
                self._rate.take(self._caller.subject, {})
            except Problem as problem:
                self._explain(Stop(None, problem, wanted.id))
                return
        self._subscriptions[wanted.id] = Subscription(self._live, self, wanted.id, interest, start, tokens=tokens)

    def _unsubscribe(self, unwanted: Unsubscribe) -> None:
        subscription = self._subscriptions.pop(unwanted.id, None)
        if subscription is None:
            raise _malformed("/id", f"{unwanted.id!r} is not subscribed", unwanted.id)
        subscription.end()
        self.tell("unsubscribed", {"id": unwanted.id})

    def drop(self, name: str) -> None:
        """Forget a subscription that came to an end by itself."""
        self._subscriptions.pop(name, None)

    async def _refresh(self, message: Refresh) -> None:
        assert self._caller is not None
        caller = await self._verified(message.token)
        if (caller.subject, caller.roles) != (self._caller.subject, self._caller.roles):
            problem = Problem("forbidden", "The new token is of another subject or has other roles: connect again.")
            raise Stop(FORBIDDEN, problem)
        self._admit(caller)
        self.tell("refreshed", _who(caller))

    # The token

    def _admit(self, caller: Caller) -> None:
        self._caller = caller
        self._watch_expiry()

    def _watch_expiry(self) -> None:
        assert self._caller is not None
        if self._expiry:
            self._expiry.cancel()
        left = self._caller.expires - time.time()
        if left <= 0:
            problem = Problem("token-expired", "The token has expired; connect again with a new one.")
            self._explain(Stop(UNAUTHENTICATED, problem))
        else:  # the clock may be set meanwhile, so look again within the hour
            self._expiry = asyncio.get_running_loop().call_later(min(left, 3600), self._watch_expiry)


class Subscription:
    """What one client wants to hear: a listener of the changes."""

    def __init__(
        self,
        live: Live,
        connection: Connection,
        name: str,
        interest: Interest,
        start: Start,
        *,
        tokens: tuple[Token, ...],
    ) -> None:
        self._live, self._changes, self._connection = live, live.changes, connection
        self._name = name
        self._event = f'{{"type":"event","id":{_json(name).decode()},'
        self._known: dict[UUID, int] = {}  # versions of orders, as a snapshot told them
        self.interest = interest
        self.live = False  # heard everything that there was, and hears what comes
        self._ended = False
        self.task = asyncio.create_task(connection.guard(self._listen(start, tokens)))

    def end(self) -> None:
        self._ended = True
        self.task.cancel()
        self._changes.leave(self)

    async def _listen(self, start: Start, tokens: tuple[Token, ...]) -> None:
        await self._changes.ready()
        await self._include(tokens)
        if self._ended:
            return
        if start == "now":
            self._tell("subscribed", cursor=self._changes.join(self).text)
            self.live = True
            return
        cursor = self._changes.cursor if start == "snapshot" else start
        self._tell("subscribed", cursor=cursor.text)
        if start == "snapshot":
            await self._show()
        try:
            cursor = await self._changes.catch_up(self, cursor)
        except CursorAhead as error:
            raise Stop(MALFORMED, Problem("bad-cursor", str(error)), self._name) from None
        if self._ended:  # its cancellation was lost on the way, see `ended`
            self._changes.leave(self)
            return
        self.live = True
        self._tell("caught_up", cursor=cursor.text)

    async def _include(self, tokens: tuple[Token, ...]) -> None:
        try:
            await live_own_writes.include(self._live, tokens)
        except Problem as stale:
            self._connection.drop(self._name)
            raise Stop(None, stale, self._name) from None

    async def room(self) -> None:
        await self._connection.room()

    def hear(self, batch: Batch) -> None:
        paced = not self.live
        for change in batch.changes:
            if self.interest.wants(change) and not (self._known and self._is_known(change)):
                self._connection.put(self._event, change.members + "}", paced=paced)

    def _is_known(self, change: Change) -> bool:
        return self._known.get(change.order_id, 0) >= change.version

    async def _show(self) -> None:
        """Tell the orders as they are. What happens to them meanwhile comes after, from the timeline."""
        shown = 0
        async for orders in self._orders():
            shown += len(orders)
            if shown > self._live.limits.snapshot:
                self._connection.drop(self._name)
                raise Stop(None, _too_large(self._live.limits.snapshot), self._name)
            await self.room()
            for order in orders:
                self._known[order.order_id] = order.version
                self._tell("snapshot", order=order)

    async def _orders(self) -> AsyncIterator[list[OrderView]]:
        """Pages of the orders that fit, the newest first."""
        wanted = self.interest
        if wanted.order_id is not None:
            yield await self._fitting([wanted.order_id])
            return
        after = None
        while True:
            page = await self._live.queries.orders(
                Wanted(customer_id=wanted.customer_id, status=(wanted.status,) if wanted.status else ()),
                Window(limit=PAGE, after=after),
            )
            yield await self._fitting([one.order_id for one in page])
            if len(page) < PAGE:
                return
            after = key_of(page[-1])

    async def _fitting(self, ids: list[UUID]) -> list[OrderView]:
        found = await self._changes.orders(ids)
        return [found[one] for one in ids if one in found and self.interest.fits(found[one])]

    def _tell(self, kind: str, **members: Any) -> None:
        self._connection.tell(kind, {"id": self._name, **members}, paced=not self.live)


def _listening(caller: Caller) -> Caller:
    """The caller, who may listen to some orders at least. Raises `Problem`."""
    if not caller.reads_all and caller.customer_id is None:
        raise Problem("forbidden", "The token has none of the roles customer, staff, analyst and admin.")
    return caller


def _who(caller: Caller) -> dict[str, Any]:
    return {"subject": caller.subject, "expires": datetime.fromtimestamp(caller.expires, UTC)}


def _interest(caller: Caller, wanted: Subscribe) -> Interest:
    """What is wanted, confined to what the caller may see. Raises `Stop`."""
    wish = wanted.filter
    if wish.event is not None and wish.event not in ORDER_EVENTS:
        known = ", ".join(sorted(ORDER_EVENTS))
        raise _malformed("/filter/event", f"{wish.event!r} is not a type of an order's events, which are: {known}")
    customer_id = wish.customer_id
    if not caller.reads_all:
        if customer_id not in (None, caller.customer_id):
            at = Place("/filter/customer_id", "a customer listens to its own orders only", "message")
            raise Stop(FORBIDDEN, Problem("forbidden", at.detail, errors=[at]), wanted.id)
        customer_id = caller.customer_id
    return Interest(wish.order_id, customer_id, wish.status, wish.event)


def _start(wanted: Subscribe) -> Start:
    if wanted.begin == "now":
        return "now"
    if wanted.begin == "snapshot":
        return "snapshot"
    try:
        return Cursor.parse(wanted.begin)
    except BadCursor as error:
        at = Place("/from", f"{error}; from is now, snapshot, or a cursor that was given out here", "message")
        raise Stop(MALFORMED, Problem("bad-cursor", at.detail, errors=[at]), wanted.id) from None


def _tokens(wanted: Subscribe) -> tuple[Token, ...]:
    try:
        return live_own_writes.read(wanted.consistency_token, wanted.begin)
    except ValueError as error:
        raise _malformed("/consistency_token", str(error), wanted.id) from None


def _read_message(text: str) -> Message:
    """Raises `Stop`."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.search(message)
        steps = [name or number for name, number in _STEP.findall(at["path"])] if at else []
        raise _malformed(pointer(steps), _AT.sub("", message)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _malformed("", f"the message is not JSON: {error}") from None


def _malformed(where: str, why: str, subscription: str | None = None) -> Stop:
    problem = Problem("malformed-message", f"{where or 'the message'}: {why}", errors=[Place(where, why, "message")])
    return Stop(MALFORMED, problem, subscription)


def _too_large(most: int) -> Problem:
    return Problem(
        "snapshot-too-large",
        f"A snapshot has at most {most} orders: narrow the filter, or subscribe from now and read GET /v1/orders.",
    )


def _reason(detail: str) -> str:
    """At most 123 bytes (RFC 6455, 5.5)."""
    return detail.encode()[:123].decode(errors="ignore")
