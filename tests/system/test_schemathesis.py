"""schemathesis attacks the served document with all its checks: it places orders, and goes on as the links say.

What it may expect is said in schemathesis/schemathesis.toml. ORDERLOG_TEST_EXAMPLES says how many requests it makes up
for each route and phase; with ORDERLOG_TEST_SECONDS it goes on for so long, as a customer and as staff too.
ORDERLOG_TEST_SEED repeats a run.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.system.installation import Installation, a_home, embedded, until, whole_log

HERE = Path(__file__).with_name("schemathesis")
EXAMPLES = os.environ.get("ORDERLOG_TEST_EXAMPLES", "3")
SECONDS = os.environ.get("ORDERLOG_TEST_SECONDS")
SEED = os.environ.get("ORDERLOG_TEST_SEED", str(random.randrange(10**6)))

ROLES = ("admin", "staff", "customer") if SECONDS else ("admin",)
"""An admin may do whatever there is to do."""

PARKED = "SELECT projection, stream, error FROM parked"
"""Events that a projection could not digest."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Installation]:
    """With the products that the document's examples order."""
    with a_home() as home, embedded(home) as installation:
        card = {"name": "A thing", "prices": [{"amount": 250, "currency": "EUR"}]}
        headers = {"authorization": f"Bearer {installation.token('staff')}"}
        with httpx.Client(base_url=installation.urls[0], headers=headers, trust_env=False) as client:
            for sku in ("CUP", "POSTER%2FA2"):
                assert client.put(f"/v1/products/{sku}", json=card).status_code == 200
        yield installation


@pytest.mark.timeout(600 + 2 * len(ROLES) * int(SECONDS or 0))
@pytest.mark.parametrize("role", ROLES)
def test_the_served_document_says_what_is_taken_and_answered(shop: Installation, role: str) -> None:
    token = shop.token(role, "alice" if role == "customer" else None)
    budget = ["--max-time", SECONDS] if SECONDS else ["--max-examples", EXAMPLES]
    command = [
        *(str(Path(sys.executable).with_name("st")), "--no-color", "--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{shop.urls[0]}/openapi.json", "--seed", SEED, *budget),
    ]
    environment = os.environ | {"ORDERLOG_TOKEN": token, "PYTHONPATH": str(HERE)}

    done = subprocess.run(command, env=environment, cwd=shop.home, capture_output=True, text=True, check=False)

    print(f"ORDERLOG_TEST_SEED={SEED} ORDERLOG_TEST_EXAMPLES={EXAMPLES}")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert " passed" in done.stdout


def test_what_it_did_to_orders_is_in_the_log_and_stopped_no_projection(shop: Installation) -> None:
    url = shop.database_url()
    done = {row[3] for row in whole_log(url)}
    until(lambda: httpx.get(f"{shop.urls[0]}/readyz", trust_env=False).status_code == 200)
    with psycopg.connect(url) as database:
        parked = database.execute(PARKED).fetchall()

    assert "orderlog.order.placed.v1" in done
    assert len([one for one in done if one.startswith("orderlog.order.")]) >= 5, done
    assert parked == []
    said = shop.parts[0].log.read_text()
    assert "Traceback" not in said
    assert "request failed" not in said
