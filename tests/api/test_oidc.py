"""Another issuer's tokens: what is believed of it, when its keys are read, and what happens while it is away."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.addresses import is_trustworthy
from api.auth import Caller, Verifier
from api.errors import Problem
from api.oidc import DISCOVERY, LARGEST_DOCUMENT, MOST_KEYS, Jwks, Limits, Unreadable, keys_of
from tests.api.edge import SECRET, Edge, an_edge, an_order
from tests.api.issuer import KEYS, PRIVATE, Issuer, an_issuer, hs256_with, public

SOON = Limits(fresh=0.1, between=0.02, stale=60, read=0.3)
OFTEN = Limits(between=0)


class Shop:
    """What verifies the issuer's tokens."""

    def __init__(self, issuer: Issuer, limits: Limits | None = None, url: str | None = None) -> None:
        self.jwks = Jwks(issuer.url, url, limits)
        self.verifier = Verifier(self.jwks, issuer=issuer.url, audience="orderlog")

    async def believes(self, token: str) -> Caller:
        return await self.verifier.verify(f"Bearer {token}".encode())

    async def refuses(self, token: str, status: int = 401, code: str = "token-invalid") -> None:
        with pytest.raises(Problem) as refused:
            await self.believes(token)
        assert (refused.value.status, refused.value.code) == (status, code), refused.value.detail


@asynccontextmanager
async def a_shop(issuer: Issuer, limits: Limits | None = None, url: str | None = None) -> AsyncIterator[Shop]:
    shop = Shop(issuer, limits, url)
    yield shop
    await shop.jwks.close()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with an_issuer() as one:
        yield one


@pytest.fixture
async def shop(issuer: Issuer) -> AsyncIterator[Shop]:
    async with a_shop(issuer) as one:
        yield one


# What is believed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_is_believed_with_the_algorithm_of_its_key(issuer: Issuer, shop: Shop, algorithm: str) -> None:
    issuer.keys = [public(one) for one in PRIVATE]

    caller = await shop.believes(issuer.token(algorithm))

    assert (caller.subject, caller.customer_id, caller.account) == ("alice", "alice", None)


async def test_a_key_without_an_algorithm_has_that_of_its_type(issuer: Issuer, shop: Shop) -> None:
    issuer.keys = [{name: value for name, value in public("RS256").items() if name != "alg"}]

    await shop.believes(issuer.token())
    await shop.refuses(issuer.token("PS256", key=PRIVATE["RS256"], header={"kid": "RS256"}))


async def test_a_token_without_a_kid_is_believed_where_there_is_one_key(issuer: Issuer) -> None:
    async with a_shop(issuer, OFTEN) as shop:
        await shop.believes(issuer.token(header={"kid": None}))
        for issuer.keys in ([public("ES256"), public("RS256")], [public("RS256"), public("ES256")]):
            await shop.jwks.refresh()
            await shop.refuses(issuer.token(header={"kid": None}, jti="2"))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_the_types_that_issuers_give_access_tokens_are_believed(
    issuer: Issuer, shop: Shop, kind: str | None
) -> None:
    await shop.believes(issuer.token(header={"typ": kind}))


async def test_claims_that_are_ours_alone_are_not_looked_at(issuer: Issuer, shop: Shop) -> None:
    caller = await shop.believes(issuer.token(account=["x"], generation="y", client_id={}))

    assert (caller.account, caller.generation) == (None, 0)


BAD: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "http://127.0.0.1:1"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "others"},
    "no audience": {"aud": None},
    "no subject": {"sub": None},
    "no expiry": {"exp": None},
    "not yet valid": {"nbf": datetime(2099, 1, 1, tzinfo=UTC)},
    "an id token": {"header": {"typ": "id_token+jwt"}},
    "a logout token": {"header": {"typ": "logout+jwt"}},
    "a critical extension": {"header": {"crit": ["x"], "x": 1}},
    "an unknown kid": {"header": {"kid": "other"}},
    "a kid that is a path": {"header": {"kid": "../../keys"}},
    "a kid that is SQL": {"header": {"kid": "' UNION SELECT 'x"}},
    "a kid that is an address": {"header": {"kid": "http://127.0.0.1:1/keys"}},
    "a huge kid": {"header": {"kid": "k" * 5_000}},
    "the kid of another key": {"header": {"kid": "ES256"}},
    "another key of the same name": {"key": rsa.generate_private_key(65537, 2048)},
    "another algorithm of the same key": {"algorithm": "RS512", "key": PRIVATE["RS256"], "header": {"kid": "RS256"}},
    "the same key with padding of another kind": {
        "algorithm": "PS256",
        "key": PRIVATE["RS256"],
        "header": {"kid": "RS256"},
    },
    "our own secret": {"algorithm": "HS256", "key": SECRET, "header": {"kid": "RS256"}},
    "too long": {"sub": "x" * 9_000},
    "too long, but with a subject that is not": {"more": "x" * 9_000},
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_not_believed(issuer: Issuer, shop: Shop, name: str) -> None:
    issuer.keys = [public("RS256"), public("ES256")]

    await shop.refuses(issuer.token(**BAD[name]))


