"""Decisions without a delivery in hand are published, abandoned claims brought into doubt."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.core import (
    CONFIRMED,
    REFUSED,
    REFUSED_CONNECTION,
    RESET_AFTER,
    SILENT,
    UNAUTHORISED,
    UNROUTABLE,
    Behaviour,
    Said,
    World,
    basket,
    email_of,
    initiation,
)
from tests.provider_examples import BASKET_ROUTE
from tests.rows import claim_wish, reading
from tests.unit.test_cancel import WISH as REMOVAL
from worker.codes import Code
from worker.lifecycle.ruling import Ruled, RulingWish, WasApplied
from worker.lifecycle.wishes import Decided, Won
from worker.messages import Exchange
from worker.ports import StoreUnavailableError
from worker.records import State
from worker.sweeper import BATCH, EXPIRED_AGE, LONGEST, UNPUBLISHED_AGE, Sweep

NOTHING = Sweep(announced=0, unclaimed=0, unsent=0, doubted=0)
MOMENT = timedelta(seconds=1)


def pass_time(world: World, age: timedelta) -> None:
    world.clock.advance(age.total_seconds())


async def sweep(world: World) -> Sweep:
    """Let a fresh worker sweep once."""
    return await world.worker().sweeper.sweep()


async def decided(*, unsent: int = 1) -> World:
    """A world with that many decided payments whose event was never confirmed."""
    world = World()
    worker = world.worker()
    for number in range(unsent):
        world.broker.scripts[Exchange.RESULTS] = [SILENT] * 1000
        delivery = initiation(f"key-{number}", id_commande=str(number + 1))
        await worker.processor.handle(replace(delivery, received_at=world.clock.now()))
    world.broker.scripts = {}
    return world


async def test_a_quiet_ledger_is_left_alone() -> None:
    assert await sweep(World()) == NOTHING


async def test_what_was_confirmed_is_not_sent_again() -> None:
    world = World()
    await world.worker().processor.handle(initiation())
    pass_time(world, timedelta(days=1))
    assert await sweep(world) == NOTHING
    assert len(world.broker.events) == 1


async def test_an_answer_nobody_confirmed_is_sent_after_two_minutes() -> None:
    world = await decided()
    (stored,) = world.store.tables.answers.values()
    age = world.clock.now() - stored.event.occurred_at
    pass_time(world, UNPUBLISHED_AGE - age)
    assert await sweep(world) == NOTHING
    pass_time(world, MOMENT)
    assert await sweep(world) == Sweep(announced=1, unclaimed=0, unsent=0, doubted=0)
    (event,) = world.broker.events
    assert event["event_id"] == str(stored.event.event_id)
    pass_time(world, timedelta(days=1))
    assert await sweep(world) == NOTHING


async def test_two_workers_do_not_send_the_same_answer() -> None:
    world = await decided()
    pass_time(world, UNPUBLISHED_AGE)
    world.broker.scripts[Exchange.RESULTS] = [SILENT]
    assert (await sweep(world)).unsent == 1
    assert await sweep(world) == NOTHING, "taken, until two minutes have passed again"
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    assert (await sweep(world)).announced == 1


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (REFUSED, Sweep(announced=2, unclaimed=0, unsent=1, doubted=0)),
        (UNROUTABLE, Sweep(announced=2, unclaimed=1, unsent=0, doubted=0)),
        (SILENT, Sweep(announced=0, unclaimed=0, unsent=3, doubted=0)),
    ],
)
async def test_one_full_queue_stops_nobody_and_a_silent_broker_everybody(
    first: Said, said: Sweep
) -> None:
    world = await decided(unsent=3)
    pass_time(world, UNPUBLISHED_AGE)
    world.broker.scripts[Exchange.RESULTS] = [first]
    assert await sweep(world) == said


async def test_one_answer_that_cannot_be_sent_keeps_none_of_the_others() -> None:
    """As one whose headers AMQP cannot carry: the publisher raises, and would each time."""
    world = await decided(unsent=3)
    pass_time(world, UNPUBLISHED_AGE)

    def choke_once() -> None:
        world.broker.after_publishing = lambda: None
        raise ValueError

    world.broker.scripts[Exchange.RESULTS] = [SILENT]
    world.broker.after_publishing = choke_once
    worker = world.worker()
    assert await worker.sweeper.sweep() == Sweep(announced=2, unclaimed=0, unsent=1, doubted=0)
    assert [type(each) for each in worker.surprises] == [ValueError]
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    assert (await sweep(world)).announced == 1


async def test_a_sweep_goes_on_while_its_pages_are_full() -> None:
    """Thousands that an operator asked for again go out with one sweep, not with dozens."""
    world = await decided(unsent=2 * BATCH + 5)
    pass_time(world, UNPUBLISHED_AGE)
    assert (await sweep(world)).announced == 2 * BATCH + 5
    assert len(world.broker.events) == 2 * BATCH + 5
    assert await sweep(world) == NOTHING


async def test_a_long_sweep_ends_after_a_page_so_that_claims_are_looked_at() -> None:
    world = await decided(unsent=2 * BATCH + 5)
    pass_time(world, UNPUBLISHED_AGE)
    world.broker.after_publishing = lambda: world.clock.advance(LONGEST / BATCH)
    assert (await sweep(world)).announced == BATCH
    assert (await sweep(world)).announced == BATCH, "those behind the first page come next"


async def test_a_broker_that_falls_silent_is_not_asked_for_another_page() -> None:
    world = await decided(unsent=BATCH + 5)
    pass_time(world, UNPUBLISHED_AGE)
    world.broker.scripts[Exchange.RESULTS] = [CONFIRMED, SILENT]
    said = Sweep(announced=1, unclaimed=0, unsent=BATCH - 1, doubted=0)
    assert await sweep(world) == said


async def test_a_full_queue_holds_back_no_page_of_the_others() -> None:
    world = await decided(unsent=BATCH + 5)
    pass_time(world, UNPUBLISHED_AGE)
    world.broker.scripts[Exchange.RESULTS] = [REFUSED] * BATCH
    assert await sweep(world) == Sweep(announced=5, unclaimed=0, unsent=BATCH, doubted=0)


async def test_one_claim_that_cannot_be_ended_keeps_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    worker = world.worker()
    for key in ("key-1", "key-2"):
        await worker.ledger.claim(claim_wish(BASKET_ROUTE, delivery=basket(key)))
    pass_time(world, timedelta(seconds=world.rules.lease_seconds) + EXPIRED_AGE + MOMENT)
    first, *_ = await worker.ledger.expired_claims(older_than=EXPIRED_AGE, limit=2)
    expire = worker.ledger.expire

    async def choke(operation_id: UUID, *, older_than: timedelta) -> Decided | None:
        if operation_id == first:
            raise LookupError(operation_id)
        return await expire(operation_id, older_than=older_than)

    monkeypatch.setattr(worker.ledger, "expire", choke)
    assert (await worker.sweeper.sweep()).doubted == 1
    assert [type(each) for each in worker.surprises] == [LookupError]


async def test_an_abandoned_claim_becomes_in_doubt_and_its_answer_is_sent() -> None:
    world = World()
    worker = world.worker()
    won = await worker.ledger.claim(claim_wish(BASKET_ROUTE, delivery=basket()))
    assert isinstance(won, Won)
    pass_time(world, timedelta(seconds=world.rules.lease_seconds) + EXPIRED_AGE)
    assert await sweep(world) == NOTHING
    pass_time(world, MOMENT)
    assert (await sweep(world)).doubted == 1
    assert world.store.tables.records[won.record.operation_id].state is State.IN_DOUBT
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    assert (await sweep(world)).announced == 1
    (event,) = world.broker.events
    assert event["code"] == "outcome_unknown"


async def test_a_duplicate_of_a_doubt_gets_what_became_of_it() -> None:
    """Also where the person who settled it is long gone: every sweep looks."""
    world = World()
    worker = world.worker()
    await worker.ledger.claim(claim_wish(BASKET_ROUTE, delivery=basket()))
    pass_time(world, EXPIRED_AGE * 2)
    await sweep(world)
    again = initiation("key-2", payment_target="MILLIET", email=email_of("key-1"))
    await worker.processor.handle(replace(again, received_at=world.clock.now()))
    assert [event["code"] for event in world.broker.events] == ["outcome_unknown"]
    assert await sweep(world) == NOTHING
    owner = world.store.tables.records[reading(basket()).envelope.operation_id]
    ruled = await worker.ledger.payments.rule(
        RulingWish(record=owner, ruling=WasApplied(item_id="17"), actor="o.perator", reason="seen")
    )
    assert isinstance(ruled, Ruled)
    assert (await sweep(world)).followed == 1
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    assert (await sweep(world)).announced == 3, "the doubt itself had never been told"
    told = {event["duplicate_of"]: event for event in world.broker.events if event["sequence"] == 2}
    assert set(told) == {None, str(owner.operation_id)}
    assert {event["basket_item_id"] for event in told.values()} == {"17"}
    assert len({event["payment_id"] for event in told.values()}) == 2


async def test_the_letter_of_an_abandoned_claim_waits_for_its_message() -> None:
    """Its body travels with the message only; the index shows it as unsent until then."""
    world = World()
    worker = world.worker()
    await worker.ledger.claim(claim_wish(BASKET_ROUTE, delivery=basket()))
    pass_time(world, EXPIRED_AGE * 2)
    await sweep(world)
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    await sweep(world)
    assert world.broker.letters == []
    (entry,) = await worker.ledger.letters.page()
    assert not entry.confirmed
    await worker.processor.handle(basket())
    assert len(world.broker.letters) == 1


async def test_an_abandoned_removal_tells_that_its_payment_stands() -> None:
    world = World()
    worker = world.worker()
    await worker.processor.handle(basket())
    assert isinstance(await worker.ledger.claim_cancellation(REMOVAL), Won)
    pass_time(world, timedelta(seconds=world.rules.lease_seconds))
    pass_time(world, EXPIRED_AGE + MOMENT)
    assert (await sweep(world)).doubted == 1
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    await sweep(world)
    event = world.broker.events[-1]
    assert event["event_type"] == "payment.cancellation.in_doubt"
    assert (event["payment_status"], event["sequence"]) == ("succeeded", 1)


async def test_a_ledger_that_is_away_is_the_callers_trouble() -> None:
    world = World()
    world.store.unavailable = True
    with pytest.raises(StoreUnavailableError):
        await sweep(world)


async def test_a_failed_payment_is_sent_without_its_letter() -> None:
    world = World()
    world.providers.behaviours = [UNAUTHORISED]
    world.broker.scripts[Exchange.DEAD_LETTER] = [SILENT] * 1000
    await world.worker().processor.handle(initiation())
    pass_time(world, UNPUBLISHED_AGE)
    assert (await sweep(world)).announced == 1
    assert world.broker.letters == []


async def lost_wait(world: World, *, said: Behaviour) -> UUID:
    """A payment on the ladder whose copy the broker then lost."""
    world.providers.behaviours = [said] * 3
    await world.worker().processor.handle(initiation())
    world.broker.ladder.clear()
    (record,) = world.store.tables.records.values()
    assert record.state is State.RETRY_WAIT
    return record.operation_id


async def test_a_wait_whose_message_is_lost_is_seen_and_decided_once_it_is_too_old() -> None:
    """Before that a copy may still come; afterwards nobody else would ever answer it."""
    world = World()
    payment = await lost_wait(world, said=REFUSED_CONNECTION)
    pass_time(world, timedelta(hours=1))
    assert await sweep(world) == NOTHING
    pass_time(world, timedelta(hours=2))
    assert await sweep(world) == replace(NOTHING, overdue=1)
    pass_time(world, timedelta(hours=24))
    assert await sweep(world) == replace(NOTHING, overdue=1, abandoned=1)
    decided = world.store.tables.records[payment]
    assert (decided.state, decided.code) == (State.FAILED, Code.REQUEST_EXPIRED)
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    assert await sweep(world) == replace(NOTHING, announced=1)
    assert world.broker.events[-1]["code"] == "request_expired"


async def test_a_lost_wait_after_an_unknown_attempt_ends_in_doubt() -> None:
    world = World()
    payment = await lost_wait(world, said=RESET_AFTER)
    pass_time(world, timedelta(hours=25))
    assert await sweep(world) == replace(NOTHING, overdue=1, abandoned=1)
    decided = world.store.tables.records[payment]
    assert (decided.state, decided.code) == (State.IN_DOUBT, Code.OUTCOME_UNKNOWN)
