"""The table of commands over HTTP, and how a request finds its row."""

from typing import Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec
from starlette.types import Scope

from commands.command import Command
from commands.order import (
    AddNote,
    AmendOrder,
    CancelLines,
    CancelOrder,
    ConfirmDelivery,
    ConfirmOrder,
    DecideReturn,
    PlaceDraft,
    PlaceHold,
    PlaceOrder,
    ReceiveReturn,
    RecordAuthorization,
    RecordCapture,
    RecordRefund,
    ReleaseHold,
    ReportLost,
    RequestReturn,
    SetMetadata,
    SetTags,
    ShipItems,
    UpdateTracking,
    VoidAuthorization,
)
from commands.product import AdjustStock, ListProduct, ReceiveStock

NOT_ASKED: dict[type[Command], set[str]] = {
    AmendOrder: {"before_confirmation"},  # set for customers
    VoidAuthorization: {"reason"},  # set by who acts
}
"""Fields of commands that are the edge's to set."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One command over HTTP."""

    method: Literal["POST", "PUT"]
    path: str
    command: type[Command]
    about: Literal["order_id", "sku"]  # the field that says which stream the command is about
    success: int = 200
    needs_key: bool = False  # an Idempotency-Key must be sent: doing it twice is not doing it once
    customers: bool = False  # customers may, for their own orders; staff always may

    @property
    def rides_in(self) -> frozenset[str]:
        """The command's fields that are not the body's to set."""
        own = {"at"} if self.command is PlaceOrder else {"at", self.about}
        return frozenset(own | NOT_ASKED.get(self.command, set()))


def _order(name: str, command: type[Command], *, needs_key: bool = False, customers: bool = False) -> Route:
    path = f"/v1/orders/{{order_id}}/{name}"
    return Route(method="POST", path=path, command=command, about="order_id", needs_key=needs_key, customers=customers)


def _stock(name: str, command: type[Command]) -> Route:
    return Route(method="POST", path=f"/v1/products/{{sku}}/{name}", command=command, about="sku")


PLACE = Route(
    method="POST",
    path="/v1/orders",
    command=PlaceOrder,
    about="order_id",
    success=201,
    needs_key=True,
    customers=True,
)
LIST = Route(method="PUT", path="/v1/products/{sku}", command=ListProduct, about="sku")

ROUTES = (
    PLACE,
    _order("place", PlaceDraft, customers=True),
    _order("amend", AmendOrder, customers=True),
    _order("confirm", ConfirmOrder),
    _order("cancel", CancelOrder, customers=True),
    _order("cancel-lines", CancelLines, needs_key=True, customers=True),
    _order("record-authorization", RecordAuthorization, needs_key=True),
    _order("record-capture", RecordCapture, needs_key=True),
    _order("void-authorization", VoidAuthorization),
    _order("record-refund", RecordRefund, needs_key=True),
    _order("ship-items", ShipItems, needs_key=True),
    _order("update-tracking", UpdateTracking),
    _order("confirm-delivery", ConfirmDelivery),
    _order("report-lost", ReportLost),
    _order("request-return", RequestReturn, needs_key=True, customers=True),
    _order("decide-return", DecideReturn),
    _order("receive-return", ReceiveReturn, needs_key=True),
    _order("place-hold", PlaceHold),
    _order("release-hold", ReleaseHold),
    _order("add-note", AddNote),
    _order("set-tags", SetTags),
    _order("set-metadata", SetMetadata),
    LIST,
    _stock("receive-stock", ReceiveStock),
    _stock("adjust-stock", AdjustStock),
)

_ORDERS = "/v1/orders/"
_PRODUCTS = "/v1/products/"
_ON_ORDER = {route.path.rpartition("/")[2]: route for route in ROUTES if route.path.startswith(_ORDERS)}
_ON_PRODUCT = {route.path.rpartition("/")[2]: route for route in ROUTES if route.about == "sku" and route is not LIST}


def route_of(scope: Scope) -> tuple[Route, str | None] | None:
    """The command route of a request, and the order id or SKU in its path."""
    method, path = scope["method"], scope["path"]
    if method == "POST":
        if path == PLACE.path:
            return PLACE, None
        if path.startswith(_ORDERS):
            order_id, _, name = path[len(_ORDERS) :].partition("/")
            route = _ON_ORDER.get(name)
            return (route, order_id) if route else None
        if path.startswith(_PRODUCTS):
            sku, _, name = _after_products(scope).rpartition(b"/")
            route = _ON_PRODUCT.get(name.decode("latin-1"))
            return (route, _unquoted(sku)) if route else None
    elif method == "PUT" and path.startswith(_PRODUCTS):
        sku = _after_products(scope)
        return (LIST, _unquoted(sku)) if b"/" not in sku else None
    return None


def _after_products(scope: Scope) -> bytes:
    """The path's end as it was sent: a SKU may have a slash in it, as %2F."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.partition(b"?")[0][len(_PRODUCTS) :]


def _unquoted(text: bytes) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")  # what is not UTF-8 is no SKU


def methods_of(scope: Scope) -> set[str]:
    """The methods that the path of a request has among the commands."""
    return {method for method in ("POST", "PUT") if route_of({**scope, "method": method}) is not None}


def sku_of(scope: Scope) -> str | None:
    """The SKU in the path of a product, as text; its slashes are sent as %2F."""
    if not scope["path"].startswith(_PRODUCTS):
        return None
    sku = _after_products(scope)
    return _unquoted(sku) if sku and b"/" not in sku else None
