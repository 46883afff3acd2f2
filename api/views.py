"""The reads over HTTP: orders, their history, products, reports, and whether the parts are well."""

from datetime import UTC, date, datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import Match
from starlette.types import Scope

from api.auth import Caller
from api.current import current_order
from api.errors import Place, Problem, invalid
from api.health import Health, readiness
from api.own_writes import Own
from api.parts import Parts
from api.refusals import refused_read
from api.requests import single
from api.routes import sku_of
from api.shapes import encode, order_view
from commands.command import Reference, Sku
from commands.order import Order, Status
from commands.refusals import NoSuchOrder, NoSuchProduct
from events import numbers
from events.envelope import order_stream, product_stream
from events.numbers import BadNumber
from projections.shapes import DailySales, HistoryEntry, OrderSummary, OrderView, ProductView

MOST_ITEMS = 200


class OrderPage(msgspec.Struct, frozen=True):
    items: list[OrderSummary]
    next_cursor: str | None = None


class ProductPage(msgspec.Struct, frozen=True):
    items: list[ProductView]
    next_cursor: str | None = None


class History(msgspec.Struct, frozen=True):
    items: list[HistoryEntry]


class DailySalesReport(msgspec.Struct, frozen=True):
    items: list[DailySales]


class Me(msgspec.Struct, frozen=True):
    """Whom the token says you are."""

    subject: str
    roles: list[str]
    customer_id: str | None
    expires: datetime


ANSWERS: dict[str, type[msgspec.Struct]] = {
    "order": OrderView,
    "orders": OrderPage,
    "history": History,
    "product": ProductView,
    "products": ProductPage,
    "daily_sales": DailySalesReport,
    "me": Me,
    "livez": Health,
    "readyz": Health,
}
"""Name of a route to the shape that it answers, for the OpenAPI document."""


class Wanted(BaseModel):
    """Query parameters; one that does not exist is an error, so that a misspelt filter does not list everything."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 50
    cursor: Annotated[str | None, Field(max_length=1_000, description="next_cursor of the page before")] = None


class WantedOrders(Wanted):
    status: Status | None = None
    customer_id: Annotated[Reference | None, Field(description="a customer's own, unless the caller may read all")] = (
        None
    )
    number: Annotated[
        str | None, Field(max_length=40, description="an order number, such as 7K3M-9Q2X-J; 400 when it is miswritten")
    ] = None
    refund_due: Annotated[bool | None, Field(description="true: those with money to be given back")] = None
    tag: Reference | None = None


class Days(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: Annotated[date, Field(alias="from", description="the first day, such as 2010-12-01")]
    last: Annotated[date, Field(alias="to", description="the last day, inclusive")]


router = APIRouter()


async def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Given = Annotated[Parts, Depends(parts_of)]


async def bearer(request: Request, parts: Given) -> Caller:
    caller = await parts.tokens.verify(single(request.headers.raw).get(b"authorization"))
    if parts.limits is not None:
        parts.limits.take(caller.subject, request.scope["told"])
    return caller


Bearer = Annotated[Caller, Depends(bearer)]


async def reader(caller: Bearer) -> Caller:
    if not (caller.reads_all or caller.customer_id is not None):
        raise Problem("forbidden", "The token gives none of the roles customer, staff, analyst, admin.")
    return caller


Reader = Annotated[Caller, Depends(reader)]


@router.get("/v1/orders/{order_id}", summary="An order", tags=["orders"])
async def order(order_id: UUID, request: Request, caller: Reader, parts: Given, own: Own) -> Response:
    state, version = await _seen_order(order_id, caller, parts)
    await own.at_once()
    return _tagged(request, version, order_view(state, version))


@router.get("/v1/orders", summary="Orders, the newest first", tags=["orders"])
async def orders(wanted: Annotated[WantedOrders, Query()], caller: Reader, parts: Given, own: Own) -> Response:
    customer = _customer(wanted.customer_id, caller)
    status = wanted.status.value if wanted.status else None
    number = _number(wanted.number) if wanted.number is not None else None
    listing = ("orders", customer, status, number, wanted.refund_due, wanted.tag)
    after = parts.cursors.read(wanted.cursor, listing, tuple[datetime, UUID]) if wanted.cursor else None
    await own.seen_by("order_list")
    found = await parts.queries.orders(
        customer_id=customer,
        status=status,
        number=number,
        refund_due=wanted.refund_due,
        tag=wanted.tag,
        limit=wanted.limit + 1,
        after=after,
    )
    items = found[: wanted.limit]
    more = parts.cursors.after(listing, (items[-1].created_at, items[-1].order_id)) if len(found) > len(items) else None
    return _page("/v1/orders", wanted, OrderPage(items, more))


@router.get("/v1/orders/{order_id}/events", summary="An order's history", tags=["orders"])
async def history(order_id: UUID, caller: Reader, parts: Given, own: Own) -> Response:
    await _seen_order(order_id, caller, parts)  # before anything is waited for: who may not see it learns nothing
    await own.seen_by("timeline", stream=order_stream(order_id))
    items = await parts.queries.history(order_id)
    own.shows(items[-1].version if items else 0)
    return _json(History(items))


@router.get("/v1/products", summary="The catalogue, by SKU", tags=["products"])
async def products(wanted: Annotated[Wanted, Query()], caller: Reader, parts: Given, own: Own) -> Response:  # noqa: ARG001  who may
    listing = ("products",)
    after = parts.cursors.read(wanted.cursor, listing, str) if wanted.cursor else None
    await own.seen_by("stock_levels")
    found = await parts.queries.products(wanted.limit + 1, after)
    items = found[: wanted.limit]
    more = parts.cursors.after(listing, items[-1].sku) if len(found) > len(items) else None
    return _page("/v1/products", wanted, ProductPage(items, more))


class _OneSku(APIRoute):
    """The path is decoded before a route is chosen, and a SKU with a slash looks like a command: take it as it came."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        sku = sku_of(scope)
        if sku is None:
            return Match.NONE, {}
        match, inner = super().matches({**scope, "path": "/v1/products/sku"})
        return match, {**inner, "path_params": {"sku": sku}}


