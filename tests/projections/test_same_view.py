"""The answer to a command and a read show the very same order, field by field."""

import random
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from api.shapes import order_view, product_view
from commands import order, product
from events import codec
from events.order import OrderEvent
from events.product import ProductEvent
from projections.queries import Queries
from projections.shapes import OrderView, ProductView
from tests.projections.lives import lives
from tests.projections.logs import a_catalogue
from tests.projections.reading import ReadSide


async def test_both_sides_show_the_very_same_orders_and_products(on_the_log: ReadSide) -> None:
    await on_the_log.record([*a_catalogue(), *lives(200, random.Random(40))])
    orders, products = as_decided(on_the_log)
    async with on_the_log.working():
        await on_the_log.shows_everything()
    async with AsyncConnectionPool(on_the_log.url, min_size=1, max_size=1, open=False) as pool:
        read = await Queries(pool).orders_by_id(orders)
        listed = await Queries(pool).products()
    assert {view.sku: view for view in listed} == products
    assert read.keys() == orders.keys()
    for order_id, view in orders.items():
        for field in view.__struct_fields__:
            if field != "allowed_commands":  # the write side's to say in both
                assert getattr(read[order_id], field) == getattr(view, field), field


def as_decided(side: ReadSide) -> tuple[dict[UUID, OrderView], dict[str, ProductView]]:
    """Every order and product as the write side has it after the whole log."""
    orders: dict[str, order.Order] = {}
    products: dict[str, product.Product] = {}
    versions: dict[str, int] = {}
    for recorded in map(codec.decode, side.rows):
        event, key = recorded.event, recorded.key
        versions[key] = recorded.version
        if isinstance(event, OrderEvent):
            orders[key] = order.evolve(orders.get(key), event)
        else:
            assert isinstance(event, ProductEvent)
            products[key] = product.evolve(products.get(key), event)
    return (
        {UUID(key): order_view(state, versions[key]) for key, state in orders.items()},
        {key: product_view(state, versions[key]) for key, state in products.items()},
    )
