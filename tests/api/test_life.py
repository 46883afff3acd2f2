"""An order's life over HTTP: drafts, amendments, dry runs, late money, and refusals that name a field."""

from typing import Any

import psycopg
import pytest

from api.refusals import STATUS, refused
from commands.exchange import Refused
from commands.order import AddNote
from commands.refusals import Refusal
from tests.api.edge import ALICE, BOB, STAFF, Edge, Json, an_order, eur
from tests.examples import NOON, ORDER

TWO_CUPS = [{"sku": "CUP", "quantity": 2}]


@pytest.fixture
async def edge(edge: Edge) -> Edge:
    """One with posters, and with ten cups."""
    await edge.listed()
    await edge.listed("CUP", stock="tracked", received=10, price=250)
    return edge


async def asked(edge: Edge, path: str, command: str, body: Json | None = None, by: str = STAFF) -> Json:
    """What must be accepted; the state that it led to."""
    answer = await edge.post(f"{path}/{command}", body, by=by)
    assert answer.status_code == 200, answer.text
    order: Json = answer.json()
    return order


async def placed(edge: Edge, **more: Any) -> str:
    return f"/v1/orders/{(await edge.placed(**more))['order_id']}"


async def delivered(edge: Edge) -> str:
    """Two cups, paid and delivered, as S1."""
    path = await placed(edge, lines=TWO_CUPS)
    money = {"amount": eur(500), "reference": "auth-1"}
    for command, body in (
        ("record-authorization", money),
        ("confirm", {}),
        ("record-capture", money),
        ("ship-items", {"lines": [{"line_id": "1", "quantity": 2}]}),
        ("confirm-delivery", {"shipment_id": "S1"}),
    ):
        await asked(edge, path, command, body)
    return path


async def kept_answers(edge: Edge) -> int:
    async with await psycopg.AsyncConnection.connect(edge.log.url) as connection:
        row = await (await connection.execute("SELECT count(*) FROM answers")).fetchone()
    assert row is not None
    return int(row[0])


# Drafts ------------------------------------------------------------------------------------------------------


async def test_a_draft_is_placed_by_its_customer_and_keeps_its_number(edge: Edge) -> None:
    drafted = (await edge.post("/v1/orders", an_order(draft=True, lines=TWO_CUPS), by=ALICE)).json()
    path = f"/v1/orders/{drafted['order_id']}"
    assert (drafted["status"], drafted["placed_at"]) == ("draft", None)
    assert "place" in drafted["allowed_commands"]
    assert (await edge.post(f"{path}/place", by=BOB)).status_code == 404

    order = await asked(edge, path, "place", by=ALICE)

    assert (order["status"], order["number"]) == ("placed", drafted["number"])
    assert order["placed_at"] is not None


async def test_every_order_has_a_number_of_its_own(edge: Edge) -> None:
    numbers = [(await edge.placed())["number"] for _ in range(20)]

    assert len(set(numbers)) == 20


# Amendments --------------------------------------------------------------------------------------------------


async def test_a_customer_amends_its_order_at_our_prices_until_it_is_confirmed(edge: Edge) -> None:
    path = await placed(edge, lines=TWO_CUPS)
    more = {"lines": [{"line_id": "1", "quantity": 3}, {"sku": "POSTER", "quantity": 1}]}
    assert (await edge.post(f"{path}/amend", more, by=BOB)).status_code == 404

    amended = await asked(edge, path, "amend", more, by=ALICE)
    await asked(edge, path, "record-authorization", {"amount": amended["total"], "reference": "r"})
    await asked(edge, path, "confirm")
    late = await edge.post(f"{path}/amend", {"lines": [{"line_id": "1", "quantity": 3}]}, by=ALICE)
    by_staff = await edge.post(f"{path}/amend", {"lines": [{"line_id": "1", "quantity": 3}]})

    assert amended["total"] == eur(3 * 250 + 1999)
    assert (late.status_code, late.json()["code"]) == (409, "order-confirmed-already")
    assert late.json()["current_status"] == "confirmed"
    assert (by_staff.status_code, by_staff.json()["total"]) == (200, eur(750))


async def test_a_customer_may_not_set_prices_by_an_amendment(edge: Edge) -> None:
    path = await placed(edge)
    lines = [{"line_id": "1", "quantity": 2}, {"sku": "CUP", "quantity": 1, "unit_price": eur(5)}]
    prices = {"discount": eur(1), "shipping": eur(0), "tax": eur(0)}

    answer = await edge.post(f"{path}/amend", {"lines": lines} | prices, by=ALICE)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert [one["pointer"] for one in answer.json()["errors"]] == [
        *("/lines/1/unit_price", "/discount", "/shipping", "/tax")
    ]


