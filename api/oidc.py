"""The keys of an OpenID Connect issuer: found by discovery, read as a JWKS, kept while the issuer is away.

One read is under way at a time, and there are ten seconds at least between two, however many unknown keys are asked
for. What is read is bounded in size and in time, and comes by https or from this machine.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from api.addresses import is_loopback, is_trustworthy
from api.auth import LONGEST_KID, Key
from api.errors import Problem
from events.tasks import ended

DISCOVERY = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, 4: behind the issuer's own address."""

LARGEST_DOCUMENT = 262_144  # bytes
MOST_KEYS = 100
FEWEST_RSA_BITS = 2_048  # RFC 7518, 3.3

ALGORITHMS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Type and curve of a key to what it may sign with: the one that its `alg` names, or else the first. No secrets."""

log = structlog.get_logger()


class Limits(msgspec.Struct, frozen=True):
    """How long things may last, in seconds."""

    fresh: float = 600  # then the keys are read again: so soon is one gone that the issuer withdrew
    between: float = 10  # at least, from one read to the next
    stale: float = 86_400  # keys that could not be read again are believed no longer than this
    read: float = 5  # a read takes no longer


class Unreadable(Exception):
    """The issuer's keys could not be read; the sentence says why."""


class Jwks:
    """The keys that the issuer publishes now, as far as that can be known."""

    types: frozenset[str | None] = frozenset({None, "jwt", "at+jwt"})  # many issuers do not say at+jwt yet (RFC 9068)

    def __init__(self, issuer: str, url: str | None = None, limits: Limits | None = None) -> None:
        """`url` is that of the JWKS; without one the issuer is asked for it."""
        self._issuer, self._url = issuer, url
        self._limits = limits or Limits()
        self._keys: dict[str, Key] = {}
        self._read_at = self._asked_at = float("-inf")  # monotonic seconds
        self._reading: asyncio.Task[None] | None = None
        self._why: str | None = "the issuer's keys have not been read yet"
        self._forget: Callable[[], None] = _nothing
        local = is_loopback(urlsplit(url or issuer).hostname)
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=not local, timeout=self._limits.read)

    async def find(self, kid: str | None) -> Key | None:
        """The key of this name, or the only one there is. Asks the issuer for one that is unknown, if it may.

        Raises a `Problem` of status 503 when there are no keys to look among.
        """
        key = self._held(kid)
        if key is None and (self._reading or time.monotonic() - self._asked_at >= self._limits.between):
            await self.refresh()
            key = self._held(kid)
        if key is None and not self._usable():
            raise Problem("issuer-unavailable", "Try again in some seconds.", headers=[(b"retry-after", b"10")])
        return key

    def accepts(self, kid: str) -> bool:
        return kid in self._keys and self._usable()

    async def refresh(self) -> None:
        """Read the keys, together with whoever else wants them read now. What goes wrong is logged; see `problem`."""
        if self._reading is None:
            self._asked_at = time.monotonic()
            self._reading = asyncio.create_task(self._read(), name="jwks")
            self._reading.add_done_callback(self._done)
        await asyncio.shield(self._reading)

    async def run(self, forget: Callable[[], None]) -> None:
        """Keep the keys fresh for as long as the process runs; `forget` is called when what they verified is to be
        verified anew."""
        self._forget = forget
        while True:
            await self.refresh()
            if not self._usable():
                forget()
            age = time.monotonic() - self._read_at
            await asyncio.sleep(self._limits.fresh if age < self._limits.fresh else self._limits.between)

    async def close(self) -> None:
        if self._reading is not None:
            await ended(self._reading)
        await self._client.aclose()

    async def problem(self) -> str | None:
        """Why no token can be verified; None when tokens can."""
        return None if self._usable() else self._why

    def _held(self, kid: str | None) -> Key | None:
        if not self._usable():
            return None
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _usable(self) -> bool:
        return time.monotonic() - self._read_at < self._limits.stale

    def _done(self, _: object) -> None:
        self._reading = None

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._limits.read):
                keys = keys_of(await self._json(self._url or await self._discovered()))
        except TimeoutError:
            self._why = f"the issuer's keys could not be read: no answer within {self._limits.read:g} s"
        except (Unreadable, httpx.HTTPError, httpx.InvalidURL) as error:
            self._why = f"the issuer's keys could not be read: {str(error) or type(error).__name__}"
        except Exception as error:
            log.exception("reading the issuer's keys failed")
            self._why = f"the issuer's keys could not be read: {type(error).__name__}"
        else:
            changed = _named(keys) != _named(self._keys)
            self._keys, self._read_at, self._why = keys, time.monotonic(), None
            if changed:
                self._forget()
            return
        log.warning("the issuer's keys could not be read", issuer=self._issuer, why=self._why, known=len(self._keys))

    async def _discovered(self) -> str:
        """The address of the JWKS. Raises `Unreadable`."""
        found = await self._json(self._issuer.removesuffix("/") + DISCOVERY)
        if found.get("issuer") != self._issuer:  # Discovery 1.0, 4.3: else another could speak for it
            raise Unreadable(f"its discovery document is that of {found.get('issuer')!r:.200}, not of {self._issuer!r}")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or not is_trustworthy(url):
            raise Unreadable(f"its jwks_uri {url!r:.200} is not an https address")
        return url

    async def _json(self, url: str) -> dict[str, Any]:
        # Not compressed: a small answer must not become a large one.
        async with self._client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise Unreadable(f"{url} answers {answer.status_code}")
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LARGEST_DOCUMENT:
                    raise Unreadable(f"{url} answers with more than {LARGEST_DOCUMENT} bytes")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreadable(f"{url} does not answer with a JSON object") from None


def _nothing() -> None:
    pass


def _named(keys: dict[str, Key]) -> dict[str, tuple[str, Any]]:
    return {kid: (key.algorithm, key.material) for kid, key in keys.items()}


# A JWKS ------------------------------------------------------------------------------------------------------


def keys_of(document: dict[str, Any]) -> dict[str, Key]:
    """The keys of a JWKS (RFC 7517) that may verify tokens, by kid; others are left out. Raises `Unreadable`."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise Unreadable("the JWKS has no list of keys")
    keys: dict[str, Key] = {}
    for one in listed[:MOST_KEYS]:
        key = _key_of(one) if isinstance(one, dict) else None
        if key is not None:
            keys.setdefault(key.kid, key)  # of two with one name the first counts
    if not keys:
        raise Unreadable("the JWKS has no key that may verify a token")
    return keys


def _key_of(one: dict[str, Any]) -> Key | None:
    kid, operations = one.get("kid", ""), one.get("key_ops", ["verify"])
    if not isinstance(kid, str) or len(kid) > LONGEST_KID or one.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithm = _algorithm_of(one)
    try:
        material = jwt.PyJWK(_public(one), algorithm).key if algorithm else None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        log.warning("a key of the issuer cannot be used", kid=kid)
        return None
    if material is None or (isinstance(material, RSAPublicKey) and material.key_size < FEWEST_RSA_BITS):
        return None
    return Key(kid, str(algorithm), material)


def _algorithm_of(one: dict[str, Any]) -> str | None:
    """The one algorithm of a key; None when it has none that is accepted."""
    kty, crv = one.get("kty"), one.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str | None):
        return None
    possible = ALGORITHMS.get((kty, crv), ())
    said = one.get("alg")
    if said is None:
        return possible[0] if possible else None
    return said if said in possible else None


def _public(one: dict[str, Any]) -> dict[str, Any]:
    """Without the private part that an issuer may have published by mistake."""
    return {name: one[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in one}
