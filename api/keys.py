"""The keys of the built-in issuer: their names are in the database, their secrets in no place but the secret key.

A key is derived from the installation's secret key and the key's name (HKDF, RFC 5869), so whoever reads the database
can sign nothing. A new key is accepted at once and signs a minute later, when every process knows it; the one before is
accepted until its last token has expired.
"""

import secrets
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg import AsyncConnection

from api.auth import Key

ALGORITHM = "HS256"
TYPE = "at+jwt"
"""RFC 9068: an access token, and nothing else that the same key might sign one day."""

FIRST = "1"
"""The key that every installation begins with; the migration writes it down."""

KNOWN_BY_ALL = timedelta(minutes=1)
"""By then every process that runs has read a change of the keys."""

KEYS = """
SELECT kid, made_at, signs_from, accepted_until FROM identity.signing_keys
WHERE accepted_until IS NULL OR accepted_until > now() ORDER BY signs_from, kid
"""
"""The keys that are accepted, the newest last."""

LOCK_KEYS = "LOCK TABLE identity.signing_keys IN EXCLUSIVE MODE"
"""One rotation at a time; readers go on."""

RETIRE = """
UPDATE identity.signing_keys SET accepted_until = least(accepted_until, now() + %(overlap)s)
WHERE kid <> %(kid)s
"""
"""The end of all keys but the new one, where it is not nearer already."""

ADD = "INSERT INTO identity.signing_keys (kid, signs_from) VALUES (%(kid)s, now() + %(after)s)"
"""A new key, and how long until it signs."""

FORGET = "DELETE FROM identity.signing_keys WHERE accepted_until < now() - interval '30 days'"
"""Keys that ended long ago."""


class SigningKey(msgspec.Struct, frozen=True):
    """What the database knows of a key."""

    kid: str
    made_at: datetime
    signs_from: datetime
    accepted_until: datetime | None = None  # None: until a rotation says otherwise


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Keyring:
    """The keys that are accepted now; begins with the first one, until `hold` is told what the database knows."""

    types: frozenset[str | None] = frozenset({TYPE})

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known: tuple[SigningKey, ...] = ()
        self._keys: dict[str, Key] = {}
        self.hold([SigningKey(FIRST, LONG_AGO, LONG_AGO)])

    def hold(self, known: Iterable[SigningKey]) -> bool:
        """These and no others are accepted from now on. Whether anything changed."""
        given = tuple(known)
        if given == self._known:
            return False
        self._known = given
        self._keys = {one.kid: self._key(one) for one in given}
        return True

    async def find(self, kid: str | None) -> Key | None:
        return self._keys.get(kid) if kid is not None and self.accepts(kid) else None

    def accepts(self, kid: str) -> bool:
        key = self._keys.get(kid)
        return key is not None and key.accepted_until > time.time()

    def signing(self) -> Key:
        """The newest key that signs already; if none does, the one that will do so first."""
        now = datetime.now(UTC)
        signs = [one for one in self._known if one.signs_from <= now] or self._known[:1]
        return self._keys[signs[-1].kid]

    def _key(self, one: SigningKey) -> Key:
        until = one.accepted_until.timestamp() if one.accepted_until is not None else float("inf")
        return Key(one.kid, ALGORITHM, derived(self._secret, one.kid), until)


def derived(secret: bytes, kid: str) -> bytes:
    """The 256 bits that sign under this name."""
    return HKDF(SHA256(), 32, salt=None, info=b"orderlog token key " + kid.encode()).derive(secret)


async def read_keys(connection: AsyncConnection[Any]) -> list[SigningKey]:
    return [SigningKey(*row) for row in await (await connection.execute(KEYS)).fetchall()]


async def rotate(connection: AsyncConnection[Any], overlap: timedelta) -> SigningKey:
    """A new key; the others are accepted for so long after it begins to sign.

    Without any overlap the new key signs at once, and a process that has not read of it yet refuses its tokens for some
    seconds: for a key that has leaked.
    """
    kid = secrets.token_hex(8)
    after = KNOWN_BY_ALL if overlap else timedelta()
    async with connection.transaction():
        await connection.execute(LOCK_KEYS)
        await connection.execute(ADD, {"kid": kid, "after": after})
        await connection.execute(RETIRE, {"kid": kid, "overlap": after + overlap})
        await connection.execute(FORGET)
    return next(one for one in await read_keys(connection) if one.kid == kid)