async def test_a_dry_run_answers_what_would_be_and_leaves_no_trace(edge: Edge) -> None:
    path = await placed(edge, lines=TWO_CUPS)
    before, answers = edge.log.head(), await kept_answers(edge)
    change = {"lines": [{"line_id": "1", "quantity": 7}, {"sku": "POSTER", "quantity": 1}], "shipping": eur(490)}

    tried = await edge.post(f"{path}/amend", change | {"dry_run": True}, key="k")

    shown = tried.json()
    assert (tried.status_code, shown["dry_run"], shown["reservations"]) == (200, True, {"CUP": 5})
    assert (shown["total"], shown["version"]) == (eur(7 * 250 + 1999 + 490), 1)
    assert [line["quantity"] for line in shown["lines"]] == [7, 1]
    assert "etag" not in tried.headers
    assert (edge.log.head(), await kept_answers(edge)) == (before, answers)

    done = await edge.post(f"{path}/amend", change, key="k")

    assert done.status_code == 200, "the key of a dry run is not used up"
    assert "idempotency-replayed" not in done.headers
    differing = {"dry_run", "reservations", "version", "updated_at"}
    assert {n: v for n, v in done.json().items() if n not in differing} == {
        n: v for n, v in shown.items() if n not in differing
    }


async def test_a_dry_run_shows_what_would_be_released(edge: Edge) -> None:
    path = await placed(edge, lines=TWO_CUPS)

    shown = await asked(edge, path, "amend", {"lines": [{"line_id": "1", "quantity": 1}], "dry_run": True})

    assert shown["reservations"] == {"CUP": -1}


async def test_a_dry_run_is_refused_as_the_amendment_would_be(edge: Edge) -> None:
    path = await placed(edge, lines=TWO_CUPS)
    before, answers = edge.log.head(), await kept_answers(edge)
    change = {"lines": [{"line_id": "1", "quantity": 11}]}

    tried = await edge.post(f"{path}/amend", change | {"dry_run": True}, key="one")

    assert (edge.log.head(), await kept_answers(edge)) == (before, answers)
    refused = await edge.post(f"{path}/amend", change, key="another")
    assert tried.status_code == refused.status_code == 409
    assert tried.json() | {"request_id": ""} == refused.json() | {"request_id": ""}
    assert tried.json()["short"] == {"CUP": {"asked": 9, "available": 8}}


# Money that comes late ---------------------------------------------------------------------------------------


async def test_money_that_comes_after_the_order_was_cancelled_is_to_be_given_back(edge: Edge) -> None:
    path = await placed(edge)
    money = {"amount": eur(3998), "reference": "auth-1"}
    await asked(edge, path, "record-authorization", money)
    cancelled = await asked(edge, path, "cancel", {"reason": "changed my mind"}, by=ALICE)
    assert (cancelled["total"], cancelled["refund_due"], cancelled["voided"]) == (eur(0), eur(0), eur(3998))

    late = await asked(edge, path, "record-capture", money)
    refunded = await asked(edge, path, "record-refund", {"amount": eur(3998), "reference": "refund-1"})

    assert (late["status"], late["refund_due"], late["balance"]) == ("cancelled", eur(3998), eur(-3998))
    assert "record-refund" in late["allowed_commands"]
    assert (refunded["refund_due"], refunded["balance"]) == (eur(0), eur(0))


# Refusals ----------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, Json, int, str, str | None]] = {
    "another currency": (
        *("record-refund", {"amount": {"amount": 1, "currency": "USD"}, "reference": "r"}),
        *(409, "currency-mismatch", "/amount"),
    ),
    "more refunded than captured": (
        "record-refund",
        {"amount": eur(501), "reference": "r"},
        409,
        "over-refund",
        "/amount",
    ),
    "more captured than authorized": (
        *("record-capture", {"amount": eur(1), "reference": "r"}),
        *(409, "over-capture", "/amount"),
    ),
    "a reference used otherwise": (
        *("record-authorization", {"amount": eur(7), "reference": "auth-1"}),
        *(409, "reference-used", "/reference"),
    ),
    "nothing to void": ("void-authorization", {"reference": "nil"}, 409, "nothing-to-void", "/reference"),
    "an unknown shipment": ("confirm-delivery", {"shipment_id": "S9"}, 404, "unknown-shipment", "/shipment_id"),
    "an unknown shipment to track": (
        *("update-tracking", {"shipment_id": "S9", "carrier": "DHL"}),
        *(404, "unknown-shipment", "/shipment_id"),
    ),
    "a shipment that arrived": ("report-lost", {"shipment_id": "S1"}, 409, "delivered-already", "/shipment_id"),
    "an unknown return": ("decide-return", {"return_id": "R9", "approved": True}, 404, "unknown-return", "/return_id"),
    "an unknown line": (
        *("cancel-lines", {"lines": [{"line_id": "9", "quantity": 1}], "reason": "r"}),
        *(404, "unknown-lines", "/lines/0/line_id"),
    ),
    "more shipped than open": (
        *("ship-items", {"lines": [{"line_id": "1", "quantity": 1}]}),
        *(409, "exceeds-open", "/lines/0/line_id"),
    ),
    "more returned than delivered": (
        *("request-return", {"lines": [{"line_id": "1", "quantity": 3}], "reason": "r"}),
        *(409, "exceeds-delivered", "/lines/0/line_id"),
    ),
    "another total than expected": (
        *("amend", {"email": "a@example.org", "expected_total": eur(1)}),
        *(409, "total-mismatch", "/expected_total"),
    ),
    "a discount above all": ("amend", {"discount": eur(501)}, 409, "negative-total", "/discount"),
    "an address after a shipment": (
        "amend",
        {"shipping_address": {"name": "A", "line1": "B", "city": "C", "country": "DE"}},
        *(409, "address-fixed", "/shipping_address"),
    ),
    "an unknown product": (
        *("amend", {"lines": [{"line_id": "1", "quantity": 2}, {"sku": "NIL", "quantity": 1}]}),
        *(404, "unknown-products", "/lines/1/sku"),
    ),
    "a shipped order": ("cancel", {"reason": "r"}, 409, "already-shipped", None),
}


