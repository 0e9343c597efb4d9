"""Sending answers again: the newest only, marked durably before its copy goes."""

from collections import deque
from dataclasses import replace

import pytest

from tests.core import SILENT, UNAUTHORISED, UNROUTABLE, World, basket, cancellation, initiation
from tests.fakes_clock import START
from tests.fakes_letters import PaperQueue
from tests.rows import ASKED, LINK, NOW, Rows, closed, payment
from worker.codes import Code
from worker.contract import headers
from worker.contract.copies import unclaimed_copy
from worker.identity import identity_of, operation_id_of
from worker.lifecycle.decide import Reason
from worker.lifecycle.resend import Resending, ResendWish, resend
from worker.messages import Exchange
from worker.model import Source
from worker.operators.unclaimed import Kept, KeptBecause, ResendReport, UnclaimedEvents
from worker.records import State

KEY_1 = operation_id_of(identity_of("dcp", "key-1"))
WISH = ResendWish(operation_id=ASKED.envelope.operation_id, actor="anna", reason="dcp is bound")
REASONS = {
    State.FAILED: Reason(code=Code.DECLINED),
    State.IN_DOUBT: Reason(code=Code.OUTCOME_UNKNOWN),
}


# --- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if not state.is_open])
@pytest.mark.parametrize("resends", [0, 3])
@pytest.mark.parametrize("confirmed", [False, True])
def test_a_decided_answer_is_owed_again_and_the_act_is_audited(
    state: State, resends: int, confirmed: object
) -> None:
    """Also one that is owed already: its copy in the queue may be of an earlier sending."""
    record, answer = closed(payment(), state, reason=REASONS.get(state), link=LINK)
    stored = replace(answer, event_confirmed=bool(confirmed), resends=resends)
    rows = Rows([record], answers=[stored])
    for event_id in (None, answer.event.event_id):
        change = resend(rows, replace(WISH, event_id=event_id), NOW)
        assert change.result is Resending.MARKED
        assert change.records == ()
        assert change.answers == (replace(stored, event_confirmed=False, resends=resends + 1),)
        (act,) = change.audit
        assert (act.actor, act.action, act.operation_id) == ("anna", "resend", record.operation_id)
        assert act.detail.endswith("dcp is bound")


@pytest.mark.parametrize("state", [State.CALLING, State.RETRY_WAIT])
def test_an_open_operation_has_no_answer_to_send(state: State) -> None:
    change = resend(Rows([payment(state)]), WISH, NOW)
    assert (change.result, change.answers, change.audit) == (Resending.OPEN, (), ())


def test_an_older_event_and_an_unknown_operation_are_left_alone() -> None:
    record, answer = closed(payment(), State.SUCCEEDED, link=LINK)
    rows = Rows([record], answers=[answer])
    older = resend(rows, replace(WISH, event_id=KEY_1), NOW)
    assert (older.result, older.answers) == (Resending.OVERTAKEN, ())
    assert resend(Rows(), WISH, NOW).result is Resending.UNKNOWN


# --- the walk ------------------------------------------------------------------------------------


async def unclaimed_by(world: World) -> PaperQueue:
    """The queue of unclaimed events as the world's broker holds it."""
    copies = [world.broker.copy(message, Source.ELSEWHERE) for message in world.broker.unclaimed]
    return PaperQueue(deque(copies))


async def paid_unheard(*, count: int = 1) -> World:
    """A world whose payments were answered while nobody was bound."""
    world = World()
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE] * count
    for number in range(count):
        await world.worker().processor.handle(
            initiation(f"key-{number + 1}", id_commande=f"{number + 1}")
        )
    return world


async def walked(world: World, queue: PaperQueue) -> ResendReport:
    events = UnclaimedEvents(ledger=world.worker().ledger, queue=queue, publisher=world.broker)
    return await events.resend(actor="anna", reason="dcp is bound")


