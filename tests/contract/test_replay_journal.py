"""What every journal of replay runs must do: one suite, on the fake, on SQLite, on PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.contract.test_store import LEDGERS, NAMES, LedgerOnTrial, MakeLedger, ObservableStore
from tests.fakes_clock import START
from tests.store_samples import decided_record, number, sample_record, write
from worker.codes import Code
from worker.journal import (
    ReplayResult,
    ReplayRun,
    ReplayStep,
    RunOptions,
    RunState,
    StepState,
    StepTally,
    Whereabouts,
)
from worker.letters import Verdict
from worker.operator_ports import ReplayJournal
from worker.ports import StoreUnavailableError
from worker.records import Kind, State

MINUTE = timedelta(minutes=1)
EVERY_STATE = frozenset(StepState)


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def on_trial(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as ledger:
        yield ledger
        await ledger.close()


@pytest_asyncio.fixture
async def store(on_trial: LedgerOnTrial) -> ObservableStore:
    return await on_trial.open()


@pytest.fixture
def journal(store: ObservableStore) -> ReplayJournal:
    return store.journal


def run_of(name: str = "R-1", *, minute: int = 0) -> ReplayRun:
    return ReplayRun(
        run=name,
        actor="anna",
        reason="the password was mended",
        plan_sha256="ab" * 32,
        options=RunOptions(canary=2, rate=0.5, stop_after_failures=4, in_flight=9, wait_seconds=7),
        state=RunState.RUNNING,
        started_at=START + minute * MINUTE,
        wanted=3,
    )


def step_of(value: int = 1, *, position: int | None = None) -> ReplayStep:
    return ReplayStep(
        operation_id=number(value),
        position=value if position is None else position,
        sequence=1,
        code=Code.PROVIDER_TLS,
        verdict=Verdict.SAFE,
        at=START,
    )


async def every_step(journal: ReplayJournal, run: str = "R-1") -> list[ReplayStep]:
    return list(await journal.steps(run, states=EVERY_STATE, after=-1, limit=100))


# --- runs --------------------------------------------------------------------------------------


async def test_a_run_is_found_as_it_was_begun(journal: ReplayJournal) -> None:
    await journal.begin_run(run_of())
    without_plan = replace(run_of("R-2"), plan_sha256=None)
    await journal.begin_run(without_plan)
    assert await journal.find_run("R-1") == run_of()
    assert await journal.find_run("R-2") == without_plan
    assert await journal.find_run("R-3") is None


async def test_a_run_is_begun_once(journal: ReplayJournal) -> None:
    await journal.begin_run(run_of())
    await journal.begin_run(replace(run_of(), actor="bert"))
    assert await journal.find_run("R-1") == run_of()


async def test_a_run_that_is_asked_to_stop_is_stopping_until_it_ends(
    journal: ReplayJournal,
) -> None:
    await journal.begin_run(run_of())
    await journal.ask_to_stop("R-1", actor="bert", at=START + MINUTE)
    stopping = replace(
        run_of(), state=RunState.STOPPING, stop_asked_at=START + MINUTE, stop_asked_by="bert"
    )
    assert await journal.find_run("R-1") == stopping
    await journal.ask_to_stop("R-1", actor="carl", at=START + 2 * MINUTE)
    assert await journal.find_run("R-1") == stopping
    for _ in range(2):
        await journal.end_run(
            "R-1",
            state=RunState.STOPPED,
            stop_reason="bert asked for it",
            kept=7,
            removed=1,
            at=START + 3 * MINUTE,
        )
    stopped = replace(
        stopping,
        state=RunState.STOPPED,
        stop_reason="bert asked for it",
        kept=7,
        removed=1,
        ended_at=START + 3 * MINUTE,
    )
    assert await journal.find_run("R-1") == stopped
    await journal.ask_to_stop("R-1", actor="carl", at=START + 4 * MINUTE)
    assert await journal.find_run("R-1") == stopped


async def test_a_resumed_run_forgets_that_it_was_stopped(journal: ReplayJournal) -> None:
    await journal.begin_run(run_of())
    await journal.ask_to_stop("R-1", actor="bert", at=START)
    await journal.end_run(
        "R-1", state=RunState.STOPPED, stop_reason="asked", kept=1, removed=2, at=START
    )
    await journal.resume_run("R-1")
    assert await journal.find_run("R-1") == replace(run_of(), kept=1, removed=2)


async def test_nothing_becomes_of_a_run_that_is_not_there(journal: ReplayJournal) -> None:
    await journal.ask_to_stop("R-9", actor="bert", at=START)
    await journal.resume_run("R-9")
    await journal.end_run(
        "R-9", state=RunState.FINISHED, stop_reason=None, kept=0, removed=0, at=START
    )
    assert await journal.find_run("R-9") is None


async def test_runs_come_newest_first_and_page_by_page(journal: ReplayJournal) -> None:
    runs = [run_of("R-a"), run_of("R-b", minute=1), run_of("R-c", minute=1), run_of("R-d")]
    for run in runs:
        await journal.begin_run(run)
    newest = ["R-c", "R-b", "R-d", "R-a"]
    assert [run.run for run in await journal.runs(before=None, limit=9)] == newest
    first = await journal.runs(before=None, limit=2)
    place = first[-1].started_at, first[-1].run
    rest = await journal.runs(before=place, limit=9)
    assert [run.run for run in (*first, *rest)] == newest


# --- steps -------------------------------------------------------------------------------------


async def test_steps_come_in_the_order_of_the_plan_and_page_by_page(
    journal: ReplayJournal,
) -> None:
    steps = [step_of(value, position=10 - value) for value in range(1, 6)]
    await journal.add_steps("R-1", steps)
    await journal.add_steps("R-2", [step_of(7)])
    in_order = sorted(steps, key=lambda step: step.position)
    assert await every_step(journal) == in_order
    first = await journal.steps("R-1", states=EVERY_STATE, after=-1, limit=3)
    rest = await journal.steps("R-1", states=EVERY_STATE, after=first[-1].position, limit=3)
    assert [*first, *rest] == in_order


async def test_a_step_that_is_there_stays_as_it_is_when_it_is_added_again(
    journal: ReplayJournal,
) -> None:
    sent = replace(step_of(), state=StepState.SENT, sent_sequence=2)
    await journal.add_steps("R-1", [step_of()])
    await journal.note_steps("R-1", [sent])
    await journal.add_steps("R-1", [step_of(), step_of(2)])
    assert await every_step(journal) == [sent, step_of(2)]


async def test_a_step_keeps_all_that_is_noted_of_it(journal: ReplayJournal) -> None:
    ended = [
        replace(
            step_of(value),
            state=StepState.ENDED,
            result=result,
            sent_sequence=2,
            end_code=Code.PROVIDER_REFUSED,
            detail="in other words",
            at=START + MINUTE,
        )
        for value, result in enumerate(ReplayResult, 1)
    ]
    unanswered = replace(step_of(20), code=None, sequence=0, verdict=Verdict.UNKNOWN)
    await journal.add_steps("R-1", [*(step_of(value) for value in range(1, 21))])
    await journal.note_steps("R-1", [*ended, unanswered])
    found = {step.operation_id: step for step in await every_step(journal)}
    assert [found[step.operation_id] for step in ended] == ended
    assert found[number(20)] == unanswered


async def test_nothing_to_add_or_note_is_no_fault(journal: ReplayJournal) -> None:
    await journal.add_steps("R-1", [])
    await journal.note_steps("R-1", [])
    assert await every_step(journal) == []


async def test_only_steps_in_the_wanted_states_are_given(journal: ReplayJournal) -> None:
    steps = [replace(step_of(value), state=state) for value, state in enumerate(StepState, 1)]
    await journal.add_steps("R-1", steps)
    for step in steps:
        found = await journal.steps("R-1", states=frozenset({step.state}), after=-1, limit=9)
        assert found == [step]


async def test_steps_are_counted_by_state_and_result(journal: ReplayJournal) -> None:
    settled = [
        replace(step_of(value), state=StepState.ENDED, result=ReplayResult.SETTLED)
        for value in (1, 2)
    ]
    await journal.add_steps("R-1", [*settled, step_of(3)])
    await journal.add_steps("R-2", [step_of(4)])
    tallies = await journal.step_tallies("R-1")
    assert sorted(tallies, key=lambda each: each.state) == [
        StepTally(state=StepState.ENDED, result=ReplayResult.SETTLED, count=2),
        StepTally(state=StepState.PLANNED, result=None, count=1),
    ]
    assert await journal.step_tallies("R-3") == []


# --- where the operations stand ----------------------------------------------------------------


async def test_each_sent_step_is_given_with_its_operation_as_it_stands(
    store: ObservableStore, journal: ReplayJournal
) -> None:
    retrying = replace(
        sample_record(1, state=State.RETRY_WAIT),
        attempts=5,
        opened_attempts=3,
        reopened_by="R-1",
    )
    failed = replace(
        decided_record(2, version=1, state=State.FAILED),
        sequence=2,
        code=Code.PROVIDER_TLS,
        attempts=4,
        opened_attempts=3,
        duplicate_of=number(9),
        event_id=None,
    )
    await write(store, retrying, failed)
    sent = [replace(step_of(value), state=StepState.SENT) for value in (1, 2, 3)]
    await journal.add_steps("R-1", [*sent, step_of(4)])
    assert await journal.whereabouts("R-1", state=StepState.SENT, after=None, limit=9) == [
        (
            sent[0],
            Whereabouts(
                kind=Kind.INITIATION,
                state=State.RETRY_WAIT,
                sequence=1,
                code=None,
                attempts=2,
                is_duplicate=False,
                reopened_by="R-1",
            ),
        ),
        (
            sent[1],
            Whereabouts(
                kind=Kind.INITIATION,
                state=State.FAILED,
                sequence=2,
                code=Code.PROVIDER_TLS,
                attempts=1,
                is_duplicate=True,
                reopened_by=None,
            ),
        ),
        (sent[2], None),
    ]


async def test_the_steps_to_look_at_come_page_by_page(journal: ReplayJournal) -> None:
    await journal.add_steps("R-1", [step_of(value) for value in range(1, 8)])
    seen: list[UUID] = []
    after: UUID | None = None
    while page := await journal.whereabouts("R-1", state=StepState.PLANNED, after=after, limit=3):
        seen += [step.operation_id for step, _ in page]
        after = seen[-1]
    assert seen == [number(value) for value in range(1, 8)]


async def test_a_journal_outlives_its_store(on_trial: LedgerOnTrial) -> None:
    first = await on_trial.open()
    await first.journal.add_steps("R-1", [step_of()])
    await first.journal.begin_run(run_of())
    await first.close()
    second = await on_trial.open()
    assert await second.journal.find_run("R-1") == run_of()
    assert await every_step(second.journal) == [step_of()]


async def test_a_closed_store_refuses_its_journal(store: ObservableStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.journal.find_run("R-1")
    with pytest.raises(StoreUnavailableError):
        await store.journal.begin_run(run_of())
