"""Who repeats a command while the first is under way gets the first one's answer, or is told to come back soon."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest

from commands.exchange import Accepted, Failed, KeyReused, Refused, Reply, Series, Unavailable
from commands.in_flight import InFlight
from events.log import Log
from events.order import OrderPlaced
from tests.commands.asking import Asking, answer, asking, read, recorded, request
from tests.commands.test_processor import lock_waited_for
from tests.examples import amend_order, amended, list_cup, place_order, wanted


@asynccontextmanager
async def held_up(log: Log, ask: Asking) -> AsyncIterator[None]:
    """Another session holds the log while the block runs."""
    ask.processor._decider._locked_batches = 9
    with psycopg.connect(log.url) as blocking:
        blocking.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        yield


async def test_a_repeated_command_gets_the_answer_of_the_first(log: Log) -> None:
    once = place_order(wanted("CUP", 1))
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        commands = ask.processor.commands
        async with held_up(log, ask):
            first = ask.processor.submit(request(once, "key"))
            again = [ask.processor.submit(request(once, "key")) for _ in range(200)]
            await lock_waited_for(log.url)
            assert not any(one.done() for one in again)
        replies = await asyncio.gather(first, *again)
    assert {reply.answer for reply in replies} == {replies[0].answer}
    assert [reply.replayed for reply in replies] == [False] + [True] * 200
    assert ask.processor.commands - commands == 1, "they wait beside the queue, not in it"
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_a_first_that_takes_long_is_said_to_be_in_flight_and_is_answered_later(log: Log) -> None:
    once = place_order(wanted("CUP", 1))
    async with asking(log, repeat_wait=0.1) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            first = ask.processor.submit(request(once, "key"))
            with pytest.raises(InFlight):
                await ask.processor.submit(request(once, "key"))
            assert await ask.processor.still_in_flight([request(once, name).key or "" for name in ("key", "no")]) == {
                request(once, "key").key
            }
        reply = await first
        again = await ask.processor.submit(request(once, "key"))
    assert (again.answer, again.replayed) == (reply.answer, True)


async def test_another_command_with_the_key_is_refused_once_the_first_is_decided(log: Log) -> None:
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            first = ask.processor.submit(request(place_order(wanted("CUP", 1)), "key"))
            other = ask.processor.submit(request(place_order(wanted("CUP", 2)), "key"))
            await lock_waited_for(log.url)
        await first
        with pytest.raises(KeyReused):
            await other


async def test_a_dry_run_is_nobodys_example(log: Log) -> None:
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        await ask.one(place_order(wanted("CUP", 1)))
        async with held_up(log, ask):
            dry = [ask.processor.submit(request(amend_order(amended("1", 3), dry_run=True), "key")) for _ in range(2)]
            await lock_waited_for(log.url)
        replies = await asyncio.gather(*dry)
        real = await ask.one(amend_order(amended("1", 3)), "key")
    assert [reply.replayed for reply in replies] == [False, False]
    assert real.version == 2


async def test_a_command_repeats_an_item_of_a_series_that_is_under_way(log: Log) -> None:
    once = place_order(wanted("CUP", 1))
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        commands = ask.processor.commands
        async with held_up(log, ask):
            series = ask.processor.submit_series(Series((request(once, "key"),)))
            again = ask.processor.submit(request(once, "key"))
            await lock_waited_for(log.url)
        (first,) = (await series).of
        assert (await again).replayed
        assert ask.processor.commands - commands == 1, "it waits beside the queue, not in it"
    assert (await again).answer == getattr(first, "answer", None)


async def test_who_repeats_a_command_is_not_forgotten_when_a_series_has_its_key_too(log: Log) -> None:
    once = place_order(wanted("CUP", 1))
    async with asking(log, repeat_wait=60) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            first = ask.processor.submit(request(once, "key"))
            again = ask.processor.submit(request(once, "key"))
            await lock_waited_for(log.url)  # so that it waits by now
            series = ask.processor.submit_series(Series((request(once, "key"),)))
        replies = await asyncio.wait_for(asyncio.gather(first, again), 30)
        await series
    assert replies[1] == msgspec.structs.replace(replies[0], replayed=True)


async def test_who_repeats_a_command_that_fails_has_a_turn_of_its_own(log: Log) -> None:
    """A fault of ours is no answer: whoever tries again may fare better."""
    faults = iter([ZeroDivisionError("a fault in the code")])
    once = request(place_order(wanted("CUP", 1)), "key")

    def fails_once(outcome: Accepted | Refused) -> bytes:
        for fault in faults:
            raise fault
        return answer(outcome)

    once = msgspec.structs.replace(once, answer=fails_once)
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            both = [ask.processor.submit(once) for _ in range(2)]
            await lock_waited_for(log.url)
        failed, reply = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(failed, Failed)
    assert isinstance(reply, Reply)
    assert (read(reply).accepted, reply.replayed) == (True, False)


async def test_the_first_that_nobody_waits_for_any_more_answers_those_who_repeat_it(log: Log) -> None:
    """Its client has hung up; the command goes on."""
    once = place_order(wanted("CUP", 1))
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            first = ask.processor.submit(request(once, "key"))
            first.cancel()
            again = ask.processor.submit(request(once, "key"))
            await lock_waited_for(log.url)
        assert (await again).replayed


async def test_a_log_that_another_session_holds_for_long_is_said_to_be_unavailable(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the holder is another process with the same key in flight: nobody waits without end."""
    monkeypatch.setattr("events.log.LOCK_WAIT", 0.2)
    once = place_order(wanted("CUP", 1))
    async with asking(log, patience=0.5) as ask:
        await ask.one(list_cup(stock="untracked"))
        async with held_up(log, ask):
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                await asyncio.wait_for(ask.processor.submit(request(once, "key")), 60)
            assert time.monotonic() - begun > 0.2
        assert not (await ask.processor.submit(request(once, "key"))).replayed
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_a_key_that_another_process_has_under_way_is_waited_for_in_the_log(log: Log) -> None:
    """Its answer is not committed: the database keeps whoever writes the same key until it is."""
    once = request(place_order(wanted("CUP", 1)), "key")
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        assert ask.processor._decider._locked_batches == 0
        with psycopg.connect(log.url) as other:
            other.execute(
                "INSERT INTO answers (key, fingerprint, answer, position) VALUES (%s::uuid, %s::uuid, 'theirs', 1)",
                (once.key, once.fingerprint),
            )
            again = ask.processor.submit(once)
            await lock_waited_for(log.url)
            assert not again.done()
        reply = await again
    assert (reply.answer, reply.replayed) == (b"theirs", True)
