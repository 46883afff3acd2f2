"""Who calls: tokens that are believed, and those that are not."""

import asyncio
import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from api.auth import caller
from api.errors import Problem
from api.keys import FIRST, derived
from api.roles import Role
from api.tokens import Tokens
from tests.api.edge import ALICE, SECRET, STAFF, Edge, an_order

CLAIMS: dict[str, Any] = {
    "iss": "orderlog",
    "aud": "orderlog",
    "sub": ALICE,
    "roles": ["customer"],
    "exp": datetime(2100, 1, 1, tzinfo=UTC),
}
KEY = derived(SECRET, FIRST)
HEADER: dict[str, Any] = {"kid": FIRST, "typ": "at+jwt"}


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def token(key: bytes = KEY, algorithm: str = "HS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token as ours are, but for what is said; what is None is left out."""
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(given, key, algorithm=algorithm, headers=HEADER | (header or {}))


def signed_raw(claims: str) -> str:
    """A token of ours whose claims are this text, however odd."""
    return jwt.PyJWS().encode(claims.encode(), KEY, algorithm="HS256", headers=HEADER)


def signed(header: dict[str, Any], key: bytes = KEY, algorithm: str = "sha256") -> str:
    """A token that is signed with our key, whose header is this one, however odd."""
    content = f"{part(header)}.{part(CLAIMS | {'exp': 4102444800})}"
    signature = hmac.digest(key, content.encode(), algorithm)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def unsigned(**header: Any) -> str:
    return f"{part(HEADER | header)}.{part({**CLAIMS, 'exp': 4102444800})}."


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, issuer="orderlog", audience="orderlog", remember=3)


WHOLE = {"alg": "HS256", **HEADER}

BAD = {
    "no signature": unsigned(alg="none"),
    "no signature, but another spelling": unsigned(alg="nOnE"),
    "no signature, but the algorithm": unsigned(alg="HS256"),
    "a signature cut off": token()[:-20],
    "claims exchanged after signing": ".".join(
        [token().split(".")[0], unsigned().split(".")[1], token().split(".")[2]]
    ),
    "another algorithm": token(KEY * 2, "HS512"),
    "the key of another algorithm": signed(WHOLE | {"alg": "HS512"}, KEY, "sha512"),
    "an algorithm that is no text": signed(WHOLE | {"alg": ["HS256"]}),
    "another key": token(b"x" * 32),
    "the secret itself for a key": token(SECRET),
    "no kid": signed({"alg": "HS256", "typ": "at+jwt"}),
    "an unknown kid": token(header={"kid": "2"}),
    "a kid that is a path": signed(WHOLE | {"kid": "../../../../dev/null"}, b""),
    "a kid that is SQL": token(header={"kid": "1' OR '1'='1' --"}),
    "a kid that is a command": token(header={"kid": "1|/usr/bin/id"}),
    "a kid that is empty": token(header={"kid": ""}),
    "a kid with NUL": token(header={"kid": "1\0"}),
    "a huge kid": token(header={"kid": "1" * 5_000}),
    "a kid that is a number": signed(WHOLE | {"kid": 1}),
    "a kid that is a list": signed(WHOLE | {"kid": ["1"]}),
    "a key of its own": token(b"x" * 32, header={"jwk": {"kty": "oct", "kid": "1", "k": part("x" * 32)}}),
    "a key set elsewhere": token(b"x" * 32, header={"jku": "http://127.0.0.1:1/keys", "kid": "elsewhere"}),
    "a certificate elsewhere": token(b"x" * 32, header={"x5u": "http://127.0.0.1:1/cert"}),
    "a certificate of its own": token(b"x" * 32, header={"x5c": ["MIIB"]}),
    "a critical extension": signed(WHOLE | {"crit": ["exp"], "exp": 1}),
    "an empty list of critical extensions": signed(WHOLE | {"crit": []}),
    "an unencoded payload": signed(WHOLE | {"crit": ["b64"], "b64": False}),
    "no type": signed({"alg": "HS256", "kid": FIRST}),
    "the type of any token": token(header={"typ": "JWT"}),
    "the type of another kind of token": token(header={"typ": "logout+jwt"}),
    "a type that is no text": signed(WHOLE | {"typ": 7}),
    "another audience": token(aud="others"),
    "several audiences, not this one": token(aud=["others", "more"]),
    "another issuer": token(iss="others"),
    "several issuers": signed_raw('{"iss":["orderlog"],"aud":"orderlog","sub":"a","exp":4102444800}'),
    "no expiry": token(exp=None),
    "no subject": token(sub=None),
    "no audience": token(aud=None),
    "no issuer": token(iss=None),
    "an empty subject": token(sub=""),
    "a subject with NUL": token(sub="a\0b"),
    "a subject too long": token(sub="x" * 201),
    "roles that are no list": token(roles="admin"),
    "roles that are no texts": token(roles=[["admin"]]),
    "a scope that is no text": token(scope=["orderlog.read"]),
    "not yet valid": token(nbf=datetime(2099, 1, 1, tzinfo=UTC)),
    "an expiry that is no time": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"a","exp":1e999}'),
    "an expiry that is no number": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"a","exp":{}}'),
    "half a surrogate": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":"\\ud800","exp":4102444800}'),
    "a subject that is no text": signed_raw('{"iss":"orderlog","aud":"orderlog","sub":7,"exp":4102444800}'),
    "claims that are no object": signed_raw("[]"),
    "an encrypted token": f"{part({'alg': 'dir', 'enc': 'A128GCM', **HEADER})}.e30.e30.e30.e30",
    "a nested bomb": base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.x",
    "too long": "x" * 9_000,
    "too long, but whole and signed": token(more="x" * 9_000),
    "no token": "hello",
    "nothing": "",
}


