"""The example client against the real server: what it tries again is done once, and what it reads is its own."""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import msgspec
import pytest

from api.limits import Limits, Quota
from api.routes import ROUTES
from api.standing import Standing
from events import codec
from events.order import OrderPlaced
from examples.orderlog_client import Bearer, Client, ClientCredentials, Password, Patience, Problem
from examples.orderlog_client.credentials import Credentials
from examples.orderlog_client.problem import UNREACHABLE
from examples.orderlog_client.shapes import (
    CommandName,
    DailySales,
    HistoryEntry,
    NewOrder,
    Order,
    OrderSummary,
    Product,
)
from examples.orderlog_client.written import MOST, Written
from tests.api.between import Between, between, cut, half
from tests.api.edge import ALICE, STAFF, Edge, an_edge, projecting
from tests.api.test_identity import ADMIN, NAME, PASSWORD, added, added_client
from tests.api.test_server import served

QUICK = Patience(in_all=20, shortest_pause=0.01, longest_pause=0.05)
POSTERS: NewOrder = {"currency": "EUR", "customer_id": ALICE, "lines": [{"sku": "POSTER", "quantity": 2}]}
MINE: NewOrder = {"currency": "EUR", "lines": [{"sku": "POSTER", "quantity": 2}]}


@pytest.fixture
async def network(edge: Edge) -> AsyncIterator[Between]:
    """The way to a server that knows a poster."""
    await edge.listed()
    async with served(edge) as port, between(port) as one:
        yield one


@pytest.fixture
async def client(edge: Edge, network: Between) -> AsyncIterator[Client]:
    """Staff's."""
    async with Client(network.url, bearer(edge, STAFF), patience=QUICK) as one:
        yield one


def bearer(edge: Edge, name: str) -> Bearer:
    return Bearer(edge.bearer(name)["authorization"].removeprefix("Bearer "))


def placed(edge: Edge) -> list[str]:
    """The ids of all orders that there are."""
    events = [codec.decode(row).event for row in edge.log.read(0, 1_000)]
    return [str(event.order_id) for event in events if isinstance(event, OrderPlaced)]


