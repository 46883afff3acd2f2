"""Many commands, one append: lawful under any concurrency, answered once, and no neighbour pays for another."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from commands.decider import Decider
from commands.exchange import Accepted, Busy, Failed, KeyReused, Refused, Reply, Request, Unavailable
from commands.order import Order, PlaceOrder
from commands.processor import Processor
from events.codec import Row
from events.envelope import order_stream, product_stream
from events.log import Log, StoredAnswer
from events.numbers import FIRST_DRAWN, Numbers
from events.order import OrderPlaced
from events.product import StockReceived, StockReserved
from tests.commands.asking import answer, asking, ids, read, recorded, request
from tests.examples import (
    NOON,
    ORDER,
    amend_order,
    amended,
    cancel_order,
    confirm_order,
    list_cup,
    place_order,
    receive_cups,
    ship_items,
    wanted,
)
from tests.services.postgres import Postgres


async def test_an_order_and_its_reservations_are_one_append(log: Log) -> None:
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        placed = await ask.one(place_order(wanted("CUP", 2)))
    assert placed.accepted
    assert [(event.stream, event.version, event.position) for event in recorded(log)[2:]] == [
        (order_stream(ORDER), 1, 3),
        (product_stream("CUP"), 3, 4),
    ]


async def test_the_last_unit_is_sold_once_however_many_ask_at_once(log: Log) -> None:
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(100))
        answers = await ask.all(*(place_order(wanted("CUP", 1), order_id=order_id) for order_id in ids(500)))
    assert Counter(one.code for one in answers) == {None: 100, "out-of-stock": 400}
    assert sum(isinstance(event.event, StockReserved) for event in recorded(log)) == 100


async def test_several_processors_on_one_log_never_oversell_and_leave_no_gap(log: Log) -> None:
    async with asking(log) as one, asking(log) as two, asking(log) as three:
        await one.all(list_cup(), receive_cups(100))
        per_process = [[place_order(wanted("CUP", 1), order_id=order_id) for order_id in ids(200)] for _ in range(3)]
        answers = await asyncio.gather(
            *(
                ask.one(command)
                for ask, commands in zip((one, two, three), per_process, strict=True)
                for command in commands
            )
        )
    assert Counter(answer.code for answer in answers) == {None: 100, "out-of-stock": 500}
    events = recorded(log)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    cup = [event.version for event in events if event.stream == product_stream("CUP")]
    assert cup == list(range(1, len(cup) + 1))


async def test_processors_see_what_the_others_decided(log: Log) -> None:
    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(), receive_cups(5))
        await one.one(place_order(wanted("CUP", 2), payment_terms="invoice"))
        await two.one(confirm_order())
        shipped = await one.one(ship_items(2))
        cancelled = await two.one(cancel_order())
    assert (shipped.code, shipped.version) == (None, 3)
    assert cancelled.code == "already-shipped"


async def test_a_processor_that_was_away_for_long_starts_afresh(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.remembered.FAR_BEHIND", 3)
    monkeypatch.setattr("events.log.FAR_BEHIND", 3)
    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(), receive_cups(5))
        await two.one(list_cup(price=300))
        for order_id in ids(5):
            await one.one(place_order(wanted("CUP", 1), order_id=order_id))
        refused = await two.one(place_order(wanted("CUP", 1)))
    assert refused.code == "out-of-stock"


async def test_a_forgotten_stream_is_read_again(log: Log) -> None:
    async with asking(log, remember=1) as ask:
        await ask.all(list_cup(), receive_cups(50))
        orders = ids(20)
        for order_id in orders:
            await ask.one(place_order(wanted("CUP", 1), order_id=order_id))
        again = await ask.one(place_order(wanted("CUP", 1), order_id=orders[0]))
    assert again.code == "order-exists"


async def test_orders_that_do_not_exist_are_not_remembered_without_bound(log: Log) -> None:
    async with asking(log, remember=10) as ask:
        refused = await ask.all(*(confirm_order().model_copy(update={"order_id": order_id}) for order_id in ids(200)))
        remembered = len(ask.processor._decider._remembered)
    assert {one.code for one in refused} == {"no-such-order"}
    assert remembered <= 10


async def test_a_retried_command_is_one_command_and_gets_the_same_bytes(log: Log) -> None:
    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(), receive_cups(5))
        command = place_order(wanted("CUP", 1))
        first = await one.processor.submit(request(command, "key"))
        second = await two.processor.submit(request(command, "key"))
    assert (second.answer, first.replayed, second.replayed) == (first.answer, False, True)
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_two_hundred_retries_at_once_make_one_order(log: Log) -> None:
    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(), receive_cups(500))
        command = place_order(wanted("CUP", 1))
        replies = await asyncio.gather(
            *(random.choice((one, two)).processor.submit(request(command, "key")) for _ in range(200))
        )
    assert len({reply.answer for reply in replies}) == 1
    assert sum(not reply.replayed for reply in replies) == 1
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_a_refusal_is_replayed_too(log: Log) -> None:
    async with asking(log) as ask:
        first = await ask.processor.submit(request(confirm_order(), "key"))
        second = await ask.processor.submit(request(confirm_order(), "key"))
    assert (second.answer, second.replayed) == (first.answer, True)


async def test_a_key_is_for_one_request_only(log: Log) -> None:
    async with asking(log) as ask:
        await ask.processor.submit(request(list_cup(), "key"))
        with pytest.raises(KeyReused):
            await ask.processor.submit(request(list_cup(price=300), "key"))


async def test_a_command_may_name_the_version_it_was_made_for(log: Log) -> None:
    async with asking(log) as ask:
        await ask.one(list_cup())
        stale = await ask.one(list_cup(price=300), expected_version=7)
        taken = await ask.one(list_cup(price=300), expected_version=1)
    assert (stale.code, stale.version, taken.version) == ("stale-version", 1, 2)


async def test_a_dry_run_says_what_would_be_and_appends_nothing(log: Log) -> None:
    outcomes: list[Accepted | Refused] = []

    def keep(outcome: Accepted | Refused) -> bytes:
        outcomes.append(outcome)
        return answer(outcome)

    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5), place_order(wanted("CUP", 2)))
        head = recorded(log)
        for quantity in (4, 9):
            dry = amend_order(amended("1", quantity), dry_run=True)
            await ask.processor.submit(msgspec.structs.replace(request(dry, "key" * quantity), answer=keep))
        amendment = await ask.one(amend_order(amended("1", 3)), "key" * 4)
    would_be = next(one for one in outcomes if isinstance(one, Accepted))
    refused = next(one for one in outcomes if isinstance(one, Refused))
    assert isinstance(would_be.state, Order)
    assert (would_be.version, would_be.recorded, would_be.state.total) == (1, 0, 1000)
    assert would_be.products == {"CUP": (StockReserved(NOON, ORDER, 2),)}
    assert refused.refusal.details == {"short": {"CUP": {"asked": 7, "available": 3}}}
    assert (amendment.version, amendment.position) == (2, len(head) + 2), "decided anew: no key, no state is kept"


async def test_no_two_orders_have_one_number_whoever_decides_and_again_after_a_restart(log: Log) -> None:
    for _ in range(2):
        async with asking(log) as one, asking(log) as two:
            await one.one(list_cup(stock="untracked"))
            await asyncio.gather(
                *(
                    ask.one(place_order(wanted("CUP", 1), order_id=order_id))
                    for ask in (one, two)
                    for order_id in ids(50)
                )
            )
    numbers = [event.event.number for event in recorded(log) if isinstance(event.event, OrderPlaced)]
    assert len(numbers) == len(set(numbers)) == 200


async def test_a_drawn_number_is_none_that_an_order_could_have_by_its_position(log: Log) -> None:
    """So orders were numbered before numbers were drawn."""
    async with asking(log) as ask:
        await ask.all(list_cup(stock="untracked"), place_order(wanted("CUP", 1)))
    with closing(log.writer()) as writer:
        numbers = Numbers(writer.numbers_key())
    (placed,) = [event.event for event in recorded(log) if isinstance(event.event, OrderPlaced)]
    assert numbers.place(placed.number) >= FIRST_DRAWN


async def test_numbers_that_are_used_up_are_followed_by_new_ones(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.decider.DRAWN_AT_ONCE", 3)
    monkeypatch.setattr("commands.decider.ENOUGH_NUMBERS", 2)
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        for order_id in ids(20):
            assert (await ask.one(place_order(wanted("CUP", 1), order_id=order_id))).accepted
    numbers = [event.event.number for event in recorded(log) if isinstance(event.event, OrderPlaced)]
    assert len(set(numbers)) == 20


async def test_a_command_that_fails_costs_its_neighbours_nothing(log: Log) -> None:
    def cannot_answer(_: Accepted | Refused) -> bytes:
        raise ZeroDivisionError("a fault in the code")

    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        good, bad = request(place_order(wanted("CUP", 1))), request(place_order(wanted("CUP", 1), order_id=uuid4()))
        bad = type(bad)(bad.command, "tests", cannot_answer)
        other = request(place_order(wanted("CUP", 1), order_id=uuid4()))
        outcomes = await asyncio.gather(
            *(ask.processor.submit(one) for one in (good, bad, other)), return_exceptions=True
        )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Reply", "Failed", "Reply"]
    assert isinstance(outcomes[1], Failed)
    events = recorded(log)
    assert [event.position for event in events] == list(range(1, 7))


async def test_a_stream_that_cannot_be_read_fails_only_its_own_commands(log: Log, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO events (originator_id, originator_version, notification_id, topic, state) "
            "VALUES (%s, 1, 1, 'orderlog.order.teleported.v9', '{}')",
            (order_stream(ORDER),),
        )
    async with asking(log) as ask:
        unreadable, listed = await asyncio.gather(
            ask.processor.submit(request(confirm_order())),
            ask.processor.submit(request(list_cup())),
            return_exceptions=True,
        )
    assert isinstance(unreadable, Failed)
    assert "event 1 of stream 'order-01890a5d-ac96-774b-bcce-b302099a8057' (position 1)" in str(unreadable)
    assert not isinstance(listed, BaseException)


async def test_more_than_can_wait_is_turned_away_at_once(log: Log) -> None:
    async with asking(log, queue=10) as ask:
        await ask.one(list_cup())
        requests = [request(list_cup()) for _ in range(1000)]
        with pytest.raises(Busy):
            _ = [ask.processor.submit(one) for one in requests]


async def test_what_comes_while_the_lock_is_waited_for_joins_the_batch(log: Log) -> None:
    def cup() -> PlaceOrder:
        return place_order(wanted("CUP", 1), order_id=uuid4())

    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        batches = ask.processor.batches
        ask.processor._decider._locked_batches = 9
        with psycopg.connect(log.url) as other:
            other.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            first = asyncio.create_task(ask.one(cup(), new=True))
            await lock_waited_for(log.url)
            late = [asyncio.create_task(ask.one(cup(), new=True)) for _ in range(9)]
            unknown = asyncio.create_task(ask.one(place_order(wanted("NO-SUCH", 1), order_id=uuid4())))
            await asyncio.sleep(0)
        answers = await asyncio.gather(first, *late)
        assert all(answer.accepted for answer in answers)
        assert not (await unknown).accepted  # its product was not known: it is loaded before the lock, next time
    assert ask.processor.batches - batches == 2


async def test_a_repeated_command_that_joins_a_batch_costs_it_nothing(log: Log) -> None:
    """It is answered from what is kept, and its neighbours are committed with the batch, once."""
    again = place_order(wanted("CUP", 1), order_id=uuid4())
    async with asking(log) as ask:
        await ask.one(list_cup(stock="untracked"))
        first = await ask.one(again, key="again")
        batches = ask.processor.batches
        ask.processor._decider._locked_batches = 9
        with capture_logs() as said, psycopg.connect(log.url) as other:
            other.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            waiting = asyncio.create_task(ask.one(place_order(wanted("CUP", 1), order_id=uuid4()), new=True))
            await lock_waited_for(log.url)
            repeated = ask.processor.submit(request(again, "again"))
            await asyncio.sleep(0)
            other.commit()
            assert (await waiting).accepted
            reply = await repeated
        assert reply.replayed
        assert read(reply) == first
        assert said == []  # the database did not refuse the batch
    assert ask.processor.batches - batches == 1


async def lock_waited_for(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as watching:
        while not watching.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)


async def test_what_waits_is_answered_before_the_processor_stops(log: Log) -> None:
    processor = Processor(log)
    processor.start()
    futures = [processor.submit(request(list_cup(price=price))) for price in range(1, 100)]
    await processor.stop()
    assert len(await asyncio.gather(*futures)) == 99


async def test_commands_wait_for_a_database_that_restarts_and_are_taken_once(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    log = Log(restartable_postgres.create_database())
    log.create()
    stop = asyncio.Event()
    taken: list[UUID] = []

    async def client() -> None:
        while not stop.is_set():
            order_id = uuid4()
            assert (await ask.one(place_order(wanted("CUP", 1), order_id=order_id))).accepted
            taken.append(order_id)

    async with asking(log, patience=60) as ask:
        await ask.all(list_cup(stock="untracked"))
        clients = [asyncio.create_task(client()) for _ in range(20)]
        for mode in ("fast", "immediate", "fast"):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(restartable_postgres.restart, mode)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*clients)
    events = recorded(log)
    placed = [event.event.order_id for event in events if isinstance(event.event, OrderPlaced)]
    assert sorted(placed) == sorted(taken)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    log.close()


@pytest.mark.parametrize(("way", "locked_batches"), [("append_unlocked", 0), ("append", 9)])
async def test_a_lost_connection_leaves_no_doubt_about_a_commit(
    log: Log, monkeypatch: pytest.MonkeyPatch, way: str, locked_batches: int
) -> None:
    """The commit happens, its confirmation is lost: the command is answered once, from what was decided.

    What came meanwhile does not join the batch in doubt, whose answers there are already.
    """
    loop = asyncio.get_running_loop()
    came: list[asyncio.Future[Reply]] = []
    async with asking(log) as ask:
        await ask.one(list_cup())
        decider = ask.processor._decider
        decider._locked_batches = locked_batches
        append = getattr(decider._writer, way)
        lost = []

        def append_and_lose(*arguments: object) -> None:
            append(*arguments)
            monkeypatch.setattr(decider._writer, way, append)
            decider._writer.close()
            lost.append(way)
            loop.call_soon_threadsafe(lambda: came.append(ask.processor.submit(request(list_cup(price=350)))))
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(decider._writer, way, append_and_lose)
        placed = await asyncio.wait_for(ask.one(list_cup(price=300)), 60)
        meanwhile = read(await came[0])
        after = await ask.one(list_cup(price=400))
    assert lost == [way]
    assert (placed.accepted, placed.version, meanwhile.version, after.version) == (True, 2, 3, 4)


async def test_a_retry_while_the_process_is_alone_is_answered_as_the_first_was(log: Log) -> None:
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        command = place_order(wanted("CUP", 1))
        first = await ask.processor.submit(request(command, "key"))
        assert ask.processor._decider._locked_batches == 0
        second = await ask.processor.submit(request(command, "key"))
    assert (second.answer, second.replayed) == (first.answer, True)
    assert sum(isinstance(event.event, OrderPlaced) for event in recorded(log)) == 1


async def test_a_process_that_believes_to_be_alone_decides_again_on_what_another_appended(log: Log) -> None:
    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(), receive_cups(3))
        await two.one(place_order(wanted("CUP", 2), order_id=uuid4()))
        assert one.processor._decider._locked_batches == 0
        refused = await one.one(place_order(wanted("CUP", 2)))
    assert (refused.code, refused.details) == ("out-of-stock", {"short": {"CUP": {"asked": 2, "available": 1}}})


async def test_what_was_decided_before_the_lock_was_had_stands_where_nothing_that_matters_has_changed(log: Log) -> None:
    made: list[UUID] = []

    def counted(outcome: Accepted | Refused) -> bytes:
        assert isinstance(outcome.state, Order)
        made.append(outcome.state.order_id)
        return answer(outcome)

    async with asking(log) as one, asking(log) as two:
        await one.all(list_cup(stock="untracked"), list_cup(stock="untracked").model_copy(update={"sku": "POT"}))
        await one.one(place_order(wanted("POT", 1), order_id=uuid4()))
        await two.one(place_order(wanted("CUP", 1), order_id=uuid4()))
        for order_id in (placed := ids(20)):
            await one.one(place_order(wanted("POT", 1), order_id=uuid4()))
            command = place_order(wanted("CUP", 1), order_id=order_id)
            reply = await two.processor.submit(replace(request(command, new=True), answer=counted))
            assert reply.position == recorded(log)[-1].position
    assert made == placed


@pytest.mark.parametrize("new", [False, True])
async def test_what_was_decided_on_another_price_is_decided_again(log: Log, new: bool) -> None:  # noqa: FBT001
    """All of a batch, and a command that follows on one of the same batch."""
    async with asking(log) as one, asking(log) as two:
        await one.one(list_cup(stock="untracked", price=250))
        await two.one(place_order(wanted("CUP", 1), order_id=uuid4()))
        await one.one(list_cup(stock="untracked", price=300))
        first, second = ids(2)
        await asyncio.gather(
            *(two.one(place_order(wanted("CUP", 2), order_id=order_id), new=new) for order_id in (first, second)),
            two.one(confirm_order().model_copy(update={"order_id": second})),
        )
    events = [event.event for event in recorded(log)]
    totals = {event.order_id: event.total for event in events if isinstance(event, OrderPlaced)}
    assert (totals[first], totals[second]) == (600, 600)


async def test_an_order_that_was_not_there_is_found_when_another_process_has_placed_it(log: Log) -> None:
    """Whoever follows the log is not told of new orders."""
    async with asking(log) as one, asking(log) as two:
        await one.one(list_cup(stock="untracked"))
        missing = await two.one(confirm_order())
        await one.one(place_order(wanted("CUP", 1), payment_terms="invoice"))
        found = await two.one(confirm_order())
    assert (missing.code, found.code, found.version) == ("no-such-order", None, 2)


async def test_what_the_database_refuses_costs_the_neighbours_of_a_command_no_error(log: Log) -> None:
    """Validation should let nothing through that the database refuses; this goes around it."""
    bad = place_order(wanted("CUP", 1), order_id=uuid4()).model_copy(update={"order_id": "\x00"})
    async with asking(log) as ask:
        await ask.all(list_cup(), receive_cups(5))
        outcomes = await asyncio.gather(
            ask.processor.submit(request(place_order(wanted("CUP", 1)))),
            ask.processor.submit(Request(bad, "tests", answer)),
            ask.processor.submit(request(place_order(wanted("CUP", 1), order_id=uuid4()))),
            return_exceptions=True,
        )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Reply", "Failed", "Reply"]


async def test_an_outage_among_commands_that_are_decided_singly_repeats_none_of_them(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goods without an idempotency key would be counted twice if the batch were given to the decider again."""
    decider = Decider(log.writer(), 100)
    decider.process([request(list_cup())])
    for way in ("append", "append_unlocked"):
        append = getattr(decider._writer, way)
        monkeypatch.setattr(decider._writer, way, failing(append))
    received, away = decider.process([request(receive_cups(5)), request(receive_cups(7))])
    decider.close()
    assert isinstance(received, Reply)
    assert isinstance(away, Unavailable)
    assert [event.event.quantity for event in recorded(log) if isinstance(event.event, StockReceived)] == [5]


