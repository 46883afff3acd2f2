"""What is paid, voided and given back."""

import pytest
from pydantic import ValidationError

from commands.order import RecordCapture
from commands.refusals import (
    AmountOverflow,
    CurrencyMismatch,
    NothingOwed,
    NothingToVoid,
    OverCapture,
    OverRefund,
    ReferenceUsed,
)
from events.money import MAX_AMOUNT
from tests.commands.given import given
from tests.commands.table import a_cancelled, a_completed, a_paid, a_placed, an_authorized
from tests.examples import (
    an_order_placed,
    asked,
    authorized,
    captured,
    cups,
    record_authorization,
    record_capture,
    record_refund,
    refund_required,
    refunded,
    void_authorization,
    voided,
)


def test_more_than_is_authorized_is_not_captured() -> None:
    given(an_order_placed(cups(2)), authorized(500), captured(400)).when(record_capture(101, reference="x")).refused(
        OverCapture, amount=101, capturable=100, authorized=500, captured=400
    )


def test_what_was_voided_is_not_captured() -> None:
    given(*an_authorized, voided(750)).when(record_capture(1)).refused(
        OverCapture, amount=1, capturable=0, authorized=750, captured=0
    )


@pytest.mark.parametrize(
    "command", [record_authorization(500, "USD"), record_capture(500, "USD"), record_refund(5, currency="USD")]
)
def test_a_payment_in_another_currency_is_refused(command: RecordCapture) -> None:
    given(*a_paid).when(command).refused(CurrencyMismatch, pointer="/amount", expected="EUR", got="USD")


def test_a_capture_draws_on_its_own_authorization_first() -> None:
    two = (*a_placed, authorized(100, "a"), authorized(100, "b"))
    given(*two, captured(80, "b")).when(void_authorization("b")).then(voided(20, reference="b"))
    given(*two, captured(120, "b")).when(void_authorization("b")).refused(NothingToVoid, reference="b")
    given(*two, captured(120, "b")).when(void_authorization("a")).then(voided(80, reference="a"))


def test_a_capture_with_a_reference_of_its_own_draws_on_the_oldest() -> None:
    two = (*a_placed, authorized(100, "a"), authorized(100, "b"), captured(120))
    given(*two).when(void_authorization("a")).refused(NothingToVoid, reference="a")
    given(*two).when(void_authorization("b")).then(voided(80, reference="b"))


def test_several_captures_on_one_authorization_may_bear_its_reference() -> None:
    given(*an_authorized, captured(100, "auth-1")).when(record_capture(100, reference="auth-1")).then(
        captured(100, "auth-1")
    )


def test_more_than_is_owed_may_be_captured_and_is_then_to_be_given_back() -> None:
    given(*a_paid, authorized(100, "b")).when(record_capture(100, reference="c")).then(
        captured(100, "c"), refund_required(100, "captured more than is owed")
    )


def test_only_as_much_as_was_ever_authorized_is_captured_late() -> None:
    given(*a_cancelled, captured(700, "c")).when(record_capture(51)).refused(
        OverCapture, amount=51, capturable=50, authorized=750, captured=700
    )


def test_nothing_is_taken_for_a_completed_order_that_is_paid() -> None:
    given(*a_completed).when(record_authorization(1, reference="b")).refused(NothingOwed, balance=0)
    given(*a_completed).when(record_capture(1, reference="b")).refused(NothingOwed, balance=0)


def test_no_more_is_given_back_than_was_captured() -> None:
    given(*a_paid, refunded(700)).when(record_refund(51, "other")).refused(
        OverRefund, amount=51, captured=750, refunded=700
    )


def test_an_authorization_that_is_not_there_is_not_voided() -> None:
    given(*an_authorized).when(void_authorization("b")).refused(NothingToVoid, reference="b")


def test_a_reference_that_is_taken_is_not_used_for_another_amount() -> None:
    given(*an_authorized).when(record_authorization(1)).refused(
        ReferenceUsed, reference="auth-1", recorded=750, amount=1
    )
    given(*a_paid).when(record_capture(1)).refused(ReferenceUsed, reference="capture-1", recorded=750, amount=1)
    given(*a_paid, refunded(5)).when(record_refund(1)).refused(
        ReferenceUsed, reference="refund-1", recorded=5, amount=1
    )


def test_an_amount_that_cannot_be_kept_is_refused() -> None:
    given(*a_placed, authorized(MAX_AMOUNT, "a")).when(record_authorization(1, reference="b")).refused(
        AmountOverflow, authorized=MAX_AMOUNT, amount=1, largest=MAX_AMOUNT
    )


@pytest.mark.parametrize("amount", [-1, 1.5, "5", True, MAX_AMOUNT + 1])
def test_an_amount_is_a_whole_number_of_minor_units(amount: object) -> None:
    with pytest.raises(ValidationError) as error:
        asked(RecordCapture, amount={"amount": amount, "currency": "EUR"}, reference="a")
    assert error.value.errors()[0]["loc"][:2] == ("amount", "amount")