def answer(status: int, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


# Once ---------------------------------------------------------------------------------------------------------


async def test_a_command_whose_answer_was_lost_after_the_commit_is_tried_again_and_is_one_order(
    edge: Edge, network: Between, client: Client
) -> None:
    network.mishaps = [cut, half]

    order = await client.place(POSTERS)

    assert placed(edge) == [order["order_id"]]
    assert client.retried == 2
    first, *others = network.requests
    assert [one == first for one in others] == [True, True], "not the same request, key included"


PASSING = [
    answer(503, "Retry-After: 0"),
    answer(429, "Retry-After: 0"),
    answer(409, "Retry-After: 0", body='{"code": "in-flight"}'),
    answer(502, "Content-Type: text/html", body="<html>"),
    answer(504),
]


async def test_what_is_of_the_moment_is_tried_again(edge: Edge, network: Between, client: Client) -> None:
    for number, passing in enumerate(PASSING, 1):
        network.mishaps = [passing, passing]
        await client.place(POSTERS)
        assert (len(placed(edge)), client.retried) == (number, 2 * number), passing


async def test_who_asks_too_much_waits_for_as_long_as_it_is_told(database_url: str) -> None:
    async with (
        an_edge(database_url, limits=Limits(Quota(1, 1))) as edge,
        served(edge) as port,
        Client(f"http://127.0.0.1:{port}", bearer(edge, STAFF), patience=QUICK) as client,
    ):
        price = 0
        while not client.retried:  # on a slow machine each may come late enough
            price += 1
            begun = time.monotonic()
            await client.put_product("CUP", {"name": "A cup", "prices": [{"amount": price, "currency": "EUR"}]})

    assert client.retried == 1
    assert time.monotonic() - begun >= 0.9


async def test_what_is_final_is_not_tried_again(client: Client) -> None:
    for path, body, code in (
        ("/v1/orders", {"currency": "EUR", "lines": []}, "invalid-request"),
        ("/v1/orders/00000000-0000-7000-8000-000000000000/confirm", {}, "no-such-order"),
        ("/v1/nothing", {}, "not-found"),
    ):
        with pytest.raises(Problem) as refused:
            await client.write("POST", path, body)
        assert refused.value.code == code

    assert client.retried == 0


async def test_a_call_ends_when_its_time_is_up_and_may_be_made_again_under_its_key(
    edge: Edge, network: Between
) -> None:
    patience = Patience(in_all=0.5, shortest_pause=0.01, longest_pause=0.05)
    async with Client(network.url, bearer(edge, STAFF), patience=patience) as client:
        network.mishaps = [cut] * 1_000
        begun = time.monotonic()
        with pytest.raises(Problem) as unknown:
            await client.place(POSTERS)
        took = time.monotonic() - begun
        network.mishaps = []
        order = await client.place(POSTERS, key=unknown.value.idempotency_key)

    assert (unknown.value.code, unknown.value.status) == (UNREACHABLE, None)
    assert "did not answer within 0.5 s" in unknown.value.detail
    assert took < 5
    assert placed(edge) == [order["order_id"]]


async def test_an_answer_that_never_comes_does_not_hold_a_call_for_longer_than_it_may_take(edge: Edge) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Client(url, bearer(edge, STAFF), patience=Patience(in_all=0.3)) as client:
        with pytest.raises(Problem, match="unreachable"):
            await asyncio.wait_for(client.order("x"), 5)


async def test_who_is_told_to_come_back_after_its_time_is_up_is_told_so_at_once(
    network: Between, client: Client
) -> None:
    network.mishaps = [answer(503, "Retry-After: 60", body='{"code": "busy", "detail": "Too many requests wait."}')]
    begun = time.monotonic()

    with pytest.raises(Problem) as busy:
        await client.place(POSTERS)

    assert (busy.value.status, busy.value.code) == (503, "busy")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(("attempt", "told", "least", "most"), [(0, "", 0.5, 1), (2, "", 2, 4), (9, "7", 9, 11)])
def test_pauses_grow_keep_to_what_is_told_and_differ(attempt: int, told: str, least: float, most: float) -> None:
    patience = Patience(shortest_pause=1, longest_pause=4)
    pauses = [patience.pause(attempt, httpx.Response(503, headers={"retry-after": told})) for _ in range(50)]

    assert least <= min(pauses) < max(pauses) <= most


# Who calls ----------------------------------------------------------------------------------------------------


CLIENT = "shop+eu"  # of which a form makes "shop eu", unless it is encoded


@pytest.fixture
async def accounts(edge: Edge) -> dict[str, Credentials]:
    await added(edge)
    secret = await added_client(edge, CLIENT)
    return {"password": Password(NAME, PASSWORD), "client_credentials": ClientCredentials(CLIENT, secret)}


@pytest.mark.parametrize("kind", ["password", "client_credentials"])
async def test_many_calls_at_once_get_one_token_and_another_when_that_was_revoked(
    edge: Edge, network: Between, accounts: dict[str, Credentials], kind: str
) -> None:
    assert edge.parts.identity is not None
    order = await edge.placed()
    async with Client(network.url, accounts[kind], patience=QUICK) as client:
        await asyncio.gather(*(client.order(order["order_id"]) for _ in range(10)))
        assert asked_for_tokens(network) == 1
        path, change = (
            (f"users/{NAME}", {"roles": ["customer", "analyst"]})
            if kind == "password"
            else (f"clients/{CLIENT}", {"roles": ["admin"]})
        )
        await edge.client.patch(f"/v1/auth/{path}", json=change, headers=edge.bearer(ADMIN))
        await Standing(edge.parts.identity.accounts.pool, edge.tokens).look()
        await asyncio.gather(*(client.order(order["order_id"]) for _ in range(10)))

    assert asked_for_tokens(network) == 2


async def test_a_token_is_renewed_before_it_ends(
    edge: Edge, network: Between, accounts: dict[str, Credentials]
) -> None:
    order = await edge.placed()
    async with Client(network.url, accounts["password"], patience=QUICK) as client:
        for seconds, asked in ((0, 1), (3_000, 1), (500, 2)):
            client._identity._renewed_at -= seconds  # as if so much time had passed
            await client.order(order["order_id"])
            assert asked_for_tokens(network) == asked


def asked_for_tokens(network: Between) -> int:
    return sum(request.startswith(b"POST /v1/auth/token ") for request in network.requests)


async def test_who_is_not_known_is_told_the_problem(network: Between, accounts: dict[str, Credentials]) -> None:
    wrong: list[tuple[Credentials, str]] = [
        (Password(NAME, "something else, as long"), "invalid-grant"),
        (ClientCredentials(CLIENT, "x"), "invalid-client"),
        (Bearer("x"), "token-invalid"),
    ]
    for credentials, code in wrong:
        async with Client(network.url, credentials, patience=QUICK) as client:
            with pytest.raises(Problem) as refused:
                await client.place(MINE)
        assert refused.value.code == code
        assert client.retried == 0
    assert PASSWORD not in repr(accounts)


# Own writes ---------------------------------------------------------------------------------------------------


async def test_what_was_written_is_in_whatever_is_read_next(edge: Edge, client: Client) -> None:
    async with projecting(edge):
        for number in range(1, 6):
            order = await client.place(POSTERS)
            newest = await anext(client.orders(limit=1))
            assert newest["order_id"] == order["order_id"]
            assert [entry["version"] for entry in await client.history(order["order_id"])] == [1]
            today = order["created_at"][:10]
            assert sum(day["orders"] for day in await client.daily_sales(today, today)) == number


async def test_writes_that_were_under_way_together_are_all_in_what_is_read_next(edge: Edge, client: Client) -> None:
    async with projecting(edge):
        orders = await asyncio.gather(*(client.place(POSTERS) for _ in range(30)))
        listed = [one["order_id"] async for one in client.orders(limit=50)]

    assert {*listed} == {order["order_id"] for order in orders}
    assert len(client.written.tokens.split(", ")) > 1


async def test_a_read_that_cannot_include_them_in_time_is_a_problem_and_not_tried_again(
    edge: Edge, network: Between
) -> None:
    async with Client(network.url, bearer(edge, STAFF), patience=QUICK, wait=1) as client:
        order = await client.place(POSTERS)
        begun = time.monotonic()
        with pytest.raises(Problem) as stale:
            await client.history(order["order_id"])
        waited = time.monotonic() - begun
        assert await client.order(order["order_id"]) == order, "one order is never behind"
        async with projecting(edge):
            await edge.projected()
            assert [entry["version"] for entry in await client.history(order["order_id"])] == [1]

    assert (stale.value.code, client.retried) == ("not-caught-up", 0)
    assert waited >= 0.9


def test_of_writes_that_followed_each_other_the_last_ones_token_is_enough() -> None:
    written = Written()
    for token in "abc":
        written.answered(token, written.begun())

    assert written.tokens == "c"


def test_of_writes_that_were_under_way_together_every_token_is_kept() -> None:
    written = Written()
    written.answered("before", written.begun())
    first, second = written.begun(), written.begun()
    written.answered("b", second)
    third = written.begun()
    written.answered("c", third)
    written.answered("a", first)

    assert written.tokens == "c, a"


def test_an_answer_of_long_ago_takes_the_place_of_none() -> None:
    written = Written()
    written.answered("new", written.begun())
    for number in range(2 * MOST):
        written.answered(f"old-{number}", written.begun(), replayed=True)

    assert written.tokens.split(", ")[-1] == f"old-{2 * MOST - 1}"
    assert len(written.tokens.split(", ")) == MOST
    written.answered("newer", written.begun())
    assert written.tokens == "newer"


# What is told -------------------------------------------------------------------------------------------------


async def test_a_list_is_read_page_after_page(edge: Edge, client: Client) -> None:
    async with projecting(edge):
        orders = [await client.place(POSTERS) for _ in range(5)]
        await client.command(orders[0]["order_id"], "cancel", {"reason": "r"})
        everything = [one["order_id"] async for one in client.orders(limit=2)]
        some = [one["order_id"] async for one in client.orders(limit=2, status="placed")]

    assert everything == [one["order_id"] for one in reversed(orders)]
    assert some == everything[:-1]


async def test_a_command_on_another_version_is_refused_with_the_current_one(client: Client) -> None:
    order = await client.place(POSTERS)
    tagged = await client.command(order["order_id"], "set-tags", {"tags": ["gift"]}, version=order["version"])

    with pytest.raises(Problem) as stale:
        await client.command(order["order_id"], "set-tags", {"tags": []}, version=order["version"])

    assert (tagged["version"], tagged["tags"]) == (2, ["gift"])
    assert (stale.value.status, stale.value.current_version) == (412, 2)


async def test_a_refusal_tells_what_may_be_done_instead(client: Client) -> None:
    order = await client.place(POSTERS)
    await client.command(order["order_id"], "cancel", {"reason": "r"})

    with pytest.raises(Problem) as refused:
        await client.command(order["order_id"], "confirm")

    problem = refused.value
    assert (problem.status, problem.current_status, problem.current_version) == (409, "cancelled", 2)
    assert problem.allowed_commands == problem.told["allowed_commands"]
    assert problem.idempotency_key
    assert problem.request_id
    assert client.retried == 0


async def test_what_is_not_valid_is_told_place_by_place(client: Client) -> None:
    with pytest.raises(Problem) as invalid:
        await client.place({"currency": "X", "customer_id": ALICE, "lines": [{"sku": "", "quantity": 0}]})

    pointers = {place["pointer"] for place in invalid.value.errors}
    assert pointers == {"/currency", "/lines/0/sku", "/lines/0/quantity"}


async def test_answers_have_the_shapes_that_the_client_says(edge: Edge, client: Client) -> None:
    await client.put_product("A/B", {"name": "n", "prices": [{"amount": 5, "currency": "EUR"}], "stock": "tracked"})
    await client.receive_stock("A/B", 3)
    order = await client.place(POSTERS | {"lines": [{"sku": "A/B", "quantity": 2}], "payment_terms": "invoice"})
    await client.command(order["order_id"], "confirm")
    shipped = await client.command(order["order_id"], "ship-items", {"lines": [{"line_id": "1", "quantity": 1}]})
    today = order["created_at"][:10]
    async with projecting(edge):
        shown: list[tuple[type, Any]] = [
            *((Order, one) for one in (order, shipped, await client.order(order["order_id"]))),
            *[(OrderSummary, one) async for one in client.orders()],
            *((HistoryEntry, one) for one in await client.history(order["order_id"])),
            *((DailySales, one) for one in await client.daily_sales(today, today)),
            *[(Product, one) async for one in client.products()],
            (Product, await client.product("A/B")),
        ]

    assert len(shown) == 3 + 1 + 3 + 1 + 2 + 1
    for shape, one in shown:
        msgspec.convert(one, shape)
        assert one.keys() == get_type_hints(shape).keys(), shape


def test_the_client_knows_every_command() -> None:
    names = {route.path.rpartition("/")[2] for route in ROUTES if "{order_id}" in route.path}

    assert {*get_args(CommandName)} == names


# As it is documented ------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


async def test_the_program_in_the_documentation_runs_with_a_copy_of_the_folder(
    edge: Edge, network: Between, tmp_path: Path
) -> None:
    secret = await added_client(edge, "warehouse")
    await edge.listed("CUP", price=250)
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)
    there = program.replace("http://127.0.0.1:8000", network.url).replace("SECRET", secret)
    (tmp_path / "orderlog_client").symlink_to(ROOT / "examples" / "orderlog_client")
    (tmp_path / "program.py").write_text(there)

    async with projecting(edge):
        running = await asyncio.create_subprocess_exec(
            sys.executable, "program.py", cwd=tmp_path, env=os.environ, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await running.communicate()

    refused, listed = said.decode().splitlines()
    assert refused.startswith("payment-required ['")
    assert listed.endswith("{'amount': 500, 'currency': 'EUR'}")