async def test_a_fault_of_ours_under_the_lock_gives_the_lock_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is drawn in its transaction, which would come back."""
    decider = Decider(log.writer(), 100)
    decider.process([request(list_cup())])
    decider._locked_batches = 9
    with monkeypatch.context() as broken:
        broken.setattr(decider._writer, "append", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            decider.process([request(receive_cups(5))])
    with psycopg.connect(log.url) as other:
        other.execute("LOCK TABLE events IN EXCLUSIVE MODE NOWAIT")
    (received,) = decider.process([request(receive_cups(7))])
    decider.close()
    assert isinstance(received, Reply)
    assert [event.event.quantity for event in recorded(log) if isinstance(event.event, StockReceived)] == [7]


def failing(append: Callable[..., None]) -> Callable[..., None]:
    """A batch of two is refused, the first command alone is taken, the second one meets an outage."""

    def instead(rows: list[Row], answers: list[StoredAnswer]) -> None:
        if len(rows) > 1:
            raise psycopg.DataError("refused")
        if b'"quantity":7' in rows[0][4]:
            raise psycopg.OperationalError("the database is away")
        append(rows, answers)

    return instead


async def test_a_database_that_stays_away_is_said_so(restartable_postgres: Postgres) -> None:
    restartable_postgres.start()
    log = Log(restartable_postgres.create_database())
    log.create()
    async with asking(log, patience=0.2) as ask:
        await ask.one(list_cup())
        await asyncio.to_thread(restartable_postgres.stop)
        with pytest.raises(Unavailable):
            await ask.one(list_cup(price=300))
        await asyncio.to_thread(restartable_postgres.start)
        assert (await ask.one(list_cup(price=300))).version == 2
    log.close()
