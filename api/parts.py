"""What the wiring gives to the HTTP edge."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from api.auth import Tokens
from api.cursors import Cursors
from api.limits import Limits
from api.metrics import Source
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
    notes: Mapping[str, Check] = {}  # what /readyz tells of a part that is ready all the same
    sources: Sequence[Source] = ()  # what /metrics shows besides the requests
    limits: Limits | None = None
    cors_origins: tuple[str, ...] = ()
