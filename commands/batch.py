"""The decisions of one batch, in the making: each command is decided against the state that the earlier ones leave."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

import msgspec
import structlog

from commands import order as orders
from commands import product as products
from commands.exchange import (
    Accepted,
    AnyCommand,
    Asked,
    Failed,
    KeyReused,
    NoRoom,
    NotApplied,
    Refused,
    Replies,
    Reply,
    Request,
    Series,
    State,
    Told,
)
from commands.order import AmendOrder, Order, PlaceOrder
from commands.product import Product, ProductCommand
from commands.refusals import NoSuchOrder, OrderIdUnusable, Refusal, StaleVersion
from events import codec
from events.codec import Row
from events.envelope import Cause, Event, key_of, kind_of, order_stream, product_stream
from events.log import StoredAnswer
from events.product import ProductEvent, ProductFact

log = structlog.get_logger()

LARGEST_ANSWERS = 32 * 1024 * 1024
"""Bytes of answers after which no further command of a series is decided: an order of 2,000 lines is a megabyte."""


class Known(msgspec.Struct, frozen=True, gc=False):
    version: int
    state: State


UNKNOWN = Known(0, None)


Unplaced = tuple[str, int, str, bytes]
"""A row of the log that has no position yet: stream, version, event type, JSON."""


class Decided(msgspec.Struct, frozen=True):
    """What a command comes to, as long as the streams that were looked at are as they were."""

    read: list[tuple[str, Known]]  # the streams that were looked at
    answer: bytes
    rows: list[Unplaced]
    moved: dict[str, Known]


class Streams(Protocol):
    """What is known of the log."""

    @property
    def position(self) -> int: ...
    def state(self, stream: str) -> Known: ...


class Batch:
    """The decisions of one batch, in the making.

    `number` gives the number for an order. What was `decided` already is taken over where it still stands; it is by the
    identity of the request, here and in what is decided now.
    """

    def __init__(
        self,
        known: Streams,
        number: Callable[[], str],
        known_answers: Mapping[str, StoredAnswer] = MappingProxyType({}),
        decided: Mapping[int, Decided | Failed] = MappingProxyType({}),
    ) -> None:
        self._streams = known
        self._number = number
        self._known_answers = known_answers
        self._before = decided
        self._read: list[tuple[str, Known]] = []
        self._position = known.position
        self._now = datetime.now(UTC)
        self.rows: list[Row] = []
        self.moved: dict[str, Known] = {}
        self.answers: dict[str, StoredAnswer] = {}
        self.decided: dict[int, Decided | Failed] = {}

    def told(self, asked: list[Asked]) -> list[Told]:
        return [self._series(one) if isinstance(one, Series) else self.reply(one) for one in asked]

    def _series(self, series: Series) -> Replies:
        if series.held is None:
            return Replies([*self._in_order(series.requests)])
        return Replies(self._all_or_none(series.requests, series.held))

    def _all_or_none(self, requests: tuple[Request, ...], held: Callable[[bytes], bool]) -> list[Reply | Exception]:
        """Every refusal is told, but what follows on an order from what was refused is not decided."""
        before = len(self.rows), dict(self.moved), dict(self.answers), self._position
        replies = [*self._in_order(requests, held)]
        if all(_holds(reply, held) for reply in replies):
            return replies
        rows, self.moved, self.answers, self._position = before
        del self.rows[rows:]
        kept = self._known_answers.keys() | self.answers.keys()
        return [
            NotApplied() if _holds(reply, held) and request.key not in kept else reply
            for request, reply in zip(requests, replies, strict=True)
        ]

    def _in_order(
        self, requests: tuple[Request, ...], held: Callable[[bytes], bool] | None = None
    ) -> Iterator[Reply | Exception]:
        size = 0
        refused: set[str] = set()
        for request in requests:
            stream = stream_of(request.command)
            if stream in refused:
                yield NotApplied()
                continue
            reply = self.reply(request) if size <= LARGEST_ANSWERS else NoRoom()
            size += len(reply.answer) if isinstance(reply, Reply) else 0
            if held is not None and not _holds(reply, held):
                refused.add(stream)
            yield reply

    def reply(self, request: Request) -> Reply | Exception:
        key = request.key
        if key and (known := self._known_answers.get(key) or self.answers.get(key)):
            if known.fingerprint != request.fingerprint:
                return KeyReused()
            return Reply(known.answer, known.position, replayed=True)
        decided = self._before.get(id(request))
        if decided is None or not self._stands(decided):
            decided = self._decided(request)
        self.decided[id(request)] = decided
        if isinstance(decided, Failed):
            return decided
        position = self._position
        for stream, version, kind, state in decided.rows:
            position += 1
            self.rows.append((stream, version, position, kind, state))
        self._position = position
        self.moved.update(decided.moved)
        if key and not is_dry_run(request.command):
            self.answers[key] = StoredAnswer(key, request.fingerprint, decided.answer, position)
        return Reply(decided.answer, position)

    def _stands(self, decided: Decided | Failed) -> bool:
        """Whether all that was looked at is as it was."""
        if isinstance(decided, Failed):
            return True
        return all(self._state(stream) is known for stream, known in decided.read)

    def _decided(self, request: Request) -> Decided | Failed:
        self._read = []
        try:
            outcome, rows, moved = self._outcome(request)
            return Decided(self._read, request.answer(outcome), rows, moved)
        except Exception as error:
            log.exception(
                "command failed",
                command=type(request.command).__name__,
                request_id=request.request_id,
                traceparent=request.traceparent,
            )
            return Failed(str(error))

    def _outcome(self, request: Request) -> tuple[Accepted | Refused, list[Unplaced], dict[str, Known]]:
        command = request.command
        stream = stream_of(command)
        before = UNKNOWN if request.new and stream not in self.moved else self._looked_at(stream)
        shown = UNKNOWN if _belongs_to_another(request.owner, before.state) else before
        try:
            if request.expected_version is not None and request.expected_version != shown.version:
                raise StaleVersion(expected=request.expected_version)
            if shown is not before and not isinstance(command, PlaceOrder):
                raise NoSuchOrder
            changes = list(self._changes(command, stream, shown.state))
            if shown is not before:  # found out only by whoever would have placed an order now
                raise OrderIdUnusable
        except Refusal as refusal:
            return Refused(refusal, shown.version, shown.state), [], {}
        cause = Cause(self._now, request.actor, request.request_id, request.traceparent)
        rows: list[Unplaced] = []
        moved: dict[str, Known] = {}
        for changed, events in changes:
            start = before if changed == stream else self._looked_at(changed)
            version, state = start.version, start.state
            for event in events:
                version += 1
                state = evolved(state, event)
                rows.append((changed, version, codec.event_type(event), codec.encode(event, cause)))
            moved[changed] = Known(version, state)
        after = moved.get(stream, before)
        assert after.state is not None
        own = changes[0][1] if stream in moved else ()
        if is_dry_run(command):
            would_move = _of_products(changes)
            return Accepted(before.version, after.state, own, 0, would_move), [], {}
        return Accepted(after.version, after.state, own, len(rows)), rows, moved

    def _changes(self, command: AnyCommand, stream: str, state: State) -> Iterator[tuple[str, tuple[Event, ...]]]:
        """The facts that follow, by stream. Raises a `Refusal`."""
        if isinstance(command, ProductCommand):
            assert state is None or isinstance(state, Product)
            fact = products.decide(command, state)
            if fact:
                yield stream, (fact,)
            return
        assert state is None or isinstance(state, Order)
        shelf = {}
        for sku in orders.skus_of(command, state):
            product = self._looked_at(product_stream(sku)).state
            if isinstance(product, Product):
                shelf[sku] = product
        number = self._number() if isinstance(command, PlaceOrder) else ""
        decision = orders.decide(command, state, shelf, number)
        if decision.order:
            yield stream, decision.order
        for sku, facts in decision.products.items():
            yield product_stream(sku), facts

    def _looked_at(self, stream: str) -> Known:
        known = self._state(stream)
        self._read.append((stream, known))
        return known

    def _state(self, stream: str) -> Known:
        return self.moved.get(stream) or self._streams.state(stream)


def _holds(reply: Reply | Exception, held: Callable[[bytes], bool]) -> bool:
    return isinstance(reply, Reply) and held(reply.answer)


def _of_products(changes: list[tuple[str, tuple[Event, ...]]]) -> dict[str, tuple[ProductEvent, ...]]:
    return {
        key_of(changed): tuple(event for event in events if isinstance(event, ProductEvent))
        for changed, events in changes
        if kind_of(changed) == "product"
    }


def _belongs_to_another(owner: str | None, state: State) -> bool:
    return owner is not None and isinstance(state, Order) and state.customer_id != owner


def evolved(state: State, event: Event) -> Order | Product:
    if isinstance(event, ProductFact):  # a look at one class: `OrderEvent` has two dozen
        assert state is None or isinstance(state, Product)
        return products.evolve(state, event)
    assert state is None or isinstance(state, Order)
    return orders.evolve(state, event)


def stream_of(command: AnyCommand) -> str:
    return product_stream(command.sku) if isinstance(command, ProductCommand) else order_stream(command.order_id)


def is_dry_run(command: AnyCommand) -> bool:
    return isinstance(command, AmendOrder) and command.dry_run
