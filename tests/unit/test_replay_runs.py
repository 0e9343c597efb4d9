"""Whole replay runs on paper: canary, window, stops, and going on after one."""

from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import pytest

from tests.core import REFUSED_CONNECTION, UNAUTHORISED, says
from tests.replay_desk import OPTIONS, WorkingClock, key_of, many_failed
from worker.codes import Code
from worker.inventory import QueueLock
from worker.journal import ReplayResult, ReplayStep, RunState, StepState
from worker.messages import Exchange
from worker.operators.replays.decisions import Phase
from worker.operators.replays.runner import end_dead_run, purpose_of, results_of
from worker.operators.replays.walked import POLL_SECONDS, News, PhaseBegan
from worker.operators.walks import (
    DEAD_LETTERS,
    LEASE,
    QueueLockedError,
    QueueLockLostError,
    holding,
)

FORBIDDEN = says(403)


def keys(count: int) -> list[UUID]:
    return [key_of(number) for number in range(1, count + 1)]


async def test_forty_letters_go_in_three_parts_and_are_all_paid_once() -> None:
    desk = await many_failed(40)
    run = await desk.replay(*keys(40))
    assert (run.state, run.wanted) == (RunState.FINISHED, 40)
    assert await desk.results() == [ReplayResult.SETTLED] * 40
    assert set(desk.world.providers.applied.values()) == {1}
    assert len(desk.replayed) == 40
    parts = [news.phase for news in desk.news if isinstance(news, PhaseBegan)]
    assert parts == [Phase.CANARY, Phase.RAMP, Phase.REST]


async def test_a_part_begins_only_when_the_one_before_is_decided() -> None:
    desk = await many_failed(8)
    await desk.replay(*keys(8))
    told = [news.state if isinstance(news, ReplayStep) else news.phase for news in desk.news]
    sent, ended = StepState.SENT, StepState.ENDED
    assert told == [
        *(Phase.CANARY, sent, sent, sent, sent, sent, ended, ended, ended, ended, ended),
        *(Phase.RAMP, sent, ended, sent, sent, ended, ended),
    ]


async def test_a_canary_that_fails_as_before_stops_the_run_and_the_rest_is_untouched() -> None:
    desk = await many_failed(8)
    desk.world.providers.behaviours = [UNAUTHORISED] * 5
    run = await desk.replay(*keys(8))
    assert run.state is RunState.STOPPED
    assert run.stop_reason == "a canary letter came to provider_credentials"
    assert await desk.results() == [ReplayResult.FAILED_SAME_CODE] * 5 + [None] * 3
    assert len(desk.replayed) == 5
    assert len(desk.queue.letters) == 8
    untouched = [desk.world.store.tables.records[key_of(number)] for number in (6, 7, 8)]
    assert [record.sequence for record in untouched] == [1, 1, 1]


async def test_a_letter_of_the_canary_that_is_tried_again_stops_the_run() -> None:
    desk = await many_failed(7)
    desk.world.providers.behaviours = [REFUSED_CONNECTION] * 50
    run = await desk.replay(*keys(7))
    assert run.stop_reason == "a canary letter came to retrying"
    assert len(desk.replayed) == 1


async def test_a_new_code_that_comes_back_thrice_stops_the_run_within_the_ramp() -> None:
    desk = await many_failed(20)
    failing = 6

    def fail_later(news: News) -> None:
        if isinstance(news, PhaseBegan) and news.phase is Phase.RAMP:
            desk.world.providers.behaviours = [FORBIDDEN] * failing

    desk.on_news = fail_later
    run = await desk.replay(*keys(20))
    assert run.state is RunState.STOPPED
    assert run.stop_reason is not None
    assert run.stop_reason.startswith("6 letters came to")
    results = await results_of(desk.world.store.journal, "R-1")
    assert results[ReplayResult.SETTLED] == 5
    assert results[ReplayResult.FAILED_NEW_CODE] + results[ReplayResult.FAILED_SAME_CODE] == 6
    assert len(desk.replayed) == 11


async def test_a_run_goes_on_where_it_stopped_once_the_cause_is_mended() -> None:
    desk = await many_failed(8)
    desk.world.providers.behaviours = [UNAUTHORISED] * 5
    await desk.replay(*keys(8))
    run = await desk.resume()
    assert run.state is RunState.FINISHED
    assert await desk.results() == [
        *[ReplayResult.FAILED_SAME_CODE] * 5,
        *[ReplayResult.SETTLED] * 3,
    ]
    assert len(desk.replayed) == 8


async def test_a_run_that_nobody_works_for_gives_up_after_a_while() -> None:
    desk = await many_failed(8)
    desk.is_worked = False
    run = await desk.replay(*keys(8))
    assert run.state is RunState.STOPPED
    assert run.stop_reason is not None
    assert "no outcome for 60 seconds" in run.stop_reason
    results = await results_of(desk.world.store.journal, "R-1")
    assert results[ReplayResult.PENDING] == 5


async def test_what_was_pending_is_found_out_by_the_resumed_run() -> None:
    desk = await many_failed(3)
    desk.is_worked = False
    first = await desk.replay(*keys(3))
    assert first.state is RunState.FINISHED
    assert await desk.results() == [None] * 3
    await desk.work()
    await desk.resume()
    assert await desk.results() == [ReplayResult.SETTLED] * 3
    assert len(desk.replayed) == 3


