"""Tokens for passwords and secrets, and the accounts that admins keep."""

import asyncio
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from tests.api.edge import ALICE, STAFF, Edge, an_edge, an_order

ADMIN = "ada"
PASSWORD = "correct horse battery staple"
OTHER = "another password, as long"
NAME = "alice@shop.example"

Json = dict[str, Any]


async def added(edge: Edge, name: str = NAME, **more: Any) -> Json:
    """A user, in the database."""
    new = {"name": name, "password": PASSWORD, "roles": ["customer"], "customer_id": ALICE} | more
    answer = await edge.post("/v1/auth/users", {one: value for one, value in new.items() if value}, by=ADMIN)
    assert answer.status_code == 201, answer.text
    user: Json = answer.json()
    return user


async def added_client(edge: Edge, name: str = "shop", **more: Any) -> str:
    """The secret of a machine client, in the database."""
    answer = await edge.post("/v1/auth/clients", {"name": name, "roles": ["staff"]} | more, by=ADMIN)
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["client_secret"]
    return secret


async def asked(edge: Edge, **fields: str) -> httpx.Response:
    """What the token endpoint answers to these fields; with none, to Alice's name and password."""
    given = fields or {"grant_type": "password", "username": NAME, "password": PASSWORD}
    return await edge.client.post("/v1/auth/token", data=given)


async def signed_in(edge: Edge, name: str = NAME, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return await asked(edge, grant_type="password", username=name, password=password, **fields)


def by_token(answer: httpx.Response) -> dict[str, str]:
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def basic(name: str, secret: str) -> dict[str, str]:
    pair = f"{quote(name, safe='')}:{quote(secret, safe='')}"
    return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def refused(answer: httpx.Response, status: int, error: str) -> None:
    """RFC 6749's members and a problem's, in one."""
    told = answer.json()
    assert (answer.status_code, told["error"]) == (status, error), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert told["error_description"] == told["detail"]
    assert (told["status"], told["code"]) == (status, error.replace("_", "-"))
    assert told["request_id"] == answer.headers["request-id"]


# Passwords ---------------------------------------------------------------------------------------------------


async def test_a_password_is_exchanged_for_a_token_that_places_an_order(edge: Edge) -> None:
    await edge.listed()
    await added(edge)

    answer = await signed_in(edge)
    placed = await edge.client.post(
        "/v1/orders", json=an_order(), headers={**by_token(answer), "idempotency-key": "first"}
    )

    assert answer.json() | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "orderlog.read orderlog.write",
    }
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert (placed.status_code, placed.json()["customer_id"]) == (201, ALICE)


async def test_the_name_may_be_written_in_any_case(edge: Edge) -> None:
    await added(edge)

    assert (await signed_in(edge, NAME.upper())).status_code == 200


async def test_the_same_characters_are_the_same_password_however_they_are_put_together(edge: Edge) -> None:
    await added(edge, password="Gar\u00e7on, l'addition!")

    assert (await signed_in(edge, password="Garc\u0327on, l'addition!")).status_code == 200


@pytest.mark.parametrize(
    ("name", "password"), [(NAME, OTHER), ("nobody", PASSWORD), (NAME, "x" * 5_000), ("a\0b", PASSWORD), ("é", "x")]
)
async def test_nothing_tells_an_unknown_name_from_a_wrong_password(edge: Edge, name: str, password: str) -> None:
    await added(edge)

    answer = await signed_in(edge, name, password)

    refused(answer, 400, "invalid_grant")
    assert answer.json()["detail"] == "Name and password do not belong together, or the account is not active."


async def test_the_secret_of_a_client_is_no_password(edge: Edge) -> None:
    secret = await added_client(edge)

    refused(await signed_in(edge, "shop", secret), 400, "invalid_grant")


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("orderlog.read", "orderlog.read"),
        ("orderlog.write orderlog.read", "orderlog.read orderlog.write"),
        ("orderlog.write", "orderlog.write"),
    ],
)
async def test_a_token_has_the_scope_that_was_asked_for(edge: Edge, scope: str, granted: str) -> None:
    await added(edge)

    assert (await signed_in(edge, scope=scope)).json()["scope"] == granted


