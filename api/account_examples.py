"""The example requests and answers of the built-in issuer's routes: one user's and one machine's way, in turn."""

from typing import Any

import msgspec

Json = dict[str, Any]


class Exchange(msgspec.Struct, frozen=True):
    """One request by an admin, unless it brings a token or a secret of its own, and its answer."""

    name: str  # of the route
    answer: Json
    said: Json | None = None
    about: str = ""  # the account that the path names


_TOLD = {"created_at": "2026-01-02T12:00:00Z", "updated_at": "2026-01-02T12:00:00Z", "updated_by": "ada"}
_ALICE: Json = {"name": "alice@shop.example", "roles": ["customer"], "customer_id": "alice", "active": True, **_TOLD}
_WAREHOUSE: Json = {
    "name": "warehouse",
    "roles": ["staff"],
    "customer_id": None,
    "active": True,
    **_TOLD,
    "scopes": ["orderlog.read", "orderlog.write"],
}
_SECRET = {"client_secret": "ols_k3Zl0dS9cYb7n2m6QvF1wXtR8uJpE4hG5aTzLqVnB0o"}
_TOKEN = {"access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl", "token_type": "Bearer"}

_PASSWORD, _NEW_PASSWORD = "correct horse battery staple", "a different horse every time"

EXCHANGES: tuple[Exchange, ...] = (
    Exchange(
        "add_user",
        _ALICE,
        {"name": "alice@shop.example", "password": _PASSWORD, "roles": ["customer"], "customer_id": "alice"},
    ),
    Exchange("user", _ALICE, about="alice@shop.example"),
    Exchange("users", {"items": [_ALICE], "next_cursor": None}),
    Exchange(
        "token",
        {**_TOKEN, "expires_in": 3600, "scope": "orderlog.read orderlog.write"},
        {"grant_type": "password", "username": "alice@shop.example", "password": _PASSWORD},
    ),
    Exchange(
        "password",
        {**_ALICE, "updated_by": "alice@shop.example"},
        {"current_password": _PASSWORD, "new_password": _NEW_PASSWORD},
    ),
    Exchange("change_user", {**_ALICE, "active": False}, {"active": False}, about="alice@shop.example"),
    Exchange("add_client", {**_WAREHOUSE, **_SECRET}, {"name": "warehouse", "roles": ["staff"]}),
    Exchange("client", _WAREHOUSE, about="warehouse"),
    Exchange("clients", {"items": [_WAREHOUSE], "next_cursor": None}),
    Exchange("new_secret", {**_WAREHOUSE, **_SECRET}, about="warehouse"),
    Exchange(
        "token",
        {**_TOKEN, "expires_in": 3600, "scope": "orderlog.read"},
        {"grant_type": "client_credentials", "client_id": "warehouse", **_SECRET, "scope": "orderlog.read"},
    ),
    Exchange(
        "change_client",
        {**_WAREHOUSE, "scopes": ["orderlog.read"]},
        {"scopes": ["orderlog.read"]},
        about="warehouse",
    ),
)


def bodies_of_route(name: str) -> list[Json]:
    return [one.said for one in EXCHANGES if one.name == name and one.said is not None]


def answers_of_route(name: str) -> list[Json]:
    return [one.answer for one in EXCHANGES if one.name == name]
