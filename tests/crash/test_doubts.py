"""Doubt, case by case on every ledger: what the provider counted, and what the events say.

An attempt whose end is not known is never reported as failed and never blindly repeated (design,
promise 3). Class E is in doubt at once, class D after one re-send under a reference of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace

import pytest

from tests.core import (
    ANSWERS,
    DECLINES,
    GATEWAY_LOST_IT,
    RESET_AFTER,
    RESET_BEFORE,
    SILENCE,
    Behaviour,
    Body,
    initiation,
    says,
)
from tests.crash.fuse import Fuse, PausingFuse
from tests.crash.ledgers import CrashLedger
from tests.crash.runs import (
    ADD_E,
    INTENTS,
    LINK_C,
    LINK_D,
    LINK_E,
    REMOVE_B,
    CrashWorld,
    Intent,
    drain,
    prepared,
    working,
)
from tests.fakes_clock import START
from worker.adapters.store_errors import ConcurrentUpdateError
from worker.breaker import BreakerState
from worker.calls import HttpReply
from worker.identity import identity_of, operation_id_of, payment_reference
from worker.messages import Disposition, Exchange, Handled
from worker.model import Delivery, Source, Step
from worker.records import Change, Kind, Needs, Record, State
from worker.sweeper import EXPIRED_AGE, UNPUBLISHED_AGE

PAYMENT = operation_id_of(identity_of("dcp", "key-1"))
FIRST, SECOND = payment_reference(PAYMENT, 0), payment_reference(PAYMENT, 1)
PAST_THE_LEASE = 600.0
MOST_CALLS = {LINK_E.name: 1, ADD_E.name: 1, LINK_D.name: 2, LINK_C.name: 7, REMOVE_B.name: 7}
"""Calls of one operation whose every attempt ends unknown: the ladder has six steps."""


def named(intent: Intent) -> str:
    return intent.name


async def row(world: CrashWorld, kind: Kind = Kind.INITIATION) -> Record:
    """The one row of that kind."""
    rows = await world.ledger.rows()
    (record,) = (each for each in rows.records.values() if each.kind is kind)
    return record


def answered(world: CrashWorld) -> list[tuple[str, object, object]]:
    """Of every event in order: its status, its code, its sequence."""
    return [
        (str(event["event_type"]).rpartition(".")[2], event["code"], event["sequence"])
        for event in world.broker.events
    ]


def assert_in_doubt(world: CrashWorld, code: str = "outcome_unknown") -> Body:
    """One in-doubt event that forbids asking again, and its dead letter, published before it."""
    assert answered(world) == [("in_doubt", code, 1)]
    (event,) = world.broker.events
    assert (event["result"], event["link"], event["payment_id"]) == (False, None, str(PAYMENT))
    error = event["error"]
    assert isinstance(error, dict)
    assert (error["category"], error["retryable"]) == ("in_doubt", False)
    (letter,) = world.broker.letters
    said = (letter.headers["payment-id"], letter.headers["error-code"], letter.headers["sequence"])
    assert said == (str(PAYMENT), code, 1)
    sent = [message.exchange for message in world.broker.published]
    assert sent.index(Exchange.DEAD_LETTER) < sent.index(Exchange.RESULTS)
    return event


async def assert_repeated(world: CrashWorld, delivery: Delivery) -> None:
    """Another delivery gets the last event again, byte for byte, and calls nobody."""
    calls, letters = len(world.providers.requests), len(world.broker.letters)
    before = world.broker.sent_to(Exchange.RESULTS)
    world.broker.ready.append(delivery)
    await drain(world)
    *rest, last = world.broker.sent_to(Exchange.RESULTS)
    assert len(rest) == len(before)
    assert (last.message_id, last.body) == (before[-1].message_id, before[-1].body)
    assert len(world.providers.requests) == calls
    assert len(world.broker.letters) == letters


@dataclass(slots=True)
class Slow:
    """A worker that stands still in the middle of a delivery."""

    delivery: Delivery
    task: asyncio.Task[Handled]
    fuse: PausingFuse

    async def go_on(self) -> Handled:
        self.fuse.go_on.set()
        return await self.task


@asynccontextmanager
async def slow_worker(world: CrashWorld, at: str) -> AsyncIterator[Slow]:
    """Let a worker take the next delivery and freeze at the boundary of that name."""
    fuse = PausingFuse(name=at)
    async with working(world, fuse) as core:
        delivery = world.broker.take()
        assert delivery is not None
        slow = Slow(delivery, asyncio.ensure_future(core.processor.handle(delivery)), fuse)
        await fuse.paused.wait()
        yield slow
        await slow.go_on()


# --- expired leases ----------------------------------------------------------------------------


@pytest.mark.parametrize("intent", [LINK_E, ADD_E], ids=named)
@pytest.mark.parametrize(("left_at", "calls"), [("before call", 0), ("after call", 1)])
async def test_an_expired_claim_of_class_e_is_in_doubt_and_never_called_again(
    any_ledger: CrashLedger, intent: Intent, left_at: str, calls: int
) -> None:
    """Not even where nothing was sent: after a kill nobody can prove it (crash matrix)."""
    world = await prepared(intent, (), any_ledger)
    await drain(world, Fuse(name=left_at))
    await drain(world)
    assert len(world.providers.requests) == calls
    assert world.providers.applied.total() == calls
    assert assert_in_doubt(world)["attempts"] == 1
    (waited,) = world.broker.sent_to(Exchange.RETRY)
    assert Step(waited.routing_key).seconds >= world.rules.lease_seconds, "held until it is over"
    await assert_repeated(world, intent.request)


async def test_an_expired_claim_of_class_d_is_sent_once_more_and_then_in_doubt(
    any_ledger: CrashLedger,
) -> None:
    world = await prepared(LINK_D, (), any_ledger)
    await drain(world, Fuse(name="after call"))
    await drain(world, Fuse(name="after call"))
    await drain(world)
    assert world.providers.references["key-1@example.org"] == [FIRST, SECOND]
    assert assert_in_doubt(world)["provider_reference"] == SECOND
    rows = await world.ledger.rows()
    assert [entry.reference for entry in rows.attempts] == [FIRST, SECOND]
    await assert_repeated(world, LINK_D.request)


@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_an_operation_that_kills_every_worker_runs_out_of_attempts(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    """Rabbitmq failure case 25: each expired claim counts as an attempt of unknown end."""
    world = await prepared(intent, (), any_ledger)
    before = len(world.providers.requests)
    deaths = 0
    while world.broker.ready or world.broker.ladder:
        fuse = Fuse(name="after call")
        await drain(world, fuse)
        deaths += fuse.is_blown
    assert deaths == len(world.providers.requests) - before == MOST_CALLS[intent.name]
    record = await row(world, Kind.CANCELLATION if intent.is_removed else Kind.INITIATION)
    assert (record.state, record.attempts) == (State.IN_DOUBT, deaths)
    assert world.broker.events[-1]["code"] in {"outcome_unknown", "link_lost"}


# --- ambiguous answers -------------------------------------------------------------------------

AMBIGUOUS = {
    "reset before it acted": RESET_BEFORE,
    "reset after it acted": RESET_AFTER,
    "silence": SILENCE,
    "a gateway's 502": GATEWAY_LOST_IT,
    "500": says(500),
    "503 without Retry-After": says(503),
    "303": says(303),
    "an empty 200": says(200),
    "a page": says(200, body=b"<html>please log in</html>"),
    "neither yes nor no": says(200, body=b'{"result": "true"}'),
}


@pytest.mark.parametrize("intent", [LINK_E, ADD_E], ids=named)
@pytest.mark.parametrize("behaviour", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_answer_to_class_e_is_in_doubt_after_one_call(
    any_ledger: CrashLedger, intent: Intent, behaviour: Behaviour
) -> None:
    world = await prepared(intent, (behaviour,), any_ledger)
    await drain(world)
    assert len(world.providers.requests) == 1
    assert_in_doubt(world)
    assert world.broker.steps == []
    for _ in range(3):
        await assert_repeated(world, intent.request)


async def test_class_d_is_sent_once_more_under_a_new_recorded_reference(
    any_ledger: CrashLedger,
) -> None:
    world = await prepared(LINK_D, (SILENCE, ANSWERS), any_ledger)
    await drain(world)
    assert world.broker.steps == ["30s"]
    assert world.providers.references["key-1@example.org"] == [FIRST, SECOND]
    rows = await world.ledger.rows()
    assert [entry.reference for entry in rows.attempts] == [FIRST, SECOND]
    (event,) = world.broker.events
    assert (event["result"], event["provider_reference"]) == (True, SECOND)
    assert event["link"] == "https://pay.example.org/paypage?n=2", "the first reached nobody"
    assert world.broker.letters == []
    await assert_repeated(world, LINK_D.request)


@pytest.mark.parametrize("second", [RESET_BEFORE, SILENCE, GATEWAY_LOST_IT])
async def test_class_d_is_in_doubt_after_its_one_re_send(
    any_ledger: CrashLedger, second: Behaviour
) -> None:
    world = await prepared(LINK_D, (SILENCE, second), any_ledger)
    await drain(world)
    assert len(world.providers.requests) == 2
    assert_in_doubt(world)
    for _ in range(3):
        await assert_repeated(world, LINK_D.request)


async def test_a_link_made_and_lost_is_in_doubt_as_link_lost(any_ledger: CrashLedger) -> None:
    """Class C: the provider refuses our own reference, so the first call did land."""
    world = await prepared(LINK_C, (SILENCE,), any_ledger)
    await drain(world)
    assert world.providers.references["key-1@example.org"] == [FIRST]
    assert len(world.providers.requests) == 2
    assert_in_doubt(world, "link_lost")
    await assert_repeated(world, LINK_C.request)


# --- a living worker's claim -------------------------------------------------------------------


@pytest.mark.parametrize("intent", INTENTS, ids=named)
@pytest.mark.parametrize("at", ["before call", "after call"])
async def test_a_living_workers_claim_is_waited_for_and_not_stolen(
    any_ledger: CrashLedger, intent: Intent, at: str
) -> None:
    """Rabbitmq failure case 38: the second confirms an uncounted ladder copy and lets go."""
    world = await prepared(intent, (), any_ledger)
    kind = Kind.CANCELLATION if intent.is_removed else Kind.INITIATION
    calls, events = len(world.providers.requests), len(world.broker.events)
    async with slow_worker(world, at) as slow:
        claimed = await row(world, kind)
        world.broker.hand_back(slow.delivery)
        await drain(world, deliveries=1)
        assert await row(world, kind) == claimed
        (copy,) = world.broker.sent_to(Exchange.RETRY)
        assert copy.headers["attempts"] == claimed.attempts == 1
        assert Step(copy.routing_key).seconds >= 30
        assert len(world.broker.events) == events
        handled = await slow.go_on()
    assert handled.disposition is Disposition.ACKNOWLEDGE
    assert len(world.providers.requests) == calls + 1
    assert len(world.broker.events) == events + 1
    await drain(world)
    *_, first, again = world.broker.events
    assert first == again, "the copy that came back repeats the answer"
    assert first["result"] is True
    assert len(world.providers.requests) == calls + 1


@pytest.mark.parametrize("intent", [LINK_E, ADD_E], ids=named)
async def test_a_late_answer_ends_its_own_doubt_and_changes_nothing_else(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    world = await prepared(intent, (), any_ledger)
    async with slow_worker(world, "after call") as slow:
        world.broker.hand_back(slow.delivery)
        world.clock.advance(PAST_THE_LEASE)
        await drain(world)
        assert_in_doubt(world)
        doubtful = await row(world)
        await slow.go_on()
    ended = await row(world)
    assert (ended.state, ended.sequence) == (State.SUCCEEDED, doubtful.sequence + 1)
    changed = {
        each.name
        for each in fields(Record)
        if getattr(ended, each.name) != getattr(doubtful, each.name)
    }
    paid = {"item_id"} if intent.is_basket else {"link", "link_published"}
    decided = {"state", "sequence", "code", "event_id", "decided_at"}
    assert changed - {"updated_at"} <= decided | paid | {"version", "token"}
    assert answered(world) == [("in_doubt", "outcome_unknown", 1), ("succeeded", None, 2)]
    assert world.broker.events[0]["event_id"] != world.broker.events[1]["event_id"]
    assert world.providers.applied.total() == 1
    await assert_repeated(world, intent.request)


async def test_a_late_refusal_ends_its_own_doubt_too(any_ledger: CrashLedger) -> None:
    world = await prepared(LINK_E, (DECLINES,), any_ledger)
    async with slow_worker(world, "after call") as slow:
        world.broker.hand_back(slow.delivery)
        world.clock.advance(PAST_THE_LEASE)
        await drain(world)
        await slow.go_on()
    assert answered(world) == [("in_doubt", "outcome_unknown", 1), ("failed", "declined", 2)]
    assert world.providers.applied.total() == 0


async def test_a_late_silence_is_kept_as_evidence_and_changes_nothing(
    any_ledger: CrashLedger,
) -> None:
    world = await prepared(LINK_E, (SILENCE,), any_ledger)
    async with slow_worker(world, "after call") as slow:
        world.broker.hand_back(slow.delivery)
        world.clock.advance(PAST_THE_LEASE)
        await drain(world)
        doubtful = await row(world)
        await slow.go_on()
    assert await row(world) == doubtful
    notes = [entry.note for entry in (await world.ledger.rows()).attempts]
    assert notes == ["the claim expired", "late answer"]
    await drain(world)
    assert {event["event_id"] for event in world.broker.events} == {str(doubtful.event_id)}


# --- fencing -----------------------------------------------------------------------------------


async def test_a_late_worker_overwrites_no_answer_of_another(any_ledger: CrashLedger) -> None:
    """Class D: both calls made a link; only the second one's is ever handed out."""
    world = await prepared(LINK_D, (), any_ledger)
    async with slow_worker(world, "after call") as slow:
        world.broker.hand_back(slow.delivery)
        world.clock.advance(PAST_THE_LEASE)
        await drain(world)
        decided = await row(world)
        await slow.go_on()
    assert await row(world) == decided
    assert (decided.state, decided.reference) == (State.SUCCEEDED, SECOND)
    notes = [entry.note for entry in (await world.ledger.rows()).attempts]
    assert notes == ["the claim expired", None, "too late, kept as evidence"]
    await drain(world)
    links = {event["link"] for event in world.broker.events}
    assert links == {"https://pay.example.org/paypage?n=2"}