async def test_an_expired_token_is_named_as_such(issuer: Issuer, shop: Shop) -> None:
    await shop.refuses(issuer.token(exp=datetime.now(UTC) - timedelta(seconds=2)), code="token-expired")


async def test_a_clock_that_is_off_by_seconds_is_forgiven_where_that_is_allowed(issuer: Issuer) -> None:
    jwks = Jwks(issuer.url)
    verifier = Verifier(jwks, issuer=issuer.url, audience="orderlog", leeway=30)
    now = datetime.now(UTC)

    await verifier.verify_token(issuer.token(nbf=now + timedelta(seconds=20)))
    await verifier.verify_token(issuer.token(exp=now - timedelta(seconds=5)))
    with pytest.raises(Problem):
        await verifier.verify_token(issuer.token(exp=now - timedelta(seconds=40)))
    await jwks.close()


@pytest.mark.parametrize(
    "form", [(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.DER, PublicFormat.PKCS1)]
)
async def test_a_public_key_is_no_shared_secret(
    issuer: Issuer, shop: Shop, form: tuple[Encoding, PublicFormat]
) -> None:
    """RFC 8725, 2.1."""
    published = PRIVATE["RS256"].public_key().public_bytes(*form)
    claims = {"iss": issuer.url, "aud": "orderlog", "sub": "mallory", "roles": ["admin"], "exp": 4102444800}

    await shop.refuses(hs256_with(published, claims, "RS256"))


@pytest.mark.parametrize("header", ["jku", "x5u"])
async def test_keys_are_read_nowhere_but_at_the_issuer(issuer: Issuer, shop: Shop, header: str) -> None:
    attackers = rsa.generate_private_key(65537, 2048)
    async with an_issuer() as mallory:
        for kid in ("RS256", "mallorys"):
            await shop.refuses(issuer.token(key=attackers, header={header: mallory.url + KEYS, "kid": kid}))

        assert mallory.asked == []


async def test_a_key_in_the_token_is_not_used(issuer: Issuer, shop: Shop) -> None:
    attackers = rsa.generate_private_key(65537, 2048)
    for header in ({"jwk": public("ES256")}, {"x5c": ["MIIB"]}):
        await shop.refuses(issuer.token(key=attackers, header=header))


# What keys count ---------------------------------------------------------------------------------------------

WEAK = rsa.generate_private_key(65537, 1024)

USELESS: dict[str, Any] = {
    "a shared secret": {"kty": "oct", "kid": "RS256", "k": "c2VjcmV0", "alg": "HS256"},
    "a key for encryption": public("RS256", use="enc"),
    "a key that may sign only": public("RS256", key_ops=["sign"]),
    "operations that are no list": public("RS256", key_ops="verify"),
    "an algorithm of another type": public("RS256", alg="ES256"),
    "a shared algorithm": public("RS256", alg="HS256"),
    "no algorithm at all": public("RS256", alg="none"),
    "an algorithm that is no text": public("RS256", alg=["RS256"]),
    "a curve on RSA": public("RS256", crv="P-256"),
    "a modulus that is none": public("RS256", n="!!"),
    "a modulus that is missing": {"kty": "RSA", "kid": "RS256", "e": "AQAB"},
    "a point off the curve": public("ES256", x="AAAA"),
    "a curve that is none": public("ES256", crv="P-1"),
    "a name that is no text": public("RS256") | {"kid": 7},
    "no key": "RS256",
}


@pytest.mark.parametrize("name", USELESS)
def test_a_key_that_cannot_be_used_is_left_out(name: str) -> None:
    good = public("EdDSA")

    assert [*keys_of({"keys": [USELESS[name], good]})] == ["EdDSA"]
    with pytest.raises(Unreadable):
        keys_of({"keys": [USELESS[name]]})


def test_of_two_keys_with_one_name_the_first_counts() -> None:
    first, second = public("ES256", kid="k"), public("EdDSA", kid="k")

    assert keys_of({"keys": [first, second]})["k"].algorithm == "ES256"


def test_so_many_keys_are_read_and_no_more() -> None:
    many = [public("EdDSA", kid=str(number)) for number in range(MOST_KEYS + 1)]

    assert [*keys_of({"keys": many})] == [str(number) for number in range(MOST_KEYS)]


