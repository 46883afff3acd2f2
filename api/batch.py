"""Many commands in one request: `POST /v1/orders:batch` answers each of them as the route of its own would.

Each item is what the single route takes, and goes the same way; what is read and written with all of them together is
here. The processor decides them as one series, in one transaction.
"""

import asyncio
from collections.abc import Iterable

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from pydantic import ValidationError

from api import answers, consistency, ids
from api.answers import JSON, Answer, Headers
from api.auth import Caller, must_write
from api.batch_shapes import Batch, BatchAnswer, BatchItem, BatchResult
from api.documented import BEARER, BODY
from api.errors import Place, Problem, invalid, places
from api.issuing import Operation, body, sent
from api.orders import NOT_TAKEN, must_be_allowed, not_taken, outcome_of, request_for
from api.parts import Parts
from api.requests import idempotency_key, json_object, single
from api.routes import PLACE
from api.views import Bearer, Given
from commands.exchange import NotApplied, Reply, Request, Series
from commands.in_flight import InFlight
from commands.processor import Processor

TURN = 25
"""Items read before other requests have their turn: a batch is large, and the event loop is everybody's."""

router = APIRouter()


PROBLEMS = (*BEARER, *BODY, "forbidden", "insufficient-scope", "busy", "unavailable")
"""Of the batch itself; its items' are in their results."""

OPERATIONS = {"batch": Operation(BatchAnswer, Batch, 207, PROBLEMS)}
"""Name of the route to what it takes and answers, for the OpenAPI document."""


@router.post("/v1/orders:batch", summary="Up to 500 commands on orders", tags=["orders"])
async def batch(request: HttpRequest, caller: Bearer, parts: Given) -> Response:
    """The commands are decided in their order, each on what the earlier ones leave, and committed together. Each has
    its own key, its own rights and its own result: status, headers and body as its own route would answer them, with
    pointers into the item's body. A key that is used in a batch and alone is the same key. An item without one of its
    own has a part of the header Idempotency-Key, if the batch carries it.

    With `atomic`, nothing is done if one command is refused: its result says why, the others' are 424
    `batch-not-applied`, and no key is used. The body may have a mebibyte. A batch counts as many requests as it has
    items. Customers (for themselves) and staff.
    """
    must_write(caller)
    must_be_allowed(PLACE, caller)
    given = await _read(request)
    _count(len(given.batch.items), caller, parts, request)
    results = await _Exchange(request, caller, parts, given).results()
    for item, (answer, replayed) in zip(given.batch.items, results, strict=True):
        outcome = "replayed" if replayed else outcome_of(answer)
        request.app.state.requests.decided(item.route.command.__name__, outcome)
    shown = msgspec.json.encode(BatchAnswer([_shown(answer, replayed) for answer, replayed in results]))
    return sent(Answer(207, (JSON, *_how_far(answer for answer, _ in results)), shown))


def _count(items: int, caller: Caller, parts: Parts, request: HttpRequest) -> None:
    """One was counted when the caller was known. Raises a `Problem`."""
    if parts.limits is None:
        return
    if items > (most := parts.limits.most):
        raise invalid(
            [Place("/items", f"counts as {items} requests, and a caller may make {most} at once; send fewer")]
        )
    parts.limits.take(caller.subject, request.scope["told"], items - 1)


# What is asked -----------------------------------------------------------------------------------------------


class _Slice(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"")


class _Slices(msgspec.Struct):
    items: list[_Slice]


class _Read(msgspec.Struct, frozen=True):
    """A batch as it was sent. What makes two requests the same is the bytes of a body, in a batch as alone."""

    batch: Batch
    bodies: list[bytes]  # the items', as they were written
    key: bytes | None  # of those items that have none of their own


async def _read(request: HttpRequest) -> _Read:
    """Raises a `Problem` that names every place that is wrong with the batch as such."""
    headers = single(request.headers.raw)
    if b"if-match" in headers:
        raise Problem("bad-header", "If-Match is for one order; give the items an expected_version each.")
    key = idempotency_key(headers, needed=False)
    written = await body(request)
    fields = json_object(written, headers.get(b"content-type"))
    try:
        given = Batch.model_validate(fields)
    except ValidationError as error:
        raise invalid(places(error)) from None
    return _Read(given, [bytes(one.body) for one in msgspec.json.decode(written, type=_Slices).items], key)