async def test_a_full_window_waits_for_outcomes() -> None:
    desk = await many_failed(12)
    options = replace(OPTIONS, canary=0, in_flight=2, stop_after_failures=50)
    most = 0
    clock = desk.world.clock
    assert isinstance(clock, WorkingClock)

    async def work_when_it_waits() -> None:
        if clock.sleeps[-1] == POLL_SECONDS:
            await desk.work()

    def count(_news: News) -> None:
        nonlocal most
        clock.meanwhile = work_when_it_waits
        records = desk.world.store.tables.records.values()
        most = max(most, sum(record.state.is_open for record in records))

    desk.on_news, desk.is_worked = count, False
    await desk.replay(*keys(12), options=options)
    assert await desk.results() == [ReplayResult.SETTLED] * 12
    assert most == 2


async def test_a_run_keeps_its_rate() -> None:
    desk = await many_failed(12)
    options = replace(OPTIONS, canary=0, rate=2.0)
    sent_at: list[float] = []
    clock = desk.world.clock

    def note(news: News) -> None:
        if isinstance(news, ReplayStep) and news.state is StepState.SENT:
            sent_at.append(clock.monotonic())

    desk.on_news = note
    await desk.replay(*keys(12), options=options)
    gaps = [after - before for before, after in pairwise(sent_at)]
    assert min(gaps) >= 0.5


async def test_an_interrupted_run_ends_after_the_letter_in_hand_and_keeps_its_journal() -> None:
    desk = await many_failed(8)

    def interrupt(news: News) -> None:
        if isinstance(news, ReplayStep):
            desk.stop.set()

    desk.on_news = interrupt
    run = await desk.replay(*keys(8))
    assert (run.state, run.stop_reason) == (RunState.STOPPED, "it was interrupted")
    assert len(desk.replayed) == 1
    desk.on_news, desk.stop = lambda _news: None, type(desk.stop)()
    await desk.work()
    await desk.resume()
    assert await desk.results() == [ReplayResult.SETTLED] * 8
    assert set(desk.world.providers.applied.values()) == {1}


async def test_a_run_that_is_asked_to_stop_says_by_whom() -> None:
    desk = await many_failed(8)
    journal = desk.world.store.journal

    async def ask() -> None:
        await journal.ask_to_stop("R-1", actor="bert", at=desk.world.clock.now())

    desk.is_worked = False
    clock = desk.world.clock
    assert isinstance(clock, WorkingClock)
    desk.on_news = lambda _news: setattr(clock, "meanwhile", ask)
    run = await desk.replay(*keys(8))
    assert (run.state, run.stop_reason) == (RunState.STOPPED, "bert asked for it")
    assert run.stop_asked_by == "bert"


async def test_a_failure_of_the_last_letters_does_not_stop_what_has_ended() -> None:
    desk = await many_failed(1)
    desk.world.providers.behaviours = [UNAUTHORISED]
    run = await desk.replay(key_of(1))
    assert (run.state, run.stop_reason) == (RunState.FINISHED, None)
    step = await desk.step()
    assert (step.result, step.end_code) == (
        ReplayResult.FAILED_SAME_CODE,
        Code.PROVIDER_CREDENTIALS,
    )
    assert desk.queue.letters[0].headers["sequence"] == 2


async def test_the_lock_is_renewed_while_a_run_waits() -> None:
    desk = await many_failed(8)
    desk.is_worked = False
    until: list[object] = []
    clock = desk.world.clock
    assert isinstance(clock, WorkingClock)

    async def look() -> None:
        (lock,) = desk.world.store.tables.queue_locks.values()
        assert lock.until > clock.now()
        until.append(lock.until)

    desk.on_news = lambda _news: setattr(clock, "meanwhile", look)
    await desk.replay(*keys(8))
    assert len(set(until)) > 3


async def test_every_copy_goes_where_only_operators_may_publish() -> None:
    desk = await many_failed(3)
    await desk.replay(*keys(3))
    assert len(desk.world.broker.sent_to(Exchange.REPLAY, "work")) == 3


async def test_a_process_that_wakes_up_does_not_end_the_run_that_another_goes_on_with() -> None:
    """Told as stopped, the run could not be stopped any more."""
    desk = await many_failed(1)
    clock = desk.world.clock
    assert isinstance(clock, WorkingClock)

    def stand_still(_news: News) -> None:
        clock.advance(2 * LEASE.total_seconds())
        other = QueueLock(
            queue=DEAD_LETTERS,
            token=UUID(int=1),
            actor="bert",
            purpose=purpose_of("R-1"),
            since=clock.now(),
            until=clock.now() + LEASE,
        )
        desk.world.store.tables.queue_locks[DEAD_LETTERS] = other

    desk.on_news = stand_still
    with pytest.raises(QueueLockLostError):
        await desk.replay(key_of(1))
    run = await desk.world.store.journal.find_run("R-1")
    assert run is not None
    assert (run.state, run.ended_at) == (RunState.RUNNING, None)


async def test_a_run_whose_process_died_can_be_told_as_stopped_once_nobody_holds_its_queue() -> (
    None
):
    desk = await many_failed(1)
    journal, ledger = desk.world.store.journal, desk.world.worker().ledger
    run = await desk.replay(key_of(1))
    await journal.resume_run(run.run)  # as a process leaves it that is killed right after
    async with holding(ledger, DEAD_LETTERS, actor="bert", purpose=purpose_of(run.run)):
        with pytest.raises(QueueLockedError):
            await end_dead_run(ledger, journal, run, actor="anna")
        alive = await journal.find_run(run.run)
        assert alive is not None
        assert alive.state is RunState.RUNNING
    ended = await end_dead_run(ledger, journal, run, actor="anna")
    assert (ended.state, ended.stop_reason) == (RunState.STOPPED, "its process died")
    assert await end_dead_run(ledger, journal, run, actor="anna") == ended
