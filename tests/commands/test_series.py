"""A series is decided in its order and appended at once; one that is all or nothing leaves no trace when refused."""

import asyncio
from collections import Counter

import psycopg
import pytest
from msgspec.structs import replace

from commands.decider import Decider
from commands.exchange import AnyCommand, Busy, Failed, NotApplied, Replies, Reply, Request, Series
from events.log import Log
from events.order import OrderPlaced
from events.product import StockReserved
from tests.commands.asking import answer, asking, ids, read, recorded, request
from tests.commands.test_processor import lock_waited_for
from tests.examples import ORDER, confirm_order, list_cup, place_order, receive_cups, wanted


def held(answer: bytes) -> bool:
    return b'"accepted":true' in answer


def series(*commands: AnyCommand, all_or_none: bool = False) -> Series:
    return Series(tuple(request(one) for one in commands), held if all_or_none else None)


def codes(replies: Replies) -> list[str | None]:
    return [read(one).code if isinstance(one, Reply) else type(one).__name__ for one in replies.of]


def cups(*quantities: int) -> list[AnyCommand]:
    return [
        place_order(wanted("CUP", count), order_id=order_id)
        for count, order_id in zip(quantities, ids(len(quantities)), strict=True)
    ]


async def test_each_command_of_a_series_is_decided_on_what_the_earlier_ones_leave(log: Log) -> None:
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        replies = await ask.processor.submit_series(series(*cups(2, 2, 2, 1)))
    assert codes(replies) == [None, None, "out-of-stock", None]
    assert sum(event.event.quantity for event in recorded(log) if isinstance(event.event, StockReserved)) == 5


@pytest.mark.parametrize("locked_batches", [0, 9])
async def test_all_or_nothing_costs_its_neighbours_nothing(log: Log, locked_batches: int) -> None:
    """They are decided, numbered and appended as if it had not been there."""
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        before, after = request(cups(2)[0], "before"), request(cups(3)[0], "after")
        ask.processor._decider._locked_batches = locked_batches
        first, refused, last = await asyncio.gather(
            ask.processor.submit(before),
            ask.processor.submit_series(series(*cups(3, 1), all_or_none=True)),
            ask.processor.submit(after),
        )
        again = await ask.one(cups(1)[0])
    assert codes(refused) == ["NotApplied", "out-of-stock"]
    assert (read(first).accepted, read(last).accepted, again.code) == (True, True, "out-of-stock")
    events = recorded(log)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert sum(isinstance(event.event, OrderPlaced) for event in events) == 2


async def test_a_key_that_is_kept_is_known_to_a_process_that_believes_to_be_alone(log: Log) -> None:
    """All or nothing leaves nothing in the log that the known key could refuse: so it is asked for before."""
    once = place_order(wanted("CUP", 1))
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        first = await ask.processor.submit(request(once, "key"))
        assert ask.processor._decider._locked_batches == 0
        replies = await ask.processor.submit_series(Series((request(once, "key"), request(cups(1)[0])), held))
    again, other = replies.of
    assert isinstance(again, Reply)
    assert isinstance(other, Reply)
    assert (again.answer, again.replayed, read(other).accepted) == (first.answer, True, True)


async def test_what_all_or_nothing_did_not_do_is_done_when_it_is_tried_again(log: Log) -> None:
    """No answer was kept of the commands that held, so nobody is told that they were accepted."""
    first, second = (request(one, name) for one, name in zip(cups(3, 3), "ab", strict=True))
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        refused = await ask.processor.submit_series(Series((first, second), held))
        await ask.one(receive_cups(5))
        replies = await ask.processor.submit_series(Series((first, second), held))
    assert codes(refused) == ["NotApplied", "out-of-stock"]
    assert codes(replies) == [None, None]
    assert [one.replayed for one in replies.of if isinstance(one, Reply)] == [False, False]
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 2


