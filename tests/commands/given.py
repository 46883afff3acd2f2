"""given(facts).when(command).then(facts): decisions as sentences."""

from typing import Any

from commands import order as orders
from commands import product as products
from commands.order import AnyOrderCommand
from commands.product import AnyProductCommand
from commands.refusals import Refusal
from events.envelope import Event
from events.order import OrderEvent
from events.product import ProductEvent, ProductListed
from tests.examples import NUMBER

Fact = Event | tuple[str, ProductEvent]
"""A fact of the order, a product's listing, or a fact of the product with this SKU."""


class given:  # noqa: N801  it begins a sentence
    def __init__(self, *facts: Fact) -> None:
        self.order: orders.Order | None = None
        self.shelf: dict[str, products.Product] = {}
        for fact in facts:
            if isinstance(fact, OrderEvent):
                self.order = orders.evolve(self.order, fact)
            else:
                sku, event = _of_product(fact)
                self.shelf[sku] = products.evolve(self.shelf.get(sku), event)

    def when(self, command: AnyOrderCommand | AnyProductCommand) -> "given":
        self.outcome: list[Fact] = []
        self.refusal: Refusal | None = None
        try:
            self.outcome = list(self._decided(command))
        except Refusal as refusal:
            self.refusal = refusal
        return self

    def then(self, *facts: Fact) -> None:
        assert self.refusal is None, self.refusal
        assert self.outcome == list(facts)

    def ignored(self) -> None:
        self.then()

    def refused(self, kind: type[Refusal], **details: Any) -> None:
        assert type(self.refusal) is kind, self.refusal or self.outcome
        assert self.refusal.details == details

    def _decided(self, command: AnyOrderCommand | AnyProductCommand) -> list[Fact]:
        if isinstance(command, AnyProductCommand):
            fact = products.decide(command, self.shelf.get(command.sku))
            return [] if fact is None else [fact if isinstance(fact, ProductListed) else (command.sku, fact)]
        needed = orders.skus_of(command, self.order)
        shelf = {sku: product for sku, product in self.shelf.items() if sku in needed}
        decision = orders.decide(command, self.order, shelf, NUMBER)
        moved = [(sku, fact) for sku, facts in decision.products.items() for fact in facts]
        return [*decision.order, *moved]


def _of_product(fact: Fact) -> tuple[str, ProductEvent]:
    if isinstance(fact, tuple):
        return fact
    assert isinstance(fact, ProductListed)
    return fact.sku, fact
