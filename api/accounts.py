"""Accounts of the built-in issuer: people with passwords and machines with secrets, in the database."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from api.auth import LONGEST_SUBJECT
from api.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD, Passwords
from api.roles import SCOPES, Role, Scope
from commands.command import UNPRINTABLE, Reference

Kind = Literal["user", "client"]

_COLUMNS = "name, kind, roles, scopes, customer_id, active, made_at, changed_at, changed_by, generation, secret"

ADD = f"""
INSERT INTO identity.accounts (name, kind, secret, roles, scopes, customer_id, changed_by)
VALUES (%(name)s, %(kind)s, %(secret)s, %(roles)s, %(scopes)s, %(customer_id)s, %(by)s)
ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
"""
"""A new account, unless the name is taken, be it by one of the other kind."""

FIND = f"SELECT {_COLUMNS} FROM identity.accounts WHERE kind = %(kind)s AND name = %(name)s"
"""One account."""

LIST = f"""
SELECT {_COLUMNS} FROM identity.accounts
WHERE kind = %(kind)s AND name > %(after)s ORDER BY name LIMIT %(limit)s
"""
"""One page of the accounts of a kind, by name."""

CHANGE = f"""
UPDATE identity.accounts SET secret = %(secret)s, roles = %(roles)s, scopes = %(scopes)s,
    customer_id = %(customer_id)s, active = %(active)s, generation = generation + 1, changed_at = now(),
    changed_by = %(by)s
WHERE name = %(name)s RETURNING {_COLUMNS}
"""
"""An account as it shall be; tokens given out before are of an older generation now, and no longer believed."""

REHASH = "UPDATE identity.accounts SET secret = %(secret)s WHERE name = %(name)s AND secret = %(before)s"
"""The same password at today's cost; its tokens stay good."""

CHANGED = "SELECT name, generation FROM identity.accounts WHERE changed_at > now() - %(within)s"
"""The accounts that changed lately, with the generation from which on their tokens are believed."""


class AccountExists(Exception):
    """The name is taken."""


class NoSuchAccount(Exception):
    """There is no account of this kind and name."""


# What may be said of one -------------------------------------------------------------------------------------


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have printable characters only")
    return text


Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._@+-]{0,99}$",
        description="1 to 100 of a-z 0-9 . _ @ + -, the first a letter or a digit; unique among users and clients",
        examples=["alice@shop.example"],
    ),
]
Password = Annotated[
    str,
    Field(
        min_length=SHORTEST_PASSWORD,
        max_length=LONGEST_PASSWORD,
        description="any characters; a few words are good",
        examples=["correct horse battery staple"],
    ),
]
Roles = Annotated[list[Role], Field(min_length=1, max_length=len(get_args(Role)))]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
CustomerId = Annotated[
    Annotated[Reference, AfterValidator(_printable), Field(json_schema_extra={"pattern": f"^[^{UNPRINTABLE}]*$"})]
    | None,
    Field(description="whose orders: with the role customer, and with no other", max_length=LONGEST_SUBJECT),
]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_CUSTOMERS: JsonDict = {
    "if": {"properties": {"roles": {"contains": {"const": "customer"}}}},
    "then": {"required": ["customer_id"], "properties": {"customer_id": {"type": "string"}}},
    "else": {"properties": {"customer_id": {"type": "null"}}},
}
"""What `_customers_are_customers` refuses, as JSON Schema says it."""


class _New(_Said):
    model_config = ConfigDict(json_schema_extra=_CUSTOMERS)

    name: Name
    roles: Roles
    customer_id: CustomerId = None

    @model_validator(mode="after")
    def _customers_are_customers(self) -> Self:
        if ("customer" in self.roles) != (self.customer_id is not None):
            raise ValueError("customer_id goes with the role customer, and with no other")
        return self


class NewUser(_New):
    """A person, who gets tokens for a password."""

    password: Password


class NewClient(_New):
    """A machine, which gets tokens for a secret that is made here and shown once."""

    scopes: Scopes = [*SCOPES]


class _Change(_Said):
    active: Annotated[bool | None, Field(strict=True, description="false: no new tokens, and the old ones end")] = None
    roles: Roles | None = None
    customer_id: CustomerId = None


class UserChange(_Change):
    """What shall be otherwise; tokens given out before end within a minute."""

    password: Password | None = None


class ClientChange(_Change):
    """What shall be otherwise; tokens given out before end within a minute."""

    scopes: Scopes | None = None


