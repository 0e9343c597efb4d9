"""When a run may send, waits and stops, and what its letters have come to: pure rules."""

from dataclasses import replace
from itertools import product
from math import inf

import pytest

from tests.fakes_clock import START
from tests.replay_desk import key_of, step_of
from worker.codes import Code
from worker.journal import ReplayResult, RunOptions, StepState, Whereabouts
from worker.letters import Verdict
from worker.operators.plans.rows import PlanRow
from worker.operators.replays.decisions import (
    RAMP,
    Move,
    Phase,
    Progress,
    Send,
    Stop,
    Wait,
    is_over,
    next_move,
    phase_of,
    size_of,
)
from worker.operators.replays.intents import step_of as planned_step
from worker.operators.replays.outcomes import Outcome, Undecided, outcome_of
from worker.records import Kind, State

OPTIONS = RunOptions(canary=5, rate=5.0, stop_after_failures=3, in_flight=50, wait_seconds=60.0)
UNTIL_AN_OUTCOME = Wait(inf)


def move(progress: Progress, *, now: float = 100.0, options: RunOptions = OPTIONS) -> Move:
    return next_move(options, replace(progress, heard_at=now), now)


# --- the canary and the ramp -------------------------------------------------------------------


def test_the_first_letter_goes_at_once() -> None:
    assert move(Progress()) == Send()


def test_after_each_part_every_letter_must_be_decided_and_within_it_none() -> None:
    ends = {5, 6, 11, 31}
    assert {5 + sum(RAMP[:n]) for n in range(len(RAMP) + 1)} == ends
    for sent in range(1, 60):
        expected = UNTIL_AN_OUTCOME if sent in ends else Send()
        assert move(Progress(sent=sent, undecided=1)) == expected, sent
        assert move(Progress(sent=sent)) == Send(), sent


def test_a_run_without_a_canary_begins_with_the_ramp() -> None:
    options = replace(OPTIONS, canary=0)
    assert move(Progress(), options=options) == Send()
    assert move(Progress(sent=1, undecided=1), options=options) == UNTIL_AN_OUTCOME
    assert move(Progress(sent=1, failures={"declined": 1}), options=options) == Send()


def test_one_bad_canary_letter_stops_the_run_and_so_does_one_that_is_tried_again() -> None:
    for sent in range(1, 6):
        bad = move(Progress(sent=sent, failures={"provider_tls": 1}))
        assert bad == Stop("a canary letter came to provider_tls"), sent
        retrying = move(Progress(sent=sent, undecided=1, retrying=1))
        assert retrying == Stop("a canary letter came to retrying"), sent


def test_after_the_canary_a_code_must_come_back_so_often() -> None:
    assert move(Progress(sent=7, failures={"provider_tls": 2, "declined": 2})) == Send()
    stop = move(Progress(sent=9, failures={"provider_tls": 3}))
    assert stop == Stop("3 letters came to provider_tls")
    assert move(Progress(sent=9, undecided=3, retrying=3)) == Stop("3 letters came to retrying")


def test_letters_that_are_tried_again_do_not_hold_up_the_next_part() -> None:
    assert move(Progress(sent=6, undecided=1, retrying=1)) == Send()


# --- the rate and the window -------------------------------------------------------------------


def test_never_faster_than_the_rate() -> None:
    progress = Progress(sent=1, sent_at=100.0)
    match move(progress, now=100.05):
        case Wait(seconds=seconds):
            assert seconds == pytest.approx(0.15)
        case other:
            pytest.fail(str(other))
    assert move(progress, now=100.2) == Send()


def test_a_full_window_of_undecided_letters_waits() -> None:
    """As behind an open breaker: nothing is decided, so nothing more is sent."""
    assert move(Progress(sent=80, undecided=49)) == Send()
    assert move(Progress(sent=80, undecided=50)) == UNTIL_AN_OUTCOME


def test_a_run_that_hears_nothing_stops() -> None:
    progress = Progress(sent=80, undecided=50, heard_at=100.0)
    assert next_move(OPTIONS, progress, 159.0) == UNTIL_AN_OUTCOME
    stop = next_move(OPTIONS, progress, 160.0)
    assert isinstance(stop, Stop)
    assert "no outcome for 60 seconds" in stop.reason
    assert next_move(OPTIONS, replace(progress, undecided=0), 1000.0) == Send()


def test_a_run_that_has_sent_everything_waits_until_it_hears_nothing_any_more() -> None:
    progress = Progress(sent=5, undecided=1, heard_at=100.0)
    assert not is_over(OPTIONS, progress, 159.0)
    assert is_over(OPTIONS, progress, 160.0)
    assert is_over(OPTIONS, replace(progress, undecided=0), 100.0)


