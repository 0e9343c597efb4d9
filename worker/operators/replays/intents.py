"""What a run sets out to do with each row of a plan."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from worker.journal import ReplayResult, ReplayStep, StepState
from worker.letters import Verdict
from worker.operators.plans.rows import PlanRow

BY_PLAN = frozenset({Verdict.SAFE, Verdict.ALREADY_DONE})
"""What is done without being named."""

BY_NAME = BY_PLAN | {Verdict.NEEDS_EDIT, Verdict.UNKNOWN}
"""What is done when a person names it, and the ledger reopens it (operations 1.4)."""


def step_of(row: PlanRow, *, position: int, named: Collection[UUID], at: datetime) -> ReplayStep:
    """The step of one row: planned, or left out with the plan's reason.

    A row that was named and cannot be done has failed its person, so it is a skipped one and no
    part that the plan left out.
    """
    is_named = row.operation_id in named
    if row.verdict in (BY_NAME if is_named else BY_PLAN):
        state, result, detail = StepState.PLANNED, None, None
    else:
        state = StepState.ENDED if is_named else StepState.LEFT_OUT
        result, detail = ReplayResult.SKIPPED, f"{row.verdict}: {row.reason}"
    return ReplayStep(
        operation_id=row.operation_id,
        position=position,
        sequence=row.sequence,
        code=row.code,
        verdict=row.verdict,
        at=at,
        state=state,
        result=result,
        detail=detail,
    )
