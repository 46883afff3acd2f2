"""Who calls: tokens that are believed, and those that are not."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from api.auth import Role, Tokens, caller
from api.errors import Problem
from tests.api.edge import ALICE, SECRET, STAFF, Edge, an_order

CLAIMS: dict[str, Any] = {
    "iss": "orderlog",
    "aud": "orderlog",
    "sub": ALICE,
    "roles": ["customer"],
    "exp": datetime(2100, 1, 1, tzinfo=UTC),
}


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def token(key: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(given, key, algorithm=algorithm)


def signed_raw(claims: str) -> str:
    """A token of ours whose claims are this text, however odd."""
    return jwt.PyJWS().encode(claims.encode(), SECRET, algorithm="HS256")


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, issuer="orderlog", audience="orderlog", remember=3)


BAD = {
    "no signature": f"{part({'alg': 'none'})}.{part({**CLAIMS, 'exp': 4102444800})}.",
    "no signature, but another spelling": f"{part({'alg': 'nOnE'})}.{part({**CLAIMS, 'exp': 4102444800})}.",
    "another algorithm": token(SECRET * 2, "HS512"),
    "another key": token(b"x" * 32),
    "another audience": token(aud="others"),
    "another issuer": token(iss="others"),
    "no expiry": token(exp=None),
    "no subject": token(sub=None),
    "no audience": token(aud=None),
    "no issuer": token(iss=None),
    "an empty subject": token(sub=""),
    "a subject with NUL": token(sub="a\0b"),
    "a subject too long": token(sub="x" * 201),
    "roles that are no list": token(roles="admin"),
    "not yet valid": token(nbf=datetime(2099, 1, 1, tzinfo=UTC)),
    "an expiry that is no time": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"a","exp":1e999}'),
    "an expiry that is no number": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"a","exp":{}}'),
    "half a surrogate": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"\\ud800","exp":4102444800}'),
    "a subject that is no text": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":7,"exp":4102444800}'),
    "claims that are no object": signed_raw("[]"),
    "a nested bomb": base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.x",
    "too long": "x" * 9_000,
    "no token": "hello",
    "nothing": "",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_not_believed(tokens: Tokens, name: str) -> None:
    with pytest.raises(Problem) as refused:
        tokens.verify(f"Bearer {BAD[name]}".encode())

    assert (refused.value.status, refused.value.code) == (401, "token-invalid")
    assert dict(refused.value.headers)[b"www-authenticate"].startswith(
        b'Bearer realm="orderlog", error="invalid_token"'
    )


def test_an_expired_token_is_named_as_such(tokens: Tokens) -> None:
    expired = tokens.issue(ALICE, ["customer"], timedelta(seconds=-1))

    with pytest.raises(Problem) as refused:
        tokens.verify(f"Bearer {expired}".encode())

    assert refused.value.code == "token-expired"


def test_a_remembered_token_expires_all_the_same(tokens: Tokens) -> None:
    header = f"Bearer {tokens.issue(ALICE, ['customer'], timedelta(seconds=5))}".encode()
    assert tokens.verify(header).subject == ALICE
    expired = tokens._verified[header]
    tokens._verified[header] = caller(expired.subject, expired.roles, 0)

    assert tokens.verify(header).expires > 0  # it was verified again


def test_only_so_many_tokens_are_remembered(tokens: Tokens) -> None:
    for number in range(10):
        tokens.verify(f"Bearer {tokens.issue(f'c{number}', ['customer'])}".encode())

    assert len(tokens._verified) == 3


@pytest.mark.parametrize("header", [None, b"Basic YTpi", b"token"])
def test_without_a_bearer_token_the_scheme_is_told(tokens: Tokens, header: bytes | None) -> None:
    with pytest.raises(Problem) as refused:
        tokens.verify(header)

    assert (refused.value.status, refused.value.code) == (401, "token-missing")
    assert dict(refused.value.headers)[b"www-authenticate"] == b'Bearer realm="orderlog"'


def test_the_scheme_may_be_written_in_any_case(tokens: Tokens) -> None:
    assert tokens.verify(f"bearer  {tokens.issue(ALICE, ['customer'])}".encode()).customer_id == ALICE


@pytest.mark.parametrize(
    ("roles", "is_staff", "reads_all", "customer_id", "may_write"),
    [
        (["customer"], False, False, ALICE, True),
        (["staff"], True, True, None, True),
        (["admin"], True, True, None, True),
        (["analyst"], False, True, None, False),
        (["analyst", "customer"], False, True, ALICE, True),
        (["staff", "customer"], True, True, None, True),
        ([], False, False, None, False),
    ],
)
def test_roles_say_what_a_caller_may(
    roles: list[Role], *, is_staff: bool, reads_all: bool, customer_id: str | None, may_write: bool
) -> None:
    one = caller(ALICE, [*roles, "king"], 0)

    assert (one.is_staff, one.reads_all, one.customer_id, one.may_write) == (
        is_staff,
        reads_all,
        customer_id,
        may_write,
    )


async def test_a_bad_token_is_answered_with_401_on_every_route(edge: Edge) -> None:
    given = {"authorization": f"Bearer {BAD['another key']}", "idempotency-key": "k"}
    wanted = [("POST", "/v1/orders"), ("PUT", "/v1/products/A"), ("GET", "/v1/orders"), ("GET", "/v1/orders/mine")]
    for method, path in [
        *wanted,
        ("GET", "/v1/products/A"),
        ("GET", "/v1/auth/me"),
        ("GET", "/v1/reports/daily-sales"),
    ]:
        for headers, code in ((given, "token-invalid"), ({}, "token-missing")):
            answer = await edge.client.request(method, path, json=an_order(), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, code), path
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_caller_is_told_who_it_is(edge: Edge) -> None:
    customer = (await edge.get("/v1/auth/me", by=ALICE)).json()
    staff = (await edge.get("/v1/auth/me", by=STAFF)).json()

    assert (customer["subject"], customer["roles"], customer["customer_id"]) == (ALICE, ["customer"], ALICE)
    assert (staff["roles"], staff["customer_id"]) == (["staff"], None)