@pytest.mark.parametrize("locked_batches", [0, 9])
async def test_a_command_and_an_item_with_its_key_in_one_batch_are_one_command(log: Log, locked_batches: int) -> None:
    once = place_order(wanted("CUP", 1))
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        ask.processor._decider._locked_batches = locked_batches
        batches = ask.processor.batches
        first, replies = await asyncio.gather(
            ask.processor.submit(request(once, "key")), ask.processor.submit_series(Series((request(once, "key"),)))
        )
        assert ask.processor.batches - batches == 1
    assert replies.of == [replace(first, replayed=True)]
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_a_series_joins_a_batch_as_a_whole_or_not_at_all(log: Log) -> None:
    """Its first command needs a product that is not in memory, its second would be decided without."""
    async with asking(log, remember=100) as ask, asking(log) as other:
        await ask.all(list_cup(stock="untracked"))
        await ask.one(confirm_order())  # that the order is not there is known
        await other.one(list_cup(stock="untracked").model_copy(update={"sku": "POT"}))
        ask.processor._decider._locked_batches = 9
        with psycopg.connect(log.url) as blocking:
            blocking.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            first = asyncio.create_task(ask.one(cups(1)[0], new=True))
            await lock_waited_for(log.url)
            pot = place_order(wanted("POT", 1), order_id=ORDER, payment_terms="invoice")
            replies = ask.processor.submit_series(series(pot, confirm_order()))
            await asyncio.sleep(0)
        assert (await first).accepted
    assert codes(await replies) == [None, None]


async def test_series_fill_batches_to_their_bound_and_wait_within_the_queues(log: Log) -> None:
    async with asking(log, queue=10, largest_batch=4) as ask:
        await ask.one(list_cup(stock="untracked"))
        batches = ask.processor.batches
        three = [ask.processor.submit_series(series(*cups(1, 1, 1))) for _ in range(3)]
        with pytest.raises(Busy):
            ask.processor.submit_series(series(*cups(1, 1)))
        last = ask.processor.submit(request(cups(1)[0]))
        assert Counter(code for one in await asyncio.gather(*three) for code in codes(one)) == {None: 9}
        assert read(await last).accepted
        assert ask.processor.batches - batches == 3
        assert ask.processor.commands == 11
    assert ask.processor.waiting == 0


async def test_a_command_that_fails_is_a_refusal_of_all_or_nothing(log: Log) -> None:
    def cannot_answer(_: object) -> bytes:
        raise ZeroDivisionError("a fault in the code")

    failing = Request(cups(1)[0], "tests", cannot_answer)
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        head = len(recorded(log))
        each = await ask.processor.submit_series(Series((failing, request(cups(1)[0]))))
        none = await ask.processor.submit_series(Series((request(cups(1)[0]), failing), held))
    assert [type(one) for one in each.of] == [Failed, Reply]
    assert [type(one) for one in none.of] == [NotApplied, Failed]
    assert len(recorded(log)) == head + 2


async def test_what_the_database_refuses_costs_a_series_only_that_command(log: Log) -> None:
    """Validation should let nothing through that the database refuses; this goes around it."""
    bad = Request(cups(1)[0].model_copy(update={"order_id": "\x00"}), "tests", answer)
    good = [request(cups(1)[0]) for _ in range(3)]
    decider = Decider(log.writer(), 100)
    decider.process([request(list_cup()), request(receive_cups(5))])
    each, none, alone = decider.process([Series((good[0], bad)), Series((good[1], bad), held), good[2]])
    decider.close()
    assert isinstance(each, Replies)
    assert [type(one) for one in each.of] == [Reply, Failed]
    assert isinstance(none, Failed)
    assert isinstance(alone, Reply)
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 2


async def test_a_series_whose_commit_was_answered_by_silence_is_not_decided_twice(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        writer = ask.processor._decider._writer
        append, lost = writer.append, []

        def append_and_lose(*arguments: object) -> None:
            append(*arguments)  # type: ignore[arg-type]
            monkeypatch.setattr(writer, "append", append)
            writer.close()
            lost.append(1)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(writer, "append", append_and_lose)
        replies = await ask.processor.submit_series(series(*cups(2, 2), all_or_none=True))
    assert lost
    assert codes(replies) == [None, None]
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 2