async def test_unclaimed_events_are_sent_by_the_sweeper_under_their_own_ids() -> None:
    world = await paid_unheard(count=2)
    queue = await unclaimed_by(world)
    ids = [message.message_id for message in world.broker.unclaimed]
    assert await walked(world, queue) == ResendReport(marked=2)
    assert (len(queue.letters), len(queue.removed)) == (0, 2)
    world.clock.advance(200)
    swept = await world.worker().sweeper.sweep()
    assert swept.announced == 2
    sent = world.broker.sent_to(Exchange.RESULTS)
    assert sorted(message.message_id for message in sent) == sorted(ids)
    assert {message.headers[headers.RESEND] for message in sent} == {1}
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).announced == 0, "once is enough"


async def test_still_unheard_they_come_back_and_nothing_goes_round() -> None:
    world = await paid_unheard()
    await walked(world, await unclaimed_by(world))
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE]
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).unclaimed == 1
    assert len(world.broker.unclaimed) == 2, "the first copy was let go, this is its successor"
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).announced == 0


async def test_the_mark_of_the_first_sending_does_not_undo_the_wish() -> None:
    """It may be written after the operator's: the copy it speaks of is gone by then."""
    world = await paid_unheard()
    await walked(world, await unclaimed_by(world))
    (answer,) = world.store.tables.answers.values()
    world.worker().ledger.confirmed(replace(answer, resends=0), event=True)
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).announced == 1


async def test_an_answer_that_a_newer_one_overtook_is_dropped_and_never_sent() -> None:
    world = World()
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE]
    worker = world.worker()
    await worker.processor.handle(basket())
    await worker.processor.handle(cancellation())
    queue = await unclaimed_by(world)
    assert await walked(world, queue) == ResendReport(overtaken=1)
    assert list(queue.letters) == []
    before = len(world.broker.events)
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).announced == 0
    assert len(world.broker.events) == before


async def test_the_answer_of_a_cancellation_is_found_by_its_event() -> None:
    """It names its payment, whose row is another one."""
    world = World()
    worker = world.worker()
    await worker.processor.handle(basket())
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE]
    await worker.processor.handle(cancellation())
    assert await walked(world, await unclaimed_by(world)) == ResendReport(marked=1)
    world.clock.advance(200)
    assert (await world.worker().sweeper.sweep()).announced == 1
    assert world.broker.events[-1]["event_type"] == "payment.cancellation.succeeded"


async def test_an_event_the_ledger_does_not_know_stays_as_it_is() -> None:
    world = await paid_unheard()
    queue = await unclaimed_by(world)
    (known,) = world.broker.unclaimed
    stranger = replace(known, message_id=str(KEY_1))
    nameless = replace(known, message_id="what is this")
    for message in (stranger, nameless):
        queue.letters.append(world.broker.copy(message, Source.ELSEWHERE))
    report = await walked(world, queue)
    assert report == ResendReport(
        marked=1,
        kept=(
            Kept(str(KEY_1), KeptBecause.NO_ROW),
            Kept("what is this", KeptBecause.NO_ROW),
        ),
    )
    *_, first, second = world.broker.unclaimed
    assert (first, second) == (unclaimed_copy(stranger), unclaimed_copy(nameless))


async def test_the_answer_of_a_reopened_payment_stays_until_it_is_decided_again() -> None:
    world = World()
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE]
    world.providers.behaviours = [UNAUTHORISED]
    worker = world.worker()
    await worker.processor.handle(initiation())
    await worker.ledger.payments.reopen(
        KEY_1, from_sequence=1, actor="anna", run="R-1", reason="mended"
    )
    report = await walked(world, await unclaimed_by(world))
    assert [kept.reason for kept in report.kept] == [KeptBecause.OPEN]


async def test_a_broker_that_falls_silent_ends_the_walk_and_keeps_the_copy() -> None:
    world = World()
    queue = PaperQueue(deque([replace(initiation(), message_id=str(KEY_1), received_at=START)]))
    world.broker.scripts[Exchange.DEAD_LETTER] = [SILENT]
    report = await walked(world, queue)
    assert report == ResendReport(is_complete=False)
    assert (len(queue.letters), queue.removed, queue.in_hand) == (1, [], 0)
