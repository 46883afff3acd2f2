"""A caller that asks too much is told to wait, and how much is left; the others are served."""

import asyncio
import json
from contextlib import closing
from uuid import uuid4

import pytest

from api.errors import Problem
from api.limits import Limits, Quota
from commands.processor import Processor
from events.log import Log
from tests.api.edge import ALICE, BOB, Edge, an_edge, an_order
from tests.api.wire import serving


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def taken(limits: Limits, caller: str = ALICE) -> tuple[bool, bytes]:
    """Whether the request may be made, and what is told."""
    told: dict[bytes, bytes] = {}
    try:
        limits.take(caller, told)
    except Problem as problem:
        return False, dict(problem.headers)[b"retry-after"]
    return True, told[b"ratelimit"]


def test_the_quota_may_be_used_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    limits = Limits(Quota(10, 5), clock=clock)

    assert [taken(limits) for _ in range(10)] == [
        (True, b'"caller";r=%d;t=%d' % (9 - n, -(-(n + 1) // 2))) for n in range(10)
    ]
    assert [taken(limits) for _ in range(3)] == [(False, b"1")] * 3
    clock.now += 0.5
    assert [taken(limits)[0] for _ in range(2)] == [True, False]
    clock.now += 2
    assert [taken(limits)[0] for _ in range(5)] == [True] * 4 + [False]
    clock.now += 3_600
    assert [taken(limits)[0] for _ in range(11)] == [True] * 10 + [False]


def test_each_caller_has_a_quota_of_its_own() -> None:
    limits = Limits(Quota(1, 60), clock=Clock())

    assert taken(limits, ALICE)[0]
    assert not taken(limits, ALICE)[0]
    assert taken(limits, BOB)[0]


def test_the_wait_that_is_told_is_long_enough() -> None:
    clock = Clock()
    limits = Limits(Quota(2, 60), clock=clock)
    taken(limits), taken(limits)

    (allowed, wait) = taken(limits)
    clock.now += int(wait)

    assert (allowed, wait) == (False, b"30")
    assert taken(limits)[0]


def test_callers_whose_bucket_is_full_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.REMEMBERED", 100)
    clock = Clock()
    limits = Limits(Quota(1, 1), clock=clock)
    for number in range(10_000):
        clock.now += 0.02  # fifty of them are not full at any time
        assert taken(limits, str(number))[0]

    assert len(limits._full_at) <= 201


@pytest.mark.parametrize(
    ("text", "quota"), [("1000/1s", Quota(1000, 1)), ("600/m", Quota(600, 60)), ("5/12h", Quota(5, 43_200))]
)
def test_a_quota_is_written_as_people_say_it(text: str, quota: Quota) -> None:
    assert Quota.parse(text) == quota


@pytest.mark.parametrize("text", ["", "1000", "1000/", "0/s", "1000/0s", "-1/s", "1000 / s", "1.5/s", "10/d", "9" * 99])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of requests in a time"):
        Quota.parse(text)


async def test_reads_and_writes_count_and_the_others_are_served(database_url: str) -> None:
    async with an_edge(database_url, limits=Limits(Quota(4, 3_600))) as edge:
        await edge.listed()
        first = await edge.post("/v1/orders", an_order(), by=ALICE)
        await edge.get("/v1/orders", by=ALICE)
        await edge.post("/v1/orders", {}, by=ALICE)
        last = await edge.get("/v1/auth/me", by=ALICE)
        head = await asyncio.to_thread(edge.log.head)
        refused = [await edge.post("/v1/orders", an_order(), by=ALICE), await edge.get("/v1/orders", by=ALICE)]

        assert (first.status_code, last.status_code) == (201, 200)
        assert first.headers["ratelimit-policy"] == '"caller";q=4;w=3600'
        assert first.headers["ratelimit"] == '"caller";r=3;t=900'
        assert last.headers["ratelimit"].startswith('"caller";r=0;')
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (429, "too-many-requests")
            assert int(answer.headers["retry-after"]) in range(890, 901)
            assert answer.headers["ratelimit"].startswith('"caller";r=0;')
        assert await asyncio.to_thread(edge.log.head) == head
        assert (await edge.get("/v1/orders", by=BOB)).status_code == 200
        assert (await edge.client.get("/livez")).status_code == 200


async def test_without_a_limit_nothing_is_told(edge: Edge) -> None:
    answer = await edge.get(f"/v1/orders/{uuid4()}")

    assert "ratelimit" not in answer.headers


async def test_who_asks_for_tokens_is_counted_by_address(database_url: str) -> None:
    form = {"grant_type": "password", "username": "nobody", "password": "correct horse battery staple"}
    async with an_edge(database_url, limits=Limits(Quota(2, 3_600))) as edge:
        answers = [await edge.client.post("/v1/auth/token", data=form | {"username": name}) for name in "abc"]

        assert [one.status_code for one in answers] == [400, 400, 429]
        assert answers[0].headers["ratelimit"] == '"caller";r=1;t=1800'
        assert (answers[2].json()["error"], answers[2].headers["retry-after"]) == ("temporarily_unavailable", "1800")
        assert (await edge.get("/v1/orders", by=ALICE)).status_code == 200


async def test_when_too_many_commands_wait_the_next_is_told_to_come_again(database_url: str) -> None:
    with closing(Log(database_url)) as log:
        full = Processor(log, queue=0)
        async with an_edge(database_url, processor=full) as edge, serving(edge) as port:
            answer = await port.one(port.order(body=json.dumps(an_order()).encode()))
            assert (await edge.get("/v1/orders", by=ALICE)).status_code == 200

    assert answer is not None
    assert (answer.status, answer.problem["code"], answer.header("retry-after")) == (503, "busy", "1")
