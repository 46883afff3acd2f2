"""Who is deactivated is refused within a minute, by every process, at the price of one look into a dict per request."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.errors import Problem
from api.standing import EVERY, TOO_LONG_AGO, Standing
from api.tokens import LIFETIME, Tokens
from projections.migrate import migrate
from tests.api.edge import ALICE, SECRET, Edge
from tests.api.test_identity import ADMIN, NAME, OTHER, added, added_client, asked, by_token, signed_in
from tests.services.postgres import Postgres


@pytest.fixture
async def standing(edge: Edge) -> Standing:
    assert edge.parts.identity is not None
    return Standing(edge.parts.identity.accounts.pool, edge.tokens, every=0.02)


@pytest.fixture
async def looking(standing: Standing) -> AsyncIterator[None]:
    """It looks, again and again, for as long as the test runs."""
    work = asyncio.create_task(standing.run())
    yield
    assert not work.done()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def until_refused(edge: Edge, headers: dict[str, str], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while (answer := await edge.client.get("/v1/auth/me", headers=headers)).status_code == 200:
        assert time.monotonic() < deadline, "it is still believed"
        await asyncio.sleep(0.02)
    assert (answer.status_code, answer.json()["code"]) == (401, "token-revoked")


def changed(edge: Edge, path: str, **change: Any) -> Any:
    return edge.client.patch(f"/v1/auth/{path}", json=change, headers=edge.bearer(ADMIN))


def test_every_process_looks_often_enough() -> None:
    assert EVERY * 6 <= 60
    assert TOO_LONG_AGO < 60


async def test_a_process_that_cannot_know_who_was_revoked_says_that_it_is_not_ready(standing: Standing) -> None:
    assert "were last read" in str(await standing.problem())
    await standing.look()
    assert await standing.problem() is None

    standing._looked_at -= TOO_LONG_AGO

    assert "were last read 45 s ago" in str(await standing.problem())


@pytest.mark.usefixtures("looking")
async def test_a_deactivated_user_is_refused_with_the_token_it_has(edge: Edge) -> None:
    await added(edge)
    await added(edge, "bob")
    alices, bobs = by_token(await signed_in(edge)), by_token(await signed_in(edge, "bob"))
    assert (await edge.client.get("/v1/auth/me", headers=alices)).status_code == 200

    await changed(edge, f"users/{NAME}", active=False)

    await until_refused(edge, alices)
    assert (await edge.client.get("/v1/auth/me", headers=bobs)).status_code == 200


@pytest.mark.usefixtures("looking")
async def test_a_deactivated_client_is_refused_with_the_token_it_has(edge: Edge) -> None:
    secret = await added_client(edge)
    token = by_token(await asked(edge, grant_type="client_credentials", client_id="shop", client_secret=secret))

    await changed(edge, "clients/shop", active=False)

    await until_refused(edge, token)


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("change", [{"password": OTHER}, {"roles": ["analyst"]}, {"customer_id": "C-2"}], ids=str)
async def test_tokens_from_before_a_change_end_and_those_after_it_do_not(edge: Edge, change: dict[str, Any]) -> None:
    await added(edge)
    before = by_token(await signed_in(edge))

    await changed(edge, f"users/{NAME}", **change)
    await until_refused(edge, before)

    after = by_token(await signed_in(edge, password=str(change.get("password", "correct horse battery staple"))))
    assert (await edge.client.get("/v1/auth/me", headers=after)).status_code == 200


@pytest.mark.usefixtures("looking")
async def test_a_change_that_changes_nothing_ends_no_token(edge: Edge, standing: Standing) -> None:
    await added(edge)
    mine = by_token(await signed_in(edge))

    await changed(edge, f"users/{NAME}", active=True, customer_id=ALICE)
    await standing.look()

    assert (await edge.client.get("/v1/auth/me", headers=mine)).status_code == 200


async def test_another_process_refuses_it_too(edge: Edge, standing: Standing) -> None:
    await added(edge)
    token = (await signed_in(edge)).json()["access_token"].encode()
    other = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    others = Standing(standing._pool, other)
    await others.look()
    verified = await other.verify(b"Bearer " + token)

    await changed(edge, f"users/{NAME}", active=False)
    await others.look()

    assert not other.is_good(verified)
    assert not other._verified


async def test_a_revocation_is_remembered_for_as_long_as_a_token_from_before_lives(edge: Edge) -> None:
    await added(edge)
    token = (await signed_in(edge)).json()["access_token"].encode()
    await changed(edge, f"users/{NAME}", active=False)
    assert edge.parts.identity is not None
    pool = edge.parts.identity.accounts.pool
    async with pool.connection() as connection:  # a process that starts when the token is about to expire
        await connection.execute("UPDATE identity.accounts SET changed_at = now() - %s", (LIFETIME,))
    late = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    await Standing(pool, late).look()

    with pytest.raises(Problem) as refused:
        await late.verify(b"Bearer " + token)
    assert refused.value.code == "token-revoked"


async def test_a_request_looks_into_no_database_for_a_token_that_is_known(edge: Edge, database_url: str) -> None:
    await added(edge)
    header = by_token(await signed_in(edge))["authorization"].encode()
    first = await edge.tokens.verify(header)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("DROP SCHEMA identity CASCADE")

    assert await edge.tokens.verify(header) is first


async def test_what_was_known_holds_while_the_database_is_away_and_what_is_new_is_learnt_when_it_is_back(
    restartable_postgres: Postgres,
) -> None:
    restartable_postgres.start()
    url = restartable_postgres.create_database()
    migrate(url)
    tokens = Tokens(SECRET, issuer="orderlog", audience="orderlog")
    header = f"Bearer {tokens.issue(ALICE, ['customer'], account='alice', generation=1)}".encode()
    async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}) as pool:
        standing = Standing(pool, tokens, every=0.05)
        work = asyncio.create_task(standing.run())
        restartable_postgres.kill()
        with pytest.raises((psycopg.OperationalError, PoolTimeout)):
            await standing.look()
        verified = await tokens.verify(header)
        restartable_postgres.start()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(CHANGED)
        deadline = time.monotonic() + 60
        while tokens.is_good(verified):
            assert not work.done()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


CHANGED = """
INSERT INTO identity.accounts (name, kind, secret, roles, scopes, generation, changed_by)
VALUES ('alice', 'user', '', '{staff}', '{}', 2, 'test')
"""
