"""Parcels: sent, followed, arrived, lost."""

import pytest
from pydantic import ValidationError

from commands.order import OrderCommand, ShipItems, UpdateTracking
from commands.refusals import (
    DeliveredAlready,
    ExceedsOpen,
    LostAlready,
    OutOfStock,
    ShipmentExists,
    UnknownLines,
    UnknownShipment,
)
from events.product import StockAdjusted, StockDispatched, StockReserved
from tests.commands.given import given
from tests.commands.table import a_completed, a_confirmed, a_delivered, a_shipped
from tests.examples import (
    NOON,
    ORDER,
    a_poster,
    an_order_confirmed,
    an_order_placed,
    asked,
    confirm_delivery,
    lost,
    posters,
    report_lost,
    ship_items,
    shipped,
    tracked,
    update_tracking,
)


def test_a_part_can_be_shipped_and_its_stock_leaves() -> None:
    given(*a_confirmed).when(ship_items(2)).then(shipped(2), ("CUP", StockDispatched(NOON, ORDER, 2)))


def test_what_is_not_counted_leaves_no_stock() -> None:
    given(a_poster, an_order_placed(posters(2)), an_order_confirmed).when(ship_items(2)).then(shipped(2))


def test_no_more_than_is_open_is_shipped() -> None:
    given(*a_confirmed, shipped(2)).when(ship_items(2)).refused(ExceedsOpen, lines={"1": {"asked": 2, "open": 1}})


def test_unknown_lines_are_named() -> None:
    given(*a_confirmed).when(ship_items(1, line_id="7")).refused(UnknownLines, line_ids=["7"])


def test_another_shipment_with_a_known_id_is_refused() -> None:
    given(*a_shipped).when(ship_items(1, shipment_id="S1")).refused(ShipmentExists, shipment_id="S1")


def test_a_shipment_is_numbered_past_the_ids_that_callers_chose() -> None:
    given(*a_confirmed, shipped(1, shipment_id="S2")).when(ship_items(1)).then(
        shipped(1, shipment_id="S3"), ("CUP", StockDispatched(NOON, ORDER, 1))
    )


def test_what_was_lost_is_shipped_again_from_what_is_available() -> None:
    given(*a_shipped, lost(3)).when(ship_items(2)).then(
        shipped(2, shipment_id="S2"), ("CUP", StockReserved(NOON, ORDER, 2)), ("CUP", StockDispatched(NOON, ORDER, 2))
    )


def test_what_was_lost_is_not_shipped_again_without_stock() -> None:
    given(*a_shipped, lost(3)).when(ship_items(3)).refused(OutOfStock, short={"CUP": {"asked": 3, "available": 2}})


def test_what_is_reserved_is_shipped_before_what_was_lost() -> None:
    one_lost = (*a_confirmed, shipped(1), ("CUP", StockDispatched(NOON, ORDER, 1)), lost(1))
    sold_out = (*one_lost, ("CUP", StockAdjusted(NOON, -2)))
    given(*sold_out).when(ship_items(2)).then(shipped(2, shipment_id="S2"), ("CUP", StockDispatched(NOON, ORDER, 2)))
    given(*sold_out).when(ship_items(3)).refused(OutOfStock, short={"CUP": {"asked": 1, "available": 0}})


def test_what_was_lost_twice_is_shipped_a_third_time() -> None:
    again = (
        *(*a_shipped, lost(3), ("CUP", StockReserved(NOON, ORDER, 2)), ("CUP", StockDispatched(NOON, ORDER, 2))),
        *(shipped(2, shipment_id="S2"), lost(2, shipment_id="S2"), ("CUP", StockAdjusted(NOON, 2))),
    )
    given(*again).when(ship_items(2)).then(
        shipped(2, shipment_id="S3"), ("CUP", StockReserved(NOON, ORDER, 2)), ("CUP", StockDispatched(NOON, ORDER, 2))
    )


def test_what_is_left_out_of_a_tracking_stays() -> None:
    given(*a_shipped, tracked("Post", "1")).when(update_tracking(tracking_number="2")).then(tracked("Post", "2"))


def test_what_arrived_is_not_lost() -> None:
    given(*a_delivered).when(report_lost()).refused(DeliveredAlready, shipment_id="S1")


def test_what_was_lost_does_not_arrive() -> None:
    given(*a_shipped, lost(3)).when(confirm_delivery()).refused(LostAlready, shipment_id="S1")


@pytest.mark.parametrize("known", [a_shipped, a_completed])
@pytest.mark.parametrize("command", [confirm_delivery("S9"), report_lost("S9"), update_tracking("S9", carrier="P")])
def test_an_unknown_shipment_is_refused(command: OrderCommand, known: tuple[object, ...]) -> None:
    given(*known).when(command).refused(UnknownShipment, shipment_id="S9")  # type: ignore[arg-type]


def test_a_line_is_named_once_in_a_shipment() -> None:
    line = {"line_id": "1", "quantity": 1}
    with pytest.raises(ValidationError, match="names the same line twice"):
        asked(ShipItems, lines=[line, line])


def test_a_tracking_says_something() -> None:
    with pytest.raises(ValidationError, match="needs a carrier or a tracking_number"):
        asked(UpdateTracking, shipment_id="S1")
