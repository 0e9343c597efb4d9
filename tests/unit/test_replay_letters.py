"""Replay runs on a paper queue: one round, each letter let go only when it is safe."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from typing_extensions import override

from tests.core import (
    DECLINES,
    REFUSED,
    RESET_AFTER,
    SILENCE,
    SILENT_BUT_KEPT,
    World,
    basket,
    initiation,
    link_account,
    listing,
    with_account,
)
from tests.fakes_letters import PaperQueue
from tests.replay_desk import ReplayDesk, WorkingClock, failed, key_of, step_of
from worker.codes import Code
from worker.contract import headers
from worker.journal import ReplayResult, RunState, StepState
from worker.letters import Verdict
from worker.lifecycle.reconcile import STEPS
from worker.lifecycle.reopen import NotReopened, Reopened
from worker.messages import Exchange
from worker.model import Delivery, OperationClass, Source
from worker.operators.unanswered import synchronise
from worker.operators.walks import QueueLockedError
from worker.records import Restoration, State
from worker.retry import LADDER

KEY_1, KEY_2 = key_of(1), key_of(2)


def world() -> World:
    return World(clock=WorkingClock())


async def test_a_replayed_payment_is_paid_once_under_the_next_sequence() -> None:
    desk = await failed()
    run = await desk.replay(KEY_1)
    assert (run.state, run.stop_reason, run.wanted) == (RunState.FINISHED, None, 1)
    step = await desk.step()
    assert (step.state, step.result, step.sent_sequence) == (
        StepState.ENDED,
        ReplayResult.SETTLED,
        2,
    )
    assert list(desk.queue.letters) == []
    copy = desk.replayed[0]
    assert copy.message_id == "key-1"
    assert copy.headers[headers.REPLAY_COUNT] == 1
    assert copy.headers[headers.REPLAY_RUN] == "R-1"
    assert copy.headers[headers.REPLAYED_BY] == "anna"
    last = desk.world.broker.events[-1]
    assert (last["result"], last["sequence"]) == (True, 2)
    assert sum(desk.world.providers.applied.values()) == 1


async def test_a_run_that_died_before_its_publish_is_resumed() -> None:
    desk = await failed()
    opened = await desk.ledger.payments.reopen(
        KEY_1, from_sequence=1, actor="anna", run="R-1", reason="died after this"
    )
    assert opened == Reopened(2)
    await desk.replay(KEY_1)
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert len(desk.replayed) == 1


async def test_a_letter_that_the_broker_gives_back_late_is_sent_by_the_next_resume() -> None:
    """The broker holds a dead tool's letter for longer than its lock is held."""
    desk = await failed()
    desk.collect()
    letter = desk.queue.letters.popleft()
    await desk.ledger.payments.reopen(
        KEY_1, from_sequence=1, actor="anna", run="R-1", reason="then died"
    )
    await desk.replay(KEY_1)
    assert (await desk.step()).state is StepState.SENT  # as far as anybody can tell
    desk.queue.letters.append(letter)
    await desk.resume()
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert (list(desk.queue.letters), len(desk.replayed)) == ([], 1)


async def test_what_another_run_has_opened_is_not_replayed_beside_it() -> None:
    desk = await failed()
    await desk.ledger.payments.reopen(KEY_1, from_sequence=1, actor="bert", run="R-0", reason="")
    await desk.replay(KEY_1)
    step = await desk.step()
    assert (step.result, step.detail) == (ReplayResult.SKIPPED, "already in run R-0")
    assert (desk.replayed, len(desk.queue.letters)) == ([], 1)


async def test_one_plan_replayed_by_two_runs_is_replayed_once() -> None:
    desk = await failed()
    await desk.replay(KEY_1, run="R-1")
    await desk.replay(KEY_1, run="R-2")
    assert (await desk.step("R-2")).result is ReplayResult.SKIPPED
    assert len(desk.replayed) == 1
    assert sum(desk.world.providers.applied.values()) == 1


async def test_a_second_run_at_the_same_time_is_refused_before_it_writes_anything() -> None:
    desk = await failed()
    second: list[QueueLockedError] = []

    async def begin_another() -> None:
        with pytest.raises(QueueLockedError) as refused:
            await ReplayDesk(desk.world, is_worked=False).replay(KEY_1, run="R-2")
        second.append(refused.value)
        desk.is_worked = True
        await desk.work()

    desk.is_worked = False
    clock = desk.world.clock
    assert isinstance(clock, WorkingClock)
    desk.on_news = lambda _news: setattr(clock, "meanwhile", begin_another)
    await desk.replay(KEY_1)
    assert second[0].holder.purpose == "replay R-1"
    assert await desk.world.store.journal.find_run("R-2") is None
    assert len(desk.replayed) == 1


