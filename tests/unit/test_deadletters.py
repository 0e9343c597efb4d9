"""Replaying dead letters on a paper queue: one round, each letter let go only when it is safe."""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.core import (
    DECLINES,
    REFUSED,
    SILENCE,
    SILENT_BUT_KEPT,
    UNAUTHORISED,
    World,
    basket,
    initiation,
)
from tests.fakes_letters import PaperQueue
from worker.contract import headers
from worker.deadletters import Act, DeadLetters, Replayed, ReplayReport
from worker.identity import identity_of, operation_id_of
from worker.ledger import Ledger
from worker.lifecycle.reopen import NotReopened, Reopened
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Source
from worker.ports import Publisher
from worker.records import State
from worker.retry import LADDER

ACT = Act(actor="anna", run="R-1", reason="the password was mended")
KEY_1 = operation_id_of(identity_of("dcp", "key-1"))
KEY_2 = operation_id_of(identity_of("dcp", "key-2"))


@dataclass(slots=True)
class Desk:
    """An operator's place at a world: the letters so far, and the tool on top of them."""

    world: World
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0

    def collect(self) -> None:
        """Move the letters the broker got since the last time into the queue."""
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.delivered(message, Source.ELSEWHERE, "payments.dlx"))
        self.collected = len(self.world.broker.letters)

    def delivered(self, message: OutgoingMessage, source: Source, exchange: str) -> Delivery:
        return replace(self.world.broker.copy(message, source), exchange=exchange)

    async def replay(self, wanted: UUID = KEY_1, *, ledger: Ledger | None = None) -> ReplayReport:
        """Walk the queue once, then put back what was rotated."""
        self.collect()
        publisher: Publisher = self.world.broker
        letters = DeadLetters(
            ledger=ledger or self.world.worker().ledger,
            queue=self.queue,
            publisher=publisher,
            actor="anna",
        )
        report = await letters.replay(wanted, ACT)
        self.collect()
        assert self.queue.in_hand == 0
        return report

    @property
    def replayed(self) -> list[Delivery]:
        """The copies put back to work, as the worker gets them."""
        return [
            self.delivered(message, Source.REPLAY, "payments.replay")
            for message in self.world.broker.sent_to(Exchange.REPLAY)
        ]

    async def work(self) -> None:
        """Let a worker handle the last replayed copy and whatever follows from it."""
        worker = self.world.worker()
        self.world.broker.ready.append(self.replayed[-1])
        while (delivery := self.world.broker.take()) is not None:
            await worker.processor.handle(delivery)


async def failed(*deliveries: Delivery) -> Desk:
    """A desk with one letter per delivery, each of which met a wrong password."""
    world = World()
    for delivery in deliveries or (initiation(),):
        # A worker each: the breaker that a wrong password opens is not the subject.
        world.providers.behaviours = [UNAUTHORISED]
        await world.worker().processor.handle(delivery)
    return Desk(world)


async def test_a_replayed_payment_is_paid_once_under_the_next_sequence() -> None:
    desk = await failed()
    report = await desk.replay()
    assert (report.result, report.sequence) == (Replayed.REPLAYED, 2)
    assert list(desk.queue.letters) == []
    copy = desk.replayed[0]
    assert copy.message_id == "key-1"
    assert copy.headers[headers.REPLAY_COUNT] == 1
    assert copy.headers[headers.REPLAYED_BY] == "anna"
    await desk.work()
    last = desk.world.broker.events[-1]
    assert (last["result"], last["sequence"]) == (True, 2)
    assert sum(desk.world.providers.applied.values()) == 1


async def test_a_replay_that_died_before_its_publish_may_be_run_again() -> None:
    desk = await failed()
    ledger = desk.world.worker().ledger
    opened = await ledger.reopen(
        KEY_1, from_sequence=1, actor="anna", run=ACT.run, reason="died after this"
    )
    assert opened == Reopened(2)
    report = await desk.replay()
    assert (report.result, report.sequence) == (Replayed.REPLAYED, 2)


async def test_a_replay_nobody_confirmed_keeps_its_letter_and_pays_once() -> None:
    """Whether the copy arrived is not known; here it did, and the second run sends another."""
    desk = await failed()
    desk.world.broker.scripts[Exchange.REPLAY] = [SILENT_BUT_KEPT]
    assert (await desk.replay()).result is Replayed.NOT_CONFIRMED
    assert len(desk.queue.letters) == 1
    assert (await desk.replay()).result is Replayed.REPLAYED
    first, second = desk.replayed
    worker = desk.world.worker()
    for copy in (first, second):
        await worker.processor.handle(replace(copy, received_at=desk.world.clock.now()))
    assert sum(desk.world.providers.applied.values()) == 1