class Account(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    roles: list[Role]
    scopes: list[str]
    customer_id: str | None
    active: bool
    made_at: datetime
    changed_at: datetime
    changed_by: str
    generation: int
    secret: str  # the hash of it

    @property
    def subject(self) -> str:
        """The `sub` of its tokens."""
        return self.customer_id or self.name


# Where they are kept -----------------------------------------------------------------------------------------


class Accounts:
    def __init__(self, pool: AsyncConnectionPool, passwords: Passwords) -> None:
        self.pool, self.passwords = pool, passwords

    async def add_user(self, new: NewUser, by: str) -> Account:
        """Raises `AccountExists`."""
        return await self._add(new, "user", await self.passwords.hashed(new.password), SCOPES, by)

    async def add_client(self, new: NewClient, by: str) -> tuple[Account, str]:
        """The client and its secret. Raises `AccountExists`."""
        secret = new_secret()
        return await self._add(new, "client", secret_hash(secret), new.scopes, by), secret

    async def change(self, kind: Kind, name: str, change: UserChange | ClientChange, by: str) -> Account:
        """Raises `NoSuchAccount`, and `ValueError` where role and customer would not fit."""
        given = change.model_dump(exclude_unset=True)
        if (password := given.pop("password", None)) is not None:
            given["secret"] = await self.passwords.hashed(password)
        return await self._change(kind, name, {one: value for one, value in given.items() if value is not None}, by)

    async def new_secret(self, name: str, by: str) -> tuple[Account, str]:
        """Another secret for a client; the one before is good no longer. Raises `NoSuchAccount`."""
        secret = new_secret()
        return await self._change("client", name, {"secret": secret_hash(secret)}, by), secret

    async def find(self, kind: Kind, name: str) -> Account | None:
        async with self.pool.connection() as connection:
            return await _one(connection, FIND, kind=kind, name=name)

    async def page(self, kind: Kind, limit: int, after: str = "") -> list[Account]:
        async with self.pool.connection() as connection:
            found = await connection.execute(LIST, {"kind": kind, "limit": limit, "after": after})
            return [Account(*row) for row in await found.fetchall()]

    async def rehash(self, account: Account, password: str) -> None:
        again = {"name": account.name, "before": account.secret, "secret": await self.passwords.hashed(password)}
        async with self.pool.connection() as connection:
            await connection.execute(REHASH, again)

    async def _add(self, new: _New, kind: Kind, secret: str, scopes: Sequence[str], by: str) -> Account:
        given = {"name": new.name, "kind": kind, "secret": secret, "customer_id": new.customer_id, "by": by}
        async with self.pool.connection() as connection:
            added = await _one(connection, ADD, roles=_unique(new.roles), scopes=_unique(scopes), **given)
        if added is None:
            raise AccountExists(f"the name {new.name} is taken")
        return added

    async def _change(self, kind: Kind, name: str, given: dict[str, Any], by: str) -> Account:
        async with self.pool.connection() as connection, connection.transaction():
            before = await _one(connection, FIND + " FOR UPDATE", kind=kind, name=name)
            if before is None:
                raise NoSuchAccount(f"there is no {kind} {name}")
            after = _changed(before, given)
            if after == before:
                return before
            wanted = {field: getattr(after, field) for field in ("secret", "roles", "scopes", "customer_id", "active")}
            changed = await _one(connection, CHANGE, name=name, by=by, **wanted)
        assert changed is not None
        return changed


async def _one(connection: AsyncConnection[Any], statement: str, **given: Any) -> Account | None:
    row = await (await connection.execute(statement, given)).fetchone()
    return Account(*row) if row is not None else None


def _changed(before: Account, given: dict[str, Any]) -> Account:
    wanted = {name: _unique(value) if isinstance(value, list) else value for name, value in given.items()}
    if "roles" in wanted and "customer" not in wanted["roles"]:
        wanted.setdefault("customer_id", None)
    after = msgspec.structs.replace(before, **wanted)
    if ("customer" in after.roles) != (after.customer_id is not None):
        raise ValueError("customer_id goes with the role customer, and with no other")
    return after


def _unique(names: Sequence[str]) -> list[str]:
    return sorted(set(names))


# A machine's secret ------------------------------------------------------------------------------------------


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """What is kept of a machine's secret: 256 random bits cannot be guessed, so the hash need not be slow."""
    return "sha256$" + sha256(secret.encode()).hexdigest()