async def test_a_replay_nobody_confirmed_keeps_its_letter_and_pays_once() -> None:
    """Whether the copy arrived is not known; here it did, and the resumed run sends another."""
    desk = await failed()
    desk.world.broker.scripts[Exchange.REPLAY] = [SILENT_BUT_KEPT]
    run = await desk.replay(KEY_1)
    assert (run.state, len(desk.queue.letters)) == (RunState.STOPPED, 1)
    assert run.stop_reason is not None
    assert "did not confirm" in run.stop_reason
    assert (await desk.step()).state is StepState.PLANNED
    assert (await desk.resume()).state is RunState.FINISHED
    assert len(desk.replayed) == 2
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert sum(desk.world.providers.applied.values()) == 1


async def test_a_letter_that_was_overtaken_is_removed_and_never_published() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    desk.queue.letters.insert(1, desk.queue.letters[0])
    run = await desk.replay(KEY_1, KEY_2)
    assert (run.removed, len(desk.replayed)) == (1, 2)
    assert list(desk.queue.letters) == []


async def test_a_letter_of_an_earlier_decision_is_stale_whoever_meets_it() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    early = desk.queue.letters[0]
    await desk.replay(KEY_1, run="R-0")
    desk.queue.letters.appendleft(early)
    run = await desk.replay(KEY_2)
    assert (run.removed, run.kept) == (1, 0)
    assert list(desk.queue.letters) == []


async def test_the_only_letter_of_a_payment_that_the_sweeper_gave_up_is_kept_when_too_late() -> (
    None
):
    """The sweeper has no body to write a letter with: the earlier letter is the only one."""
    desk = await failed()
    desk.collect()
    early = desk.queue.letters[0]
    desk.is_worked = False
    await desk.replay(KEY_1, run="R-0")
    desk.queue.letters.append(early)
    desk.world.clock.advance(timedelta(hours=25).total_seconds())
    assert (await desk.world.worker().sweeper.sweep()).abandoned == 1
    run = await desk.replay(step_of(KEY_1, sequence=2))
    assert (run.kept, run.removed) == (1, 0)
    step = await desk.step()
    assert step.result is ReplayResult.SKIPPED
    assert step.detail is not None
    assert "its time is over" in step.detail


async def link_lost(*others: Delivery) -> ReplayDesk:
    """A desk whose first letter is of a link that a look-up found and could not read."""
    desk = await failed(*others) if others else ReplayDesk(world())
    desk.collect()
    here = desk.world
    here.book = with_account(replace(link_account(OperationClass.ORPHAN_SAFE), look_up=True))
    here.providers.behaviours = [RESET_AFTER] * 2
    await here.worker().processor.handle(initiation("key-9", id_commande="9"))
    while (copy := here.broker.take()) is not None:
        await here.worker().processor.handle(copy)
    here.providers.search_facts = [
        listing((reference, "1250", None)) for reference in reversed(here.providers.sold)
    ]
    here.clock.advance(STEPS[0].total_seconds())
    assert await here.worker().reconciler.go_round("safedebit") == 1
    desk.collect()
    return desk


async def test_the_letter_of_a_link_that_a_look_up_found_lost_goes_round_unharmed() -> None:
    """Its sequence is that of the doubt before, and it holds the request's only body."""
    desk = await link_lost(initiation("key-1"))
    desk.queue.letters.rotate(1)
    run = await desk.replay(KEY_1)
    assert (run.kept, run.removed) == (1, 0)
    assert [each.message_id for each in desk.queue.letters] == ["key-9"]


async def test_a_link_that_was_lost_and_never_handed_out_is_issued_anew_from_that_letter() -> None:
    desk = await link_lost()
    payment = key_of(9)
    await desk.replay(step_of(payment, sequence=2, code=Code.LINK_LOST))
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert list(desk.queue.letters) == []
    last = desk.world.broker.events[-1]
    assert (last["result"], last["sequence"]) == (True, 3)
    assert last["link"] is not None


@pytest.mark.parametrize("is_synchronised", [False, True])
async def test_a_run_that_was_cut_before_its_copy_finds_that_letter_again(
    is_synchronised: bool,  # noqa: FBT001 - parametrised
) -> None:
    """It was opened already, and the letter of the doubt is the only body that there is."""
    desk = await link_lost()
    desk.world.broker.scripts[Exchange.REPLAY] = [REFUSED]
    run = await desk.replay(step_of(key_of(9), sequence=2, code=Code.LINK_LOST))
    assert run.state is RunState.STOPPED
    assert len(desk.queue.letters) == 1
    if is_synchronised:
        report = await synchronise(
            ledger=desk.ledger, queue=desk.queue, publisher=desk.world.broker, actor="anna"
        )
        assert report.overtaken == 0
        desk.collect()
    await desk.resume()
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert list(desk.queue.letters) == []
    last = desk.world.broker.events[-1]
    assert (last["result"], last["sequence"]) == (True, 3)


