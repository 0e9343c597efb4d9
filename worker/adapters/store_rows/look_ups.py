"""The look-ups of a doubtful payment as rows: their plan, and what each read told."""

from uuid import UUID

from worker.adapters.store_rows.values import (
    Row,
    Scalar,
    bytes_or_none,
    from_micros,
    id_or_none,
    micros_or_none,
    time_or_none,
    to_micros,
)
from worker.look_ups import Doubt, Finding, LookUp, LookUpPlan, PlanState
from worker.model import Cents

PLAN_COLUMNS = (
    "operation_id",
    "account",
    "sequence",
    "steps",
    "state",
    "due_at",
    "token",
    "lease_until",
)

LOOK_UP_COLUMNS = (
    "operation_id",
    "sequence",
    "step",
    "at",
    "reference",
    "finding",
    "amount",
    "reason",
    "http_status",
    "provider_code",
)

CONCLUSION_COLUMNS = ("operation_id", "token", "sequence", "steps", "state", "due_at")
"""What concluding a step writes: the plan is given back with it, if it is still one's own."""


def plan_row(plan: LookUpPlan) -> tuple[Scalar, ...]:
    """Values in the order of ``PLAN_COLUMNS``."""
    return (
        plan.operation_id.bytes,
        plan.account,
        plan.sequence,
        plan.steps,
        plan.state.value,
        micros_or_none(plan.due_at),
        bytes_or_none(plan.token),
        micros_or_none(plan.lease_until),
    )


def read_plan(row: Row) -> LookUpPlan:
    """The plan of a row in the order of ``PLAN_COLUMNS``."""
    operation_id, account, sequence, steps, state, due_at, token, lease_until = row
    return LookUpPlan(
        operation_id=UUID(bytes=operation_id),
        account=account,
        sequence=sequence,
        steps=steps,
        state=PlanState(state),
        due_at=time_or_none(due_at),
        token=id_or_none(token),
        lease_until=time_or_none(lease_until),
    )


def conclusion_row(plan: LookUpPlan) -> tuple[Scalar, ...]:
    """Values in the order of ``CONCLUSION_COLUMNS``."""
    return (
        plan.operation_id.bytes,
        bytes_or_none(plan.token),
        plan.sequence,
        plan.steps,
        plan.state.value,
        micros_or_none(plan.due_at),
    )


def look_up_row(look_up: LookUp) -> tuple[Scalar, ...]:
    """Values in the order of ``LOOK_UP_COLUMNS``."""
    return (
        look_up.operation_id.bytes,
        look_up.sequence,
        look_up.step,
        to_micros(look_up.at),
        look_up.reference,
        look_up.finding.value,
        look_up.amount,
        look_up.reason,
        look_up.http_status,
        look_up.provider_code,
    )


def read_look_up(row: Row) -> LookUp:
    """The look-up of a row in the order of ``LOOK_UP_COLUMNS``."""
    (
        operation_id,
        sequence,
        step,
        at,
        reference,
        finding,
        amount,
        reason,
        http_status,
        provider_code,
    ) = row
    return LookUp(
        operation_id=UUID(bytes=operation_id),
        sequence=sequence,
        step=step,
        at=from_micros(at),
        reference=reference,
        finding=Finding(finding),
        amount=None if amount is None else Cents(amount),
        reason=reason,
        http_status=http_status,
        provider_code=provider_code,
    )


def read_doubt(row: Row) -> Doubt:
    """The doubt of a row: operation, sequence, time of the decision."""
    operation_id, sequence, decided_at = row
    return Doubt(
        operation_id=UUID(bytes=operation_id),
        sequence=sequence,
        decided_at=from_micros(decided_at),
    )
