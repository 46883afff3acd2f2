"""Identity as people run it: the first admin, sign-ins at several processes, keys that change, another issuer."""

import asyncio
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.api.issuer import an_issuer, public
from tests.services.child import free_port
from tests.services.parts import ORDERLOG, SECRET_KEY, Part
from tests.services.postgres import DatabaseServer
from tests.system.installation import Installation, environment, orderlog, until

PASSWORD = "correct horse battery staple"
ADMIN, SAM = "ada@shop.example", "sam@shop.example"
WITHIN = 60
"""Seconds in which every process must know of a change: the promise."""


@pytest.fixture(scope="module")
def installation(home: Path, postgres: DatabaseServer) -> Iterator[Installation]:
    """Two API processes on one database, and the first admin, added at the command line."""
    url = postgres.create_database()
    settings = {"ORDERLOG_DATABASE_URL": url, "ORDERLOG_SECRET_KEY": SECRET_KEY}
    two = Installation(home, settings, [Part("api", home, settings), Part("api", home, settings)])
    try:
        two.start()
        command(two, "user", "add", ADMIN, "--role", "admin", said=f"{PASSWORD}\n")
        yield two
    finally:
        two.end()
        postgres.drop_database(url)


def command(installation: Installation, *words: str, said: str = "", code: int = 0) -> str:
    done = orderlog(*words, settings=installation.settings, home=installation.home, said=said, code=code)
    return done.stdout if code == 0 else done.stderr


def signed_in(url: str, name: str, password: str = PASSWORD) -> httpx.Response:
    form = {"grant_type": "password", "username": name, "password": password}
    return httpx.post(f"{url}/v1/auth/token", data=form, timeout=20)


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == httpx.codes.OK, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def me(url: str, headers: dict[str, str]) -> httpx.Response:
    return httpx.get(f"{url}/v1/auth/me", headers=headers, timeout=20)


def until_refused(installation: Installation, headers: dict[str, str], since: float) -> None:
    """By every process, within a minute."""
    for url in installation.urls:
        until(lambda url=url: me(url, headers).status_code == httpx.codes.UNAUTHORIZED, WITHIN)  # type: ignore[misc]
    assert time.monotonic() - since < WITHIN


def test_a_user_that_one_process_adds_signs_in_at_another_and_is_refused_by_both_once_deactivated(
    installation: Installation,
) -> None:
    first, second = installation.urls
    admin = bearer(signed_in(first, ADMIN))
    new = {"name": SAM, "password": PASSWORD, "roles": ["staff"]}
    added = httpx.post(f"{first}/v1/auth/users", json=new, headers=admin)
    sam = bearer(signed_in(second, SAM))
    assert (added.status_code, me(first, sam).status_code, me(second, sam).status_code) == (201, 200, 200)

    httpx.patch(f"{first}/v1/auth/users/{SAM}", json={"active": False}, headers=admin)

    until_refused(installation, sam, time.monotonic())
    assert signed_in(second, SAM).status_code == httpx.codes.BAD_REQUEST
    assert me(second, admin).status_code == httpx.codes.OK


def test_the_command_line_deactivates_a_user_too(installation: Installation) -> None:
    command(installation, "user", "add", "eve", "--role", "customer", "--customer", "C-1", said=f"{PASSWORD}\n")
    eve = bearer(signed_in(installation.urls[0], "eve"))
    told = [me(url, eve).json() for url in installation.urls]
    assert [(one["subject"], one["customer_id"]) for one in told] == [("C-1", "C-1")] * 2

    command(installation, "user", "deactivate", "eve")

    until_refused(installation, eve, time.monotonic())
    listed = command(installation, "user", "list")
    assert next(line for line in listed.splitlines() if line.lstrip().startswith("eve")).split()[1:3] == [
        "customer",
        "C-1",
    ]
    command(installation, "user", "activate", "eve")
    assert signed_in(installation.urls[1], "eve").status_code == httpx.codes.OK


def test_a_password_is_changed_at_the_command_line(installation: Installation) -> None:
    command(installation, "user", "add", "bob", "--role", "analyst", said=f"{PASSWORD}\n")
    command(installation, "user", "password", "bob", said="a new one, long enough\n")

    assert signed_in(installation.urls[0], "bob").status_code == httpx.codes.BAD_REQUEST
    assert signed_in(installation.urls[0], "bob", "a new one, long enough").status_code == httpx.codes.OK


