"""An OpenID Connect issuer on this machine, as far as verifying needs one: its documents, its keys, its tokens."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api.oidc import DISCOVERY

KEYS = "/keys"
Json = dict[str, Any]

PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
"""A key for each algorithm, made once: RSA takes its time."""


def public(algorithm: str, kid: str | None = None, **more: Any) -> Json:
    """The key as a JWKS lists it."""
    described = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    return {**described, "kid": kid or algorithm, "use": "sig", "alg": algorithm} | more


class Issuer:
    """Answers on loopback, and counts what it is asked for."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: list[Json] = [public("RS256")]
        self.documents: dict[str, bytes] = {}  # by path; the two usual ones are made unless they are here
        self.asked: list[str] = []  # paths
        self.status = "200 OK"
        self.delay = 0.0  # seconds
        self.closing = asyncio.Event()

    def token(self, algorithm: str = "RS256", *, key: Any = None, header: Json | None = None, **claims: Any) -> str:
        """Signed as asked, with the claims that are believed but for those that are said; None leaves one out."""
        believed = {
            "iss": self.url,
            "aud": "orderlog",
            "sub": "alice",
            "roles": ["customer"],
            "exp": datetime(2100, 1, 1, tzinfo=UTC),
        }
        given = {name: value for name, value in (believed | claims).items() if value is not None}
        heading = {"kid": algorithm} | (header or {})
        return jwt.encode(
            given, key or PRIVATE[algorithm], algorithm, {n: v for n, v in heading.items() if v is not None}
        )

    def answer(self, path: str) -> bytes:
        usual = {
            DISCOVERY: json.dumps({"issuer": self.url, "jwks_uri": self.url + KEYS}).encode(),
            KEYS: json.dumps({"keys": self.keys}).encode(),
        }
        return (usual | self.documents)[path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            self.asked.append(path)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), self.delay)
            body = self.answer(path)
            head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nLocation: /elsewhere\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client had enough
        finally:
            writer.close()


@asynccontextmanager
async def an_issuer(port: int = 0) -> AsyncIterator[Issuer]:
    issuer = Issuer(0)
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", port)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield issuer
        issuer.closing.set()


def hs256_with(public_key: bytes, claims: Json, kid: str) -> str:
    """A token that takes a public key for a shared secret; the library would not sign one, so by hand."""

    def part(content: Json) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    content = part({"alg": "HS256", "kid": kid, "typ": "at+jwt"}) + b"." + part(claims)
    signature = hmac.digest(public_key, content, "sha256")
    return (content + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
