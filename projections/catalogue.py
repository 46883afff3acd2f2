"""All projections, by name: the read side's table of contents."""

from collections.abc import Iterable

from projections import daily_sales, due_steps, order_details, order_list, order_search, stock_levels, timeline
from projections.tables import Projection

PROJECTIONS: dict[str, Projection] = {
    "order_details": order_details.PROJECTION,
    "order_list": order_list.PROJECTION,
    "order_search": order_search.PROJECTION,
    "daily_sales": daily_sales.PROJECTION,
    "timeline": timeline.PROJECTION,
    "due_steps": due_steps.PROJECTION,
    "stock_levels": stock_levels.PROJECTION,
}


class UnknownProjection(Exception):
    """There is no projection of this name."""


def chosen(names: Iterable[str]) -> list[Projection]:
    """The projections with these names; all of them for no name. Raises `UnknownProjection`."""
    names = list(names) or list(PROJECTIONS)
    if unknown := sorted(set(names) - PROJECTIONS.keys()):
        raise UnknownProjection(f"no projection is called {', '.join(unknown)}; there are: {', '.join(PROJECTIONS)}")
    return [PROJECTIONS[name] for name in PROJECTIONS if name in names]


def consumer_group(projections: Iterable[Projection]) -> str:
    """The Kafka consumer group that shares the work on these projections."""
    names = sorted(projection.name for projection in projections)
    return "orderlog.projections" if names == sorted(PROJECTIONS) else f"orderlog.projections.{'.'.join(names)}"
