"""What may be asked of lists over HTTP, and the way from page to page: signed cursors and Link headers (RFC 8288)."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)

from api.auth import Caller
from api.cursors import Cursors
from api.errors import Place, Problem, invalid
from commands.command import Currency, Reference, Sku, Tag
from commands.order import Status
from events import numbers
from events.money import MAX_AMOUNT
from events.numbers import BadNumber
from events.status import FulfilmentStatus, PaymentStatus, ReturnStatus
from projections import order_pages
from projections.words import WHOLE, words

T = TypeVar("T")

MOST_ITEMS = 200


# What may be asked -------------------------------------------------------------------------------------------


class Wanted(BaseModel):
    """Query parameters; one that does not exist is an error, so that a misspelt filter does not list everything."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS, description="items of a page")] = 50
    cursor: Annotated[
        str | None,
        Field(
            max_length=2_000,
            description="next_cursor or prev_cursor of another page, with the same filters; 400 with others",
        ),
    ] = None


def _moment(text: object) -> date | datetime:
    """A day, or an instant with its offset (RFC 3339)."""
    try:
        if _DAY.fullmatch(str(text)):
            return date.fromisoformat(str(text))
        if _DAY.match(str(text)):
            return _instant.validate_python(text)
        raise ValueError  # noqa: TRY301  said below, in one place
    except ValueError:
        raise ValueError(
            "must be a day, such as 2026-11-23, or an instant, such as 2026-11-23T08:30:00Z (in an offset, + is %2B)"
        ) from None


_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_instant = TypeAdapter[datetime](AwareDatetime)

Moment = Annotated[
    date | datetime,
    PlainValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]


def _with_a_word(text: str) -> str:
    if not words(text):
        raise ValueError("has no letter and no digit to look for")
    return text


Words = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_with_a_word)]
Minor = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]

_ANY_OF = "any of these, when it is given several times"


class WantedOrders(Wanted):
    """Each filter leaves out the orders that do not fit; all of them together are one list, with cursors of its own."""

    status: Annotated[list[Status], Field(max_length=5, description=_ANY_OF, examples=[["placed", "confirmed"]])] = []
    payment_status: Annotated[
        list[PaymentStatus], Field(max_length=7, description=_ANY_OF, examples=[["unpaid", "partly_paid"]])
    ] = []
    fulfilment_status: Annotated[
        list[FulfilmentStatus], Field(max_length=6, description=_ANY_OF, examples=[["unfulfilled"]])
    ] = []
    return_status: Annotated[list[ReturnStatus], Field(max_length=3, description=_ANY_OF, examples=[["returned"]])] = []
    customer_id: Annotated[
        Reference | None,
        Field(description="a customer's own, unless the caller may read all", examples=["alice"]),
    ] = None
    sku: Annotated[Sku | None, Field(description="a line of the order is of this SKU, as it is", examples=["CUP"])] = (
        None
    )
    tag: Annotated[Tag | None, Field(description="the order has this tag, as it is", examples=["gift"])] = None
    number: Annotated[
        str | None,
        Field(
            max_length=40,
            description="an order number, with capitals and hyphens or without; 400 when it is miswritten",
            examples=["7K3M-9Q2X-J"],
        ),
    ] = None
    external_reference: Annotated[
        Reference | None, Field(description="the reference it was placed with, as it is", examples=["PO-4711"])
    ] = None
    text: Annotated[
        Words | None,
        Field(
            description=(
                "words of its number, external reference, customer id, e-mail address, of the name, city or postal "
                "code it is shipped to, of its tags, or of the SKUs or names of its lines: all of them, in any order, "
                f"without regard to capitals, accents and apostrophes; words of more than {WHOLE} letters also find "
                "longer ones that begin so"
            ),
            examples=["oneil bern"],
        ),
    ] = None
    currency: Annotated[
        Currency | None, Field(description="of its amounts; total_from and total_to need it", examples=["EUR"])
    ] = None
    total_from: Annotated[
        Minor | None,
        Field(description="least total, in minor units, of what was neither cancelled nor returned", examples=[1000]),
    ] = None
    total_to: Annotated[Minor | None, Field(description="greatest total, in minor units", examples=[4999])] = None
    placed_from: Annotated[
        Moment | None,
        Field(description="placed on this day (UTC) or later, or at this instant or later", examples=["2026-11-01"]),
    ] = None
    placed_to: Annotated[
        Moment | None,
        Field(
            description="placed on this day (UTC) or earlier, or at this instant or earlier",
            examples=["2026-11-23T08:30:00Z"],
        ),
    ] = None
    on_hold: Annotated[bool | None, Field(description="true: those on hold; false: all others")] = None
    refund_due: Annotated[bool | None, Field(description="true: those with money to be given back")] = None


