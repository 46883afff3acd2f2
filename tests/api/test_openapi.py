"""The OpenAPI document: it knows every route, and what it says of them is so."""

import json
from typing import Any

import pytest

from api.openapi import document
from api.routes import ROUTES
from api.views import router
from tests.api.edge import Edge

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(router.routes)))
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
                assert "application/problem+json" in answer["content"]


def test_the_body_of_a_command_has_no_fields_that_the_server_sets() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["PlaceOrder"]["required"] == ["currency", "lines"]
    assert "at" not in schemas["PlaceOrder"]["properties"]
    assert schemas["ConfirmOrder"]["properties"] == {}
    assert schemas["ReceiveStock"]["properties"].keys() == {"quantity", "reason"}


@pytest.mark.parametrize("path", ["/v1/orders/{order_id}/ship-items", "/v1/orders/{order_id}/cancel"])
def test_the_idempotency_key_is_required_where_it_is(path: str) -> None:
    keys = [one for one in DOCUMENT["paths"][path]["post"]["parameters"] if one["name"] == "Idempotency-Key"]

    assert [one["required"] for one in keys] == [path.endswith("ship-items")]


async def test_the_pages_need_nothing_from_the_internet(edge: Edge) -> None:
    served = await edge.client.get("/openapi.json")
    page = await edge.client.get("/docs")

    assert served.json() == DOCUMENT
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "://" not in page.text