def test_the_token_that_the_bad_ones_differ_from_is_believed(tokens: Tokens) -> None:
    behind = token(iat=datetime(2099, 1, 1, tzinfo=UTC))  # the clock here is, and not the token from the future
    for good in (token(), token(more="x" * 1_000), signed(WHOLE), token(header={"typ": "application/AT+JWT"}), behind):
        assert asyncio.run(tokens.verify_token(good)).customer_id == ALICE


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_not_believed(tokens: Tokens, name: str) -> None:
    with pytest.raises(Problem) as refused:
        await tokens.verify(f"Bearer {BAD[name]}".encode())

    assert (refused.value.status, refused.value.code) == (401, "token-invalid")
    assert dict(refused.value.headers)[b"www-authenticate"].startswith(
        b'Bearer realm="orderlog", error="invalid_token"'
    )


async def test_an_expired_token_is_named_as_such(tokens: Tokens) -> None:
    expired = tokens.issue(ALICE, ["customer"], timedelta(seconds=-1))

    with pytest.raises(Problem) as refused:
        await tokens.verify(f"Bearer {expired}".encode())

    assert refused.value.code == "token-expired"


async def test_a_remembered_token_expires_all_the_same(tokens: Tokens) -> None:
    header = f"Bearer {tokens.issue(ALICE, ['customer'], timedelta(seconds=5))}".encode()
    assert (await tokens.verify(header)).subject == ALICE
    expired = tokens._verified[header]
    tokens._verified[header] = caller(expired.subject, expired.roles, 0)

    assert (await tokens.verify(header)).expires > 0  # it was verified again


async def test_only_so_many_tokens_are_remembered(tokens: Tokens) -> None:
    for number in range(10):
        await tokens.verify(f"Bearer {tokens.issue(f'c{number}', ['customer'])}".encode())

    assert len(tokens._verified) == 3


@pytest.mark.parametrize("header", [None, b"Basic YTpi", b"token"])
async def test_without_a_bearer_token_the_scheme_is_told(tokens: Tokens, header: bytes | None) -> None:
    with pytest.raises(Problem) as refused:
        await tokens.verify(header)

    assert (refused.value.status, refused.value.code) == (401, "token-missing")
    assert dict(refused.value.headers)[b"www-authenticate"] == b'Bearer realm="orderlog"'


async def test_the_scheme_may_be_written_in_any_case(tokens: Tokens) -> None:
    header = f"bearer  {tokens.issue(ALICE, ['customer'])}".encode()

    assert (await tokens.verify(header)).customer_id == ALICE


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

    assert one.roles == {*roles}
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


@pytest.mark.parametrize(
    ("scopes", "may_write"),
    [
        (["orderlog.read"], False),
        (["orderlog.write"], True),
        (["orderlog.read", "orderlog.write"], True),
        ([], True),
        (["openid", "profile"], True),
        (["openid", "orderlog.read"], False),
    ],
)
async def test_a_scope_narrows_what_the_roles_give(tokens: Tokens, scopes: list[str], *, may_write: bool) -> None:
    verified = await tokens.verify_token(tokens.issue(STAFF, ["staff"], scopes=scopes))

    assert (verified.may_write, verified.reads_all) == (may_write, True)


async def test_a_token_for_reading_reads_and_does_not_write(edge: Edge) -> None:
    await edge.listed()
    token = edge.tokens.issue(ALICE, ["customer"], scopes=["orderlog.read"])
    headers = {"authorization": f"Bearer {token}", "idempotency-key": "k"}

    read = await edge.client.get("/v1/orders", headers=headers)
    written = await edge.client.post("/v1/orders", json=an_order(), headers=headers)

    assert read.status_code == 200
    assert (written.status_code, written.json()["code"]) == (403, "insufficient-scope")
    assert 'error="insufficient_scope", scope="orderlog.write"' in written.headers["www-authenticate"]
