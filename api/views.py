"""The reads over HTTP: orders, their history, products, reports, and whether the parts are well."""

from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Annotated, Any
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
from api.listing import Listing, Page, Wanted, WantedOrders, orders_wanted
from api.own_writes import Own
from api.parts import Parts
from api.refusals import refused_read
from api.requests import single
from api.routes import sku_of
from api.shapes import encode, order_view
from commands.command import Sku
from commands.order import Order
from commands.refusals import NoSuchOrder, NoSuchProduct
from events.envelope import order_stream, product_stream
from projections.order_pages import Key, Window, key_of, read_by
from projections.shapes import DailySales, HistoryEntry, OrderSummary, OrderView, ProductView


class OrderPage(msgspec.Struct, frozen=True):
    items: list[OrderSummary]
    next_cursor: str | None = None
    prev_cursor: str | None = None


class ProductPage(msgspec.Struct, frozen=True):
    items: list[ProductView]
    next_cursor: str | None = None
    prev_cursor: str | None = None


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
    """As it is now: it is read from the log itself, so it never lags. `If-None-Match` with its ETag is answered 304."""
    state, version = await _seen_order(order_id, caller, parts)
    await own.at_once()
    return _tagged(request, version, order_view(state, version))


@router.get("/v1/orders", summary="Orders, the newest first", tags=["orders"])
async def orders(
    request: Request, wanted: Annotated[WantedOrders, Query()], caller: Reader, parts: Given, own: Own
) -> Response:
    """A customer lists its own orders, all others everybody's. An order is as new as its placing; a draft, as its
    drafting. A page costs the same wherever it is; the header `Link` leads to those beside it.
    """
    asked = orders_wanted(wanted, caller)
    listing = Listing(request, parts.cursors, wanted, ("orders", asked), key=key_of, shape=Key)
    await own.seen_by(*read_by(asked))
    window = Window(limit=listing.most, after=listing.after, before=listing.before)
    page = listing.page(await parts.queries.orders(asked, window))
    return _linked(OrderPage(page.items, page.next_cursor, page.prev_cursor), page)


@router.get("/v1/orders/{order_id}/events", summary="An order's history", tags=["orders"])
async def history(order_id: UUID, caller: Reader, parts: Given, own: Own) -> Response:
    """Every event of it, the oldest first, with who caused it; `data` is the event as consumers of the topic get it."""
    await _seen_order(order_id, caller, parts)  # before anything is waited for: who may not see it learns nothing
    await own.seen_by("timeline", stream=order_stream(order_id))
    items = await parts.queries.history(order_id)
    own.shows(items[-1].version if items else 0)
    return _json(History(items))


@router.get("/v1/products", summary="The catalogue, by SKU", tags=["products"])
async def products(
    request: Request,
    wanted: Annotated[Wanted, Query()],
    caller: Reader,  # noqa: ARG001  who may
    parts: Given,
    own: Own,
) -> Response:
    """With their stock, by SKU. The header `Link` leads to the pages beside it."""
    listing = Listing(request, parts.cursors, wanted, ("products",), key=attrgetter("sku"), shape=str)
    await own.seen_by("stock_levels")
    found = await parts.queries.products(listing.most, listing.after, before_sku=listing.before)
    page = listing.page(found)
    return _linked(ProductPage(page.items, page.next_cursor, page.prev_cursor), page)


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
    """`If-None-Match` with its ETag is answered 304."""
    await own.seen_by("stock_levels", stream=product_stream(sku))
    view = await parts.queries.product(sku)
    if view is None:
        raise refused_read(NoSuchProduct())
    own.shows(view.version)
    return _tagged(request, view.version, view)


router.include_router(by_sku)


@router.get("/v1/reports/daily-sales", summary="Sales by day and currency", tags=["reports"])
async def daily_sales(days: Annotated[Days, Query()], caller: Reader, parts: Given, own: Own) -> Response:
    """An order counts on the day on which it was placed (UTC), a refund on its own. For staff, analysts and admins."""
    if not caller.reads_all:
        raise Problem("forbidden", "Only staff, analysts and admins may read reports.")
    if days.first > days.last:
        raise invalid([Place("/to", "must not be before from", "query")])
    await own.seen_by("daily_sales")
    return _json(DailySalesReport(await parts.queries.daily_sales(days.first, days.last)))


@router.get("/v1/auth/me", summary="Who the token says you are", tags=["auth"])
async def me(caller: Bearer) -> Response:
    """The roles are those that orderlog knows; `customer_id` is whose orders the token is confined to."""
    expires = datetime.fromtimestamp(caller.expires, UTC)
    return _json(Me(caller.subject, sorted(caller.roles), caller.customer_id, expires))


@router.get("/livez", summary="Whether the process answers", tags=["health"])
async def livez() -> Response:
    """The process runs; it says nothing about its parts."""
    return _json(Health("ok"))


@router.get("/readyz", summary="Whether every part is ready", tags=["health"])
async def readyz(parts: Given) -> Response:
    """503 names the parts that are not, and why; `parts` tells what is worth a note."""
    return _json(await readiness(parts.checks, parts.notes))


async def _seen_order(order_id: UUID, caller: Caller, parts: Parts) -> tuple[Order, int]:
    """The order as it is now, for who may see it. Raises a `Problem` for everybody else."""
    found = await current_order(parts.queries, order_id)
    if found is None or not _may_see(caller, found[0].customer_id):
        raise refused_read(NoSuchOrder())
    return found


def _may_see(caller: Caller, customer_id: str) -> bool:
    return caller.reads_all or caller.customer_id == customer_id


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


def _linked(content: msgspec.Struct, page: Page[Any]) -> Response:
    response = _json(content)
    response.headers["link"] = page.links
    return response