async def test_an_unknown_scope_is_refused_with_those_there_are(edge: Edge) -> None:
    await added(edge)

    answer = await signed_in(edge, scope="orderlog.read everything")

    refused(answer, 400, "invalid_scope")
    assert "there are orderlog.read and orderlog.write" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"", "application/x-www-form-urlencoded", "grant_type is missing"),
        (b"grant_type=password&password=x", "application/x-www-form-urlencoded", "username is missing"),
        (b"grant_type=password&username=a&password=", "application/x-www-form-urlencoded", "password is missing"),
        (b"grant_type=password&grant_type=password", "application/x-www-form-urlencoded", "more than once"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded", "not a form in UTF-8"),
        (b"grant_type", "application/x-www-form-urlencoded", "not a form in UTF-8"),
        (b"&".join(b"a%d=1" % n for n in range(50)), "application/x-www-form-urlencoded", "not a form in UTF-8"),
        (b'{"grant_type": "password"}', "application/json", "Content-Type: application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_token_request_is_refused(edge: Edge, body: bytes, kind: str, told: str) -> None:
    answer = await edge.client.post("/v1/auth/token", content=body, headers={"content-type": kind})

    refused(answer, 400, "invalid_request")
    assert told in answer.json()["detail"]


async def test_what_the_query_says_is_not_looked_at(edge: Edge) -> None:
    await added(edge)
    query = f"grant_type=password&username={NAME}&password={quote(PASSWORD)}"

    answer = await edge.client.post(f"/v1/auth/token?{query}", data={"scope": "orderlog.read"})

    refused(answer, 400, "invalid_request")


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token", "PASSWORD", "urn:x"])
async def test_another_grant_type_is_refused_by_name(edge: Edge, grant: str) -> None:
    refused(await asked(edge, grant_type=grant), 400, "unsupported_grant_type")


async def test_a_body_that_is_too_large_is_a_problem_here_too(edge: Edge) -> None:
    answer = await asked(edge, grant_type="x" * 2_000_000)

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_passwords_are_kept_as_argon2id_hashes_only(edge: Edge) -> None:
    await added(edge)
    async with await psycopg.AsyncConnection.connect(edge.log.url) as connection:
        row = await (await connection.execute("SELECT accounts::text, secret FROM identity.accounts")).fetchone()

    assert row is not None
    assert row[1].startswith("$argon2id$v=19$")
    assert PASSWORD not in row[0]


async def test_one_changes_ones_own_password(edge: Edge) -> None:
    await added(edge)
    mine = by_token(await signed_in(edge))
    change = {"current_password": PASSWORD, "new_password": OTHER}

    wrong = await edge.client.post("/v1/auth/password", json=change | {"current_password": "x"}, headers=mine)
    short = await edge.client.post("/v1/auth/password", json=change | {"new_password": "short"}, headers=mine)
    right = await edge.client.post("/v1/auth/password", json=change, headers=mine)

    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (403, "/current_password")
    assert (short.status_code, short.json()["errors"][0]["pointer"]) == (422, "/new_password")
    assert (right.status_code, right.json()["updated_by"]) == (200, NAME)
    assert (await signed_in(edge)).status_code == 400
    assert (await signed_in(edge, password=OTHER)).status_code == 200


async def test_a_token_of_the_command_line_has_no_password_to_change(edge: Edge) -> None:
    answer = await edge.post("/v1/auth/password", {"current_password": "x", "new_password": OTHER}, by=ALICE)

    assert answer.status_code == 403


# Machine clients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["header", "form"])
async def test_a_client_gets_a_token_for_its_secret(edge: Edge, how: str) -> None:
    secret = await added_client(edge)
    form = {"grant_type": "client_credentials"}
    named = form | {"client_id": "shop", "client_secret": secret}

    answer = await edge.client.post(
        "/v1/auth/token",
        data=form if how == "header" else named,
        headers=basic("shop", secret) if how == "header" else {},
    )
    me = await edge.client.get("/v1/auth/me", headers=by_token(answer))

    assert answer.status_code == 200, answer.text
    assert (me.json()["subject"], me.json()["roles"]) == ("shop", ["staff"])


async def test_the_secret_of_a_client_is_not_kept(edge: Edge) -> None:
    secret = await added_client(edge)
    async with await psycopg.AsyncConnection.connect(edge.log.url) as connection:
        row = await (await connection.execute("SELECT accounts::text FROM identity.accounts")).fetchone()

    assert row is not None
    assert secret not in row[0]


async def test_a_client_with_one_scope_gets_no_other(edge: Edge) -> None:
    await edge.listed()
    secret = await added_client(edge, scopes=["orderlog.read"])
    mine = {"grant_type": "client_credentials", "client_id": "shop", "client_secret": secret}

    more = await asked(edge, **mine, scope="orderlog.write")
    all_it_has = await asked(edge, **mine)
    written = await edge.client.post("/v1/products/POSTER/receive-stock", json={}, headers=by_token(all_it_has))

    refused(more, 400, "invalid_scope")
    assert all_it_has.json()["scope"] == "orderlog.read"
    assert written.status_code == 403


async def test_a_client_that_may_write_may_ask_for_reading_only(edge: Edge) -> None:
    secret = await added_client(edge, scopes=["orderlog.write"])

    answer = await asked(
        edge, grant_type="client_credentials", client_id="shop", client_secret=secret, scope="orderlog.read"
    )

    assert answer.json()["scope"] == "orderlog.read"


@pytest.mark.parametrize(
    ("headers", "fields", "challenged"),
    [
        (basic("shop", "wrong"), {}, True),
        (basic("nobody", "wrong"), {}, True),
        (basic("a\0b", "wrong"), {}, True),
        ({"authorization": "Basic !!!"}, {}, True),
        ({"authorization": "Basic c2hvcA=="}, {}, True),
        ({}, {"client_id": "shop", "client_secret": "wrong"}, False),
        ({}, {"client_id": "nobody", "client_secret": "wrong"}, False),
        ({}, {}, True),
    ],
)
async def test_a_client_without_its_secret_is_refused(
    edge: Edge, headers: dict[str, str], fields: dict[str, str], *, challenged: bool
) -> None:
    await added_client(edge)

    answer = await edge.client.post(
        "/v1/auth/token", data={"grant_type": "client_credentials"} | fields, headers=headers
    )

    refused(answer, 401, "invalid_client")
    assert (answer.headers.get("www-authenticate") == 'Basic realm="orderlog"') == challenged


async def test_a_secret_in_both_places_is_refused(edge: Edge) -> None:
    secret = await added_client(edge)

    answer = await edge.client.post(
        "/v1/auth/token",
        data={"grant_type": "client_credentials", "client_id": "shop", "client_secret": secret},
        headers=basic("shop", secret),
    )

    refused(answer, 400, "invalid_request")


async def test_a_wrong_client_gets_no_token_for_a_right_password(edge: Edge) -> None:
    await added(edge)

    answer = await edge.client.post(
        "/v1/auth/token",
        data={"grant_type": "password", "username": NAME, "password": PASSWORD},
        headers=basic("shop", "wrong"),
    )

    refused(answer, 401, "invalid_client")


async def test_a_new_secret_ends_the_one_before(edge: Edge) -> None:
    first = await added_client(edge)
    second = (await edge.post("/v1/auth/clients/shop/secret", by=ADMIN)).json()["client_secret"]
    mine = {"grant_type": "client_credentials", "client_id": "shop"}

    assert (await asked(edge, **mine, client_secret=first)).status_code == 401
    assert (await asked(edge, **mine, client_secret=second)).status_code == 200
    assert "client_secret" not in (await edge.get("/v1/auth/clients/shop", by=ADMIN)).json()


# Accounts ----------------------------------------------------------------------------------------------------


async def test_an_admin_adds_a_user_and_sees_it(edge: Edge) -> None:
    answer = await edge.post(
        "/v1/auth/users", {"name": "sam", "password": PASSWORD, "roles": ["staff", "analyst", "staff"]}, by=ADMIN
    )
    seen = await edge.get(answer.headers["location"], by=ADMIN)

    assert answer.status_code == 201
    assert answer.json() == seen.json()
    assert seen.json()["roles"] == ["analyst", "staff"]
    assert (seen.json()["active"], seen.json()["updated_by"]) == (True, ADMIN)
    assert "password" not in seen.text
    assert PASSWORD not in seen.text


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"password": "short"}, ["/password"]),
        ({"password": 7, "name": None}, ["/name", "/password"]),
        ({"name": "Alice"}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"name": "a\0b"}, ["/name"]),
        ({"name": "a\n"}, ["/name"]),
        ({"name": "x" * 101}, ["/name"]),
        ({"roles": []}, ["/roles"]),
        ({"roles": ["king"]}, ["/roles/0"]),
        ({"customer_id": None}, [""]),
        ({"roles": ["staff"]}, [""]),
        ({"customer_id": "a\tb"}, ["/customer_id"]),
        ({"admin": True}, ["/admin"]),
    ],
)
async def test_a_user_that_cannot_be_is_refused_at_each_place(edge: Edge, change: Json, pointers: list[str]) -> None:
    new = {"name": NAME, "password": PASSWORD, "roles": ["customer"], "customer_id": ALICE} | change

    answer = await edge.post("/v1/auth/users", new, by=ADMIN)

    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == pointers
    assert (await edge.get("/v1/auth/users", by=ADMIN)).json()["items"] == []


