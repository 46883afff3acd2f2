"""What browsers are told: which pages may read, and that nothing is guessed, framed or kept."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api import serving
from api.app import create_app
from tests.api.edge import ALICE, Edge, an_edge, an_order
from tests.api.test_identity import added

SHOP, STRANGER = "https://shop.example", "https://evil.example"
SECURITY = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}


@asynccontextmanager
async def served(edge: Edge) -> AsyncIterator[int]:
    """The port of our own server, as long as the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = serving.http_server(serving.Edge(create_app(edge.parts)))
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  the server offers no event to wait for
            await asyncio.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        await running


ANSWERS = [
    ("GET", "/docs", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/livez", 200),
    ("GET", "/nowhere", 404),
    ("GET", "/v1/orders", 401),
    ("DELETE", "/v1/orders", 405),
    ("POST", "/v1/orders", 401),
    ("POST", "/v1/auth/token", 400),
]


async def test_every_answer_has_the_security_headers_once(edge: Edge) -> None:
    await edge.listed()
    async with served(edge) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answers = {(method, path, status): await client.request(method, path) for method, path, status in ANSWERS}
        headers = {**edge.bearer(ALICE), "idempotency-key": "k"}
        answers["POST", "an order", 201] = await client.post("/v1/orders", json=an_order(), headers=headers)
        answers["POST", "an order again", 201] = await client.post("/v1/orders", json=an_order(), headers=headers)
    for (_, path, status), answer in answers.items():
        assert answer.status_code == status, path
        assert {name: answer.headers.get_list(name) for name in SECURITY} == {
            name: [value] for name, value in SECURITY.items()
        }, path


async def test_what_is_no_http_is_answered_with_them_too(edge: Edge) -> None:
    async with served(edge) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GARBAGE\r\n\r\n")
        answer = (await asyncio.wait_for(reader.read(), 20)).decode()
        writer.close()

    assert answer.startswith("HTTP/1.1 400")
    assert "x-content-type-options: nosniff" in answer.lower()


async def test_a_page_runs_nothing_from_elsewhere_and_is_framed_by_nobody(edge: Edge) -> None:
    policy = (await edge.client.get("/docs")).headers["content-security-policy"]

    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("password", ["correct horse battery staple", "wrong"])
async def test_no_token_is_kept_on_the_way(edge: Edge, password: str) -> None:
    await added(edge, "alice")
    form = {"grant_type": "password", "username": "alice", "password": password}

    answer = await edge.client.post("/v1/auth/token", data=form)

    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")


# Other origins -----------------------------------------------------------------------------------------------


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Edge]:
    """An edge that pages of the shop may read."""
    async with an_edge(database_url, cors_origins=(SHOP, "http://localhost:3000")) as one:
        await one.listed()
        yield one


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    asked = "authorization,content-type,idempotency-key,if-match"
    return {"origin": origin, "access-control-request-method": method, "access-control-request-headers": asked}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/auth/token"])
async def test_a_page_on_the_list_may_ask(shop: Edge, path: str, method: str) -> None:
    answer = await shop.client.options(path, headers=preflight(SHOP, method))

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert method in answer.headers["access-control-allow-methods"]
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [STRANGER, f"{SHOP}.evil.example", "http://shop.example", f"{SHOP}:8443", "null"])
async def test_a_page_that_is_not_on_the_list_may_not(shop: Edge, origin: str) -> None:
    asked = await shop.client.options("/v1/orders", headers=preflight(origin))
    read = await shop.get("/v1/orders", by=ALICE, origin=origin)

    assert (asked.status_code, asked.json()["code"]) == (400, "cors-refused")
    assert asked.headers["content-type"] == "application/problem+json"
    assert asked.headers["request-id"] == asked.json()["request_id"]
    for answer in (asked, read):
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_on_the_list_reads_what_it_needs_also_of_errors(shop: Edge) -> None:
    placed = await shop.post("/v1/orders", an_order(), by=ALICE, origin=SHOP)
    refused = await shop.client.post("/v1/orders", json={}, headers={"origin": SHOP})

    for answer, status in ((placed, 201), (refused, 401)):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, SHOP)
        exposed = answer.headers["access-control-expose-headers"]
        assert {"ETag", "Consistency-Token", "Retry-After", "WWW-Authenticate"} <= {*exposed.split(", ")}
        assert "Origin" in answer.headers["vary"]


async def test_without_a_list_no_page_of_another_origin_may_read(edge: Edge) -> None:
    answer = await edge.get("/v1/orders", by=ALICE, origin=SHOP)

    assert not [name for name in answer.headers if name.startswith("access-control")]
