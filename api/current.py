"""An order as it is now: folded from the log itself, so that it never lags."""

from uuid import UUID

from commands import order as orders
from commands.order import Order
from events import codec
from events.envelope import order_stream
from events.order import OrderEvent
from projections.queries import Queries


async def current_order(queries: Queries, order_id: UUID) -> tuple[Order, int] | None:
    """The order and its version. Raises `UnreadableEvent` where the log holds what this version cannot read."""
    state: Order | None = None
    version = 0
    for row in await queries.stream(order_stream(order_id)):
        recorded = codec.decode(row)
        assert isinstance(recorded.event, OrderEvent)
        state, version = orders.evolve(state, recorded.event), recorded.version
    return (state, version) if state is not None else None
