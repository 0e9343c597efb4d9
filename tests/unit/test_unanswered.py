"""Finding the letters that the broker made: a walk notes them, and only a whole one forgets."""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.core import CONFIRMED, REFUSED, RESET_AFTER, UNAUTHORISED, World, basket, initiation
from tests.fakes_clock import START
from tests.fakes_letters import DIED, PaperQueue, given_up
from worker.codes import Code
from worker.contract import headers
from worker.contract.copies import replay_copy
from worker.contract.deaths import Death, last_death
from worker.identity import cancellation_identity, identity_of, operation_id_of
from worker.inventory import QueueLock
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterEntry, Verdict
from worker.lifecycle.prospects import verdict_of
from worker.lifecycle.ruling import (
    MayBeReplayed,
    NotRuled,
    Ruling,
    RulingWish,
    WasNotApplied,
)
from worker.messages import Exchange
from worker.model import Delivery, Facts, Origin, Source
from worker.operator_ports import LetterInHand
from worker.operators.plans.making import rows_named, rows_wanted
from worker.operators.unanswered import UNANSWERED_ONES, SyncReport, synchronise
from worker.operators.walks import QueueLockedError, WalkedLetter
from worker.records import Kind, State

KEYS = [operation_id_of(identity_of("dcp", f"key-{number}")) for number in range(4)]


def asked(number: int) -> Delivery:
    return initiation(f"key-{number}", id_commande=f"{number}")


@dataclass(slots=True)
class Desk:
    """A world with a dead-letter queue that the broker filled, and an operator who walks it."""

    world: World = field(default_factory=World)
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0

    @property
    def ledger(self) -> Ledger:
        return self.world.worker().ledger

    def collect(self) -> None:
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.world.broker.copy(message, Source.ELSEWHERE))
        self.collected = len(self.world.broker.letters)

    async def sync(self) -> SyncReport:
        self.collect()
        self.world.clock.advance(1)
        report = await synchronise(
            ledger=self.ledger, queue=self.queue, publisher=self.world.broker, actor="anna"
        )
        self.collect()
        assert self.queue.in_hand == 0
        return report

    async def entries(self) -> list[LetterEntry]:
        return [entry async for entry in self.ledger.letters.listed()]


def desk_with(*letters: Delivery) -> Desk:
    return Desk(queue=PaperQueue(deque(letters)))


def told(report: SyncReport) -> tuple[int, int, int, int]:
    return report.walked, report.unanswered, report.added, report.gone


async def test_what_the_broker_gave_up_is_listed_with_what_its_body_says() -> None:
    desk = desk_with(given_up(asked(1)))
    assert told(await desk.sync()) == (1, 1, 1, 0)
    (entry,) = await desk.entries()
    assert (entry.operation_id, entry.kind, entry.state, entry.code) == (
        KEYS[1],
        Kind.INITIATION,
        None,
        None,
    )
    assert (entry.failed_at, entry.origin, entry.facts.id_commande) == (DIED, "dcp", "1")
    assert (entry.sequence, entry.confirmed, verdict_of(entry.case)) == (1, True, Verdict.SAFE)
    kept = await desk.ledger.letters.unanswered(KEYS[1])
    assert kept is not None
    assert kept.cause == "delivery_limit"
    (group,) = await desk.ledger.letters.groups()
    assert (group.code, group.count, group.verdicts[Verdict.SAFE]) == (None, 1, 1)


async def test_a_second_walk_finds_the_same_letters_and_nothing_new() -> None:
    desk = desk_with(given_up(asked(1)), given_up(asked(2)))
    await desk.sync()
    before = await desk.entries()
    assert told(await desk.sync()) == (2, 2, 0, 0)
    assert await desk.entries() == before, "rotated, a letter keeps its time and its place"


async def test_a_letter_whose_walk_was_somebody_elses_still_tells_when_and_why_it_died() -> None:
    """Any walk strips the broker's header: what it said stands in ours from then on."""
    desk = desk_with(given_up(asked(1), cause="rejected"))
    letter = WalkedLetter(await taken(desk.queue), desk.world.broker)
    await letter.keep()
    await desk.sync()
    kept = await desk.ledger.letters.unanswered(KEYS[1])
    assert kept is not None
    assert (kept.failed_at, kept.cause) == (DIED, "rejected")


