"""The settings: one clear line for what cannot be used, and a secret key that is made once."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from api.settings import Settings, SettingsError, load_settings, secret_key

LONG_ENOUGH = "k" * 32
NO_FILE = Path("no such file")
COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ORDERLOG_"):
            monkeypatch.delenv(name)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings(NO_FILE)

    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, Path(".orderlog"))
    assert (settings.database_url, settings.kafka_bootstrap_servers, settings.secret_key) == (None, None, None)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "ORDERLOG_PORT=1\nORDERLOG_HOST=0.0.0.0\nPOSTGRES_PASSWORD=x\nORDERLOG_CORS_ORIGINS=http://a, https://b:1\n"
    )
    monkeypatch.setenv("ORDERLOG_PORT", "2")

    settings = load_settings(file)

    assert (settings.port, settings.host) == (2, "0.0.0.0")
    assert settings.cors_origins == ("http://a", "https://b:1")


def test_the_file_that_docker_compose_wants_does_not_stop_what_runs_beside_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    wanted = re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8"))
    file.write_text("".join(f"{name}={LONG_ENOUGH}\n" for name in wanted))

    secret = load_settings(file).secret_key

    assert secret is not None
    assert secret.get_secret_value() == LONG_ENOUGH


def test_a_setting_of_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERLOG_DATABASE_URL", "")

    assert load_settings(NO_FILE).database_url is None


def test_an_order_waits_a_day_and_an_authorization_a_week() -> None:
    settings = load_settings(NO_FILE)

    assert (settings.order_expiry, settings.authorization_expiry) == (timedelta(days=1), timedelta(days=7))


def test_answers_are_kept_for_a_week_and_no_version_is_demanded() -> None:
    settings = load_settings(NO_FILE)

    assert (settings.idempotency_expiry, settings.require_if_match) == (timedelta(days=7), ())


def test_the_commands_that_demand_a_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERLOG_REQUIRE_IF_MATCH", "amend, cancel-lines")
    assert load_settings(NO_FILE).require_if_match == ("amend", "cancel-lines")

    monkeypatch.setenv("ORDERLOG_REQUIRE_IF_MATCH", "amend,place-order")
    with pytest.raises(SettingsError, match="ORDERLOG_REQUIRE_IF_MATCH is not usable: place-order is not a command"):
        load_settings(NO_FILE)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(hours=24)),
        ("99999d", timedelta(days=99_999)),
    ],
)
def test_times_are_set_as_people_write_them(text: str, length: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERLOG_ORDER_EXPIRY", text)

    assert load_settings(NO_FILE).order_expiry == length


def test_the_names_of_the_test_suite_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERLOG_TEST_DATABASE_URL", "x")

    load_settings(NO_FILE)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ORDERLOG_PROT": "1"}, ["ORDERLOG_PROT is not a setting", "did you mean ORDERLOG_PORT?"]),
        ({"orderlog_databse_url": "1"}, ["orderlog_databse_url", "ORDERLOG_DATABASE_URL?"]),
        ({"ORDERLOG_XYZZY": "1"}, ["ORDERLOG_XYZZY", "the settings are ORDERLOG_HOST, ORDERLOG_PORT"]),
        ({"ORDERLOG_PORT": "eighty"}, ["ORDERLOG_PORT", "valid integer", "0 to 65535"]),
        ({"ORDERLOG_PORT": "70000"}, ["ORDERLOG_PORT", "65535"]),
        ({"ORDERLOG_HEADER_TIMEOUT": "soon"}, ["ORDERLOG_HEADER_TIMEOUT", "'soon' is not a time", "such as 10s"]),
        ({"ORDERLOG_CONNECTIONS": "0"}, ["ORDERLOG_CONNECTIONS", "greater than or equal to 1", "10000"]),
        ({"ORDERLOG_RATE_LIMIT": "many"}, ["ORDERLOG_RATE_LIMIT", "'many' is not a number", "1000/1s"]),
        ({"ORDERLOG_DRAIN": "-1"}, ["ORDERLOG_DRAIN", "0 to 300"]),
        ({"ORDERLOG_LOG_FORMAT": "xml"}, ["ORDERLOG_LOG_FORMAT", "console or json"]),
        (
            {"ORDERLOG_DATABASE_URL": "mysql://x", "ORDERLOG_SECRET_KEY": LONG_ENOUGH},
            ["ORDERLOG_DATABASE_URL", "postgresql://"],
        ),
        ({"ORDERLOG_DATABASE_URL": "postgresql://x"}, ["ORDERLOG_SECRET_KEY is not set", "32 bytes or more"]),
        ({"ORDERLOG_SECRET_KEY": "hunter2"}, ["ORDERLOG_SECRET_KEY", "7 bytes", "32 bytes or more"]),
        ({"ORDERLOG_KAFKA_BOOTSTRAP_SERVERS": "kafka"}, ["ORDERLOG_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"]),
        ({"ORDERLOG_CORS_ORIGINS": "shop.example"}, ["ORDERLOG_CORS_ORIGINS", "shop.example is not", "https://"]),
        ({"ORDERLOG_ORDER_EXPIRY": "soon"}, ["ORDERLOG_ORDER_EXPIRY", "'soon' is not a time", "30m, 24h or 7d"]),
        ({"ORDERLOG_ORDER_EXPIRY": "0h"}, ["ORDERLOG_ORDER_EXPIRY", "'0h' is not a time"]),
        ({"ORDERLOG_AUTHORIZATION_EXPIRY": "7"}, ["ORDERLOG_AUTHORIZATION_EXPIRY", "'7' is not a time", "7d"]),
        ({"ORDERLOG_JWKS_URL": "https://x/keys"}, ["ORDERLOG_JWT_ISSUER is not set", "an OpenID Connect issuer"]),
        (
            {"ORDERLOG_JWT_ISSUER": "http://id.example"},
            ["ORDERLOG_JWT_ISSUER", "http://id.example is neither https nor on this machine", "OpenID Connect"],
        ),
        (
            {"ORDERLOG_JWT_ISSUER": "https://id.example", "ORDERLOG_JWKS_URL": "http://id.example/keys"},
            ["ORDERLOG_JWKS_URL", "http://id.example/keys is neither https nor on this machine"],
        ),
        (
            {"ORDERLOG_JWT_ISSUER": "id", "ORDERLOG_JWKS_URL": "id.example/keys"},
            ["ORDERLOG_JWKS_URL", "id.example/keys is not an address", "the https address of the issuer's keys"],
        ),
        ({"ORDERLOG_JWT_ISSUER": "file:///etc/keys"}, ["ORDERLOG_JWT_ISSUER", "neither https nor"]),
        ({"ORDERLOG_PORT": "x", "ORDERLOG_LOG_FORMAT": "y"}, ["ORDERLOG_PORT", "ORDERLOG_LOG_FORMAT"]),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_what_cannot_be_used_is_told_in_one_line(
    given: dict[str, str], told: list[str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    for name, value in given.items():
        if where == "environment":
            monkeypatch.setenv(name, value)
        else:
            file.write_text(f"{file.read_text() if file.exists() else ''}{name}={value}\n")

    with pytest.raises(SettingsError) as refused:
        load_settings(file)

    assert "\n" not in str(refused.value)
    assert not [part for part in told if part not in str(refused.value)], str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({}, True),
        ({"jwt_issuer": "orders of the shop"}, True),
        ({"jwt_issuer": "https://id.example/realms/shop"}, False),
        ({"jwt_issuer": "http://localhost:8080"}, False),
        ({"jwt_issuer": "http://[::1]:8080"}, False),
        ({"jwt_issuer": "shop", "jwks_url": "https://id.example/keys"}, False),
    ],
)
def test_the_issuer_is_our_own_unless_it_has_an_address(given: dict[str, str], *, own: bool) -> None:
    assert Settings.model_validate(given).has_own_issuer == own


# The secret key ----------------------------------------------------------------------------------------------


def embedded(folder: Path) -> Settings:
    return Settings(data_dir=folder)


def test_a_secret_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"

    secret = secret_key(embedded(folder))

    assert len(secret) >= 32
    assert secret_key(embedded(folder)) == secret
    assert (folder / "secret-key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret-key"]


def test_a_secret_key_that_is_set_is_used(tmp_path: Path) -> None:
    assert secret_key(Settings(data_dir=tmp_path, secret_key=LONG_ENOUGH)) == LONG_ENOUGH.encode()
    assert not list(tmp_path.iterdir())


def test_processes_that_start_at_once_have_one_secret_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from api.settings import Settings, secret_key;"
        "sys.stdout.buffer.write(secret_key(Settings(data_dir=Path(sys.argv[1]))))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    keys = {process.communicate()[0] for process in started}

    assert [process.returncode for process in started] == [0] * 4
    assert keys == {secret_key(embedded(tmp_path))}


@pytest.mark.parametrize(
    ("mode", "content", "told"),
    [(0o644, LONG_ENOUGH, "can be read by others"), (0o600, "short", "has 5 bytes"), (0o600, "", "has 0 bytes")],
)
def test_a_secret_key_that_is_not_safe_is_refused(tmp_path: Path, mode: int, content: str, told: str) -> None:
    path = tmp_path / "secret-key"
    path.write_text(content)
    path.chmod(mode)

    with pytest.raises(SettingsError, match=told):
        secret_key(embedded(tmp_path))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match=r"Not a directory.*ORDERLOG_DATA_DIR must be a folder"):
        secret_key(embedded(tmp_path / "file" / "data"))
