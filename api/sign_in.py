"""Signing in: whether name and password belong together, and how long to wait after they did not.

Each name has a count of failures that grows its delay; so guessing is slow, however many processes are asked. A delay
has an end and is not prolonged by who does not keep to it, so nobody is locked out by a stranger for ever; and a place
(an address) from which the account has signed in before has a count of its own, so a stranger does not delay its owner
there at all. Names that do not exist are counted like others: nothing tells them apart.
"""

import hmac
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

from api.accounts import Account, Accounts, secret_hash
from api.auth import LONGEST_SUBJECT
from api.passwords import LONGEST_PASSWORD

FREE = 5
"""Failures that cost no delay: fingers slip, and programs start together."""

LONGEST_DELAY = timedelta(minutes=1)

_DELAY = f"""
CASE WHEN attempts.failures < {FREE} THEN interval '0'
     ELSE least(interval '1 second' * 2 ^ least(attempts.failures - {FREE}, 20), interval '1 minute') END
"""

TAKE_TURN = f"""
INSERT INTO identity.attempts AS attempts (name, place, failures, not_before, at)
VALUES (%(name)s, coalesce((SELECT place FROM identity.places WHERE name = %(name)s AND place = %(place)s), ''),
        1, clock_timestamp(), clock_timestamp())
ON CONFLICT (name, place) DO UPDATE
SET failures = attempts.failures + 1, not_before = clock_timestamp() + {_DELAY}, at = clock_timestamp()
WHERE attempts.not_before <= clock_timestamp()
RETURNING place
"""
"""Count an attempt, as a failure until it succeeds, and say when the next one may be; no row while it is too early.

Counted before the password is looked at, so that a thousand attempts at once are not a thousand free ones."""

TOO_EARLY = """
SELECT not_before - clock_timestamp() FROM identity.attempts
WHERE name = %(name)s AND place IN (%(place)s, '') AND not_before > clock_timestamp() ORDER BY place DESC LIMIT 1
"""
"""How long until the next attempt: from the place where it is counted."""

SUCCEEDED = """
WITH done AS (DELETE FROM identity.attempts WHERE name = %(name)s AND place = %(counted)s)
INSERT INTO identity.places (name, place, at) VALUES (%(name)s, %(place)s, now())
ON CONFLICT (name, place) DO UPDATE SET at = now()
"""
"""Forget the failures that were counted there, and remember the place."""

FORGET_ATTEMPTS = """
DELETE FROM identity.attempts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM identity.attempts WHERE at < now() - interval '1 hour' LIMIT 1000 FOR UPDATE SKIP LOCKED
))
"""
"""Failures are forgotten after an hour without one; the table stays as small as an hour of hashing can make it."""

FORGET_PLACES = """
DELETE FROM identity.places WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM identity.places WHERE at < now() - interval '30 days' LIMIT 1000 FOR UPDATE SKIP LOCKED
))
"""
"""A place is forgotten after 30 days."""

log = structlog.get_logger()


class NotAccepted(Exception):
    """Name and password do not belong together, or the account is not active: nobody is told which."""


class TooEarly(Exception):
    """After several failures the next attempt may be made in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many attempts failed; the next one may be made in {seconds:.0f} s")
        self.seconds = seconds


class SignIn:
    """Finds the account behind what a person or a machine presents."""

    def __init__(self, accounts: Accounts, secret: bytes) -> None:
        self.accounts = accounts
        self._pool: AsyncConnectionPool = accounts.pool
        self._key = blake2b(secret, person=b"orderlog-places").digest()
        self._no_secret = secret_hash("")

    async def user(self, name: str, password: str, address: str) -> Account:
        """Raises `NotAccepted`, `TooEarly`, and the `Problem` `busy`."""
        name = name.lower()
        if len(name) > LONGEST_SUBJECT or len(password) > LONGEST_PASSWORD or "\0" in name:
            raise NotAccepted
        who = {"name": self._digest(name), "place": self._digest(address)}
        counted = await self._take_turn(who)
        account = await self.accounts.find("user", name)
        matches = await self.accounts.passwords.matches(account.secret if account else None, password)
        if account is None or not matches or not account.active:
            log.info("sign-in refused", account=account.name if account else None)
            raise NotAccepted
        async with self._pool.connection() as connection:
            await connection.execute(SUCCEEDED, {**who, "counted": counted})
        if self.accounts.passwords.is_outdated(account.secret):
            await self.accounts.rehash(account, password)
        return account

    async def client(self, name: str, secret: str) -> Account:
        """Raises `NotAccepted`. A secret of 256 bits cannot be guessed, so attempts are not counted."""
        account = await self.accounts.find("client", name) if "\0" not in name else None
        kept = account.secret if account else self._no_secret
        matches = hmac.compare_digest(kept, secret_hash(secret))
        if account is None or not matches or not account.active:
            raise NotAccepted
        return account

    async def _take_turn(self, who: dict[str, Any]) -> bytes:
        """Where the attempt is counted. Raises `TooEarly`."""
        async with self._pool.connection() as connection:
            turn = await (await connection.execute(TAKE_TURN, who)).fetchone()
            if turn is not None:
                return bytes(turn[0])
            wait = await (await connection.execute(TOO_EARLY, who)).fetchone()
        raise TooEarly(wait[0].total_seconds() if wait is not None else 0)

    def _digest(self, text: str) -> bytes:
        """Neither names that were tried nor addresses are kept as they are."""
        return blake2b(text.encode(errors="replace"), key=self._key, digest_size=16).digest()