async def test_the_other_letters_go_round_unharmed() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    before = desk.queue.letters[0]
    run = await desk.replay(KEY_2)
    assert (run.kept, run.removed) == (1, 0)
    (after,) = desk.queue.letters
    assert (after.body, after.message_id) == (before.body, before.message_id)
    assert after.headers == before.headers


async def test_the_walk_ends_with_the_last_wanted_letter() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    run = await desk.replay(KEY_1)
    assert (run.kept, len(desk.queue.letters)) == (0, 1)


async def test_a_letter_that_cannot_go_round_stays_in_the_queue() -> None:
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    desk.world.broker.scripts[Exchange.DEAD_LETTER] = [REFUSED]
    run = await desk.replay(KEY_2)
    assert run.state is RunState.STOPPED
    assert len(desk.queue.letters) == 2
    assert desk.queue.removed == []


async def test_a_doubt_of_a_basket_item_is_not_replayed() -> None:
    doubtful = world()
    doubtful.providers.behaviours = [SILENCE]
    await doubtful.worker().processor.handle(basket())
    desk = ReplayDesk(doubtful)
    await desk.replay(step_of(KEY_1, code=Code.OUTCOME_UNKNOWN, verdict=Verdict.UNKNOWN))
    step = await desk.step()
    assert step.result is ReplayResult.SKIPPED
    assert step.detail is not None
    assert "may have been applied" in step.detail
    assert len(desk.queue.letters) == 1
    assert desk.replayed == []


async def test_what_is_not_in_the_queue_is_said_so() -> None:
    declined = world()
    declined.providers.behaviours = [DECLINES]
    await declined.worker().processor.handle(initiation())
    desk = ReplayDesk(declined)
    run = await desk.replay(KEY_1)
    assert run.state is RunState.FINISHED
    step = await desk.step()
    assert (step.result, step.detail) == (ReplayResult.SKIPPED, "not in the queue")


async def test_a_letter_whose_content_an_edit_has_replaced_is_kept_and_told() -> None:
    """A copy with the old body, left by a crash, must not undo the edit."""
    desk = await failed()
    desk.collect()
    letter = desk.queue.letters[0]
    other = replace(letter, body=letter.body.replace(b"key-1@", b"jo@"))
    desk.queue.letters.appendleft(other)
    run = await desk.replay(KEY_1)
    assert (run.kept, (await desk.step()).result) == (1, ReplayResult.SETTLED)
    assert [copy.body for copy in desk.replayed] == [letter.body]
    alone = await failed()
    alone.queue.letters.append(other)
    alone.collected = len(alone.world.broker.letters)
    await alone.replay(KEY_1)
    step = await alone.step()
    assert step.result is ReplayResult.SKIPPED
    assert step.detail is not None
    assert "edited since" in step.detail
    assert alone.world.store.tables.records[KEY_1].state is State.FAILED


async def test_what_is_decided_is_answered_again_and_nobody_is_called() -> None:
    desk = await failed()
    calls = len(desk.world.providers.requests)
    await desk.replay(step_of(KEY_1, verdict=Verdict.ALREADY_DONE))
    assert (await desk.step()).result is ReplayResult.ALREADY_DONE
    (answer,) = desk.world.store.tables.answers.values()
    assert (answer.resends, answer.event_confirmed) == (1, False)
    assert len(desk.world.providers.requests) == calls
    assert len(desk.queue.letters) == 1


async def test_a_doubt_whose_answer_is_sent_again_is_told_as_one() -> None:
    doubtful = world()
    doubtful.providers.behaviours = [SILENCE]
    await doubtful.worker().processor.handle(basket())
    desk = ReplayDesk(doubtful)
    await desk.replay(step_of(KEY_1, code=None, verdict=Verdict.ALREADY_DONE))
    step = await desk.step()
    assert (step.result, step.end_code) == (ReplayResult.IN_DOUBT, Code.OUTCOME_UNKNOWN)
    (answer,) = doubtful.store.tables.answers.values()
    assert answer.resends == 1


