"""The baseline's server: FastAPI as its tutorial shows it, around the orders of the `eventsourcing` documentation.

`uvicorn tests.benchmarks.naive.app:app`, with the library's settings and NAIVE_SECRET_KEY in the environment.
NAIVE_IDEMPOTENCY=1 also remembers Idempotency-Keys; without it the baseline does less than ours, in its favour.
NAIVE_TRACKED=1 reserves the stock of the products, which must be in the database.
"""

import os
from datetime import datetime
from typing import Annotated
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, Field

from tests.benchmarks.naive.orders import Line, Order, Orders, Status
from tests.benchmarks.naive.products import OutOfStock, Shop
from tests.benchmarks.naive.remembered import RememberedAnswers
from tests.benchmarks.naive.token import customer_of

PRICES = {f"SKU-{number}": 500 + number for number in range(1, 10_001)}  # minor units; the catalogue, in memory


class WantedLine(BaseModel):
    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(gt=0)


class PlaceOrder(BaseModel):
    currency: str = Field(pattern="^[A-Z]{3}$")
    lines: list[WantedLine] = Field(min_length=1)


class LineView(BaseModel):
    sku: str
    quantity: int
    unit_price: int


class OrderView(BaseModel):
    order_id: UUID
    customer_id: str
    status: Status
    version: int
    currency: str
    lines: list[LineView]
    total: int
    placed_at: datetime


app = FastAPI()
orders = Shop() if os.environ.get("NAIVE_TRACKED") == "1" else Orders()
remembered = RememberedAnswers(os.environ) if os.environ.get("NAIVE_IDEMPOTENCY") == "1" else None
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


async def current_customer(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    refusal = HTTPException(
        status.HTTP_401_UNAUTHORIZED, "Could not validate credentials", headers={"WWW-Authenticate": "Bearer"}
    )
    try:
        return customer_of(token, os.environ["NAIVE_SECRET_KEY"])
    except jwt.InvalidTokenError as error:
        raise refusal from error


def priced(line: WantedLine) -> Line:
    if line.sku not in PRICES:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no product {line.sku}")
    return {"sku": line.sku, "quantity": line.quantity, "unit_price": PRICES[line.sku]}


def view(order: Order) -> OrderView:
    return OrderView(
        order_id=order.id,
        customer_id=order.customer_id,
        status=order.status,
        version=order.version,
        currency=order.currency,
        lines=[LineView(**line) for line in order.lines],
        total=order.total,
        placed_at=order.created_on,
    )


@app.get("/livez")
def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/orders", status_code=status.HTTP_201_CREATED)
def place_order(
    body: PlaceOrder,
    customer_id: Annotated[str, Depends(current_customer)],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> OrderView:
    if remembered is not None and idempotency_key is not None:
        answer = remembered.find(idempotency_key)
        if answer is not None:
            return OrderView.model_validate_json(answer)
    try:
        placed = view(orders.place_order(customer_id, body.currency, [priced(line) for line in body.lines]))
    except OutOfStock as short:
        raise HTTPException(status.HTTP_409_CONFLICT, f"Too few are left of {short}") from short
    if remembered is not None and idempotency_key is not None:
        remembered.keep(idempotency_key, placed.model_dump_json())
    return placed
