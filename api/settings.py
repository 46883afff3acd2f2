"""The settings: names, defaults and what is right, from the environment and a `.env` file."""

import difflib
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.addresses import is_trustworthy
from api.limits import Quota
from events.explained import Explained

PREFIX = "ORDERLOG_"
TESTS = "ORDERLOG_TEST_"
"""Names that are the test suite's, not ours."""

ENV_FILE = Path(".env")
SECRET_FILE = "secret-key"  # noqa: S105  a name
SHORTEST_SECRET = 32  # bytes: RFC 7518 asks as many of a key for HS256

LONGEST = 100_000
"""Units of a duration, exclusive: as many days before now are still a date."""

_ORIGIN = re.compile(r"\*|https?://[^/\s,]+")


class SettingsError(Explained):
    """A setting cannot be used; the message is one line that says which, why, and what would be right."""


def duration(text: str) -> timedelta:
    """A length of time as people write it: 90s, 30m, 24h, 7d. Raises ValueError."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdecimal()) or not 0 < int(number) < LONGEST:
        raise ValueError(f"{text!r} is not a time such as 30m, 1h or 7d")
    return timedelta(**{units[unit]: int(number)})


Duration = Annotated[timedelta, BeforeValidator(lambda given: duration(given) if isinstance(given, str) else given)]


class Settings(BaseSettings):
    """Read with `load_settings`. A description says what would be right."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    host: Annotated[str, Field(min_length=1, description="an address to listen on, such as 127.0.0.1")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="a port number from 0 to 65535, such as 8000")] = 8000
    data_dir: Annotated[Path, Field(description="a folder that can be written, such as .orderlog")] = Path(".orderlog")
    database_url: Annotated[
        str | None,
        Field(
            pattern=r"^postgres(ql)?://",
            description="an address such as postgresql://user:password@host:5432/orderlog, or nothing: embedded",
        ),
    ] = None
    kafka_bootstrap_servers: Annotated[
        str | None,
        Field(
            pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$",
            description="host:port, or several with commas, such as kafka:9092",
        ),
    ] = None
    kafka_partitions: Annotated[
        int, Field(ge=1, le=1000, description="how many partitions the event topics have, fixed once they exist")
    ] = 6
    health_port: Annotated[
        int | None,
        Field(ge=1, le=65535, description="a port on which relay and workers answer /livez and /readyz, or nothing"),
    ] = None
    drain: Annotated[
        float,
        Field(
            ge=0,
            le=300,
            description="seconds from 0 to 300 that a process asked to stop still serves, unready, so that load "
            "balancers notice, such as 5",
        ),
    ] = 0
    secret_key: Annotated[
        SecretStr | None,
        Field(
            description=f"{SHORTEST_SECRET} bytes or more that nobody can guess, such as `openssl rand -hex 32` prints"
        ),
    ] = None
    jwt_issuer: Annotated[
        str,
        Field(
            min_length=1,
            description="the iss of tokens: a name such as orderlog for our own, or the https address of an OpenID "
            "Connect issuer, exactly as it writes itself",
        ),
    ] = "orderlog"
    jwt_audience: Annotated[str, Field(min_length=1, description="the aud of tokens, such as orderlog")] = "orderlog"
    jwks_url: Annotated[
        str | None,
        Field(description="the https address of the issuer's keys, or nothing: the issuer is asked where they are"),
    ] = None
    cors_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="origins with commas between them, such as https://shop.example,http://localhost:3000"),
    ] = ()
    order_expiry: Annotated[
        Duration, Field(description="how long a prepaid order may wait to be paid, such as 30m, 24h or 7d")
    ] = timedelta(hours=24)
    authorization_expiry: Annotated[
        Duration, Field(description="how long an authorization is good for, such as 24h or 7d")
    ] = timedelta(days=7)
    idempotency_expiry: Annotated[
        Duration, Field(description="how long the answer to an Idempotency-Key is kept, such as 24h or 7d")
    ] = timedelta(days=7)
    require_if_match: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="commands on an order with commas between them, such as amend,cancel-lines"),
    ] = ()
    rate_limit: Annotated[
        str | None,
        Field(description="how many requests a caller may make of a process, such as 1000/1s or 600/m, or nothing"),
    ] = None
    header_timeout: Annotated[
        Duration, Field(description="how long a client may take to send a request's headers, such as 10s")
    ] = timedelta(seconds=10)
    body_timeout: Annotated[
        Duration,
        Field(description="how long a client may take to send a body, or to read less than 2 kB/s, such as 30s"),
    ] = timedelta(seconds=30)
    connections: Annotated[
        int, Field(ge=1, le=1_000_000, description="how many connections a process serves at once, such as 10000")
    ] = 10_000
    log_format: Annotated[Literal["console", "json"], Field(description="console or json")] = "console"

    @field_validator("cors_origins", "require_if_match", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [origin for origin in value if not _ORIGIN.fullmatch(origin)]:
            raise ValueError(f"{', '.join(wrong)} is not an origin")
        return value

    @field_validator("require_if_match")
    @classmethod
    def _commands(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            from api.routes import ON_ORDER  # noqa: PLC0415  it loads every command, and few installations set this

            if wrong := [name for name in value if name not in ON_ORDER]:
                raise ValueError(f"{', '.join(wrong)} is not a command; they are {', '.join(ON_ORDER)}")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (length := len(value.get_secret_value().encode())) < SHORTEST_SECRET:
            raise ValueError(f"it has {length} bytes")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _quota(cls, value: str | None) -> str | None:
        if value is not None:
            Quota.parse(value)
        return value

    @field_validator("jwt_issuer", "jwks_url")
    @classmethod
    def _safe_to_read_keys_from(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not is_trustworthy(value):
            raise ValueError(f"{value} is neither https nor on this machine")
        return value

    @field_validator("jwks_url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError(f"{value} is not an address")
        return value

    @model_validator(mode="after")
    def _distributed_has_a_secret(self) -> Self:
        if self.database_url is not None and self.secret_key is None:
            raise ValueError("secret_key is not set, and with a database_url all processes must share one")
        return self

    @model_validator(mode="after")
    def _keys_have_an_issuer(self) -> Self:
        if self.jwks_url is not None and "jwt_issuer" not in self.model_fields_set:
            raise ValueError("jwt_issuer is not set, and the keys of jwks_url are believed for one issuer only")
        return self

    @property
    def has_own_issuer(self) -> bool:
        """Whether tokens are given out here; otherwise they are an OpenID Connect issuer's."""
        return self.jwks_url is None and "://" not in self.jwt_issuer


def load_settings(env_file: Path = ENV_FILE) -> Settings:
    """The settings from the environment and, where it does not say, the file. Raises `SettingsError`."""
    in_file = dotenv_values(env_file) if env_file.is_file() else {}
    _check_names([*os.environ, *in_file])
    try:
        return Settings(_env_file=env_file, _env_ignore_empty=True)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(one["loc"], one["msg"]) for one in error.errors())) from None


def _check_names(names: list[str]) -> None:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in names:
        upper = name.upper()
        if upper.startswith(PREFIX) and not upper.startswith(TESTS) and upper not in known:
            near = difflib.get_close_matches(
                upper.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], n=1
            )
            right = f"did you mean {PREFIX}{near[0]}?" if near else f"the settings are {', '.join(known)}"
            raise SettingsError(f"{name} is not a setting: {right}")


def _sentence(path: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    field = str(path[0]) if path else message.partition(" ")[0]
    why = message if path else message.partition(" ")[2]
    right = Settings.model_fields[field].description
    return f"{PREFIX}{field.upper()} {'is not usable: ' if path else ''}{why}; it must be {right}"


# The secret key ----------------------------------------------------------------------------------------------


def secret_key(settings: Settings) -> bytes:
    """The installation's key: the one that is set, or the one in the data folder, made on first use.

    Raises `SettingsError`.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data_dir / SECRET_FILE
    try:
        if not path.exists():
            _make_secret(path)
        return _read_secret(path)
    except OSError as error:
        raise SettingsError(
            f"the secret key {path} cannot be kept: {error.strerror}; "
            f"{PREFIX}DATA_DIR must be {Settings.model_fields['data_dir'].description}"
        ) from error


def _make_secret(path: Path) -> None:
    """Two processes may do this at once: a file appears whole, and the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{SECRET_FILE}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  a descriptor
        file.write(secrets.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was faster: its key is the key
    finally:
        draft.unlink()


def _read_secret(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise SettingsError(
            f"the secret key {path} can be read by others; it must be its owner's only: chmod 600 {path}"
        )
    secret = path.read_bytes().strip()
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(f"the secret key {path} has {len(secret)} bytes; it must have {SHORTEST_SECRET} or more")
    return secret
