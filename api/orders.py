"""The writes: every command over HTTP, by one lean ASGI handler and the table that drives it.

The command routes do not go through FastAPI: routing, dependencies and response models would cost more than the rest of
the way of an order together. The table below is also what their part of the OpenAPI document is made from.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, cast

import msgspec
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api import answers, errors, exchanges, ids, refusals, shapes, whole
from api.answers import JSON, Answer
from api.auth import Caller, Verifier, must_write
from api.errors import Place, Problem
from api.limits import Limits
from api.metrics import Requests
from api.requests import Gone, check_host, check_once, expected_version, idempotency_key, json_object, read_body
from api.routes import PLACE, ROUTES, Route, route_of
from commands.command import Command
from commands.exchange import (
    Accepted,
    AnyCommand,
    Busy,
    Failed,
    KeyReused,
    NoRoom,
    NotApplied,
    Refused,
    Request,
    Unavailable,
)
from commands.in_flight import InFlight
from commands.order import AmendedLine, AmendOrder, Order, PlaceOrder, WantedLine
from commands.processor import Processor

_PRICED = (PlaceOrder, AmendOrder)
_RIDES_IN = {route.command: route.rides_in for route in ROUTES}


class _Coded(msgspec.Struct):
    code: str


_coded = msgspec.json.Decoder(_Coded).decode


class Commands:
    """ASGI middleware that answers the command routes itself and passes all else on."""

    def __init__(
        self,
        app: ASGIApp,
        processor: Processor,
        tokens: Verifier,
        requests: Requests,
        *,
        limits: Limits | None = None,
        versioned: AbstractSet[type[Command]] = frozenset(),
    ) -> None:
        self._app = app
        self._requests = requests
        self._limits = limits
        self._processor = processor
        self._tokens = tokens
        self._versioned = versioned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = route_of(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        headers = dict(scope["headers"])
        request_id = ids.request_id_from(headers)
        told = dict(ids.told_back(headers, request_id))
        closing = False
        try:
            answer, replayed = await self._answered(
                *found, scope, receive, headers=headers, told=told, request_id=request_id
            )
            outcome = "replayed" if replayed else outcome_of(answer)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001  each has its problem; one that was not foreseen is logged there
            with bound_contextvars(request_id=request_id, traceparent=ids.traceparent_from(headers, request_id)):
                problem = exchanges.of(error)
            answer, replayed, outcome = problem.answer(request_id), False, problem.code
            closing = True  # perhaps: the problem may say so
        if replayed:
            told[b"idempotency-replayed"] = b"true"
        if closing or not whole.give(send, answer.status, (*answer.headers, *told.items()), answer.body):
            await answer.send(send, told.items())
        route = found[0]
        self._requests.decided(route.command.__name__, outcome)
        self._requests.answered(route.method, route.path, answer.status, begun)

    async def _answered(
        self,
        route: Route,
        about: str | None,
        scope: Scope,
        receive: Receive,
        *,
        headers: dict[bytes, bytes],
        told: dict[bytes, bytes],
        request_id: str,
    ) -> tuple[Answer, bool]:
        check_once(scope["headers"], headers)
        check_host(scope, headers)
        caller = await self._tokens.verify(headers.get(b"authorization"))
        if self._limits is not None:
            self._limits.take(caller.subject, told)
        if caller.read_only:
            must_write(caller)
        must_be_allowed(route, caller)
        key = idempotency_key(headers, needed=route.needs_key)
        version = expected_version(headers)
        if route.command in self._versioned and b"if-match" not in headers:
            raise Problem("if-match-missing", "Send the header If-Match with the ETag of the order that you have seen.")
        body = await read_body(receive, headers)
        fields = json_object(body, headers.get(b"content-type"))
        request = request_for(
            route,
            about,
            fields,
            caller,
            key=ids.stored_key(caller.subject, key) if key is not None else None,
            fingerprint=ids.fingerprint(scope["method"], scope["path"], body) if key is not None else "",
            expected_version=version,
            request_id=request_id,
            traceparent=ids.traceparent_from(headers, request_id),
        )
        try:
            reply = await self._processor.submit(request)
        except NOT_TAKEN as error:
            raise not_taken(error) from None
        return answers.read(reply.answer, reply.position), reply.replayed


def outcome_of(answer: Answer) -> str:
    """For /metrics: accepted, or the code of the problem."""
    return "accepted" if answer.status < 300 else _coded(answer.body).code  # noqa: PLR2004  a success


def must_be_allowed(route: Route, caller: Caller) -> None:
    """Raises a `Problem` for who may not give this command to any order."""
    if not caller.is_staff and not (route.customers and caller.customer_id is not None):
        raise Problem(
            "forbidden", "Only customers and staff may do this." if route.customers else "Only staff may do this."
        )


_SOON = (b"retry-after", b"1")
_NOT_TAKEN: Mapping[type[Exception], tuple[str, str, tuple[bytes, bytes] | None]] = {
    Busy: ("busy", "Try again in a second.", _SOON),
    InFlight: (
        "idempotency-key-in-flight",
        "Try again in a second, with the same Idempotency-Key: you will get the first one's answer.",
        _SOON,
    ),
    KeyReused: ("idempotency-key-reused", "Use a new key for a new request; an old one only to repeat it.", None),
    NotApplied: ("batch-not-applied", "Another item was refused, and this batch is done whole or not at all.", None),
    NoRoom: ("batch-answer-full", "The items before this one fill the answer; send it in another batch.", None),
    # the processor has logged why
    Failed: ("internal-error", "Nothing was changed. The error was logged under this request_id.", None),
}
NOT_TAKEN: tuple[type[Exception], ...] = (Unavailable, *_NOT_TAKEN)
"""What the processor says in place of an answer."""


def not_taken(error: Exception) -> Problem:
    """The problem that one of `NOT_TAKEN` is; it is not kept for a retry to be answered with."""
    if isinstance(error, Unavailable):
        return errors.unavailable()
    code, detail, header = _NOT_TAKEN[type(error)]
    return Problem(code, detail, headers=[header] if header else ())


# The command -------------------------------------------------------------------------------------------------


def request_for(
    route: Route,
    about: str | None,
    fields: dict[str, Any],
    caller: Caller,
    *,
    key: str | None,
    fingerprint: str,
    expected_version: int | None,
    request_id: str,
    traceparent: str | None,
) -> Request:
    """What the processor is asked: the command that the fields of a body say. Raises a `Problem`."""
    command, new = _command(route, about, fields, caller)
    return Request(
        command=command,
        actor=caller.subject,
        answer=partial(_answer, route, command, request_id),
        key=key,
        fingerprint=fingerprint,
        expected_version=expected_version,
        new=new,
        owner=caller.customer_id,
        request_id=request_id,
        traceparent=traceparent,
    )


def _command(route: Route, about: str | None, fields: dict[str, Any], caller: Caller) -> tuple[AnyCommand, bool]:
    """The command in a request, and whether its stream is certainly new. Raises a `Problem`."""
    misplaced = _misplaced(route, fields)
    new = False
    if about is not None:
        fields[route.about] = about
    elif fields.get("order_id") is None:
        fields["order_id"] = ids.new_order_id()
        new = True
    fields["at"] = datetime.now(UTC)
    if caller.customer_id is not None:
        _as_customer(route, fields, caller.customer_id)
    try:
        command = route.command.__pydantic_validator__.validate_python(fields)  # `model_validate` looks for options
    except ValidationError as error:
        raise errors.invalid([*misplaced, *errors.places(error)]) from None
    if misplaced:
        raise errors.invalid(misplaced)
    if caller.customer_id is not None and isinstance(command, _PRICED):
        _at_our_prices(command)
    return cast(AnyCommand, command), new


def _misplaced(route: Route, fields: dict[str, Any]) -> list[Place]:
    rides_in = _RIDES_IN[route.command]
    if rides_in.isdisjoint(fields):
        return []
    return [
        Place(f"/{name}", f"is set by the {'path' if name == route.about else 'server'}, not in the body")
        for name in sorted(rides_in & fields.keys())
    ]


def _as_customer(route: Route, fields: dict[str, Any], customer_id: str) -> None:
    """What rides in because a customer asks."""
    if route is PLACE:
        _for_oneself(fields, customer_id)
    elif route.command is AmendOrder:
        fields["before_confirmation"] = True


def _for_oneself(fields: dict[str, Any], customer_id: str) -> None:
    if fields.get("customer_id", customer_id) not in (customer_id, None):
        place = Place("/customer_id", "must be your own, or left out")
        raise Problem("forbidden", "A customer orders for itself only.", errors=[place])
    fields["customer_id"] = customer_id


def _at_our_prices(command: PlaceOrder | AmendOrder) -> None:
    """Raises a `Problem` that names what only staff may set."""
    if pointers := list(_staff_only(command)):
        places = [Place(one, "may be set by staff only") for one in pointers]
        raise Problem("forbidden", f"A customer may not set {', '.join(pointers)}.", errors=places)


def _staff_only(command: PlaceOrder | AmendOrder) -> Iterator[str]:
    lines: Sequence[WantedLine | AmendedLine] = command.lines or ()
    for number, line in enumerate(lines):
        if line.unit_price is not None:
            yield f"/lines/{number}/unit_price"
    if command.discount is not None:
        yield "/discount"
    if command.shipping is not None:
        yield "/shipping"
    if command.tax is not None:
        yield "/tax"
    if isinstance(command, PlaceOrder) and command.payment_terms != "prepaid":
        yield "/payment_terms"


# The answer --------------------------------------------------------------------------------------------------


def _answer(route: Route, command: AnyCommand, request_id: str, outcome: Accepted | Refused) -> bytes:
    """The answer to a decided command, as it is kept and replayed. Runs in the processor's thread."""
    if isinstance(outcome, Refused):
        return answers.encode(refusals.refused(outcome, command).answer(request_id))
    state, version = outcome.state, outcome.version
    recorded = outcome.recorded
    headers: answers.Headers = (JSON, (b"etag", b'"%d"' % version))
    if not isinstance(state, Order):
        body = shapes.encode(shapes.product_view(state, version))
        return answers.encode(Answer(route.success, headers, body, recorded))
    if route is PLACE:
        headers = (*headers, (b"location", b"/v1/orders/" + shapes.encode(state.order_id).strip(b'"')))
    elif isinstance(command, AmendOrder) and command.dry_run:  # no ETag: the order is not as the body shows it
        preview = shapes.preview(state, version, outcome.products)
        return answers.encode(Answer(route.success, (JSON,), preview, recorded))
    return answers.encode(Answer(route.success, headers, shapes.encode(shapes.order_view(state, version)), recorded))
