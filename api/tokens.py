"""The built-in issuer: signs tokens with the installation's keys, and verifies its own."""

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import msgspec

from api.auth import Caller, Key, Verifier
from api.keys import TYPE, Keyring
from api.roles import SCOPES, Role
from api.settings import Settings
from api.starting import CannotStart

LIFETIME = timedelta(hours=1)
"""Of a token that a password or a client's secret was given for: long enough to be rare, short enough to be lost."""


class Tokens(Verifier):
    """Issues tokens with the keys of a ring and verifies them; `Verifier` says what it remembers."""

    def __init__(self, secret: bytes, *, issuer: str, audience: str, remember: int = 10_000) -> None:
        self.ring = Keyring(secret)
        super().__init__(self.ring, issuer=issuer, audience=audience, remember=remember)

    def issue(
        self,
        subject: str,
        roles: Iterable[Role],
        lifetime: timedelta = LIFETIME,
        *,
        scopes: Iterable[str] = SCOPES,
        account: str | None = None,
        generation: int = 0,
        client_id: str = "orderlog",
    ) -> str:
        """A token for a subject; a customer's subject is its customer id. Whole seconds count."""
        key, now = self.ring.signing(), int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "roles": sorted(roles),
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": uuid4().hex,
            "client_id": client_id,
        }
        if account is not None:
            claims |= {"account": account, "generation": generation}
        return jwt.encode(claims, key.material, key.algorithm, {"kid": key.kid, "typ": TYPE})

    def _caller_of(self, claims: dict[str, Any], key: Key) -> Caller:
        verified = super()._caller_of(claims, key)
        account, generation = claims.get("account"), claims.get("generation", 0)
        return msgspec.structs.replace(verified, account=account, generation=generation)


def token_maker(settings: Settings, secret: bytes) -> Tokens:
    """Raises `CannotStart` where tokens are another issuer's."""
    if not settings.has_own_issuer:
        raise CannotStart(
            f"tokens, accounts and keys are those of {settings.jwt_issuer}; get a token there, "
            "or unset ORDERLOG_JWT_ISSUER and ORDERLOG_JWKS_URL"
        )
    return Tokens(secret, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