def orders_wanted(wanted: WantedOrders, caller: Caller) -> order_pages.Wanted:
    """What the caller asks for, of what it may see. Raises a `Problem`."""
    if places := _contradictions(wanted):
        raise invalid(places)
    return order_pages.Wanted(
        customer_id=_customer(wanted.customer_id, caller),
        status=_each(one.value for one in wanted.status),
        payment_status=_each(wanted.payment_status),
        fulfilment_status=_each(wanted.fulfilment_status),
        return_status=_each(wanted.return_status),
        on_hold=wanted.on_hold,
        refund_due=wanted.refund_due,
        number=_number(wanted.number) if wanted.number is not None else None,
        external_reference=wanted.external_reference,
        sku=wanted.sku,
        tag=wanted.tag,
        text=wanted.text,
        currency=wanted.currency,
        total_from=wanted.total_from,
        total_to=wanted.total_to,
        placed_from=_at(wanted.placed_from, time.min),
        placed_to=_at(wanted.placed_to, time.max),
    )


def _contradictions(wanted: WantedOrders) -> list[Place]:
    first, last = _at(wanted.placed_from, time.min), _at(wanted.placed_to, time.max)
    least, most = wanted.total_from, wanted.total_to
    found = []
    if (least, most) != (None, None) and wanted.currency is None:
        found.append(Place("/currency", "is needed with total_from and total_to, such as EUR", "query"))
    if least is not None and most is not None and least > most:
        found.append(Place("/total_to", "must not be less than total_from", "query"))
    if first is not None and last is not None and first > last:
        found.append(Place("/placed_to", "must not be before placed_from", "query"))
    return found


def _at(moment: date | datetime | None, of_day: time) -> datetime | None:
    """The instant; of a day, its first or its last."""
    return moment if moment is None or isinstance(moment, datetime) else datetime.combine(moment, of_day, UTC)


def _each(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


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


# From page to page -------------------------------------------------------------------------------------------

Item = TypeVar("Item")
Key = TypeVar("Key")


class Turn(msgspec.Struct, Generic[Key], frozen=True):
    """Where a page begins: just after the item with a key, or up to just before it."""

    way: Literal["after", "before"]
    key: Key


class Listing(Generic[Item, Key]):
    """One list over HTTP: what it is filtered by, and how its items are told apart and put in order."""

    def __init__(
        self,
        request: Request,
        cursors: Cursors,
        wanted: Wanted,
        filtered_by: tuple[Any, ...],
        *,
        key: Callable[[Item], Key],
        shape: Any,
    ) -> None:
        self._request = request
        self._cursors = cursors
        self._wanted = wanted
        self._filtered_by = filtered_by
        self._key = key
        turn = Turn[shape]
        self._turn: Turn[Key] | None = cursors.read(wanted.cursor, filtered_by, turn) if wanted.cursor else None

    @property
    def after(self) -> Key | None:
        return self._turn.key if self._turn is not None and self._turn.way == "after" else None

    @property
    def before(self) -> Key | None:
        return self._turn.key if self._turn is not None and self._turn.way == "before" else None

    @property
    def most(self) -> int:
        """So many items to ask for: one more than is shown, to know whether there are more."""
        return self._wanted.limit + 1

    def page(self, found: Sequence[Item]) -> "Page[Item]":
        """The page of what was found, in the list's order."""
        more = len(found) == self.most
        if self.before is not None:
            items = found[-self._wanted.limit :]
            has_next, has_prev = bool(items), more
        else:
            items = found[: self._wanted.limit]
            has_next, has_prev = more, bool(items) and self.after is not None
        following = self._cursor("after", items[-1]) if has_next else None
        preceding = self._cursor("before", items[0]) if has_prev else None
        return Page(list(items), following, preceding, self._links(following, preceding))

    def _cursor(self, way: Literal["after", "before"], item: Item) -> str:
        return self._cursors.after(self._filtered_by, Turn(way, self._key(item)))

    def _links(self, following: str | None, preceding: str | None) -> str:
        """What was asked for, as it was asked, but for the page."""
        asked = [(name, value) for name, value in self._request.query_params.multi_items() if name != "cursor"]
        links = [
            f'<{self._request.url.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="{name}"'
            for name, cursor in (("next", following), ("prev", preceding))
            if cursor is not None
        ]
        first = f"?{urlencode(asked)}" if asked else ""
        return ", ".join([*links, f'<{self._request.url.path}{first}>; rel="first"'])


class Page(msgspec.Struct, Generic[Item], frozen=True):
    items: list[Item]
    next_cursor: str | None
    prev_cursor: str | None
    links: str  # the value of the header Link
