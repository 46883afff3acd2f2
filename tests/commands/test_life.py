"""Any sequence of commands, on several orders that share their stock: the code does what the model does, and what
DESIGN section 3 promises holds after every event.

2,000 sequences; `ORDERLOG_TEST_SEQUENCES=50000` tries as many. A failure prints the shortest sequence that shows it,
and `ORDERLOG_TEST_SEED` repeats a run that failed.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from commands import order as orders
from commands import product as products
from commands.order import AnyOrderCommand
from commands.product import Product
from commands.refusals import Refusal
from events.product import ProductListed, StockReceived
from tests.commands import model as numbers
from tests.commands.lawful import as_the_model_has_it, lawful, says_what_is_to_be_given_back, shown
from tests.commands.model import COUNTED, PRICES, Asked, Model, Wanted
from tests.examples import NOON, eur

SEQUENCES = int(os.environ.get("ORDERLOG_TEST_SEQUENCES", "2000"))
SEED = int(os.environ.get("ORDERLOG_TEST_SEED", random.randrange(2**32)))
STEPS = 25

ON_HAND = {"CUP": 9, "BOWL": 4}

Part = str | Asked

tried: Counter[tuple[str, str]] = Counter()
"""How often a command was taken, and refused, in all sequences."""

some = st.integers(1, 4)
key = st.sampled_from([0, 0, 0, 1])  # of the orders
line_id = st.sampled_from(["1", "1", "2", "2", "3", "4"])
asked = st.dictionaries(line_id, some, min_size=1, max_size=2)
extras = st.fixed_dictionaries(
    {},
    optional={
        "discount": st.sampled_from([0, 1, 4, 5, 99, 500, 2500]),
        "shipping": st.sampled_from([0, 1, 490]),
        "tax": st.sampled_from([0, 1, 7, 333]),
    },
)
amount = st.sampled_from(["balance", "balance", "cover", "1", "-1", "500", "more", "0"])
reference = st.sampled_from(["a", "b", "c"])
which = st.integers(0, 3)  # of the parcels, returns or authorizations that are there, or one that is not
part = st.sampled_from(["all", "one", "more"]) | asked
sku = st.sampled_from(list(PRICES))
new_lines = st.lists(st.tuples(sku, some), min_size=1, max_size=3)
price = st.sampled_from([None, None, None, 100, 3])
wanted = st.one_of(
    st.builds(Wanted, line_id, st.sampled_from([None, None, "CUP"]), some, price),
    st.builds(Wanted, st.none(), sku, some, price),
)
new_content = st.none() | st.lists(wanted, min_size=1, max_size=3, unique_by=lambda one: one.line_id or id(one))
switch = st.booleans()
rarely = st.sampled_from([False, False, True])
fortunes = st.lists(st.sampled_from([True, True, True, False]), max_size=6)  # what goes well on an order's way


class LivesOfOrders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(ON_HAND)
        self.orders: dict[int, orders.Order] = {}
        self.shelf: dict[str, Product] = {}
        for name, amount in PRICES.items():
            listed = ProductListed(NOON, name, name.title(), {"EUR": amount}, tracked=name in COUNTED)
            self.shelf[name] = products.evolve(None, listed)
        for name, count in ON_HAND.items():
            self.shelf[name] = products.evolve(self.shelf[name], StockReceived(NOON, count))

    # Placing and amending ------------------------------------------------------------------------------------

    @initialize(lines=new_lines, extras=extras, draft=switch, invoice=switch, luck=fortunes)
    def begin(
        self,
        lines: list[tuple[str, int]],
        extras: dict[str, int],
        draft: bool,  # noqa: FBT001
        invoice: bool,  # noqa: FBT001
        luck: list[bool],
    ) -> None:
        self.place(0, lines, extras, draft, invoice)
        self.go_on(0, luck)

    @rule(key=st.sampled_from([1, 1, 1, 0]), lines=new_lines, extras=extras, draft=switch, invoice=switch)
    def place(self, key: int, lines: list[tuple[str, int]], extras: dict[str, int], draft: bool, invoice: bool) -> None:  # noqa: FBT001
        whole = {"discount": 0, "shipping": 0, "tax": 0} | extras
        taken = self.model.place(key, lines, whole, draft=draft, invoice=invoice)
        self._same(
            key,
            taken,
            orders.PlaceOrder,
            customer_id="C",
            currency="EUR",
            draft=draft,
            lines=[{"sku": sku, "quantity": quantity} for sku, quantity in lines],
            payment_terms="invoice" if invoice else "prepaid",
            **_money(extras),
        )

    @rule(key=key)
    def place_draft(self, key: int) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.place_draft(order), orders.PlaceDraft)

    @rule(key=key, lines=new_content, extras=extras)
    def amend(self, key: int, lines: list[Wanted] | None, extras: dict[str, int]) -> None:
        if order := self.model.orders.get(key):
            listed = None if lines is None else [_amended(one) for one in lines]
            taken = self.model.amend(order, lines, extras)
            self._same(key, taken, orders.AmendOrder, lines=listed, **_money(extras))

    # Steps ---------------------------------------------------------------------------------------------------

    @rule(key=key)
    def confirm(self, key: int) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.confirm(order), orders.ConfirmOrder)

    @rule(key=key)
    def complete(self, key: int) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.complete(order), orders.CompleteOrder)

    @rule(key=key, reason=reference)
    def hold(self, key: int, reason: str) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.hold(order, reason), orders.PlaceHold, reason=reason)

    @rule(key=key)
    def release(self, key: int) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.release(order), orders.ReleaseHold)

    # Payment -------------------------------------------------------------------------------------------------

    @rule(key=key, amount=amount, reference=reference)
    def authorize(self, key: int, amount: str, reference: str) -> None:
        if order := self.model.orders.get(key):
            minor = _minor(order, amount)
            taken = self.model.authorize(order, minor, reference)
            self._same(key, taken, orders.RecordAuthorization, amount=eur(minor), reference=reference)

    @rule(key=key, amount=amount, reference=reference)
    def capture(self, key: int, amount: str, reference: str) -> None:
        if order := self.model.orders.get(key):
            minor = _minor(order, amount)
            taken = self.model.capture(order, minor, reference)
            self._same(key, taken, orders.RecordCapture, amount=eur(minor), reference=reference)

    @rule(key=key, reference=reference)
    def void(self, key: int, reference: str) -> None:
        if order := self.model.orders.get(key):
            self._same(key, self.model.void(order, reference), orders.VoidAuthorization, reference=reference)

    @rule(key=key, amount=amount, reference=reference)
    def refund(self, key: int, amount: str, reference: str) -> None:
        if order := self.model.orders.get(key):
            minor = _minor(order, amount)
            taken = self.model.refund(order, minor, reference)
            self._same(key, taken, orders.RecordRefund, amount=eur(minor), reference=reference)

    # Shipment ------------------------------------------------------------------------------------------------

    @rule(key=key, part=part, parcel=which, named=switch)
    def ship(self, key: int, part: Part, parcel: int, named: bool) -> None:  # noqa: FBT001
        if order := self.model.orders.get(key):
            pieces = _pieces(part, {line_id: line.open for line_id, line in order.lines.items()})
            self._ship(key, order, pieces, _one_of(order.parcels, parcel, "S") if named else None)

    def _ship(self, key: int, order: numbers.Order, pieces: Asked, parcel: str | None) -> None:
        taken = self.model.ship(order, pieces, parcel)
        self._same(key, taken, orders.ShipItems, lines=_listed(pieces), shipment_id=parcel)

    @rule(key=key, parcel=which, carrier=reference)
    def track(self, key: int, parcel: int, carrier: str) -> None:
        if order := self.model.orders.get(key):
            known = _one_of(order.parcels, parcel, "S")
            taken = self.model.track(order, known, carrier)
            self._same(key, taken, orders.UpdateTracking, shipment_id=known, carrier=carrier)

    @rule(key=key, parcel=which)
    def deliver(self, key: int, parcel: int) -> None:
        if order := self.model.orders.get(key):
            known = _one_of(order.parcels, parcel, "S")
            self._same(key, self.model.deliver(order, known), orders.ConfirmDelivery, shipment_id=known)

    @rule(key=key, parcel=which)
    def lose(self, key: int, parcel: int) -> None:
        if order := self.model.orders.get(key):
            known = _one_of(order.parcels, parcel, "S")
            self._same(key, self.model.lose(order, known), orders.ReportLost, shipment_id=known)

    # Cancelling ----------------------------------------------------------------------------------------------

    @rule(key=key, part=part)
    def cancel_lines(self, key: int, part: Part) -> None:
        if order := self.model.orders.get(key):
            pieces = _pieces(part, {line_id: line.open for line_id, line in order.lines.items()})
            taken = self.model.cancel_lines(order, pieces)
            self._same(key, taken, orders.CancelLines, lines=_listed(pieces), reason="no")

    @rule(key=key, really=rarely)
    def cancel(self, key: int, really: bool) -> None:  # noqa: FBT001
        if (order := self.model.orders.get(key)) and really:
            self._same(key, self.model.cancel(order), orders.CancelOrder, reason="no")

    @rule(key=key, really=rarely)
    def expire(self, key: int, really: bool) -> None:  # noqa: FBT001
        if (order := self.model.orders.get(key)) and really:
            self._same(key, self.model.expire(order), orders.ExpireOrder)

    # Returns -------------------------------------------------------------------------------------------------

    @rule(key=key, part=part, back=which, named=switch)
    def request_return(self, key: int, part: Part, back: int, named: bool) -> None:  # noqa: FBT001
        if order := self.model.orders.get(key):
            pieces = _pieces(part, {line_id: line.delivered for line_id, line in order.lines.items()})
            self._request_return(key, order, pieces, _one_of(order.backs, back, "R") if named else None)

    def _request_return(self, key: int, order: numbers.Order, pieces: Asked, back: str | None) -> None:
        taken = self.model.request_return(order, pieces, back)
        self._same(key, taken, orders.RequestReturn, lines=_listed(pieces), reason="no", return_id=back)

    @rule(key=key, back=which, approved=st.sampled_from([True, True, False]))
    def decide_return(self, key: int, back: int, approved: bool) -> None:  # noqa: FBT001
        if order := self.model.orders.get(key):
            known = _one_of(order.backs, back, "R")
            taken = self.model.decide_return(order, known, approved=approved)
            self._same(key, taken, orders.DecideReturn, return_id=known, approved=approved)

    @rule(key=key, back=which, part=part, restock=switch)
    def receive_return(self, key: int, back: int, part: Part, restock: bool) -> None:  # noqa: FBT001
        if order := self.model.orders.get(key):
            known = _one_of(order.backs, back, "R")
            pieces = _pieces(part, order.backs[known].pieces if known in order.backs else {})
            taken = self.model.receive_return(order, known, pieces, restock=restock)
            self._same(key, taken, orders.ReceiveReturn, return_id=known, lines=_listed(pieces), restock=restock)

    # Remarks -------------------------------------------------------------------------------------------------

    @rule(key=key, tags=st.lists(reference, max_size=2))
    def remark(self, key: int, tags: list[str]) -> None:
        if order := self.model.orders.get(key):
            order.notes += 1
            self._same(key, True, orders.AddNote, note="!")  # noqa: FBT003
            order.tags = set(tags)
            self._same(key, True, orders.SetTags, tags=tags)  # noqa: FBT003

    # On the way to where the rare things are -----------------------------------------------------------------

    @rule(key=key, luck=fortunes)
    def go_on(self, key: int, luck: list[bool]) -> None:
        """What an order that lives as it should does next, and next; or it is called off, or a parcel lost."""
        for lucky in luck:
            self._go_on(key, lucky)

    def _go_on(self, key: int, lucky: bool) -> None:  # noqa: FBT001
        order = self.model.orders.get(key)
        if order is None:
            self.place(key, [("CUP", 2), ("POSTER", 1)], {"discount": 99}, False, False)  # noqa: FBT003
        elif order.status == "draft":
            self.place_draft(key)
        elif order.held:
            self.release(key)
        elif order.status == "placed":
            if order.captured < order.owed and not order.invoice:
                self._pay(key, order)
            if lucky:
                self.confirm(key)
        elif order.status == "confirmed":
            self._fulfil(key, order, lucky)
        elif order.status == "cancelled":
            self.capture(key, "1" if lucky else "more", f"late-{len(order.captures)}")

    def _pay(self, key: int, order: numbers.Order) -> None:
        if not sum(order.open_auths.values()):
            self.authorize(key, "balance", "abcdef"[len(order.asked_auths) % 6])
        else:
            self.capture(key, "cover", f"capture-{len(order.captures)}")

    def _fulfil(self, key: int, order: numbers.Order, lucky: bool) -> None:  # noqa: FBT001
        under_way = [number for number, one in enumerate(order.parcels.values()) if one.state == "dispatched"]
        requested = [
            number for number, one in enumerate(order.backs.values()) if one.state in {"requested", "approved"}
        ]
        returnable = {line_id: 1 for line_id, line in order.lines.items() if line.delivered > line.returned}
        if under_way:
            (self.deliver if lucky else self.lose)(key, under_way[0])
        elif order.balance > 0 and not order.parcels:
            self._pay(key, order)
        elif any(line.open for line in order.lines.values()):
            if not lucky and len(order.captures) == 1:
                self.cancel(key, True)  # noqa: FBT003
            self.ship(key, "all" if lucky else "one", 0, False)  # noqa: FBT003
        elif order.balance > 0:
            self._pay(key, order)
        elif order.balance < 0:
            self.refund(key, "due", f"refund-{len(order.refunds)}")
        elif not requested and not lucky:
            self.complete(key)
        elif requested:
            self.decide_return(key, requested[0], True)  # noqa: FBT003
            self.receive_return(key, requested[0], "all", True)  # noqa: FBT003
        elif returnable:
            self._request_return(key, order, returnable, None)

    # The comparison ------------------------------------------------------------------------------------------

    def _same(self, key: int, taken: bool, kind: type[AnyOrderCommand], **fields: Any) -> None:  # noqa: FBT001
        """The code takes the command if the model does, and is then where the model is."""
        command = kind.model_validate({"order_id": UUID(int=key), "at": NOON} | fields)
        refusal = self._does(key, command)
        tried[kind.__name__, "taken" if refusal is None else "refused"] += 1
        assert (refusal is None) == taken, f"{command} was {f'refused: {refusal}' if refusal else 'taken'}"
        for one, order in self.model.orders.items():
            assert shown(self.orders[one]) == as_the_model_has_it(order)
        for name, product in self.shelf.items():
            if name in COUNTED:
                assert (product.on_hand, product.reserved) == (self.model.on_hand[name], self.model.reserved(name))

    def _does(self, key: int, command: AnyOrderCommand) -> Refusal | None:
        order = self.orders.get(key)
        needed = orders.skus_of(command, order)
        try:
            decision = orders.decide(command, order, {sku: self.shelf[sku] for sku in needed}, f"N-{key}")
        except Refusal as refusal:
            return refusal
        for fact in decision.order:
            order = orders.evolve(order, fact)
            lawful(order)
        for sku, facts in decision.products.items():
            for moved in facts:
                self.shelf[sku] = products.evolve(self.shelf[sku], moved)
                assert 0 <= self.shelf[sku].reserved <= self.shelf[sku].on_hand
        if order is not None:
            says_what_is_to_be_given_back(self.orders.get(key), order, decision.order)
            self.orders[key] = order
        return None


def _money(amounts: dict[str, int]) -> dict[str, Any]:
    return {name: eur(amount) for name, amount in amounts.items()}


def _pieces(part: Part, there: Asked) -> Asked:
    """All that is there, or one piece of the first line of it, or one piece too many; or just anything."""
    if isinstance(part, dict):
        return part
    there = {line_id: count for line_id, count in there.items() if count} or {"1": 1}
    first = next(iter(there))
    return there if part == "all" else {first: 1 if part == "one" else there[first] + 1}


def _one_of(there: Iterable[str], number: int, letter: str) -> str:
    """One that is there, or the next that would be."""
    known = list(there)
    return known[number] if number < len(known) else f"{letter}{len(known) + 1}"


def _listed(pieces: Asked) -> list[dict[str, Any]]:
    return [{"line_id": line_id, "quantity": quantity} for line_id, quantity in pieces.items()]


def _amended(one: Wanted) -> dict[str, Any]:
    unit_price = None if one.price is None else eur(one.price)
    return {"line_id": one.line_id, "sku": one.sku, "quantity": one.quantity, "unit_price": unit_price}


def _minor(order: numbers.Order, amount: str) -> int:
    cover = sum(order.open_auths.values())
    amounts = {
        "balance": order.balance,
        "-1": order.balance - 1,
        "more": order.balance + 300,
        "cover": cover,
        "due": -order.balance,
    }
    return max(0, amounts[amount] if amount in amounts else int(amount))


@pytest.mark.timeout(0 if SEQUENCES > 10_000 else 300)
def test_orders_live_as_the_model_says_whatever_is_asked_of_them() -> None:
    print(f"ORDERLOG_TEST_SEQUENCES={SEQUENCES} ORDERLOG_TEST_SEED={SEED}")  # shown when it fails
    run_state_machine_as_test(
        seed(SEED)(LivesOfOrders),
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(*sorted(tried.items()), sep="\n")
    for kind in get_args(AnyOrderCommand):
        if kind is not orders.SetMetadata:
            assert tried[kind.__name__, "taken"], f"{kind.__name__} was never taken"
    assert sum(count for (_, outcome), count in tried.items() if outcome == "refused") > SEQUENCES