by_sku = APIRouter(route_class=_OneSku)


@by_sku.get("/v1/products/{sku}", summary="A product and its stock", tags=["products"])
async def product(sku: Sku, request: Request, caller: Reader, parts: Given, own: Own) -> Response:  # noqa: ARG001  who may
    await own.seen_by("stock_levels", stream=product_stream(sku))
    view = await parts.queries.product(sku)
    if view is None:
        raise refused_read(NoSuchProduct())
    own.shows(view.version)
    return _tagged(request, view.version, view)


router.include_router(by_sku)


@router.get("/v1/reports/daily-sales", summary="Sales by day and currency", tags=["reports"])
async def daily_sales(days: Annotated[Days, Query()], caller: Reader, parts: Given, own: Own) -> Response:
    if not caller.reads_all:
        raise Problem("forbidden", "Only staff, analysts and admins may read reports.")
    if days.first > days.last:
        raise invalid([Place("/to", "must not be before from", "query")])
    await own.seen_by("daily_sales")
    return _json(DailySalesReport(await parts.queries.daily_sales(days.first, days.last)))


@router.get("/v1/auth/me", summary="Who the token says you are", tags=["auth"])
async def me(caller: Bearer) -> Response:
    expires = datetime.fromtimestamp(caller.expires, UTC)
    return _json(Me(caller.subject, sorted(caller.roles), caller.customer_id, expires))


@router.get("/livez", summary="Whether the process answers", tags=["health"])
async def livez() -> Response:
    return _json(Health("ok"))


@router.get("/readyz", summary="Whether every part is ready", tags=["health"])
async def readyz(parts: Given) -> Response:
    return _json(await readiness(parts.checks, parts.notes))


async def _seen_order(order_id: UUID, caller: Caller, parts: Parts) -> tuple[Order, int]:
    """The order as it is now, for who may see it. Raises a `Problem` for everybody else."""
    found = await current_order(parts.queries, order_id)
    if found is None or not _may_see(caller, found[0].customer_id):
        raise refused_read(NoSuchOrder())
    return found


def _may_see(caller: Caller, customer_id: str) -> bool:
    return caller.reads_all or caller.customer_id == customer_id


def _customer(asked: str | None, caller: Caller) -> str | None:
    """Whose orders to list; None for everybody's."""
    if caller.reads_all:
        return asked
    if asked not in (None, caller.customer_id):
        raise Problem("forbidden", "A customer may list its own orders only.")
    return caller.customer_id


def _number(text: str) -> str:
    """The number as it is kept. Raises a `Problem`: a slip of the pen is not an order that is not there."""
    try:
        return numbers.read(text)
    except BadNumber as error:
        raise Problem("bad-number", f"{error}.", errors=[Place("/number", str(error), "query")]) from None


def _json(content: msgspec.Struct) -> Response:
    return Response(encode(content), media_type="application/json", headers={"cache-control": "private, no-cache"})


def _tagged(request: Request, version: int, view: msgspec.Struct) -> Response:
    """With its version as ETag; 304 for who has it already."""
    tag = f'"{version}"'
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    response = (
        Response(status_code=304, headers={"cache-control": "private, no-cache"})
        if {tag, "*"} & {*known}
        else _json(view)
    )
    response.headers["etag"] = tag
    return response


def _page(path: str, wanted: Wanted, page: OrderPage | ProductPage) -> Response:
    response = _json(page)
    if page.next_cursor is not None:
        query = wanted.model_dump(exclude_none=True, exclude_unset=True, mode="json") | {"cursor": page.next_cursor}
        response.headers["link"] = f'<{path}?{urlencode(query)}>; rel="next"'
    return response