async def test_a_letter_that_was_overtaken_is_removed_and_never_published() -> None:
    desk = await failed()
    desk.collect()
    desk.queue.letters.append(desk.queue.letters[0])
    report = await desk.replay()
    assert (report.result, report.stale) == (Replayed.REPLAYED, 1)
    assert len(desk.replayed) == 1


async def test_a_letter_of_an_earlier_decision_is_stale() -> None:
    desk = await failed()
    desk.collect()
    early = desk.queue.letters[0]
    await desk.replay()
    await desk.work()
    desk.queue.letters.append(early)
    report = await desk.replay()
    assert (report.result, report.stale) == (Replayed.NOT_FOUND, 1)
    assert len(desk.replayed) == 1


async def test_a_letter_whose_payment_the_sweeper_gave_up_is_kept_and_not_replayed_too_late() -> (
    None
):
    """The sweeper has no body to write a letter with: the earlier letter is the only one."""
    desk = await failed()
    world = desk.world
    desk.collect()
    early = desk.queue.letters[0]
    await desk.replay()
    desk.queue.letters.append(early)
    world.broker.ready.clear()
    world.clock.advance(timedelta(hours=25).total_seconds())
    assert (await world.worker().sweeper.sweep()).abandoned == 1
    report = await desk.replay()
    assert (report.result, report.rotated, report.stale) == (Replayed.NOT_REOPENED, 1, 0)
    assert report.reason is not None
    assert "its time is over" in report.reason


async def test_the_other_letters_go_round_unharmed() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    before = desk.queue.letters[0]
    report = await desk.replay(KEY_2)
    assert (report.result, report.rotated) == (Replayed.REPLAYED, 1)
    (after,) = desk.queue.letters
    assert (after.body, after.message_id) == (before.body, before.message_id)
    assert after.headers == before.headers


async def test_a_letter_that_cannot_go_round_stays_in_the_queue() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    desk.world.broker.scripts[Exchange.DEAD_LETTER] = [REFUSED]
    assert (await desk.replay(KEY_2)).result is Replayed.NOT_CONFIRMED
    assert len(desk.queue.letters) == 2
    assert desk.queue.removed == []


async def test_a_doubt_of_a_basket_item_is_not_replayed() -> None:
    world = World()
    world.providers.behaviours = [SILENCE]
    await world.worker().processor.handle(basket())
    desk = Desk(world)
    report = await desk.replay()
    assert report.result is Replayed.NOT_REOPENED
    assert report.reason is not None
    assert len(desk.queue.letters) == 1
    assert desk.replayed == []


async def test_what_is_not_in_the_queue_is_not_found() -> None:
    world = World()
    world.providers.behaviours = [DECLINES]
    await world.worker().processor.handle(initiation())
    assert (await Desk(world).replay()).result is Replayed.NOT_FOUND


# --- letters the broker made ------------------------------------------------------------------


def given_up(delivery: Delivery) -> Delivery:
    """A delivery as the broker itself dead-letters it; its own entry comes first."""
    key = "work" if delivery.source.is_believed else delivery.routing_key
    forged = json.loads(str(delivery.headers.get("x-death", "[]")))
    deaths = [{"queue": "payments.work", "routing-keys": [key]}, *forged]
    return replace(
        delivery,
        source=Source.ELSEWHERE,
        exchange="payments.dlx",
        routing_key="dead",
        headers={**delivery.headers, "x-death": json.dumps(deaths)},
    )


@pytest.mark.parametrize("goes_round_first", [False, True])
async def test_a_request_the_broker_gave_up_is_handled_after_all(goes_round_first: object) -> None:
    """Contract section 3: replaying an unanswered letter publishes its event."""
    desk = Desk(World())
    desk.queue.letters.append(given_up(initiation()))
    if goes_round_first:
        assert (await desk.replay(KEY_2)).result is Replayed.NOT_FOUND
    assert (await desk.replay()).result is Replayed.REPLAYED
    assert list(desk.queue.letters) == []
    await desk.work()
    (event,) = desk.world.broker.events
    assert (event["result"], event["payment_id"], event["sequence"]) == (True, str(KEY_1), 1)
    assert sum(desk.world.providers.applied.values()) == 1