class _Exchange:
    """One batch of a caller, and what becomes of its items."""

    def __init__(self, request: HttpRequest, caller: Caller, parts: Parts, given: _Read) -> None:
        self._caller, self._parts, self._given = caller, parts, given
        self._request_id: str = request.scope["request_id"]
        self._traceparent = ids.traceparent_from(single(request.headers.raw), self._request_id)

    async def results(self) -> list[tuple[Answer, bool]]:
        """An answer for each item, and whether it was given before. Raises a `Problem` when none could be decided."""
        batch, processor = self._given.batch, self._parts.processor
        asked: dict[int, Request] = {}
        told: dict[int, Reply | Exception] = {}
        for number, (item, sent_body) in enumerate(zip(batch.items, self._given.bodies, strict=True)):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            try:
                asked[number] = self._asked(number, item, sent_body)
            except Problem as problem:
                told[number] = problem
        late = await processor.still_in_flight([one.key for one in asked.values() if one.key is not None])
        told |= {number: InFlight() for number, one in asked.items() if one.key in late}
        ready = {number: one for number, one in asked.items() if number not in told}
        if batch.atomic and told:
            told |= dict.fromkeys(ready, NotApplied())
        elif ready:
            told |= zip(ready, await _decided(processor, [*ready.values()], atomic=batch.atomic), strict=True)
        return [self._answered(told[number]) for number in range(len(batch.items))]

    def _asked(self, number: int, item: BatchItem, sent_body: bytes) -> Request:
        """What the processor is asked for an item. Raises a `Problem`."""
        route = item.route
        must_be_allowed(route, self._caller)
        key = self._key_of(number, item)
        if key is None and route.needs_key:
            raise Problem(
                "idempotency-key-missing",
                "Give the item an idempotency_key: a text of your own, the same when you try again, such as a UUID.",
            )
        if route.command in self._parts.versioned and item.expected_version is None:
            raise Problem("if-match-missing", "Give the item the expected_version of the order that you have seen.")
        return request_for(
            route,
            item.order_id,
            item.body,
            self._caller,
            key=ids.stored_key(self._caller.subject, key) if key is not None else None,
            fingerprint=ids.fingerprint(route.method, item.path, sent_body) if key is not None else "",
            expected_version=item.expected_version,
            request_id=self._request_id,
            traceparent=self._traceparent,
        )

    def _key_of(self, number: int, item: BatchItem) -> bytes | None:
        """Its own, or a part of the batch's: with a space, so that it is nobody's own."""
        if item.idempotency_key is not None:
            return item.idempotency_key.encode()
        return b"%s %d" % (self._given.key, number) if self._given.key is not None else None

    def _answered(self, told: Reply | Exception) -> tuple[Answer, bool]:
        if isinstance(told, Reply):
            return answers.read(told.answer, told.position), told.replayed
        problem = told if isinstance(told, Problem) else not_taken(told)
        return problem.answer(self._request_id), False


async def _decided(processor: Processor, asked: list[Request], *, atomic: bool) -> list[Reply | Exception]:
    try:
        replies = await processor.submit_series(Series(tuple(asked), _held if atomic else None))
    except NOT_TAKEN as error:
        raise not_taken(error) from None
    return replies.of


def _held(answer: bytes) -> bool:
    return answers.decode(answer).status < 300  # noqa: PLR2004  a success


# What is answered --------------------------------------------------------------------------------------------


def _shown(answer: Answer, replayed: bool) -> BatchResult:  # noqa: FBT001  the two are what a reply is
    headers = {_name(name): value.decode() for name, value in answer.headers}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return BatchResult(answer.status, headers, msgspec.Raw(answer.body))


def _name(name: bytes) -> str:
    return "ETag" if name == b"etag" else name.decode().title()


def _how_far(given: Iterable[Answer]) -> Headers:
    """A Consistency-Token that includes every write of the batch: up to the furthest, from the first one on."""
    tokens = [
        consistency.read(value.decode())
        for answer in given
        for name, value in answer.headers
        if name == b"consistency-token"
    ]
    if not tokens:
        return ()
    furthest = max(token.position for token in tokens)
    before = min(token.position - token.recorded for token in tokens)
    return ((b"consistency-token", consistency.token(furthest, furthest - before).encode()),)