async def test_the_letter_of_what_is_decided_goes_when_its_answer_is_sent_again() -> None:
    """Left in queue and index it would be listed as unanswered for ever."""
    desk = ReplayDesk(world())
    await desk.world.worker().processor.handle(initiation())
    desk.queue.letters.append(given_up(initiation()))
    calls = len(desk.world.providers.requests)
    await desk.replay(step_of(KEY_1, code=None, verdict=Verdict.ALREADY_DONE))
    assert (await desk.step()).result is ReplayResult.ALREADY_DONE
    assert list(desk.queue.letters) == []
    assert len(desk.world.providers.requests) == calls


class EmptiedQueue(PaperQueue):
    """One whose last letter is gone when it is asked for."""

    @override
    async def depth(self) -> int:
        return len(self.letters) + 1


async def test_what_was_decided_and_is_open_again_is_left_to_its_next_decision() -> None:
    desk = await failed()
    await desk.ledger.payments.reopen(KEY_1, from_sequence=1, actor="bert", run="R-0", reason="")
    await desk.replay(step_of(KEY_1, verdict=Verdict.ALREADY_DONE))
    step = await desk.step()
    assert step.result is ReplayResult.SKIPPED
    assert step.detail is not None
    assert "open again" in step.detail


async def test_a_queue_that_somebody_empties_meanwhile_stops_the_run() -> None:
    desk = await failed()
    desk.queue = EmptiedQueue()
    run = await desk.replay(key_of(9))
    assert run.state is RunState.STOPPED
    assert run.stop_reason is not None
    assert "somebody else" in run.stop_reason
    assert (await desk.step()).state is StepState.PLANNED


async def test_begin_and_end_of_a_run_are_audited() -> None:
    desk = await failed()
    await desk.replay(KEY_1)
    acts = [entry for entry in desk.world.store.tables.audit if entry.operation_id is None]
    assert [(entry.actor, entry.action) for entry in acts] == [
        ("anna", "replay_begin"),
        ("anna", "replay_end"),
    ]
    assert "1 letters, plan by name: the password was mended" in acts[0].detail
    assert acts[1].detail == "run R-1: finished, 1 settled"


async def test_the_lock_of_a_run_is_given_back() -> None:
    desk = await failed()
    await desk.replay(KEY_1)
    assert desk.world.store.tables.queue_locks == {}


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
    desk = ReplayDesk(world())
    desk.queue.letters.append(given_up(initiation()))
    if goes_round_first:
        await desk.replay(KEY_2, run="R-0")
        assert (await desk.step("R-0")).result is ReplayResult.SKIPPED
    await desk.replay(step_of(KEY_1, sequence=0, code=None))
    assert (await desk.step()).result is ReplayResult.SETTLED
    assert list(desk.queue.letters) == []
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
    desk = ReplayDesk(world())
    desk.queue.letters.append(given_up(initiation(headers=forged)))
    if goes_round_first:
        await desk.replay(KEY_2, run="R-0")
        assert (await desk.step("R-0")).result is ReplayResult.SKIPPED
    await desk.replay(step_of(KEY_1, sequence=0, code=None))
    (copy,) = desk.replayed
    assert copy.headers[headers.PAYMENT_ID] == str(KEY_1)
    assert copy.headers[headers.IDENTITY] == "dcp\u001fkey-1"
    assert copy.headers[headers.ORIGIN_ROUTING_KEY] == "payment.initiate.dcp"


async def test_a_waiting_payment_whose_copy_the_broker_gave_up_goes_on() -> None:
    waiting = world()
    waiting.providers.behaviours = [SILENCE]
    await waiting.worker().processor.handle(initiation())
    ((_, copy),) = waiting.broker.ladder
    waiting.broker.ladder.clear()
    desk = ReplayDesk(waiting)
    desk.queue.letters.append(given_up(copy))
    waiting.clock.advance(LADDER[-1].seconds)
    await desk.replay(step_of(KEY_1, sequence=1, code=None))
    assert (await desk.step()).result is ReplayResult.SETTLED
    event = waiting.broker.events[-1]
    assert (event["result"], event["attempts"], event["sequence"]) == (True, 2, 1)


async def test_an_answered_payment_whose_request_the_broker_gave_up_repeats_its_answer() -> None:
    answered = world()
    await answered.worker().processor.handle(initiation())
    desk = ReplayDesk(answered)
    desk.queue.letters.append(given_up(initiation()))
    await desk.replay(step_of(KEY_1, sequence=0, code=None))
    assert (await desk.step()).result is ReplayResult.ALREADY_DONE
    assert list(desk.queue.letters) == []
    answered.clock.advance(600)
    await answered.worker().sweeper.sweep()
    first, second = answered.broker.events
    assert first == second
    assert sum(answered.providers.applied.values()) == 1


