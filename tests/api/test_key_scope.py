"""An idempotency key belongs to who calls: to the subject of the token, whatever its roles are at the moment."""

from api.ids import stored_key
from api.roles import Role
from tests.api.edge import ALICE, STAFF, Edge, Json, an_order


async def test_a_key_is_the_subjects_with_whatever_roles_it_comes_back(edge: Edge) -> None:
    await edge.listed()

    first = await placed_as(edge, "staff")
    again = await placed_as(edge, "admin")

    assert "idempotency-replayed" not in first[1]
    assert again[1]["idempotency-replayed"] == "true"
    assert again[0] == first[0]


async def placed_as(edge: Edge, role: Role) -> tuple[Json, dict[str, str]]:
    headers = edge.bearer(STAFF, role) | {"idempotency-key": "k"}
    answer = await edge.client.post("/v1/orders", json=an_order(customer_id=ALICE), headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json(), dict(answer.headers)


def test_nobody_finds_a_key_whose_letters_begin_with_anothers_name() -> None:
    assert stored_key("al", b"ice-1") != stored_key("alice", b"-1")
    assert stored_key(ALICE, b"1") == stored_key(ALICE, b"1")
