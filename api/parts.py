"""What the wiring gives to the HTTP edge."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from api.auth import Tokens
from api.cursors import Cursors
from commands.processor import Processor
from projections.arrivals import Arrivals
from projections.queries import Queries

Check = Callable[[], Awaitable[str | None]]
"""Whether a part is ready: None, or the reason why not."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    processor: Processor
    queries: Queries
    arrivals: Arrivals
    tokens: Tokens
    cursors: Cursors
    checks: Mapping[str, Check] = {}  # by the part's name, as /readyz shows it
    cors_origins: tuple[str, ...] = ()
