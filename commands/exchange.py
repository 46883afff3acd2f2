"""What a processor is asked, and what it tells: commands and who asks, outcomes, replies."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from commands.order import AnyOrderCommand, Order
from commands.product import AnyProductCommand, Product
from commands.refusals import Refusal
from events.envelope import Event
from events.product import ProductEvent

AnyCommand = AnyOrderCommand | AnyProductCommand
State = Order | Product | None


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The command holds: its events are in the log, or it was so already."""

    version: int  # of the command's own stream
    state: Order | Product
    events: tuple[Event, ...]  # of the command's own stream; empty when it was so already
    recorded: int  # events of all streams: the last ones up to the reply's position
    products: Mapping[str, tuple[ProductEvent, ...]] = {}  # of a dry run only: what would happen to which, by SKU


class Refused(msgspec.Struct, frozen=True):
    """The command does not hold; nothing was appended."""

    refusal: Refusal
    version: int  # of the command's own stream; 0 when there is none
    state: State


class Request(msgspec.Struct, frozen=True):
    """A command, who asks, and how its outcome becomes the answer that is kept and replayed."""

    command: AnyCommand
    actor: str
    answer: Callable[[Accepted | Refused], bytes]
    key: str | None = None  # UUID in hexadecimal: the hash of caller and Idempotency-Key
    fingerprint: str = ""  # UUID in hexadecimal: the hash of what was asked
    expected_version: int | None = None
    new: bool = False  # the stream cannot exist yet: its id was made for this command
    owner: str | None = None  # the customer that the caller is confined to: other customers' orders do not exist
    request_id: str | None = None
    traceparent: str | None = None


class Reply(msgspec.Struct, frozen=True, gc=False):
    answer: bytes
    position: int  # the log's head right after the command
    replayed: bool = False


class Series(msgspec.Struct, frozen=True):
    """Commands that are decided in order, one right after another, and appended together.

    Each is accepted or refused for itself. With `held`, which tells from an answer whether its command held, all of
    them hold or nothing is appended; then no answer is kept either, so that all of it may be tried again.
    """

    requests: tuple[Request, ...]
    held: Callable[[bytes], bool] | None = None


class Replies(msgspec.Struct, frozen=True):
    """To the commands of a series, in their order; an exception may be `NotApplied` and `NoRoom` as well."""

    of: list[Reply | Exception]


Asked = Request | Series
Told = Reply | Replies | Exception


class KeyReused(Exception):
    """The idempotency key was used for another request."""


class Busy(Exception):
    """More commands wait than can be decided soon; try again."""


class Unavailable(Exception):
    """The log could not be written; whether the command was taken is not known. Try again with the same key."""


class Failed(Exception):
    """The command could not be decided; nothing was appended."""


class NotApplied(Exception):
    """Another command of the series was refused, so nothing of it was appended."""


class NoRoom(Exception):
    """The answers to the commands before it in the series are all that one series may have; it was not decided."""


def keys_of(asked: Iterable[Asked]) -> list[str]:
    """The idempotency keys of all commands."""
    return [
        request.key
        for one in asked
        for request in (one.requests if isinstance(one, Series) else (one,))
        if request.key is not None
    ]