async def taken(queue: PaperQueue) -> LetterInHand:
    letter = await queue.take()
    assert letter is not None
    return letter


async def test_letters_that_are_gone_are_forgotten_after_a_whole_walk_only() -> None:
    desk = desk_with(given_up(asked(1)), given_up(asked(2)), given_up(asked(3)))
    await desk.sync()
    del desk.queue.letters[1]
    desk.world.broker.scripts[Exchange.DEAD_LETTER] = [CONFIRMED, REFUSED]
    short = await desk.sync()
    assert (short.is_complete, short.gone, len(await desk.entries())) == (False, 0, 3)
    assert len(desk.queue.letters) == 2
    whole = await desk.sync()
    assert (whole.is_complete, told(whole)) == (True, (2, 2, 0, 1))
    assert {entry.operation_id for entry in await desk.entries()} == {KEYS[1], KEYS[3]}


async def test_a_decided_letter_is_left_to_the_decision_that_indexed_it() -> None:
    desk = desk_with(given_up(asked(2)))
    desk.world.providers.behaviours = [UNAUTHORISED]
    await desk.world.worker().processor.handle(asked(1))
    assert told(await desk.sync()) == (2, 1, 1, 0)
    codes = {entry.operation_id: entry.code for entry in await desk.entries()}
    assert codes[KEYS[1]] is not None
    assert codes[KEYS[2]] is None


async def test_once_decided_its_replay_only_repeats_the_answer() -> None:
    desk = desk_with(given_up(asked(1)))
    await desk.sync()
    await desk.world.worker().processor.handle(asked(1))
    (entry,) = await desk.entries()
    assert (entry.state, verdict_of(entry.case)) == (State.SUCCEEDED, Verdict.ALREADY_DONE)
    assert await desk.ledger.letters.of(KEYS[1]) == entry


async def test_a_decided_letter_is_planned_and_not_what_the_broker_gave_up_of_it_before() -> None:
    """Its producer asked once more, under the same key, and that was decided."""
    desk = desk_with(given_up(asked(1)), given_up(asked(2)))
    await desk.sync()
    desk.world.providers.behaviours = [UNAUTHORISED]
    await desk.world.worker().processor.handle(asked(1))
    desk.world.clock.advance(1)
    soon = desk.world.clock.now()
    assert len(await desk.entries()) == 3
    for rows in (
        rows_wanted(desk.ledger, EVERY_LETTER, until=soon),
        rows_named(desk.ledger, [KEYS[2], KEYS[1]]),
    ):
        planned = {row.operation_id: (row.code, row.verdict) async for row in rows}
        assert planned[KEYS[1]] == (Code.PROVIDER_CREDENTIALS, Verdict.SAFE)
        assert planned[KEYS[2]] == (None, Verdict.SAFE)
    given = rows_wanted(desk.ledger, UNANSWERED_ONES, until=soon)
    verdicts = [(row.operation_id, row.verdict) async for row in given]
    assert (KEYS[1], Verdict.ALREADY_DONE) in verdicts


async def test_cancellations_and_bodies_nobody_can_read_are_found_too() -> None:
    cancel = replace(
        initiation("key-c"),
        routing_key="payment.cancel.dcp",
        body=json.dumps({"payment_id": str(KEYS[1])}).encode(),
    )
    garbled = replace(asked(2), body=b"{")
    desk = desk_with(given_up(cancel), given_up(garbled))
    await desk.sync()
    entries = {entry.kind: entry for entry in await desk.entries()}
    cancelling = entries[Kind.CANCELLATION]
    assert cancelling.operation_id == operation_id_of(cancellation_identity(Origin("dcp"), "key-c"))
    assert (cancelling.payment_id, cancelling.origin) == (KEYS[1], "dcp")
    assert (entries[Kind.REFUSAL].facts, entries[Kind.REFUSAL].origin) == (Facts(), "unknown")
    assert told(await desk.sync()) == (2, 2, 0, 0), "rotated, they are the same"
    assert {entry.kind: entry for entry in await desk.entries()} == entries


