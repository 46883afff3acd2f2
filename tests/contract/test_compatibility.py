"""Each kind of break is noticed, in a document of our own and with nothing else changed; extensions are none."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.compatibility import breaks
from tests.contract.document import as_served, broken

Json = dict[str, Any]
Change = Callable[[Json], Any]

PLACE = ("paths", "/v1/orders", "post")
READ = ("paths", "/v1/orders/{order_id}", "get")
LIST = ("paths", "/v1/orders", "get")
ORDER = ("components", "schemas", "OrderView")
BODY = ("components", "schemas", "PlaceOrder")


def at(document: Json, *path: Any) -> Any:
    for step in path:
        document = document[step]
    return document


def parameter(document: Json, name: str) -> Json:
    found: Json = next(one for one in at(document, *LIST, "parameters") if one["name"] == name)
    return found


BREAKS: dict[str, tuple[Change, str]] = {
    "a path is gone": (lambda d: d["paths"].pop("/v1/auth/me"), "GET /v1/auth/me: is gone"),
    "a method is gone": (lambda d: at(d, "paths", "/v1/orders").pop("get"), "GET /v1/orders: is gone"),
    "an id is another": (
        lambda d: at(d, *READ).update(operationId="getOrder"),
        "GET /v1/orders/{order_id}: its operationId was order, and is getOrder",
    ),
    "an open route wants a token": (
        lambda d: at(d, "paths", "/livez", "get").pop("security"),
        "GET /livez: wants a token now",
    ),
    "a parameter is gone": (
        lambda d: at(d, *LIST, "parameters").remove(parameter(d, "tag")),
        "GET /v1/orders tag: the parameter is gone",
    ),
    "a new parameter is required": (
        lambda d: at(d, *LIST, "parameters").append({"name": "x", "in": "query", "required": True, "schema": {}}),
        "GET /v1/orders x: the parameter is required now",
    ),
    "a parameter becomes required": (
        lambda d: parameter(d, "tag").update(required=True),
        "GET /v1/orders tag: the parameter is required now",
    ),
    "a parameter takes less": (
        lambda d: parameter(d, "limit")["schema"].update(maximum=100),
        "GET /v1/orders limit: maximum was 200, and is 100",
    ),
    "a value of a parameter is gone": (
        lambda d: at(d, "components", "schemas", "Status", "enum").remove("draft"),
        "GET /v1/orders status/items: draft is not accepted any more",
    ),
    "a body has a new required field": (
        lambda d: at(d, *BODY, "required").append("email"),
        "POST /v1/orders body/email: is required now",
    ),
    "a field of a body is gone": (
        lambda d: at(d, *BODY, "properties").pop("draft"),
        "POST /v1/orders body/draft: is not accepted any more",
    ),
    "a field of a body is of another type": (
        lambda d: at(d, *BODY, "properties", "draft").update(type="string"),
        "POST /v1/orders body/draft: was boolean, and must be string",
    ),
    "a field far down in a body may not be null any more": (
        lambda d: at(d, "components", "schemas", "WantedLineInput", "properties").update(
            unit_price={"$ref": "#/components/schemas/MoneyInput"}
        ),
        "POST /v1/orders body/lines/items/unit_price: was null, and must be object",
    ),
    "a text of a body may be less long": (
        lambda d: at(d, "components", "schemas", "AddNote", "properties", "note").update(maxLength=10),
        "POST /v1/orders/{order_id}/add-note body/note: maxLength was 5000, and is 10",
    ),
    "a body is required": (
        lambda d: at(d, "paths", "/v1/orders/{order_id}/confirm", "post", "requestBody").update(required=True),
        "POST /v1/orders/{order_id}/confirm body: is required now",
    ),
    "a kind of body is not taken": (
        lambda d: at(d, *PLACE, "requestBody", "content").pop("application/json"),
        "POST /v1/orders body: application/json is not taken any more",
    ),
    "a status is gone": (
        lambda d: at(d, *PLACE, "responses").update({"200": at(d, *PLACE, "responses").pop("201")}),
        "POST /v1/orders 201: is not answered any more",
    ),
    "a header of the answer is gone": (
        lambda d: at(d, *PLACE, "responses", "201", "headers").pop("ETag"),
        "POST /v1/orders 201: the header ETag is gone",
    ),
    "an answer is of another media type": (
        lambda d: (
            at(d, *READ, "responses", "200", "content").update({"text/plain": {"schema": {}}})
            or at(d, *READ, "responses", "200", "content").pop("application/json")
        ),
        "GET /v1/orders/{order_id} 200: is not application/json any more",
    ),
    "a member of an answer is gone": (
        lambda d: at(d, *ORDER, "properties").pop("balance"),
        "GET /v1/orders/{order_id} 200/balance: is gone",
    ),
    "a member of an answer may be missing": (
        lambda d: at(d, *ORDER, "required").remove("balance"),
        "GET /v1/orders/{order_id} 200/balance: may be missing now",
    ),
    "a member of an answer is of another type": (
        lambda d: at(d, *ORDER, "properties", "version").update(type="string"),
        "GET /v1/orders/{order_id} 200/version: was integer, and may be string",
    ),
    "a member of an answer may be null": (
        lambda d: at(d, *ORDER, "properties").update(version={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        "GET /v1/orders/{order_id} 200/version: was integer, and may be null",
    ),
    "a member far down in an answer is gone": (
        lambda d: at(d, "components", "schemas", "LineView", "properties").pop("open"),
        "GET /v1/orders/{order_id} 200/lines/items/open: is gone",
    ),
    "a member of a fact is gone": (
        lambda d: at(d, "components", "schemas", "OrderPlaced", "properties").pop("total"),
        "GET /v1/orders/{order_id}/events 200/items/items/data/total: is gone",
    ),
    "a fact is called otherwise": (
        lambda d: at(d, "components", "schemas", "OrderPlaced", "properties", "type").update(enum=["placed"]),
        "GET /v1/orders/{order_id}/events 200/items/items/data/type: was orderlog.order.placed.v1, and is placed",
    ),
    "a member of a problem is gone": (
        lambda d: at(d, "components", "schemas", "Problem", "properties").pop("code"),
        "GET /v1/orders/{order_id} 404/code: is gone",
    ),
}

EXTENSIONS: dict[str, Change] = {
    "a new route": lambda d: d["paths"].update({"/v2": {"get": at(d, *READ)}}),
    "a new parameter": lambda d: at(d, *LIST, "parameters").append({"name": "x", "in": "query", "schema": {}}),
    "a parameter that takes more": lambda d: parameter(d, "limit")["schema"].update(maximum=500),
    "a new field of a body": lambda d: at(d, *BODY, "properties").update(gift={"type": "boolean"}),
    "a field of a body that may be left out": lambda d: at(d, *BODY, "required").remove("currency"),
    "a field of a body that may be null": lambda d: at(d, *BODY, "properties").update(
        draft={"anyOf": [{"type": "boolean"}, {"type": "null"}]}
    ),
    "a new member of an answer": lambda d: at(d, *ORDER, "properties").update(gift={"type": "boolean"}),
    "a member of an answer that is always there": lambda d: at(
        d, "components", "schemas", "Problem", "required"
    ).append("errors"),
    "a new kind of fact": lambda d: at(
        d, "components", "schemas", "HistoryEntry", "properties", "data", "anyOf"
    ).append({"$ref": "#/components/schemas/ProductView"}),
    "a new problem": lambda d: at(d, *READ, "responses").update({"410": at(d, *READ, "responses", "404")}),
    "other words": lambda d: at(d, *READ).update(summary="One order", description="Whole."),
}


@pytest.fixture(scope="module")
def before() -> Json:
    return as_served()


def changed(before: Json, change: Change) -> Json:
    after = copy.deepcopy(before)
    change(after)
    return after


@pytest.mark.parametrize("name", BREAKS)
def test_each_kind_of_break_is_noticed(before: Json, name: str) -> None:
    change, told = BREAKS[name]

    assert told in breaks(before, changed(before, change))


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_breaks_nobody(before: Json, name: str) -> None:
    after = changed(before, EXTENSIONS[name])

    assert after != before
    assert breaks(before, after) == []


def test_a_document_breaks_nothing_of_itself(before: Json) -> None:
    assert breaks(before, before) == []


def test_a_break_is_taken_with_a_new_first_number_of_the_version_only(before: Json) -> None:
    after = changed(before, BREAKS["a path is gone"][0])
    assert broken(before, after) == ["GET /v1/auth/me: is gone"]

    after["info"]["version"] = "1.9.0"
    assert broken(before, after) == ["GET /v1/auth/me: is gone"]

    after["info"]["version"] = "2.0.0"
    assert broken(before, after) == []


def test_a_break_is_taken_when_it_is_said_why_nobody_met_it(before: Json) -> None:
    after = changed(before, BREAKS["a path is gone"][0])

    assert broken(before, after, forgiven={"GET /v1/auth/me: is gone"}) == []