async def test_a_letter_of_ours_behind_one_the_broker_made_is_opened_once() -> None:
    """Either holds the request; the second one is a copy of what was just replayed."""
    desk = await failed(initiation("key-1"), initiation("key-2", id_commande="2"))
    desk.collect()
    desk.queue.letters.appendleft(given_up(initiation()))
    run = await desk.replay(KEY_1, KEY_2)
    assert (run.removed, len(desk.replayed)) == (1, 2)
    assert await desk.results() == [ReplayResult.SETTLED] * 2
    assert sum(desk.world.providers.applied.values()) == 2


async def test_two_contents_under_one_key_are_both_decided() -> None:
    """The broker gave up both, and the second is no copy of the first (contract section 2)."""
    desk = ReplayDesk(world())
    first, second = initiation(amount="1250"), initiation(amount="9900")
    other = initiation("key-2", id_commande="2")
    desk.queue.letters.extend(map(given_up, (first, second, other)))
    wanted = step_of(KEY_1, sequence=1, code=None), step_of(KEY_2, sequence=1, code=None)
    assert (await desk.replay(*wanted)).removed == 0
    await desk.work()
    told = [(event["amount"], event["code"]) for event in desk.world.broker.events]
    assert sorted(told, key=str) == [
        ("1250", None),
        ("1250", None),
        ("9900", Code.IDEMPOTENCY_MISMATCH),
    ]
    assert sum(desk.world.providers.applied.values()) == 2


async def test_another_content_under_the_key_of_what_is_decided_is_not_removed_with_it() -> None:
    decided = world()
    await decided.worker().processor.handle(initiation())
    desk = ReplayDesk(decided)
    desk.queue.letters.append(given_up(initiation(amount="9900")))
    await desk.replay(KEY_2)
    assert len(desk.queue.letters) == 1  # nobody asked for it
    await desk.replay(step_of(KEY_1, sequence=1, code=None), run="R-2")
    await desk.work()
    assert (await desk.step("R-2")).result is ReplayResult.ALREADY_DONE
    assert decided.broker.events[-1]["code"] == Code.IDEMPOTENCY_MISMATCH
    assert sum(decided.providers.applied.values()) == 1


async def test_what_a_worker_may_have_called_before_a_restoration_is_not_called_again() -> None:
    """It was in a worker's hands, or the broker would not have given it up (rule I10)."""
    restored = world()
    restored.clock.advance(3600)
    now = restored.clock.now()
    restored.restoration = Restoration(known_until=now, restored_at=now, actor="anna")
    desk = ReplayDesk(restored)
    desk.queue.letters.append(given_up(basket()))
    restored.clock.advance(60)
    await desk.replay(KEY_2, run="R-0")  # a walk that puts it back with headers of ours
    await desk.replay(step_of(KEY_1, sequence=1, code=None))
    assert (await desk.step()).end_code is Code.LEDGER_LOST
    assert restored.providers.requests == []


async def test_a_copy_that_knows_of_an_attempt_the_ledger_lost_is_not_paid() -> None:
    before = world()
    before.providers.behaviours = [SILENCE]
    await before.worker().processor.handle(initiation())
    ((_, copy),) = before.broker.ladder
    lost = world()
    desk = ReplayDesk(lost)
    desk.queue.letters.append(given_up(copy))
    await desk.replay(step_of(KEY_1, sequence=1, code=None))
    assert (await desk.step()).end_code is Code.LEDGER_LOST
    assert lost.providers.requests == []


async def test_a_letter_of_ours_without_a_row_is_left_to_a_person() -> None:
    desk = await failed()
    desk.collect()
    empty = world()
    lost = ReplayDesk(empty, desk.queue)
    await lost.replay(KEY_1)
    step = await lost.step()
    assert (step.result, len(desk.queue.letters)) == (ReplayResult.SKIPPED, 1)
    assert step.detail == "the ledger does not know it"
    assert await empty.worker().ledger.payments.reopen(
        KEY_1, from_sequence=1, actor="anna", run="R-2", reason=""
    ) == NotReopened("the ledger does not know it")


async def test_a_letter_whose_headers_are_garbled_is_kept_and_told() -> None:
    desk = await failed()
    desk.collect()
    letter = desk.queue.letters[0]
    desk.queue.letters[0] = replace(
        letter, headers={**letter.headers, headers.IDENTITY: "", headers.FIRST_SEEN: "never"}
    )
    await desk.replay(KEY_1)
    step = await desk.step()
    assert (step.result, step.detail) == (ReplayResult.SKIPPED, "its headers cannot be read")
    assert desk.world.store.tables.records[KEY_1].state is State.FAILED
    assert len(desk.queue.letters) == 1
