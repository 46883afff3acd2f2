"""Who listens is told each change of the orders that it may see, and is told why when it is sent away."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from msgspec.structs import replace
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from websockets import ClientConnection, ConnectionClosed, InvalidStatus, Subprotocol, connect
from websockets.frames import Close

from api.errors import Problem
from api.exchanges import Exchanges, as_response
from api.limits import Limits as RateLimit
from api.limits import Quota
from api.live import SUBPROTOCOL, Limits, Live, Subscription
from api.roles import Role
from api.shapes import with_allowed_commands
from api.sse import Events
from api.tokens import Tokens
from events import codec
from events.envelope import Cause, Event, order_stream
from events.log import Log
from events.order import OrderEvent
from events.wakeup import Listening
from projections.arrivals import Arrivals
from projections.catalogue import PROJECTIONS
from projections.changes import Changes, Cursor
from projections.feed import LogFeed
from projections.migrate import migrate
from projections.queries import Queries
from projections.worker import CHANGES, Worker
from tests.examples import NOON, an_order_confirmed, an_order_placed, posters

SECRET = b"a secret of the tests, of 32 bytes or more"
ANNE, BOB = "C-1", "C-2"


class Shop:
    """An installation: the log, its projections, and the push at `address`."""

    def __init__(
        self, log: Log, worker: Worker, tokens: Tokens, live: Live, server: uvicorn.Server, *, port: int
    ) -> None:
        self.log, self.worker, self.tokens, self.live, self.server = log, worker, tokens, live, server
        self.address = f"ws://127.0.0.1:{port}/v1/live"
        self._writer = log.writer()
        self._versions: dict[UUID, int] = {}
        self._position = 0

    async def record(self, order_id: UUID, *facts: OrderEvent) -> None:
        await asyncio.to_thread(self.append, [(order_id, fact) for fact in facts])

    def append(self, facts: Iterable[tuple[UUID, OrderEvent]]) -> None:
        rows = [self._row(order_id, fact) for order_id, fact in facts]
        self._writer.begin(rows[0][2] - 1, [])
        self._writer.append(rows, [])

    def _row(self, order_id: UUID, fact: Event) -> codec.Row:
        version = self._versions[order_id] = self._versions.get(order_id, 0) + 1
        self._position += 1
        state = codec.encode(fact, Cause(NOON, "tests"))
        return (order_stream(order_id), version, self._position, codec.event_type(fact), state)

    async def place(self, customer_id: str = ANNE) -> UUID:
        order_id = uuid4()
        await self.record(order_id, an_order_placed(posters(1), order_id=order_id, customer_id=customer_id))
        return order_id

    def token(self, subject: str = ANNE, role: Role = "customer", seconds: float = 600) -> str:
        return self.tokens.issue(subject, [role], timedelta(seconds=seconds))

    @asynccontextmanager
    async def client(
        self, subject: str = ANNE, role: Role = "customer", *, token: str | None = None, **more: Any
    ) -> AsyncIterator["Client"]:
        headers = [("Authorization", f"Bearer {token or self.token(subject, role)}")]
        async with connect(
            self.address,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=headers,
            close_timeout=0.5,  # a client that leaves unread messages behind never sees the answer to its close
            **more,
        ) as socket:
            client = Client(socket)
            assert (await client.next())["type"] == "connected"
            yield client

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator["Client"]:
        async with connect(self.address, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
            yield Client(socket)

    def close(self) -> None:
        self._writer.close()


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def subscribe(self, begin: str = "now", name: str = "s", **wanted: Any) -> str:
        """The cursor where it begins."""
        await self.say(type="subscribe", id=name, filter=wanted, **{"from": begin})
        answer = await self.next("subscribed")
        assert answer["id"] == name
        return str(answer["cursor"])

    async def next(self, kind: str | None = None, within: float = 60) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), within))
        assert kind in (None, message["type"]), message
        return message

    async def rest(self, seconds: float = 0.3) -> list[dict[str, Any]]:
        """What comes until nothing has come for so long."""
        messages = []
        while True:
            try:
                messages.append(await self.next(within=seconds))
            except TimeoutError:
                return messages

    async def end(self) -> tuple[list[dict[str, Any]], Close]:
        """Everything until the server closes, and how it closes."""
        messages = []
        while not isinstance(message := await self._next_or_close(), Close):
            messages.append(message)
        return messages, message

    async def _next_or_close(self) -> dict[str, Any] | Close:
        try:
            return await self.next()
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise
            return closed.rcvd


@asynccontextmanager
async def serving(url: str, limits: Limits | None = None, rate: RateLimit | None = None) -> AsyncIterator[Shop]:
    migrate(url)
    log = Log(url)
    log.create()
    tokens = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    worker = Worker(url, PROJECTIONS.values(), LogFeed(log))
    worker.start()
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=6, open=False) as pool,
        Listening(url, CHANGES) as projected,
    ):
        queries = Queries(pool)
        changes = Changes(projected.waiter(), pool, queries, complete=with_allowed_commands)
        arrivals = Arrivals(projected.waiter(), pool, PROJECTIONS, partitions=6)
        arrivals.start()
        live = Live(changes, tokens, queries, limits, arrivals=arrivals, rate=rate)
        live.start()
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)  # so that a slow client is noticed early
        app = Starlette(routes=[*live.routes, Events(live).route], exception_handlers={Problem: as_response})
        server = uvicorn.Server(uvicorn.Config(Exchanges(app), ws="websockets-sansio", log_config=None, lifespan="off"))
        serves = asyncio.create_task(server.serve([listening]))
        shop = Shop(log, worker, tokens, live, server, port=listening.getsockname()[1])
        try:
            await until(lambda: server.started)
            yield shop
        finally:
            await live.stop()
            await arrivals.stop()
            server.should_exit = True
            await serves
            await worker.stop()
            shop.close()
            log.close()


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    limits = Limits(connect=0.3, heartbeat=60, subscriptions=3)
    async with serving(database_url, limits) as one:
        yield one


async def until(condition: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.005)


# The handshake


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


async def refusal(shop: Shop, *headers: tuple[str, str], subprotocol: str | None = SUBPROTOCOL) -> InvalidStatus:
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    with pytest.raises(InvalidStatus) as refused:
        await connect(shop.address, subprotocols=offered, additional_headers=list(headers))
    return refused.value


@pytest.mark.parametrize(
    ("token", "code"), [("nonsense", "token-invalid"), ("expired", "token-expired"), ("other", "token-invalid")]
)
async def test_a_bad_token_in_the_handshake_is_refused_with_401(shop: Shop, token: str, code: str) -> None:
    other = Tokens(b"the secret of another installation....", issuer="orderlog", audience="orderlog")
    bad = {"expired": shop.token(seconds=-5), "other": other.issue(ANNE, ["customer"])}.get(token, token)

    response = (await refusal(shop, bearer(bad))).response

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(response.body)
    assert problem["code"] == code
    assert problem["request_id"] == response.headers["Request-Id"]


async def test_two_authorization_headers_are_refused_with_401(shop: Shop) -> None:
    refused = await refusal(shop, bearer(shop.token()), bearer(shop.token()))
    assert refused.response.status_code == 401


async def test_another_kind_of_authorization_is_refused_with_401(shop: Shop) -> None:
    assert (await refusal(shop, ("Authorization", "Basic YTpi"))).response.status_code == 401


async def test_a_token_without_a_role_is_refused_with_403(shop: Shop) -> None:
    refused = await refusal(shop, bearer(shop.tokens.issue(ANNE, [])))
    assert refused.response.status_code == 403


@pytest.mark.parametrize("subprotocol", [None, "orderlog.v2"])
async def test_a_handshake_without_the_subprotocol_is_refused_with_400(shop: Shop, subprotocol: str | None) -> None:
    response = (await refusal(shop, bearer(shop.token()), subprotocol=subprotocol)).response

    assert response.status_code == 400
    assert "must offer orderlog.v1" in json.loads(response.body)["detail"]


async def test_more_connections_than_the_limit_are_refused_with_503(database_url: str) -> None:
    async with serving(database_url, Limits(connections=1)) as shop, shop.client():
        response = (await refusal(shop, bearer(shop.token()))).response
    assert response.status_code == 503
    assert response.headers["Retry-After"]


async def test_the_token_may_come_in_the_first_message(shop: Shop) -> None:
    async with shop.stranger() as client:
        await client.say(type="connect", token=shop.token())
        connected = await client.next("connected")
        await client.subscribe()
        order = await shop.place()

        assert connected["subject"] == ANNE
        assert (await client.next("event"))["order_id"] == str(order)


async def test_a_listener_whose_token_was_revoked_is_sent_away_with_4401(database_url: str) -> None:
    async with serving(database_url, Limits(heartbeat=0.1)) as shop:
        token = shop.tokens.issue(ANNE, ["customer"], account="anne", generation=1)
        async with shop.client(token=token) as revoked, shop.client() as other:
            shop.tokens.revoke({"anne": 2})
            messages, closed = await revoked.end()

            assert (closed.code, messages[-1]["problem"]["code"]) == (4401, "token-revoked")
            await other.next("heartbeat")


async def test_a_stranger_who_says_nothing_is_sent_away_with_4408(shop: Shop) -> None:
    async with shop.stranger() as client:
        messages, closed = await client.end()
    assert closed.code == 4408
    assert messages[0]["problem"]["code"] == "token-missing"


async def test_a_stranger_who_begins_otherwise_is_sent_away_with_4400(shop: Shop) -> None:
    async with shop.stranger() as client:
        await client.say(type="subscribe", id="s", **{"from": "now"})
        messages, closed = await client.end()
    assert closed.code == 4400
    assert "first message must be connect" in messages[0]["problem"]["detail"]


async def test_a_bad_token_in_the_first_message_is_sent_away_with_4401(shop: Shop) -> None:
    async with shop.stranger() as client:
        await client.say(type="connect", token="nonsense")
        messages, closed = await client.end()
    assert (closed.code, messages[0]["problem"]["status"]) == (4401, 401)


async def test_a_token_without_a_role_in_the_first_message_is_sent_away_with_4403(shop: Shop) -> None:
    async with shop.stranger() as client:
        await client.say(type="connect", token=shop.tokens.issue(ANNE, []))
        assert (await client.end())[1].code == 4403


# Events


async def test_a_change_is_pushed_when_the_projection_has_committed_it(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe()
        order = await shop.place()
        await shop.record(order, an_order_confirmed)

        placed, confirmed = await client.next("event"), await client.next("event")

    assert list(placed) == ["type", "id", "cursor", "event", "order_id", "version", "time", "order"]
    assert (placed["id"], placed["order_id"], placed["version"]) == ("s", str(order), 1)
    assert placed["event"] == "orderlog.order.placed.v1"
    assert placed["time"] == "2026-01-02T12:00:00Z"
    assert (confirmed["event"], confirmed["version"]) == ("orderlog.order.confirmed.v1", 2)
    assert (confirmed["order"]["status"], confirmed["order"]["version"]) == ("confirmed", 2)
    assert confirmed["order"]["total"] == {"amount": 1999, "currency": "EUR"}
    assert "ship-items" in confirmed["order"]["allowed_commands"]


async def test_another_customers_change_is_not_pushed(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe()
        await shop.place(BOB)
        own = await shop.place(ANNE)

        assert (await client.next("event"))["order_id"] == str(own)


@pytest.mark.parametrize("begin", ["now", "snapshot", Cursor({}).text])
async def test_another_customers_order_is_silent_like_one_that_does_not_exist(shop: Shop, begin: str) -> None:
    bobs = await shop.place(BOB)
    await until_read(shop, 1)
    async with shop.client(BOB) as bob, shop.client() as client:
        await bob.subscribe("snapshot")
        await bob.next("snapshot")
        for name, order in (("bobs", bobs), ("nobodys", uuid4())):
            await client.say(type="subscribe", id=name, filter={"order_id": str(order)}, **{"from": begin})
        await shop.record(bobs, an_order_confirmed)
        await bob.rest()

        heard = await client.rest()

    assert {message["type"] for message in heard} <= {"subscribed", "caught_up"}


async def test_a_customer_that_asks_for_another_customer_is_sent_away_with_4403(shop: Shop) -> None:
    async with shop.client() as client:
        await client.say(type="subscribe", id="s", filter={"customer_id": BOB}, **{"from": "now"})
        messages, closed = await client.end()

    assert closed.code == 4403
    assert messages[0]["id"] == "s"
    assert messages[0]["problem"]["errors"][0]["pointer"] == "/filter/customer_id"


@pytest.mark.parametrize("role", ["staff", "analyst", "admin"])
async def test_staff_analysts_and_admins_hear_every_order(shop: Shop, role: Role) -> None:
    async with shop.client("x", role) as client:
        await client.subscribe(name="all")
        await client.subscribe(name="bob's", customer_id=BOB)
        orders = [await shop.place(ANNE), await shop.place(BOB)]
        heard = [await client.next("event") for _ in range(3)]

    assert sorted((message["id"], message["order_id"]) for message in heard) == sorted(
        [("all", str(orders[0])), ("all", str(orders[1])), ("bob's", str(orders[1]))]
    )


async def test_filters_by_status_and_by_event_leave_out_the_others(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe(name="status", status="confirmed")
        await client.subscribe(name="event", event="orderlog.order.confirmed.v1")
        order = await shop.place()
        await shop.place()
        await asyncio.sleep(0.2)  # an order is told as it is: not before it is confirmed
        await shop.record(order, an_order_confirmed)
        heard = await client.rest()

    assert sorted((message["id"], message["version"]) for message in heard) == [("event", 2), ("status", 2)]


async def test_an_unsubscribed_subscription_is_silent_and_its_name_is_free(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe(name="a")
        await client.say(type="unsubscribe", id="a")
        await client.next("unsubscribed")
        await client.subscribe(name="b")
        await shop.place()
        assert (await client.next("event"))["id"] == "b"
        assert await client.rest() == []
        await client.subscribe(name="a")


# Snapshots and cursors


async def test_a_snapshot_shows_the_orders_and_then_what_happens_to_them(shop: Shop) -> None:
    orders = [await shop.place() for _ in range(3)]
    await shop.record(orders[0], an_order_confirmed)
    await shop.place(BOB)
    async with shop.client() as client:
        await until_read(shop, 5)
        begins = await client.subscribe("snapshot")
        shown = [await client.next("snapshot") for _ in range(3)]
        caught_up = await client.next("caught_up")
        await shop.record(orders[1], an_order_confirmed)
        event = await client.next("event")

    assert {(one["order"]["order_id"], one["order"]["version"]) for one in shown} == {
        (str(orders[0]), 2), (str(orders[1]), 1), (str(orders[2]), 1)
    }  # fmt: skip
    assert all(one["id"] == "s" and one["order"]["customer_id"] == ANNE for one in shown)
    assert begins == caught_up["cursor"]
    assert (event["order_id"], event["version"]) == (str(orders[1]), 2)


async def test_a_snapshot_of_one_order_or_status_shows_no_other(shop: Shop) -> None:
    order, _ = await shop.place(), await shop.place()
    await shop.record(order, an_order_confirmed)
    await until_read(shop, 3)
    for wanted in ({"order_id": str(order)}, {"status": "confirmed"}):
        async with shop.client("x", "staff") as client:
            await client.subscribe("snapshot", **wanted)
            assert (await client.next("snapshot"))["order"]["order_id"] == str(order)
            await client.next("caught_up")


async def test_a_snapshot_that_is_too_large_is_refused_and_the_connection_goes_on(database_url: str) -> None:
    async with serving(database_url, Limits(snapshot=2)) as shop:
        for _ in range(3):
            await shop.place()
        await until_read(shop, 3)
        async with shop.client() as client:
            await client.subscribe("snapshot")
            assert (await client.next("error"))["problem"]["code"] == "snapshot-too-large"
            await client.subscribe("now")


async def test_snapshots_taken_while_orders_change_and_the_events_after_them_fit_together(shop: Shop) -> None:
    """By the snapshot and the events after it a client knows each version of each order exactly."""
    writing = asyncio.create_task(asyncio.to_thread(write_orders, shop, 60))
    while not writing.done():
        async with shop.client() as client:
            await client.subscribe("snapshot")
            known: dict[str, int] = {}
            for message in await client.rest(0.1):
                if message["type"] == "snapshot":
                    assert message["order"]["order_id"] not in known
                    known[message["order"]["order_id"]] = message["order"]["version"]
                elif message["type"] == "event":
                    assert message["version"] == known.get(message["order_id"], 0) + 1
                    known[message["order_id"]] = message["version"]
    await writing


async def test_what_a_snapshot_has_shown_is_not_told_again(shop: Shop) -> None:
    await shop.place()
    await until_read(shop, 1)
    shop.live.changes._move(Cursor({}))  # as if the reader of changes had yet to come to it
    async with shop.client() as client:
        await client.subscribe("snapshot")
        assert [(await client.next())["type"] for _ in range(2)] == ["snapshot", "caught_up"]
        later = await shop.place()
        assert (await client.next("event"))["order_id"] == str(later)


async def test_what_happens_after_a_snapshot_was_read_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    show = Subscription._show

    async def show_and_more(self: Subscription) -> None:
        await show(self)
        await shop.place()
        await until_read(shop, 2)

    monkeypatch.setattr(Subscription, "_show", show_and_more)
    await shop.place()
    await until_read(shop, 1)
    async with shop.client() as client:
        await client.subscribe("snapshot")
        assert [(await client.next())["type"] for _ in range(3)] == ["snapshot", "event", "caught_up"]


async def test_a_client_that_was_away_misses_nothing_and_hears_nothing_twice(shop: Shop) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    writing = asyncio.create_task(asyncio.to_thread(write_orders, shop, 150))
    cursor, last = Cursor({}).text, False
    heard: list[tuple[str, int]] = []
    while not last:
        last = writing.done()
        async with shop.client("x", "staff") as client:
            await client.subscribe(cursor)
            wanted = 10_000 if last else chance.randrange(60)
            while len(heard) < len(shop._versions) * 2 and wanted:
                message = await client.next()
                if message["type"] == "event":
                    heard.append((message["order_id"], message["version"]))
                    wanted -= 1
                cursor = message["cursor"]
            if last:
                assert [one["type"] for one in await client.rest()] in ([], ["caught_up"])
        await asyncio.sleep(chance.choice([0, 0.02]))

    assert sorted(heard) == sorted((str(order), version) for order in await writing for version in (1, 2))
    for order in {order for order, _ in heard}:
        assert [version for one, version in heard if one == order] == [1, 2]


def write_orders(shop: Shop, count: int, note: str = "") -> list[UUID]:
    """Each is placed, and confirmed a little later."""
    orders = [uuid4() for _ in range(count)]
    for before, order in zip([None, *orders], [*orders, None], strict=True):
        if order:
            placed = an_order_placed(posters(1), order_id=order)
            shop.append([(order, replace(placed, metadata={"note": note}))])
        if before:
            shop.append([(before, an_order_confirmed)])
        time.sleep(0.003)
    return orders


async def test_a_heartbeat_carries_a_cursor_to_go_on_from(database_url: str) -> None:
    async with serving(database_url, Limits(heartbeat=1)) as shop:
        async with shop.client() as client:
            begin = await client.subscribe()
            await shop.place(BOB)
            while (cursor := (await client.next("heartbeat"))["cursor"]) == begin:
                pass
        missed = await shop.place()
        async with shop.client() as client:
            await client.subscribe(cursor)
            heard = await client.rest(0.5)
            assert [one["order_id"] for one in heard if one["type"] == "event"] == [str(missed)]


@asynccontextmanager
async def nobody_catching_up(shop: Shop) -> AsyncIterator[None]:
    """Nobody reads on in what it missed for as long as the block runs."""
    async with AsyncExitStack() as stack:
        for _ in range(shop.live.changes._replays._value):
            await stack.enter_async_context(shop.live.changes._replays)
        yield


async def test_a_heartbeat_names_the_subscriptions_for_which_its_cursor_does_not_hold(database_url: str) -> None:
    """Who went on from it would miss what it has yet to be told."""
    async with serving(database_url, Limits(heartbeat=0.1)) as shop, shop.client() as client:
        missed = await shop.place()
        await until_read(shop, 1)
        async with nobody_catching_up(shop):
            for name, begin in (("live", "now"), ("late", Cursor({}).text)):
                await client.say(type="subscribe", id=name, filter={}, **{"from": begin})
                await beyond_heartbeats(client, "subscribed")
            assert (await client.next("heartbeat"))["catching_up"] == ["late"]
        assert (await beyond_heartbeats(client, "event"))["order_id"] == str(missed)
        await beyond_heartbeats(client, "caught_up")
        assert "catching_up" not in await client.next("heartbeat")


async def beyond_heartbeats(client: Client, kind: str) -> dict[str, Any]:
    while (message := await client.next())["type"] == "heartbeat":
        pass
    assert message["type"] == kind, message
    return message


async def test_a_slow_client_is_sent_away_with_4508_and_goes_on_from_its_cursor(database_url: str) -> None:
    async with serving(database_url, Limits(queue=400)) as shop:
        narrow = socket.create_connection(("127.0.0.1", int(shop.address.split(":")[2].split("/")[0])))
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        async with shop.client(sock=narrow, max_queue=1) as client:
            await client.subscribe()
            orders = await asyncio.to_thread(write_orders, shop, 350, "n" * 10_000)
            await until_read(shop, 700)
            heard, closed = await client.end()
        async with shop.client() as client:
            await client.subscribe(heard[-1]["cursor"])
            after = [await client.next("event") for _ in range(700 - len(heard))]
            assert [one["type"] for one in await client.rest()] == ["caught_up"]

    assert closed.code == 4508
    assert 0 < len(heard) < 700
    told = [(one["order_id"], one["version"]) for one in heard + after]
    assert sorted(told) == sorted((str(order), version) for order in orders for version in (1, 2))


async def until_read(shop: Shop, position: int) -> None:
    await shop.live.changes.ready()
    await until(lambda: shop.live.changes.cursor.covers(Cursor({-1: position})))


# Malformed messages


@pytest.mark.parametrize(
    ("message", "where", "why"),
    [
        ("{", "", "not JSON"),
        ("[]", "", "Expected `object`"),
        ("[" * 50_000, "", ""),
        ('"\\ud800"', "", ""),
        ("{}", "", "missing required field `type`"),
        ('{"type":"shout"}', "/type", "'shout'"),
        ('{"type":"subscribe","id":"s"}', "", "`from`"),
        ('{"type":"subscribe","id":"","from":"now"}', "/id", "length"),
        ('{"type":"subscribe","id":"s","from":"now","more":1}', "", "`more`"),
        ('{"type":"subscribe","id":"s","from":"now","filter":{"sku":"X"}}', "/filter", "`sku`"),
        ('{"type":"subscribe","id":"s","from":"now","filter":{"order_id":"x"}}', "/filter/order_id", "UUID"),
        ('{"type":"subscribe","id":"s","from":"now","filter":{"status":"lost"}}', "/filter/status", "'lost'"),
        ('{"type":"subscribe","id":"s","from":"now","filter":{"event":"lost"}}', "/filter/event", "order.placed.v1"),
        ('{"type":"subscribe","id":"s","from":"now","filter":{"customer_id":"\\u0000"}}', "/filter/customer_id", ""),
        ('{"type":"subscribe","id":"s","from":"yesterday"}', "/from", "snapshot"),
        ('{"type":"subscribe","id":"s","from":"snapshot","consistency_token":"x"}', "/consistency_token", "must be a"),
        ('{"type":"subscribe","id":"s","from":"snapshot","consistency_token":7}', "/consistency_token", "`str"),
        ('{"type":"subscribe","id":"s","from":"now","consistency_token":"c1-1-1"}', "/consistency_token", "snapshot"),
        ('{"type":"unsubscribe","id":"s"}', "/id", "not subscribed"),
        ('{"type":"connect","token":"x"}', "/type", "has a token"),
        (b'{"type":"unsubscribe","id":"s"}', "", "not binary"),
        (" " * 70_000, "", "at most 65536"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_malformed_message_is_answered_with_what_and_where_and_4400(
    shop: Shop, message: str | bytes, where: str, why: str
) -> None:
    async with shop.client("x", "staff") as client:
        await client.socket.send(message)
        messages, closed = await client.end()

    assert closed.code == 4400
    problem = messages[-1]["problem"]
    assert problem["status"] == 400
    assert problem["errors"][0]["pointer"] == where
    assert why in problem["errors"][0]["detail"]


async def test_a_name_that_is_subscribed_already_is_malformed(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe(name="a")
        await client.say(type="subscribe", id="a", **{"from": "now"})
        assert (await client.end())[1].code == 4400


async def test_a_cursor_of_another_database_is_refused_with_4400(shop: Shop) -> None:
    shop.live.changes._patience = 0.1
    async with shop.client() as client:
        await client.subscribe(Cursor({-1: 1_000}).text)
        messages, closed = await client.end()
    assert closed.code == 4400
    assert messages[-1]["problem"]["code"] == "bad-cursor"


async def test_more_subscriptions_than_the_limit_are_refused_with_4429(shop: Shop) -> None:
    async with shop.client() as client:
        for name in "abc":
            await client.subscribe(name=name)
        await client.say(type="subscribe", id="d", **{"from": "now"})
        messages, closed = await client.end()
    assert closed.code == 4429
    assert messages[0]["problem"]["code"] == "too-many-subscriptions"
    assert "at most 3" in messages[0]["problem"]["detail"]


async def test_a_subscription_counts_as_a_request_and_one_too_many_is_refused_alone(database_url: str) -> None:
    async with serving(database_url, rate=RateLimit(Quota.parse("2/h"))) as shop, shop.client() as client:
        for name in "ab":
            await client.subscribe(name=name)
        await client.say(type="subscribe", id="c", **{"from": "now"})
        refused = await client.next("error")
        await shop.place()
        told = {(await client.next("event"))["id"] for _ in "ab"}

    assert (refused["id"], refused["problem"]["code"]) == ("c", "too-many-requests")
    assert told == {"a", "b"}


# The end


async def test_a_token_that_expires_ends_the_connection_with_4401(shop: Shop) -> None:
    async with shop.client(token=shop.token(seconds=1)) as client:
        messages, closed = await client.end()
    assert closed.code == 4401
    assert messages[-1]["problem"]["code"] == "token-expired"


async def test_a_refreshed_token_prolongs_the_connection(shop: Shop) -> None:
    async with shop.client(token=shop.token(seconds=1)) as client:
        await client.subscribe()
        await client.say(type="refresh", token=shop.token())
        await client.next("refreshed")
        await asyncio.sleep(1.5)
        await shop.place()
        await client.next("event")


async def test_a_refresh_with_a_bad_token_is_refused_with_4401_and_with_anothers_with_4403(shop: Shop) -> None:
    for token, code in (("nonsense", 4401), (shop.token(BOB), 4403), (shop.token(ANNE, "staff"), 4403)):
        async with shop.client() as client:
            await client.say(type="refresh", token=token)
            assert (await client.end())[1].code == code


async def test_a_restart_closes_with_1012(shop: Shop) -> None:
    async with shop.client() as client, shop.stranger() as stranger:
        await client.subscribe()
        await shop.live.stop()
        assert (await client.end())[1].code == 1012
        assert (await stranger.end())[1].code == 1012
    assert shop.live.connections == 0


async def test_a_server_that_shuts_down_closes_with_1012(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe()
        shop.server.should_exit = True
        assert (await client.end())[1].code == 1012
    await until(lambda: shop.live.connections == 0)


async def test_a_client_that_leaves_is_forgotten(shop: Shop) -> None:
    async with shop.client() as client:
        await client.subscribe()
        assert shop.live.connections == 1
    await until(lambda: shop.live.connections == 0)
    assert not shop.live.changes._audience