async def test_a_refusal_names_the_field_and_says_what_may_be_done(edge: Edge) -> None:
    path = await delivered(edge)
    before = edge.log.head()

    for name, (command, body, status, code, pointer) in REFUSED.items():
        answer = await edge.post(f"{path}/{command}", body)
        problem = answer.json()
        assert (answer.status_code, problem.get("code")) == (status, code), f"{name}: {answer.text}"
        assert [one["pointer"] for one in problem.get("errors", ())] == ([pointer] if pointer else []), name
        assert all(one["detail"] for one in problem.get("errors", ())), name
        assert (problem["current_status"], problem["current_version"]) == ("confirmed", 6), name
        assert "request-return" in problem["allowed_commands"], name

    assert edge.log.head() == before


@pytest.mark.parametrize("kind", Refusal.__subclasses__())
def test_every_refusal_is_a_problem_with_a_sentence(kind: type[Refusal]) -> None:
    problem = refused(Refused(kind(), 0, None), AddNote(order_id=ORDER, at=NOON, note="n"))

    assert problem.status == STATUS.get(kind, 409)
    assert problem.code == kind.code != "refused"
    assert problem.title != "The command was refused", "it has no sentence of its own"


@pytest.mark.parametrize(
    ("command", "body", "pointers"),
    [
        ("amend", {"before_confirmation": False}, ["/before_confirmation"]),
        ("void-authorization", {"reference": "r", "reason": "expired"}, ["/reason"]),
        ("add-note", {"note": "x" * 5_001}, ["/note"]),
        ("add-note", {"note": "a\0"}, ["/note"]),
        ("set-tags", {"tags": ["ok", " spaced"]}, ["/tags/1"]),
        ("set-metadata", {"metadata": {"k" * 201: "v", "k": "v" * 501}}, [f"/metadata/{'k' * 201}", "/metadata/k"]),
        ("set-metadata", {"metadata": {str(number): "v" for number in range(51)}}, ["/metadata"]),
        ("cancel-lines", {"lines": [{"line_id": "1", "quantity": 10**9 + 1}], "reason": "r"}, ["/lines/0/quantity"]),
        ("cancel-lines", {"lines": [{"line_id": "1", "quantity": 0}], "reason": ""}, ["/lines/0/quantity", "/reason"]),
        ("ship-items", {"lines": []}, ["/lines"]),
        ("record-refund", {"amount": eur(-1), "reference": "r"}, ["/amount/amount"]),
        ("record-refund", {"amount": {"amount": 1.5, "currency": "EUR"}, "reference": "r"}, ["/amount/amount"]),
        ("record-refund", {"amount": {"amount": 1, "currency": "EUX"}, "reference": "r"}, ["/amount/currency"]),
        ("decide-return", {"return_id": "R1", "approved": "yes"}, ["/approved"]),
        ("confirm", {"at": "2031-01-01T00:00:00Z"}, ["/at"]),
    ],
)  # fmt: skip
async def test_a_body_out_of_bounds_is_told_where(edge: Edge, command: str, body: Json, pointers: list[str]) -> None:
    path = await placed(edge)
    before = edge.log.head()

    answer = await edge.post(f"{path}/{command}", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert [one["pointer"] for one in answer.json()["errors"]] == pointers
    assert edge.log.head() == before


async def test_five_megabytes_of_notes_are_refused(edge: Edge) -> None:
    path = await placed(edge)

    answer = await edge.post(f"{path}/add-note", {"note": "x" * 5_000_000})

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
