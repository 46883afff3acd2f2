"""What the wiring gives to the HTTP edge."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from api.accounts import Accounts
from api.auth import Verifier
from api.cursors import Cursors
from api.limits import Limits
from api.metrics import Source
from api.operating import Check
from api.sign_in import SignIn
from api.tokens import Tokens
from commands.command import Command
from commands.processor import Processor
from projections.arrivals import Arrivals
from projections.queries import Queries


class Identity(msgspec.Struct, frozen=True):
    """The built-in issuer: what gives out tokens, and to whom."""

    tokens: Tokens
    accounts: Accounts
    sign_in: SignIn


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    processor: Processor
    queries: Queries
    arrivals: Arrivals
    tokens: Verifier
    cursors: Cursors
    identity: Identity | None = None  # None: the tokens are another issuer's
    checks: Mapping[str, Check] = {}  # by the part's name, as /readyz shows it
    notes: Mapping[str, Check] = {}  # what /readyz tells of a part that is ready all the same
    sources: Sequence[Source] = ()  # what /metrics shows besides the requests
    limits: Limits | None = None
    versioned: AbstractSet[type[Command]] = frozenset()  # commands that must say which version they are for
    cors_origins: tuple[str, ...] = ()
