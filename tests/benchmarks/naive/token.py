"""The baseline's bearer tokens: HS256, one shared secret, as FastAPI's tutorial has them."""

from datetime import UTC, datetime, timedelta

import jwt

ALGORITHM = "HS256"


def issue_token(secret_key: str, customer_id: str = "customer-1") -> str:
    """A bearer token that the naive server accepts for an hour."""
    claims = {"sub": customer_id, "exp": datetime.now(UTC) + timedelta(hours=1)}
    return jwt.encode(claims, secret_key, algorithm=ALGORITHM)


def customer_of(token: str, secret_key: str) -> str:
    """Raises jwt.InvalidTokenError."""
    return str(jwt.decode(token, secret_key, algorithms=[ALGORITHM])["sub"])