async def test_a_late_worker_takes_no_claim_from_the_one_that_calls_now(
    any_ledger: CrashLedger,
) -> None:
    world = await prepared(LINK_D, (), any_ledger)
    async with slow_worker(world, "after call") as first:
        world.broker.hand_back(first.delivery)
        world.clock.advance(PAST_THE_LEASE)
        async with slow_worker(world, "after call") as second:
            claimed = await row(world)
            assert (claimed.state, claimed.reference) == (State.CALLING, SECOND)
            late = await first.go_on()
            assert await row(world) == claimed
            assert world.broker.events == []
            # It lets its own delivery go only for a copy, which repeats what is decided then.
            assert late.disposition is Disposition.ACKNOWLEDGE
            assert len(world.broker.sent_to(Exchange.RETRY)) == 1
            await second.go_on()
    await drain(world)
    links = {event["link"] for event in world.broker.events}
    assert links == {"https://pay.example.org/paypage?n=2"}
    assert world.providers.references["key-1@example.org"] == [FIRST, SECOND]


async def test_a_write_decided_on_rows_that_have_moved_on_is_refused(
    any_ledger: CrashLedger,
) -> None:
    """Invariant I3, at the store: the compare-and-set on the version, between two processes."""
    world = await prepared(LINK_D, (), any_ledger)
    await drain(world, Fuse(name="after call"))
    seen = await row(world)
    await drain(world)
    moved_on = await row(world)
    assert moved_on.version > seen.version + 1
    stale = replace(seen, version=seen.version + 1, state=State.FAILED)
    late = await world.ledger.open(world.clock, fuse := Fuse())
    with pytest.raises(ConcurrentUpdateError):
        await late.transact(Needs((PAYMENT,)), lambda _view: Change(result=None, records=(stale,)))
    await world.ledger.leave(late, fuse)
    assert await row(world) == moved_on