def test_each_part_has_its_name_and_its_size() -> None:
    phases = [phase_of(OPTIONS, sent) for sent in range(40)]
    assert [phases.count(phase) for phase in Phase] == [5, 26, 9]
    assert [size_of(OPTIONS, phase, 40) for phase in Phase] == [5, 26, 9]
    assert [size_of(OPTIONS, phase, 3) for phase in Phase] == [3, 0, 0]
    assert [size_of(replace(OPTIONS, canary=0), phase, 3) for phase in Phase] == [0, 3, 0]


# --- what a letter has come to -----------------------------------------------------------------

SENT = replace(step_of(key_of(1)), state=StepState.SENT, sent_sequence=2)


def whereabouts(state: State, *, attempts: int = 1, code: Code | None = None) -> Whereabouts:
    return Whereabouts(
        kind=Kind.INITIATION,
        state=state,
        sequence=2,
        code=code,
        attempts=attempts,
        is_duplicate=False,
        reopened_by="R-1",
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (whereabouts(State.RETRY_WAIT, attempts=0), Undecided()),
        (whereabouts(State.RETRY_WAIT, attempts=1), Undecided(is_retrying=True)),
        (whereabouts(State.CALLING, attempts=1), Undecided()),
        (whereabouts(State.CALLING, attempts=2), Undecided(is_retrying=True)),
        (whereabouts(State.SUCCEEDED), Outcome(ReplayResult.SETTLED)),
        (
            whereabouts(State.FAILED, code=Code.PROVIDER_CREDENTIALS),
            Outcome(ReplayResult.FAILED_SAME_CODE, Code.PROVIDER_CREDENTIALS),
        ),
        (
            whereabouts(State.FAILED, code=Code.SUPERSEDED),
            Outcome(ReplayResult.FAILED_NEW_CODE, Code.SUPERSEDED),
        ),
        (
            whereabouts(State.IN_DOUBT, code=Code.OUTCOME_UNKNOWN),
            Outcome(ReplayResult.IN_DOUBT, Code.OUTCOME_UNKNOWN),
        ),
    ],
)
def test_each_state_of_the_record_has_its_result(
    now: Whereabouts, expected: Outcome | Undecided
) -> None:
    assert outcome_of(SENT, now) == expected


def test_what_is_not_there_or_not_decided_since_is_undecided() -> None:
    assert outcome_of(SENT, None) == Undecided()
    for state in State:
        before = replace(whereabouts(state), sequence=1)
        assert outcome_of(SENT, before) == Undecided()


def test_a_duplicate_is_suppressed_and_a_cancelled_one_is_over() -> None:
    duplicate = replace(whereabouts(State.SUCCEEDED), is_duplicate=True)
    suppressed = outcome_of(SENT, duplicate)
    assert isinstance(suppressed, Outcome)
    assert suppressed.result is ReplayResult.DUPLICATE_SUPPRESSED
    cancelled = outcome_of(SENT, whereabouts(State.CANCELLED))
    assert cancelled == Outcome(ReplayResult.SETTLED, detail="cancelled by its producer")


def test_what_nobody_decided_before_fails_with_a_new_code() -> None:
    unanswered = replace(SENT, code=None, sent_sequence=1)
    now = replace(whereabouts(State.FAILED, code=Code.DECLINED), sequence=1)
    assert outcome_of(unanswered, now) == Outcome(ReplayResult.FAILED_NEW_CODE, Code.DECLINED)


# --- what a run sets out to do -----------------------------------------------------------------


def test_only_what_is_safe_or_done_is_replayed_unless_it_is_named() -> None:
    for verdict, is_named in product(Verdict, (False, True)):
        row = PlanRow(
            operation_id=key_of(1),
            kind=Kind.INITIATION,
            payment_id=key_of(1),
            sequence=3,
            code=Code.PROVIDER_TLS,
            verdict=verdict,
            reason="Because of something.",
            amount=1250,
            mode=None,
        )
        named = {key_of(1)} if is_named else set()
        step = planned_step(row, position=7, named=named, at=START)
        assert (step.operation_id, step.sequence, step.position) == (key_of(1), 3, 7)
        if verdict in {Verdict.SAFE, Verdict.ALREADY_DONE} or (
            is_named and verdict is not Verdict.HOPELESS
        ):
            assert (step.state, step.result) == (StepState.PLANNED, None)
        else:
            state = StepState.ENDED if is_named else StepState.LEFT_OUT
            assert (step.state, step.result) == (state, ReplayResult.SKIPPED)
            assert step.detail == f"{verdict}: Because of something."
