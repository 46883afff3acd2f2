"""A flash sale: far more buyers than units, all at once; on one API process, and on three that share a log."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from api.tokens import Tokens
from events import codec
from events.codec import Row
from events.order import OrderPlaced
from events.product import StockReserved
from tests.projections.fold import difference, folded, written
from tests.services.parts import SECRET_KEY
from tests.services.postgres import DatabaseServer
from tests.system.clients import Caller, Json, eur
from tests.system.installation import Installation, distributed, embedded, until, whole_log

UNITS = 100
BUYERS = 2_000
CONNECTIONS = 64
PRICE = 250
TOKENS = Tokens(SECRET_KEY.encode(), issuer="orderlog", audience="orderlog")

SOLD_OUT = {"CUP": {"asked": 1, "available": 0}, "SAUCER": {"asked": 2, "available": 1}}
"""What every refusal says: the saucers are one too many for the cups, and there are trays for everybody."""

STOCK = {"CUP": UNITS, "SAUCER": 2 * UNITS + 1, "TRAY": BUYERS}
SET = {"CUP": 1, "SAUCER": 2, "TRAY": 1}

COMPARED = ("stock_levels", "order_list", "order_details", "daily_sales")


@pytest.fixture(params=["one process", "three processes"])
def shop(request: pytest.FixtureRequest, home: Path) -> Iterator[Installation]:
    if request.param == "one process":
        with embedded(home, settings={"ORDERLOG_SECRET_KEY": SECRET_KEY}) as one:
            yield one
        return
    postgres: DatabaseServer = request.getfixturevalue("postgres")
    url = postgres.create_database()
    with distributed(home, url, None, ("api", "api", "api", "project")) as three:
        yield three
    postgres.drop_database(url)


class Answer(NamedTuple):
    status: int
    content: Json


async def test_a_flash_sale_sells_what_there_is_and_nothing_more(shop: Installation) -> None:
    url = shop.database_url()
    async with Caller(shop.urls[0], TOKENS.issue("staff", ["staff"], timedelta(hours=1))) as staff:
        await fill_the_shelves(staff)

        answers = await sale(shop.urls)

        assert Counter(answer.status for answer in answers) == {201: UNITS, 409: BUYERS - UNITS}
        sold = {UUID(answer.content["order_id"]) for answer in answers if answer.status == 201}
        refusals = [answer.content for answer in answers if answer.status == 409]
        assert [refusal for refusal in refusals if not says_all_that_is_short(refusal)] == []

        rows = await asyncio.to_thread(whole_log, url)
        assert_every_order_has_its_stock(rows, sold)
        for sku, quantity in SET.items():
            product = await staff.sees(f"/v1/products/{sku}", partial(has_reserved, quantity * UNITS))
            left = STOCK[sku] - quantity * UNITS
            assert (product["on_hand"], product["available"]) == (STOCK[sku], left)
    await asyncio.to_thread(assert_views_are_true, url, rows)


async def fill_the_shelves(staff: Caller) -> None:
    for sku, units in STOCK.items():
        await staff.put(f"/v1/products/{sku}", {"name": sku.title(), "prices": [eur(PRICE)], "stock": "tracked"})
        await staff.asked(f"/v1/products/{sku}/receive-stock", {"quantity": units})


# The sale ----------------------------------------------------------------------------------------------------


async def sale(urls: list[str]) -> list[Answer]:
    """The answer to each buyer. There are always as many orders under way as there are connections."""
    buyers = iter(range(BUYERS))
    connections = (buy_for(buyers, urls[number % len(urls)]) for number in range(CONNECTIONS))
    return [answer for answers in await asyncio.gather(*connections) for answer in answers]


async def buy_for(buyers: Iterator[int], url: str) -> list[Answer]:
    """Orders of whoever is next, one after another, over one connection; a client that costs more than the server
    would leave it idle."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    answers = []
    for number in buyers:
        writer.write(an_order_of(f"buyer-{number}"))
        answers.append(await asyncio.wait_for(an_answer(reader), 60))
    writer.close()
    await writer.wait_closed()
    return answers


def an_order_of(buyer: str) -> bytes:
    token = TOKENS.issue(buyer, ["customer"], timedelta(hours=1))
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in SET.items()]
    body = json.dumps({"currency": "EUR", "lines": lines})
    head = f"POST /v1/orders HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\nidempotency-key: the-only-order"
    return f"{head}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def an_answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    assert length, head
    return Answer(int(head.split()[1]), json.loads(await reader.readexactly(int(length[1]))))


# What must be so ---------------------------------------------------------------------------------------------


def says_all_that_is_short(refusal: Json) -> bool:
    return (refusal["code"], refusal["short"]) == ("out-of-stock", SOLD_OUT)


def has_reserved(units: int, product: Json) -> bool:
    return bool(product["reserved"] == units)


def assert_every_order_has_its_stock(rows: list[Row], sold: set[UUID]) -> None:
    """In the log, those that were told so have ordered once, each another customer, and nothing else is reserved."""
    recorded = [codec.decode(row) for row in rows]
    placed = [one.event for one in recorded if isinstance(one.event, OrderPlaced)]
    reserved = Counter(
        (one.key, one.event.order_id, one.event.quantity) for one in recorded if isinstance(one.event, StockReserved)
    )
    assert {order.order_id for order in placed} == sold
    assert len(placed) == len({order.customer_id for order in placed}) == UNITS
    assert reserved == Counter((line.sku, order.order_id, line.quantity) for order in placed for line in order.lines)
    assert sum(quantity for sku, _, quantity in reserved if sku == "CUP") == UNITS


def assert_views_are_true(url: str, rows: list[Row]) -> None:
    expected = folded(rows, COMPARED)

    def differing() -> str:
        return difference(expected, written(url, COMPARED))

    until(lambda: not differing(), says=differing)