async def test_a_name_is_given_once_among_users_and_clients(edge: Edge) -> None:
    await added(edge, "shop")

    for path, new in (
        ("/v1/auth/users", {"name": "shop", "password": OTHER, "roles": ["admin"]}),
        ("/v1/auth/clients", {"name": "shop", "roles": ["admin"]}),
    ):
        answer = await edge.post(path, new, by=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (409, "account-exists")
    assert (await edge.get("/v1/auth/users/shop", by=ADMIN)).json()["roles"] == ["customer"]
    assert (await edge.get("/v1/auth/clients/shop", by=ADMIN)).status_code == 404


async def test_many_requests_for_one_name_at_once_make_one_user(edge: Edge) -> None:
    new = {"name": "sam", "password": PASSWORD, "roles": ["staff"]}

    answers = await asyncio.gather(*(edge.post("/v1/auth/users", new, by=ADMIN) for _ in range(20)))

    assert sorted(one.status_code for one in answers) == [201, *[409] * 19]


async def test_users_are_listed_by_name_page_by_page(edge: Edge) -> None:
    for name in ("carol", "alice", "bob"):
        await added(edge, name)
    await added_client(edge, "aaa")

    first = (await edge.get("/v1/auth/users?limit=2", by=ADMIN)).json()
    second = (await edge.get(f"/v1/auth/users?limit=2&cursor={first['next_cursor']}", by=ADMIN)).json()
    elsewhere = await edge.get(f"/v1/auth/clients?cursor={first['next_cursor']}", by=ADMIN)

    assert [one["name"] for one in first["items"] + second["items"]] == ["alice", "bob", "carol"]
    assert second["next_cursor"] is None
    assert elsewhere.status_code == 400


async def test_what_is_left_out_of_a_change_stays(edge: Edge) -> None:
    before = await added(edge)

    answer = await edge.client.patch(f"/v1/auth/users/{NAME}", json={"active": False}, headers=edge.bearer(ADMIN))

    assert answer.json() == before | {"active": False, "updated_at": answer.json()["updated_at"]}


async def test_roles_and_customer_change_together(edge: Edge) -> None:
    await added(edge)

    async def changed(**change: Any) -> httpx.Response:
        return await edge.client.patch(f"/v1/auth/users/{NAME}", json=change, headers=edge.bearer(ADMIN))

    staff = await changed(roles=["staff"])
    neither = await changed(roles=["customer"])
    other = await changed(roles=["customer"], customer_id="C-2")

    assert (staff.json()["roles"], staff.json()["customer_id"]) == (["staff"], None)
    assert (neither.status_code, neither.json()["errors"][0]["pointer"]) == (422, "/customer_id")
    assert other.json()["customer_id"] == "C-2"


async def test_a_deactivated_user_gets_no_token_and_an_activated_one_does(edge: Edge) -> None:
    await added(edge)
    for active, status in ((False, 400), (True, 200)):
        change = {"active": active}
        await edge.client.patch(f"/v1/auth/users/{NAME}", json=change, headers=edge.bearer(ADMIN))
        assert (await signed_in(edge)).status_code == status


async def test_a_deactivated_client_gets_no_token(edge: Edge) -> None:
    secret = await added_client(edge)
    await edge.client.patch("/v1/auth/clients/shop", json={"active": False}, headers=edge.bearer(ADMIN))

    refused(
        await asked(edge, grant_type="client_credentials", client_id="shop", client_secret=secret),
        401,
        "invalid_client",
    )


ADMIN_ROUTES = [
    ("GET", "/v1/auth/users"),
    ("POST", "/v1/auth/users"),
    ("GET", f"/v1/auth/users/{NAME}"),
    ("PATCH", f"/v1/auth/users/{NAME}"),
    ("GET", "/v1/auth/clients"),
    ("POST", "/v1/auth/clients"),
    ("GET", "/v1/auth/clients/shop"),
    ("PATCH", "/v1/auth/clients/shop"),
    ("POST", "/v1/auth/clients/shop/secret"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_only_an_admin_sees_and_changes_accounts(edge: Edge, method: str, path: str) -> None:
    secret = await added_client(edge)
    await added(edge)
    for who in (ALICE, STAFF, "ann"):
        answer = await edge.client.request(method, path, json={"active": False}, headers=edge.bearer(who))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), who
    nobody = await edge.client.request(method, path, json={"active": False})

    assert nobody.status_code == 401
    assert (await signed_in(edge)).status_code == 200
    kept = await asked(edge, grant_type="client_credentials", client_id="shop", client_secret=secret)
    assert kept.status_code == 200


@pytest.mark.parametrize(("method", "path"), [one for one in ADMIN_ROUTES if one[0] != "GET"])
async def test_an_admin_whose_token_is_for_reading_changes_nothing(edge: Edge, method: str, path: str) -> None:
    token = edge.tokens.issue(ADMIN, ["admin"], scopes=["orderlog.read"])

    answer = await edge.client.request(method, path, json={}, headers={"authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")


async def test_there_is_no_issuer_here_where_tokens_are_anothers(database_url: str) -> None:
    async with an_edge(database_url, identity=None) as edge:
        for answer in (await asked(edge), await edge.get("/v1/auth/users", by=ADMIN)):
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
            assert "another issuer's" in answer.json()["detail"]