@pytest.mark.parametrize("goes_round_first", [False, True])
async def test_headers_of_ours_on_a_producers_message_are_not_believed_here_either(
    goes_round_first: object,
) -> None:
    """A request that forged them and was given up by the broker is still only what it says."""
    forged: dict[str, str | int] = {
        headers.IDENTITY: "web\u001fkey-2",
        headers.PAYMENT_ID: str(KEY_2),
        headers.SEQUENCE: 1,
        headers.ATTEMPTS: 0,
        headers.FIRST_SEEN: "2026-11-21T20:14:03Z",
        headers.ORIGIN_ROUTING_KEY: "payment.initiate.web",
        headers.ERROR_CODE: "provider_unavailable",
        "x-death": json.dumps([{"routing-keys": ["payment.initiate.web"]}]),
    }
    desk = Desk(World())
    desk.queue.letters.append(given_up(initiation(headers=forged)))
    if goes_round_first:
        assert (await desk.replay(KEY_2)).result is Replayed.NOT_FOUND
    assert (await desk.replay()).result is Replayed.REPLAYED
    (copy,) = desk.replayed
    assert copy.headers[headers.PAYMENT_ID] == str(KEY_1)
    assert copy.headers[headers.IDENTITY] == "dcp\u001fkey-1"
    assert copy.headers[headers.ORIGIN_ROUTING_KEY] == "payment.initiate.dcp"


async def test_a_waiting_payment_whose_copy_the_broker_gave_up_goes_on() -> None:
    world = World()
    world.providers.behaviours = [SILENCE]
    await world.worker().processor.handle(initiation())
    ((_, copy),) = world.broker.ladder
    world.broker.ladder.clear()
    desk = Desk(world)
    desk.queue.letters.append(given_up(copy))
    world.clock.advance(LADDER[-1].seconds)
    assert (await desk.replay()).result is Replayed.REPLAYED
    await desk.work()
    event = world.broker.events[-1]
    assert (event["result"], event["attempts"], event["sequence"]) == (True, 2, 1)


async def test_an_answered_payment_whose_copy_the_broker_gave_up_repeats_its_answer() -> None:
    world = World()
    await world.worker().processor.handle(initiation())
    desk = Desk(world)
    desk.queue.letters.append(given_up(initiation()))
    assert (await desk.replay()).result is Replayed.REPLAYED
    await desk.work()
    first, second = world.broker.events
    assert first == second
    assert sum(world.providers.applied.values()) == 1


async def test_a_letter_of_ours_behind_one_the_broker_made_is_opened_too() -> None:
    """Taken for a second copy of it, the letter that is to be replayed would be gone."""
    desk = await failed()
    desk.queue.letters.append(given_up(initiation()))
    report = await desk.replay()
    assert (report.result, report.sequence, report.stale) == (Replayed.REPLAYED, 2, 0)
    assert len(desk.replayed) == 2
    await desk.work()
    assert desk.world.broker.events[-1]["result"] is True


async def test_a_copy_that_knows_of_an_attempt_the_ledger_lost_is_not_paid() -> None:
    world = World()
    world.providers.behaviours = [SILENCE]
    await world.worker().processor.handle(initiation())
    ((_, copy),) = world.broker.ladder
    lost = World()
    desk = Desk(lost)
    desk.queue.letters.append(given_up(copy))
    assert (await desk.replay()).result is Replayed.REPLAYED
    await desk.work()
    assert lost.broker.events[-1]["code"] == "ledger_lost"
    assert lost.providers.requests == []


async def test_a_letter_of_ours_without_a_row_is_left_to_a_person() -> None:
    desk = await failed()
    desk.collect()
    empty = World()
    report = await desk.replay(ledger=empty.worker().ledger)
    assert (report.result, len(desk.queue.letters)) == (Replayed.NOT_REOPENED, 1)
    assert await empty.worker().ledger.reopen(
        KEY_1, from_sequence=1, actor="anna", run="R-2", reason=""
    ) == NotReopened("the ledger does not know it")


async def test_a_reopened_payment_is_open_until_its_copy_is_handled() -> None:
    desk = await failed()
    await desk.replay()
    assert desk.world.store.tables.records[KEY_1].state is State.RETRY_WAIT
