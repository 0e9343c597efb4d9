"""Replay runs and their steps as rows."""

import json
from uuid import UUID

from worker.adapters.store_rows.values import (
    Row,
    Scalar,
    from_micros,
    micros_or_none,
    time_or_none,
    to_micros,
    word_or_none,
)
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
from worker.records import Kind, State

RUN_COLUMNS = (
    "run",
    "actor",
    "reason",
    "plan_sha256",
    "options",
    "state",
    "stop_reason",
    "started_at",
    "ended_at",
    "stop_asked_at",
    "stop_asked_by",
    "wanted",
    "kept",
    "removed",
)
STEP_COLUMNS = (
    "run",
    "operation_id",
    "position",
    "sequence",
    "code",
    "verdict",
    "state",
    "result",
    "sent_sequence",
    "end_code",
    "detail",
    "at",
)
LAST_POSITION = 2**62
"""Beyond any plan's end."""


def run_row(run: ReplayRun) -> tuple[Scalar, ...]:
    """Values in the order of ``RUN_COLUMNS``."""
    options = run.options
    return (
        run.run,
        run.actor,
        run.reason,
        run.plan_sha256,
        json.dumps(
            {
                "canary": options.canary,
                "rate": options.rate,
                "stop_after_failures": options.stop_after_failures,
                "in_flight": options.in_flight,
                "wait_seconds": options.wait_seconds,
            }
        ),
        run.state.value,
        run.stop_reason,
        to_micros(run.started_at),
        micros_or_none(run.ended_at),
        micros_or_none(run.stop_asked_at),
        run.stop_asked_by,
        run.wanted,
        run.kept,
        run.removed,
    )


def read_run(row: Row) -> ReplayRun:
    """The run of a row in the order of ``RUN_COLUMNS``."""
    (
        run,
        actor,
        reason,
        plan_sha256,
        options,
        state,
        stop_reason,
        started_at,
        ended_at,
        stop_asked_at,
        stop_asked_by,
        wanted,
        kept,
        removed,
    ) = row
    return ReplayRun(
        run=run,
        actor=actor,
        reason=reason,
        plan_sha256=plan_sha256,
        options=RunOptions(**json.loads(options)),
        state=RunState(state),
        stop_reason=stop_reason,
        started_at=from_micros(started_at),
        ended_at=time_or_none(ended_at),
        stop_asked_at=time_or_none(stop_asked_at),
        stop_asked_by=stop_asked_by,
        wanted=wanted,
        kept=kept,
        removed=removed,
    )


def step_row(run: str, step: ReplayStep) -> tuple[Scalar, ...]:
    """Values in the order of ``STEP_COLUMNS``."""
    return (
        run,
        step.operation_id.bytes,
        step.position,
        step.sequence,
        word_or_none(step.code),
        step.verdict.value,
        step.state.value,
        word_or_none(step.result),
        step.sent_sequence,
        word_or_none(step.end_code),
        step.detail,
        to_micros(step.at),
    )


def read_step(row: Row) -> ReplayStep:
    """The step of a row in the order of ``STEP_COLUMNS``."""
    (
        _run,
        operation_id,
        position,
        sequence,
        code,
        verdict,
        state,
        result,
        sent_sequence,
        end_code,
        detail,
        at,
    ) = row
    return ReplayStep(
        operation_id=UUID(bytes=operation_id),
        position=position,
        sequence=sequence,
        code=None if code is None else Code(code),
        verdict=Verdict(verdict),
        state=StepState(state),
        result=None if result is None else ReplayResult(result),
        sent_sequence=sent_sequence,
        end_code=None if end_code is None else Code(end_code),
        detail=detail,
        at=from_micros(at),
    )


def read_whereabouts(row: Row) -> tuple[ReplayStep, Whereabouts | None]:
    """A step's columns, then what ``WHEREABOUTS`` selects of its operation."""
    step = read_step(row[: len(STEP_COLUMNS)])
    kind, state, sequence, code, attempts, is_duplicate, reopened_by = row[len(STEP_COLUMNS) :]
    if kind is None:
        return step, None
    return step, Whereabouts(
        kind=Kind(kind),
        state=State(state),
        sequence=sequence,
        code=None if code is None else Code(code),
        attempts=attempts,
        is_duplicate=bool(is_duplicate),
        reopened_by=reopened_by,
    )


WHEREABOUTS = (
    ", operations.kind, operations.state, operations.sequence, operations.code,"
    " operations.attempts - operations.opened_attempts, operations.duplicate_of IS NOT NULL,"
    " operations.reopened_by"
)


def read_step_tally(row: Row) -> StepTally:
    """State, result and count."""
    state, result, count = row
    return StepTally(
        state=StepState(state),
        result=None if result is None else ReplayResult(result),
        count=count,
    )
