"""What every answer of the broker leads to, for the letter, the event and the ladder copy."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.core import (
    CONFIRMED,
    REFUSED,
    REFUSED_CONNECTION,
    SILENT,
    SILENT_BUT_KEPT,
    UNAUTHORISED,
    UNROUTABLE,
    Said,
    World,
    basket,
    initiation,
    says,
)
from worker.announcer import Announcement, Announcer
from worker.messages import Action, Disposition, Exchange, Handled
from worker.model import Delivery

NO_CONNECTION = (REFUSED_CONNECTION,) * 3
FOR_EVER = 1000


async def handled(
    exchange: Exchange, *script: Said, delivery: Delivery | None = None, fails: bool = False
) -> tuple[World, Handled]:
    """Handle one delivery while the broker answers so on one exchange."""
    world = World()
    world.broker.scripts[exchange] = list(script)
    if fails:
        world.providers.behaviours = [UNAUTHORISED]
    end = await world.worker().processor.handle(delivery or initiation())
    return world, end


def answer(world: World) -> tuple[bool, bool]:
    """What the ledger believes the broker has of the one answer: event, letter."""
    (stored,) = world.store.tables.answers.values()
    return stored.event_confirmed, stored.letter_confirmed


# --- the event -----------------------------------------------------------------------------------


async def test_a_confirmed_event_is_marked_and_its_request_acknowledged() -> None:
    world, end = await handled(Exchange.RESULTS)
    await world.store.ping()
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert answer(world) == (True, False)
    assert not end.story.unclaimed


async def test_an_event_nobody_is_bound_for_is_set_aside_and_acknowledged() -> None:
    world, end = await handled(Exchange.RESULTS, UNROUTABLE)
    await world.store.ping()
    (kept,) = world.broker.unclaimed
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert end.story.unclaimed
    assert kept.body
    assert kept.headers["cloudEvents_id"] == kept.message_id
    assert answer(world) == (True, False)


async def test_a_full_queue_holds_back_its_own_requests_only() -> None:
    world, end = await handled(Exchange.RESULTS, REFUSED)
    await world.store.ping()
    assert (end.disposition, end.story.action) == (Disposition.ACKNOWLEDGE, Action.WAITING)
    assert (end.story.reason, world.broker.steps) == ("result queue full", ["30s"])
    assert answer(world) == (False, False)
    copy = world.broker.take()
    assert copy is not None
    again = await world.worker().processor.handle(copy)
    assert again.story.action is Action.REPEATED
    assert len(world.broker.events) == len(world.providers.requests) == 1


@pytest.mark.parametrize(
    ("age", "step"), [(0, "30s"), (119, "30s"), (120, "2m"), (599, "2m"), (600, "10m")]
)
async def test_the_longer_a_queue_is_full_the_longer_its_requests_wait(
    age: float, step: str
) -> None:
    world, _end = await handled(Exchange.RESULTS)
    world.clock.advance(age)
    world.broker.scripts[Exchange.RESULTS] = [REFUSED]
    delivery = replace(initiation(), received_at=world.clock.now())
    await world.worker().processor.handle(delivery)
    assert world.broker.steps == [step]


async def test_a_full_queue_of_unclaimed_events_holds_back_too() -> None:
    world = World()
    world.broker.scripts = {
        Exchange.RESULTS: [UNROUTABLE],
        Exchange.DEAD_LETTER: [REFUSED],
    }
    end = await world.worker().processor.handle(initiation())
    assert (end.story.reason, world.broker.steps) == ("result queue full", ["30s"])


@pytest.mark.parametrize("silence", [SILENT, SILENT_BUT_KEPT])
async def test_a_silence_is_repeated_with_the_same_event(silence: Said) -> None:
    """Publisher rule P4: a time-out is unknown, and its message may arrive later."""
    world, end = await handled(Exchange.RESULTS, silence, silence)
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert len({message.message_id for message in world.broker.published}) == 1
    assert len({message.body for message in world.broker.published}) == 1
    assert len(world.clock.sleeps) == 2


async def test_a_broker_that_stays_silent_gets_its_delivery_back() -> None:
    world, end = await handled(Exchange.RESULTS, *[SILENT] * FOR_EVER)
    assert end.disposition is Disposition.RETURN
    assert (end.story.action, end.story.reason) == (Action.RETURNED, "event unknown")
    assert 100 < sum(world.clock.sleeps) <= world.rules.delivery_seconds
    assert answer(world) == (False, False)
    world.broker.scripts = {}
    again = await world.worker().processor.handle(initiation())
    assert again.disposition is Disposition.ACKNOWLEDGE
    assert len(world.providers.requests) == 1


async def test_an_event_whose_place_is_unknown_is_tried_at_its_own_place_again() -> None:
    world = World()
    world.broker.scripts = {
        Exchange.RESULTS: [UNROUTABLE, CONFIRMED],
        Exchange.DEAD_LETTER: [SILENT],
    }
    end = await world.worker().processor.handle(initiation())
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert not end.story.unclaimed
    assert len(world.broker.events) == 1


async def test_a_mark_that_cannot_be_noted_costs_a_duplicate_and_nothing_else() -> None:
    world = World()
    worker = world.worker()
    world.broker.after_publishing = lambda: setattr(world.store, "unavailable", True)
    end = await worker.processor.handle(initiation())
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert answer(world) == (False, False)


# --- the letter ----------------------------------------------------------------------------------


async def test_a_confirmed_letter_is_marked_before_its_event_goes() -> None:
    world, end = await handled(Exchange.RESULTS, *[SILENT] * FOR_EVER, fails=True)
    await world.store.ping()
    assert end.disposition is Disposition.RETURN
    assert answer(world) == (False, True)
    world.broker.scripts = {}
    await world.worker().processor.handle(initiation())
    assert len(world.broker.letters) == 1
    assert len(world.broker.events) == 1


async def test_without_its_letter_no_event_goes() -> None:
    world, end = await handled(Exchange.DEAD_LETTER, *[SILENT] * FOR_EVER, fails=True)
    assert (end.disposition, end.story.reason) == (Disposition.RETURN, "dead letter unknown")
    assert world.broker.events == []


async def test_a_full_dead_letter_queue_holds_its_requests_back() -> None:
    world, end = await handled(Exchange.DEAD_LETTER, REFUSED, fails=True)
    assert (end.disposition, end.story.reason) == (Disposition.ACKNOWLEDGE, "dead letters full")
    assert world.broker.events == []
    copy = world.broker.take()
    assert copy is not None
    await world.worker().processor.handle(copy)
    assert (len(world.broker.letters), len(world.broker.events)) == (1, 1)


async def test_a_letter_without_a_queue_hands_the_delivery_back() -> None:
    """The topology is broken; the request is the only copy of itself."""
    world, end = await handled(Exchange.DEAD_LETTER, UNROUTABLE, fails=True)
    assert (end.disposition, end.story.reason) == (Disposition.RETURN, "dead letter unroutable")
    assert world.broker.published == []


# --- the ladder copy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([SILENT] * FOR_EVER, "ladder copy unknown"),
        ([REFUSED], "ladder copy refused"),
        ([UNROUTABLE], "ladder copy unroutable"),
    ],
)
async def test_no_request_is_acknowledged_without_its_confirmed_copy(
    script: list[Said], reason: str
) -> None:
    """Payment rules I6: the delivery in hand is the only copy."""
    world = World()
    world.providers.behaviours = [*NO_CONNECTION]
    world.broker.scripts[Exchange.RETRY] = script
    end = await world.worker().processor.handle(initiation())
    assert (end.disposition, end.story.reason) == (Disposition.RETURN, reason)


async def test_a_copy_says_who_it_is_and_keeps_what_it_was() -> None:
    world = World()
    world.providers.behaviours = [*NO_CONNECTION]
    delivery = initiation(correlation_id="c-1", headers={"not-after": "2026-11-22T00:00:00Z"})
    await world.worker().processor.handle(delivery)
    (copy,) = world.broker.sent_to(Exchange.RETRY)
    (record,) = world.store.tables.records.values()
    assert (copy.body, copy.message_id, copy.correlation_id) == (delivery.body, "key-1", "c-1")
    assert copy.headers["payment-id"] == str(record.operation_id)
    assert (copy.headers["attempts"], copy.headers["sequence"]) == (1, 1)
    assert copy.headers["not-after"] == "2026-11-22T00:00:00Z"
    assert copy.headers["retry-reason"] == "provider_unavailable"


async def test_an_uncounted_wait_keeps_the_attempts_it_knows_of() -> None:
    """A copy must not forget an attempt: it may have to prove a lost ledger (I10)."""
    world = World()
    world.providers.behaviours = [*NO_CONNECTION]
    worker = world.worker()
    await worker.processor.handle(initiation())
    await worker.processor.handle(initiation())
    counted, uncounted = world.broker.sent_to(Exchange.RETRY)
    assert uncounted.routing_key == "30s"
    assert counted.headers["attempts"] == uncounted.headers["attempts"] == 1


async def test_a_wait_takes_the_step_that_covers_it() -> None:
    world = World()
    world.providers.behaviours = [says(503, headers={"retry-after": "400"})]
    worker = world.worker()
    await worker.processor.handle(initiation())
    await worker.processor.handle(basket("second"))
    await worker.processor.handle(initiation("third", id_commande="3"))
    assert world.broker.steps == ["10m", "10m"]


# --- the announcer by itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "aside", "announcement", "is_safe"),
    [
        (CONFIRMED, None, Announcement.CONFIRMED, True),
        (REFUSED, None, Announcement.REFUSED, False),
        (SILENT, None, Announcement.UNKNOWN, False),
        (UNROUTABLE, CONFIRMED, Announcement.UNCLAIMED, True),
        (UNROUTABLE, REFUSED, Announcement.REFUSED, False),
        (UNROUTABLE, SILENT, Announcement.UNKNOWN, False),
        (UNROUTABLE, UNROUTABLE, Announcement.UNKNOWN, False),
    ],
)
async def test_an_event_is_safe_where_the_broker_keeps_it(
    result: Said, aside: Said | None, announcement: Announcement, is_safe: object
) -> None:
    world, _end = await handled(Exchange.RESULTS)
    (stored,) = world.store.tables.answers.values()
    world.broker.scripts = {Exchange.RESULTS: [result]}
    if aside is not None:
        world.broker.scripts[Exchange.DEAD_LETTER] = [aside]
    announcer = Announcer(publisher=world.broker, source="/payment-worker/test")
    said = await announcer.announce(stored, correlation_id=None, traceparent=None)
    assert (said, said.is_safe) == (announcement, is_safe)


async def test_an_answer_without_a_delivery_correlates_to_its_own_request() -> None:
    world, _end = await handled(
        Exchange.RESULTS, delivery=initiation(correlation_id="c-1", headers={"traceparent": "00-9"})
    )
    (stored,) = world.store.tables.answers.values()
    announcer = Announcer(publisher=world.broker, source="/payment-worker/test")
    await announcer.announce(stored, correlation_id=None, traceparent=None)
    first, second = world.broker.sent_to(Exchange.RESULTS)
    assert (second.correlation_id, second.headers) == (first.correlation_id, first.headers)
    assert second.body == first.body
    assert first.timestamp == stored.event.occurred_at
    assert timedelta(0) <= world.clock.now() - stored.event.occurred_at
