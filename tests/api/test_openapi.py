"""The OpenAPI document: it knows every route, and what it says of them is so."""

import json
from typing import Any

import pytest

from api.examples import BATCHES, bodies_of
from api.live import Filter
from api.openapi import served
from api.routes import ON_ORDER, ROUTES
from api.sse import PATH, RETRY
from events.codec import TYPES
from projections.changes import Cursor
from tests.api.edge import Edge

DOCUMENT: dict[str, Any] = json.loads(served())
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def test_each_command_route_is_in_the_document() -> None:
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert str(route.success) in operation["responses"]
        assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]


def test_each_read_is_in_the_document_with_the_shape_of_its_answer() -> None:
    for path in ("/v1/orders", "/v1/orders/{order_id}", "/v1/orders/{order_id}/events", "/v1/products", "/v1/auth/me"):
        assert DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]


def test_the_stream_is_asked_for_as_the_document_says() -> None:
    operation = DOCUMENT["paths"][PATH]["get"]
    asked = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    frames = operation["responses"]["200"]["content"]["text/event-stream"]["examples"]["example 1"]["value"]

    assert asked == {"from", *Filter.__struct_fields__}
    assert frames.startswith(RETRY.decode())
    for frame in frames.strip().split("\n\n")[1:]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        told = json.loads(fields["data"])
        assert told["type"] == fields["event"]
        assert told["cursor"] == fields.get("id", told["cursor"])
        assert Cursor.parse(told["cursor"])


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert names <= DOCUMENT["components"]["schemas"].keys()


def test_the_document_has_the_form_of_openapi_31() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for path, method, operation in operations():
        assert method in METHODS
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert named == {part[1:].partition(":")[0].rstrip("}") for part in path.split("/") if part.startswith("{")}, (
            path
        )
        assert all(one["required"] for one in operation.get("parameters", ()) if one["in"] == "path")
        for status, answer in operation["responses"].items():
            assert answer["description"]
            if int(status) >= 400:
                both = {"application/problem+json", "application/json"}
                assert {*answer["content"]} <= (both if path == "/v1/auth/token" else {"application/problem+json"})


def test_the_body_of_a_command_has_no_fields_that_the_server_sets() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["PlaceOrder"]["required"] == ["currency", "lines"]
    assert "at" not in schemas["PlaceOrder"]["properties"]
    assert schemas["ConfirmOrder"]["properties"] == {}
    assert schemas["ReceiveStock"]["properties"].keys() == {"quantity", "reason"}


def test_every_command_shows_an_example_of_its_body() -> None:
    """The ones that `test_examples.py` sends."""
    for route in ROUTES:
        body = DOCUMENT["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]
        assert [one["value"] for one in body["examples"].values()] == bodies_of(route.command), route.path


def test_every_fact_of_the_history_is_described_with_an_example() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    described = schemas["HistoryEntry"]["properties"]["data"]["discriminator"]["mapping"]

    assert described.keys() == {name for name in TYPES if name.startswith("orderlog.order.")}
    for name, reference in described.items():
        schema = schemas[reference.rpartition("/")[2]]
        assert schema["examples"], name
        for example in schema["examples"]:
            assert example["type"] == name
            assert {*schema["required"]} <= example.keys() <= schema["properties"].keys()


def test_what_a_dry_run_answers_is_described() -> None:
    answers = DOCUMENT["paths"]["/v1/orders/{order_id}/amend"]["post"]["responses"]["200"]["content"]

    assert {"$ref": "#/components/schemas/Preview"} in answers["application/json"]["schema"]["anyOf"]
    assert DOCUMENT["components"]["schemas"]["Preview"]["allOf"][1]["required"] == ["dry_run", "reservations"]


@pytest.mark.parametrize("path", ["/v1/orders/{order_id}/ship-items", "/v1/orders/{order_id}/cancel"])
def test_the_idempotency_key_is_required_where_it_is(path: str) -> None:
    keys = [one for one in DOCUMENT["paths"][path]["post"]["parameters"] if one["name"] == "Idempotency-Key"]

    assert [one["required"] for one in keys] == [path.endswith("ship-items")]


def test_a_batch_is_described_with_the_bodies_of_every_command() -> None:
    operation = DOCUMENT["paths"]["/v1/orders:batch"]["post"]
    item = DOCUMENT["components"]["schemas"]["BatchItemInput"]["properties"]

    assert [one["value"] for one in operation["requestBody"]["content"]["application/json"]["examples"].values()] == [
        *BATCHES
    ]
    assert operation["responses"]["207"]["content"]["application/json"]["schema"]["$ref"].endswith("/BatchAnswer")
    named = {one["$ref"].rpartition("/")[2] for one in item["body"]["anyOf"]}
    assert named == {route.command.__name__ for route in ROUTES if route.about == "order_id"}
    assert {*item["command"]["enum"]} == {*ON_ORDER}


def test_the_precondition_is_named_where_it_may_be_demanded() -> None:
    may_demand = {path for path, _, operation in operations() if "428" in operation["responses"]}

    assert may_demand == {route.path for route in ON_ORDER.values()}


async def test_the_pages_need_nothing_from_the_internet(edge: Edge) -> None:
    served = await edge.client.get("/openapi.json")
    page = await edge.client.get("/docs")

    assert served.json() == DOCUMENT
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "://" not in page.text


def test_each_route_of_the_issuer_says_what_it_takes_and_answers() -> None:
    for path, method, operation in operations():
        if not path.startswith("/v1/auth/") or path == "/v1/auth/me":
            continue
        success = min(operation["responses"])
        assert success in {"200", "201"}
        assert operation["responses"][success]["content"]["application/json"]["schema"]["$ref"]
        takes_a_body = method in {"post", "patch"} and not path.endswith("/secret")
        assert ("requestBody" in operation) == takes_a_body, path


def test_a_token_is_asked_for_with_a_form_and_refused_in_both_shapes() -> None:
    operation = DOCUMENT["paths"]["/v1/auth/token"]["post"]

    assert [*operation["requestBody"]["content"]] == ["application/x-www-form-urlencoded"]
    assert operation["security"] == []
    refused = DOCUMENT["components"]["schemas"]["TokenError"]
    assert {"error", "error_description", "code", "detail", "request_id"} <= {*refused["required"]}