# --- a message that never comes back -----------------------------------------------------------


@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_the_sweeper_brings_a_claim_into_doubt_whose_message_never_came_back(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    world = await prepared(intent, (), any_ledger)
    kind = Kind.CANCELLATION if intent.is_removed else Kind.INITIATION
    await drain(world, Fuse(name="after call"))
    calls, events = len(world.providers.requests), len(world.broker.events)
    (lost,) = world.broker.ready
    world.broker.ready.clear()
    claimed = await row(world, kind)
    assert claimed.lease_until is not None
    world.clock.advance((claimed.lease_until + EXPIRED_AGE - world.clock.now()).total_seconds())
    async with working(world) as worker:
        assert (await worker.sweeper.sweep()).doubted == 0
        assert await row(world, kind) == claimed
        world.clock.advance(1)
        assert (await worker.sweeper.sweep()).doubted == 1
        doubtful = await row(world, kind)
        assert doubtful.state is State.IN_DOUBT
        assert len(world.broker.events) == events, "the message may be on its way"
        world.clock.advance(UNPUBLISHED_AGE.total_seconds() + 1)
        assert (await worker.sweeper.sweep()).announced == 1
        (owed,) = [each for each in await worker.ledger.letters.page() if each.kind is kind]
        assert not owed.confirmed, "only the message holds the body of its letter"
    (event,) = world.broker.events[events:]
    assert event["event_id"] == str(doubtful.event_id)
    assert event["code"] == "outcome_unknown"
    world.broker.ready.append(lost)
    await drain(world)
    assert world.broker.events[-1] == event
    assert [letter.headers["error-code"] for letter in world.broker.letters] == ["outcome_unknown"]
    assert len(world.providers.requests) == calls


# --- a link on an unlisted host ----------------------------------------------------------------

UNLISTED = "https://elsewhere.example.net/p/planted"
ON_AN_UNLISTED_HOST = Behaviour(
    acts=True,
    fact=HttpReply(
        status=200,
        headers={},
        body=json.dumps({"result": True, "link": UNLISTED}).encode(),
        received_at=START,
    ),
)


@pytest.mark.parametrize("intent", [LINK_C, LINK_D, LINK_E], ids=named)
async def test_a_link_on_an_unlisted_host_is_in_doubt_kept_and_never_sent_again(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    """Whatever the class: a wrong list on the first day must not double every payment (R3)."""
    world = await prepared(intent, (ON_AN_UNLISTED_HOST,), any_ledger)
    async with working(world) as worker:
        delivery = world.broker.take()
        assert delivery is not None
        await worker.processor.handle(delivery)
        assert [change.state for change in worker.changes] == [BreakerState.OPEN]
        other = initiation("key-2", id_commande="40018")
        await worker.processor.handle(other)
    assert_in_doubt(world)
    assert len(world.providers.requests) == world.providers.applied.total() == 1
    rows = await world.ledger.rows()
    (record,) = rows.records.values()
    assert record.link is not None
    assert (record.link.reveal(), record.link_published) == (UNLISTED, False)
    for message in world.broker.published:
        assert b"planted" not in message.body
        assert "planted" not in str(dict(message.headers))
    (waiting,) = world.broker.sent_to(Exchange.RETRY)
    assert (waiting.message_id, waiting.headers["attempts"]) == ("key-2", 0)
    world.broker.ladder.clear()
    await assert_repeated(world, intent.request)


# --- what the ledger no longer knows, and what it knows already ---------------------------------


@pytest.mark.parametrize("intent", [LINK_D, LINK_E, ADD_E], ids=named)
async def test_a_copy_that_knows_of_an_attempt_the_ledger_lost_is_in_doubt_and_never_sent(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    world = await prepared(intent, (), any_ledger)
    await drain(world, Fuse(name="after call"))
    await drain(world, deliveries=1)
    assert world.broker.ladder, "the redelivery waits for the lease"
    await world.ledger.clear()
    await drain(world)
    assert len(world.providers.requests) == world.providers.applied.total() == 1
    assert_in_doubt(world, "ledger_lost")


@pytest.mark.parametrize("intent", [LINK_C, LINK_D, LINK_E, ADD_E], ids=named)
async def test_a_replay_of_a_decided_payment_repeats_its_answer(
    any_ledger: CrashLedger, intent: Intent
) -> None:
    """Rabbitmq failure case 29."""
    world = await prepared(intent, (), any_ledger)
    await drain(world)
    own: dict[str, str | int] = {
        "identity": "dcp\x1fkey-1",
        "payment-id": str(PAYMENT),
        "sequence": 1,
        "attempts": 1,
        "first-seen": "2026-11-21T20:14:03.123Z",
        "origin-routing-key": "payment.initiate.dcp",
    }
    again = replace(intent.request, source=Source.REPLAY, headers=own)
    await assert_repeated(world, again)
    assert world.providers.applied.total() == 1
