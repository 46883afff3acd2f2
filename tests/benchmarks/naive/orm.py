"""The baseline's read: FastAPI with a response model around SQLAlchemy's ORM, as the tutorials of both show them.

`uvicorn tests.benchmarks.naive.orm:app`, with DATABASE_URL and NAIVE_SECRET_KEY in the environment; `fill` makes its
tables. All that our view derives is a column here, in the baseline's favour.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Annotated
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from events.order import OrderPlaced
from tests.benchmarks.naive.token import customer_of

# The tables --------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "naive_orders"

    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str]
    customer_id: Mapped[str]
    status: Mapped[str]
    payment_status: Mapped[str] = mapped_column(default="unpaid")
    fulfilment_status: Mapped[str] = mapped_column(default="unfulfilled")
    return_status: Mapped[str] = mapped_column(default="none")
    version: Mapped[int]
    currency: Mapped[str]
    subtotal: Mapped[int]
    discount: Mapped[int]
    shipping: Mapped[int]
    tax: Mapped[int]
    total: Mapped[int]
    balance: Mapped[int]
    authorized: Mapped[int] = mapped_column(default=0)
    captured: Mapped[int] = mapped_column(default=0)
    refunded: Mapped[int] = mapped_column(default=0)
    placed_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    lines: Mapped[list["Line"]] = relationship(order_by="Line.line_id")


class Line(Base):
    __tablename__ = "naive_lines"

    order_id: Mapped[UUID] = mapped_column(ForeignKey(Order.order_id), primary_key=True)
    line_id: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str]
    name: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int]
    total: Mapped[int]
    cancelled: Mapped[int] = mapped_column(default=0)
    shipped: Mapped[int] = mapped_column(default=0)
    delivered: Mapped[int] = mapped_column(default=0)
    lost: Mapped[int] = mapped_column(default=0)
    returned: Mapped[int] = mapped_column(default=0)
    open: Mapped[int]


def fill(url: str, orders: Iterable[OrderPlaced]) -> None:
    """Make the tables, with these orders, confirmed."""
    on = _engine(url)
    Base.metadata.create_all(on)
    with Session(on) as session:
        session.add_all([_row(placed) for placed in orders])
        session.commit()
    on.dispose()


def _row(placed: OrderPlaced) -> Order:
    same = ("order_id", "number", "customer_id", "currency", "subtotal", "discount", "shipping", "tax", "total")
    values = {name: getattr(placed, name) for name in same}
    order = Order(
        **values, status="confirmed", version=2, balance=placed.total, placed_at=placed.at, updated_at=placed.at
    )
    of_line = ("line_id", "sku", "name", "quantity", "unit_price", "total")
    order.lines = [Line(open=line.quantity, **{name: getattr(line, name) for name in of_line}) for line in placed.lines]
    return order


def _engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), pool_size=40)  # as many as threads


# The application ---------------------------------------------------------------------------------------------


class LineView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    line_id: str
    sku: str
    name: str
    quantity: int
    unit_price: int
    total: int
    cancelled: int
    shipped: int
    delivered: int
    lost: int
    returned: int
    open: int


class OrderView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    order_id: UUID
    number: str
    customer_id: str
    status: str
    payment_status: str
    fulfilment_status: str
    return_status: str
    version: int
    currency: str
    lines: list[LineView]
    subtotal: int
    discount: int
    shipping: int
    tax: int
    total: int
    balance: int
    authorized: int
    captured: int
    refunded: int
    placed_at: datetime
    updated_at: datetime


app = FastAPI()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


@cache
def engine() -> Engine:
    return _engine(os.environ["DATABASE_URL"])


def session() -> Iterator[Session]:
    with Session(engine()) as opened:
        yield opened


def current_customer(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    try:
        return customer_of(token, os.environ["NAIVE_SECRET_KEY"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Could not validate credentials") from error


@app.get("/livez")
def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/v1/orders/{order_id}", response_model=OrderView, dependencies=[Depends(current_customer)])
def read_order(order_id: UUID, session: Annotated[Session, Depends(session)]) -> Order:
    order = session.get(Order, order_id, options=[selectinload(Order.lines)])
    if order is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "There is no such order")
    return order