@pytest.mark.parametrize(("again", "code"), [(PASSWORD, 0), ("something else, as long", 1)])
def test_a_password_is_typed_twice_at_a_terminal_and_not_shown(
    installation: Installation, again: str, code: int
) -> None:
    terminal, typed_at = pty.openpty()
    words = [str(ORDERLOG), "user", "add", f"typed-{code}", "--role", "staff"]
    child = subprocess.Popen(
        words,
        env=environment(installation.settings),
        cwd=installation.home,
        stdin=typed_at,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stderr is not None
    for prompt, text in ((b"Password: ", PASSWORD), (b"Once more: ", again)):
        told = b""
        while prompt not in told:
            told += (more := os.read(child.stderr.fileno(), 1_000))
            assert more, told
        os.write(terminal, f"{text}\n".encode())
    _, errors = child.communicate(timeout=60)
    os.set_blocking(terminal, False)
    with suppress(BlockingIOError):
        assert PASSWORD.encode() not in os.read(terminal, 10_000)
    os.close(terminal)
    os.close(typed_at)

    assert child.returncode == code, errors
    assert (b"the two passwords are not the same" in errors) == bool(code)
    signed = signed_in(installation.urls[0], f"typed-{code}").status_code
    assert signed == (httpx.codes.BAD_REQUEST if code else httpx.codes.OK)


def test_a_client_gets_tokens_for_the_secret_that_is_printed_once(installation: Installation) -> None:
    words = ("client", "add", "warehouse", "--role", "staff", "--scope", "orderlog.read")
    secret = command(installation, *words).strip()
    token = httpx.post(
        f"{installation.urls[1]}/v1/auth/token",
        data={"grant_type": "client_credentials"},
        auth=("warehouse", secret),
        timeout=20,
    )

    assert token.json()["scope"] == "orderlog.read"
    assert secret not in command(installation, "client", "list")


def test_keys_are_rotated_with_overlap_and_at_once(installation: Installation) -> None:
    before = {"authorization": f"Bearer {command(installation, 'token', '--role', 'staff').strip()}"}
    rotated = command(installation, "keys", "rotate")
    assert len(command(installation, "keys", "list").splitlines()) == len(rotated.splitlines()) == 3
    assert [me(url, before).status_code for url in installation.urls] == [200, 200]

    command(installation, "keys", "rotate", "--at-once")

    until_refused(installation, before, time.monotonic())
    after = {"authorization": f"Bearer {command(installation, 'token', '--role', 'staff').strip()}"}
    assert [me(url, after).status_code for url in installation.urls] == [200, 200]
    until(lambda: me(installation.urls[1], bearer(signed_in(installation.urls[0], ADMIN))).status_code == 200, WITHIN)


@pytest.mark.parametrize(
    ("words", "said", "told"),
    [
        (("user", "add", "amy", "--role", "staff"), "short\n", "password: String should have at least 15 characters"),
        (("user", "add", "amy", "--role", "king"), f"{PASSWORD}\n", "roles/0: Input should be 'customer', 'staff'"),
        (("user", "add", "amy", "--role", "customer"), f"{PASSWORD}\n", "customer_id goes with the role customer"),
        (("user", "add", "Amy", "--role", "staff"), f"{PASSWORD}\n", "name: "),
        (("user", "add", ADMIN, "--role", "staff"), f"{PASSWORD}\n", f"the name {ADMIN} is taken"),
        (("user", "deactivate", "nobody"), "", "there is no user nobody"),
        (("client", "secret", "nobody"), "", "there is no client nobody"),
        (("keys", "rotate", "--keep", "soon"), "", "--keep 'soon' is not a time such as 30m, 1h or 7d"),
        (("keys", "rotate", "--keep", "1h", "--at-once"), "", "--keep and --at-once contradict each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_told_in_one_line(
    installation: Installation, words: tuple[str, ...], said: str, told: str
) -> None:
    lines = command(installation, *words, said=said, code=1).splitlines()

    assert len(lines) == 1, lines
    assert lines[0].startswith("orderlog: ")
    assert told in lines[0]


# Another issuer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("token", "--role", "staff"), ("user", "add", "amy", "--role", "staff"), ("keys", "list")], ids=" ".join
)
def test_tokens_of_another_issuer_are_not_made_here(home: Path, words: tuple[str, ...]) -> None:
    settings = {"ORDERLOG_DATA_DIR": str(home / "unused"), "ORDERLOG_JWT_ISSUER": "https://id.example"}

    done = orderlog(*words, settings=settings, home=home, code=1)

    (line,) = done.stderr.splitlines()
    assert line.startswith("orderlog: tokens, accounts and keys are those of https://id.example; get a token there")
    assert "unset ORDERLOG_JWT_ISSUER" in line


async def test_an_api_waits_for_the_issuer_and_then_believes_its_tokens(home: Path, database_url: str) -> None:
    port = free_port()
    settings = {
        "ORDERLOG_DATABASE_URL": database_url,
        "ORDERLOG_SECRET_KEY": SECRET_KEY,
        "ORDERLOG_JWT_ISSUER": f"http://127.0.0.1:{port}",
    }
    part = Part("api", home, settings)
    try:
        await asyncio.to_thread(part.start, 60, "/livez")
        reasons = await asyncio.to_thread(httpx.get, f"{part.url}/readyz", timeout=20)
        assert "the issuer's keys" in reasons.json()["parts"]["issuer"]
        async with an_issuer(port) as issuer, httpx.AsyncClient(base_url=part.url, timeout=20) as client:
            issuer.keys = [public("ES256")]
            await asyncio.to_thread(part.wait_until_ready, 60)
            headers = {"authorization": f"Bearer {issuer.token('ES256')}"}
            known = await client.get("/v1/auth/me", headers=headers)
            form = {"grant_type": "password", "username": "a", "password": "b"}
            token = await client.post("/v1/auth/token", data=form)
        assert (known.status_code, known.json()["customer_id"]) == (200, "alice")
        assert token.status_code == httpx.codes.NOT_FOUND
    finally:
        await asyncio.to_thread(part.end)