def test_a_weak_rsa_key_is_left_out() -> None:
    numbers = WEAK.public_key().public_numbers()
    weak = {"kty": "RSA", "kid": "w", "n": jwt.utils.to_base64url_uint(numbers.n).decode(), "e": "AQAB"}
    assert [*keys_of({"keys": [weak, public("RS256")]})] == ["RS256"]


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": []}, {"keys": None}])
def test_a_jwks_without_keys_is_unreadable(document: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        keys_of(document)


# When they are read ------------------------------------------------------------------------------------------


async def test_keys_are_found_by_discovery_and_read_once(issuer: Issuer, shop: Shop) -> None:
    for number in range(5):
        await shop.believes(issuer.token(jti=str(number)))

    assert issuer.asked == [DISCOVERY, KEYS]


async def test_a_set_address_of_the_keys_saves_the_discovery(issuer: Issuer) -> None:
    async with a_shop(issuer, url=issuer.url + KEYS) as shop:
        await shop.believes(issuer.token())

    assert issuer.asked == [KEYS]


async def test_many_requests_with_an_unknown_key_wait_for_one_read(issuer: Issuer) -> None:
    issuer.delay = 0.1
    async with a_shop(issuer) as shop:
        await asyncio.gather(*(shop.believes(issuer.token(jti=str(number))) for number in range(100)))

    assert issuer.asked == [DISCOVERY, KEYS]


async def test_a_request_that_goes_away_does_not_end_the_read_for_the_others(issuer: Issuer) -> None:
    issuer.delay = 0.1
    async with a_shop(issuer) as shop:
        impatient = asyncio.create_task(shop.believes(issuer.token()))
        patient = asyncio.create_task(shop.believes(issuer.token(jti="2")))
        await asyncio.sleep(0.02)
        impatient.cancel()

        assert (await patient).subject == "alice"
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_a_new_key_of_the_issuer_is_read_when_a_token_names_it(issuer: Issuer) -> None:
    async with a_shop(issuer, OFTEN) as shop:
        await shop.believes(issuer.token())
        issuer.keys.append(public("ES256"))

        await shop.believes(issuer.token("ES256"))
        await shop.believes(issuer.token(jti="2"))


async def test_unknown_keys_are_asked_for_no_oftener_than_allowed(issuer: Issuer, shop: Shop) -> None:
    await shop.believes(issuer.token())
    for number in range(50):
        await shop.refuses(issuer.token(header={"kid": f"made up {number}"}))

    assert issuer.asked == [DISCOVERY, KEYS]


async def until(so: Any, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not await so():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def fresh(shop: Shop) -> AsyncIterator[None]:
    """The keys are kept fresh for as long as the block runs."""
    work = asyncio.create_task(shop.jwks.run(shop.verifier.forget))
    yield
    assert not work.done()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_a_key_that_the_issuer_withdrew_is_believed_no_more_even_of_a_remembered_token(issuer: Issuer) -> None:
    issuer.keys = [public("RS256"), public("ES256")]
    async with a_shop(issuer, SOON) as shop, fresh(shop):
        token = issuer.token("ES256")
        verified = await shop.believes(token)
        issuer.keys = [public("RS256")]

        async def refused() -> bool:
            try:
                await shop.believes(token)
            except Problem as problem:
                return problem.code == "token-invalid"
            return False

        await until(refused)
        assert not shop.verifier.is_good(verified)


# While it is away --------------------------------------------------------------------------------------------


async def test_keys_that_were_read_are_used_while_the_issuer_is_away(issuer: Issuer) -> None:
    async with a_shop(issuer, SOON) as shop, fresh(shop):
        await shop.believes(issuer.token())
        issuer.status = "503 Service Unavailable"
        asked = len(issuer.asked)

        async def asked_again() -> bool:
            return len(issuer.asked) > asked + 2

        await until(asked_again)
        await shop.believes(issuer.token(jti="2"))
        assert await shop.jwks.problem() is None


async def test_keys_that_cannot_be_read_again_are_not_believed_for_ever(issuer: Issuer) -> None:
    limits = Limits(fresh=0.05, between=0.02, stale=0.4, read=0.3)
    async with a_shop(issuer, limits) as shop, fresh(shop):
        token = issuer.token()
        await shop.believes(token)
        issuer.status = "500 Internal Server Error"

        async def unknown() -> bool:
            try:
                await shop.believes(token)
            except Problem as problem:
                return problem.code == "issuer-unavailable"
            return False

        await until(unknown)
        assert "answers 500" in str(await shop.jwks.problem())

        issuer.status = "200 OK"

        async def known() -> bool:
            return not await unknown()

        await until(known)


async def test_without_any_keys_it_is_the_issuer_who_is_missing_not_the_token_that_is_bad(issuer: Issuer) -> None:
    issuer.status = "503 Service Unavailable"
    async with a_shop(issuer) as shop:
        assert "have not been read yet" in str(await shop.jwks.problem())
        await shop.refuses(issuer.token(), 503, "issuer-unavailable")
        await shop.refuses(issuer.token(), 503, "issuer-unavailable")

    assert len(issuer.asked) == 1


WRONG: dict[str, tuple[str, bytes, str]] = {
    "the document of another": (DISCOVERY, b'{"issuer": "http://127.0.0.1", "jwks_uri": "x"}', "not of"),
    "no document": (DISCOVERY, b"<html>", "does not answer with a JSON object"),
    "a list": (KEYS, b"[]", "does not answer with a JSON object"),
    "no UTF-8": (KEYS, b'{"keys": "\xff"}', "does not answer with a JSON object"),
    "a nested bomb": (KEYS, b'{"keys": ' + b"[" * 100_000, "does not answer with a JSON object"),
    "too much": (KEYS, b" " * (LARGEST_DOCUMENT + 1), "more than"),
    "no keys": (KEYS, b'{"keys": []}', "no key that may verify"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_an_issuer_must_not_answer_is_told(issuer: Issuer, shop: Shop, name: str) -> None:
    path, answer, told = WRONG[name]
    issuer.documents[path] = answer

    await shop.refuses(issuer.token(), 503, "issuer-unavailable")

    assert told in str(await shop.jwks.problem())


@pytest.mark.parametrize("address", ["http://id.example/keys", "file:///etc/keys", "ftp://127.0.0.1/x", 7, None])
async def test_keys_are_not_read_from_an_address_that_is_not_safe(issuer: Issuer, shop: Shop, address: Any) -> None:
    issuer.documents[DISCOVERY] = json.dumps({"issuer": issuer.url, "jwks_uri": address}).encode()

    await shop.refuses(issuer.token(), 503, "issuer-unavailable")

    assert "is not an https address" in str(await shop.jwks.problem())


async def test_a_redirect_is_not_followed(issuer: Issuer, shop: Shop) -> None:
    issuer.status = "302 Found"

    await shop.refuses(issuer.token(), 503, "issuer-unavailable")

    assert issuer.asked == [DISCOVERY]


async def test_an_issuer_that_does_not_answer_costs_no_more_than_the_time_allowed(issuer: Issuer) -> None:
    issuer.delay = 60
    async with a_shop(issuer, SOON) as shop:
        start = time.monotonic()
        await shop.refuses(issuer.token(), 503, "issuer-unavailable")

    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("url", "trustworthy"),
    [
        ("https://id.example", True),
        ("https://id.example:8443/realms/shop", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.9/x", True),
        ("http://[::1]:1", True),
        ("http://id.example", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("https://user:password@id.example", False),
        ("https://id.example/#x", False),
        ("https://", False),
        ("https://id.example:port", False),
        ("https://id.example/\r\nx", False),
        ("https://[id", False),
        ("ftp://127.0.0.1", False),
        ("id.example", False),
    ],
)
def test_an_address_is_trustworthy_by_https_or_on_this_machine(url: str, *, trustworthy: bool) -> None:
    assert is_trustworthy(url) == trustworthy


# On the way of an order --------------------------------------------------------------------------------------


async def test_an_order_is_placed_with_another_issuers_token_and_not_with_ours(
    issuer: Issuer, database_url: str
) -> None:
    async with a_shop(issuer) as shop, an_edge(database_url, tokens=shop.verifier, identity=None) as edge:
        staff, alice = issuer.token(sub="sam", roles=["staff"]), issuer.token()
        card = {"name": "A poster", "prices": [{"amount": 1999, "currency": "EUR"}], "stock": "untracked"}
        listed = await edge.client.put("/v1/products/POSTER", json=card, headers=by(staff))
        placed = await edge.client.post("/v1/orders", json=an_order(), headers={**by(alice), "idempotency-key": "1"})
        ours = await edge.post("/v1/orders", an_order())

        assert (listed.status_code, placed.status_code, placed.json()["customer_id"]) == (200, 201, "alice")
        assert (ours.status_code, ours.json()["code"]) == (401, "token-invalid")
        await closed_to_readers(edge, issuer)


async def closed_to_readers(edge: Edge, issuer: Issuer) -> None:
    token = issuer.token(scope="openid orderlog.read")
    answer = await edge.client.post("/v1/orders", json=an_order(), headers={**by(token), "idempotency-key": "2"})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")


def by(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