async def test_a_letter_that_says_of_nobody_whose_it_is_is_counted_and_kept() -> None:
    nobody = replace(given_up(asked(1)), headers={headers.PAYMENT_ID: "x"})
    desk = desk_with(nobody)
    report = await desk.sync()
    assert (report.nameless, report.unanswered, len(desk.queue.letters)) == (1, 0, 1)
    assert await desk.entries() == []


async def test_a_queue_that_somebody_else_walks_is_left_alone() -> None:
    desk = desk_with(given_up(asked(1)))
    now = desk.world.clock.now()
    lock = QueueLock(
        queue="dead-letters",
        token=UUID(int=1),
        actor="bert",
        purpose="replay R-1",
        since=now,
        until=now + timedelta(seconds=30),
    )
    await desk.ledger.locks.take(lock, now=now)
    with pytest.raises(QueueLockedError):
        await desk.sync()
    assert len(desk.queue.letters) == 1
    assert await desk.entries() == []


async def test_a_replayed_request_that_was_paid_under_another_key_meanwhile_is_not_paid() -> None:
    """Nothing was decided about it, so its sequence says nothing; its copy is a replay still."""
    desk = desk_with(given_up(initiation("key-1", email="same@example.org")))
    await desk.sync()
    again = initiation("key-2", email="same@example.org")
    await desk.world.worker().processor.handle(again)
    desk.world.clock.advance(3600)
    (entry,) = await desk.entries()
    assert verdict_of(entry.case) is Verdict.HOPELESS
    letter = desk.queue.letters[0]
    copy = replay_copy(letter, sequence=1, replay_count=1, replay_run="R-1", replayed_by="anna")
    delivery = replace(
        desk.world.broker.copy(copy, Source.REPLAY), received_at=desk.world.clock.now()
    )
    await desk.world.worker().processor.handle(delivery)
    assert desk.world.broker.events[-1]["code"] == "superseded"
    assert sum(desk.world.providers.applied.values()) == 1


@pytest.mark.parametrize(
    ("header", "death"),
    [
        (None, Death(None, None, None)),
        ("", Death(None, None, None)),
        ("{}", Death(None, None, None)),
        ("[1]", Death(None, None, None)),
        ('[{"routing-keys": [], "reason": "because", "time": "today"}]', Death(None, None, None)),
        ('[{"routing-keys": "work", "reason": ["rejected"]}]', Death(None, None, None)),
        (
            '[{"routing-keys": ["a", "b"], "reason": "maxlen", "time": "2026-11-21T20:00:00Z"}, 7]',
            Death("a", "maxlen", START.replace(2026, 11, 21, 20, 0, 0, 0)),
        ),
    ],
)
def test_of_the_brokers_header_only_what_can_be_read_counts(
    header: str | None, death: Death
) -> None:
    own: dict[str, str | int] = {} if header is None else {"x-death": header}
    assert last_death(replace(asked(1), headers=own)) == death


@pytest.mark.parametrize(
    ("ruling", "overtaken"), [(WasNotApplied(), 1), (MayBeReplayed(), 0), (None, 0)]
)
async def test_the_letter_of_a_settled_doubt_is_let_go_and_no_other(
    ruling: Ruling | None, overtaken: int
) -> None:
    """One that is only unlocked is about to be replayed: its letter alone holds the request."""
    desk = Desk()
    desk.world.providers.behaviours = [RESET_AFTER]
    await desk.world.worker().processor.handle(basket())
    found = await desk.ledger.find(operation_id_of(identity_of("dcp", "key-1")))
    assert found is not None
    assert found[0].state is State.IN_DOUBT
    if ruling is not None:
        wish = RulingWish(record=found[0], ruling=ruling, actor="anna", reason="seen")
        assert not isinstance(await desk.ledger.payments.rule(wish), NotRuled)
    desk.queue.letters.append(given_up(asked(3)))
    report = await desk.sync()
    assert (report.walked, report.overtaken, report.unanswered) == (2, overtaken, 1)
    assert len(desk.queue.letters) == 2 - overtaken
    assert (await desk.sync()).overtaken == 0
