"""Ending a claim without an outcome: given back, or expired."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from worker.codes import Code
from worker.lifecycle.claim import closed_without_success, expired_entry
from worker.lifecycle.decide import Reason, decided, moved
from worker.lifecycle.limits import is_expired
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided
from worker.ports import View
from worker.records import Change, Kind, Record, State
from worker.rules import Rules


def expire_claim(
    view: View, operation_id: UUID, before: datetime, now: datetime
) -> Change[Decided | None]:
    """Bring a claim that expired before that time into doubt, whatever its class.

    For the sweeper: no delivery came back for it, so nobody else will (design, "Decisions taken
    without a delivery in hand"). The token stays, so that its own late answer may end the doubt.
    """
    record = view.record(operation_id)
    if record is None or record.state is not State.CALLING:
        return Change(result=None)
    if record.lease_until is None or record.lease_until >= before:
        return Change(result=None)
    payment = view.record(record.payment_id) if record.kind is Kind.CANCELLATION else None
    closed, answer = decided(
        replace(record, unknown_attempts=record.unknown_attempts + 1),
        Move.DOUBT,
        now,
        reason=Reason(code=Code.OUTCOME_UNKNOWN, detail="the claim expired, no delivery came"),
        payment=payment,
    )
    entry = expired_entry(record, now)
    result = Decided(answer, closed, repeated=False)
    return Change(result=result, records=(closed,), answers=(answer,), attempts=(entry,))


def release_claim(
    view: View, operation_id: UUID, token: UUID, until: datetime, now: datetime
) -> Change[Record | None]:
    """Give a claim back that sent nothing: the attempt is not counted.

    For a stop, a lease too short for another call, or a half-open probe that met a configuration
    fault or reached nobody. Returns ``None`` and writes nothing when the claim is no longer this
    attempt's own.
    """
    record = view.record(operation_id)
    if record is None or record.state is not State.CALLING or record.token != token:
        return Change(result=None)
    released = replace(
        moved(record, Move.WAIT, now),
        attempts=record.attempts - 1,
        token=None,
        lease_until=None,
        next_attempt_at=until,
    )
    return Change(result=released, records=(released,))


def abandon_wait(
    view: View, operation_id: UUID, due_before: datetime, rules: Rules, now: datetime
) -> Change[Decided | None]:
    """Decide an operation whose ladder copy never came back, once it is too old for an attempt.

    Before that a copy may still come; afterwards nobody but the sweeper would ever answer it.
    """
    record = view.record(operation_id)
    if record is None or record.state is not State.RETRY_WAIT:
        return Change(result=None)
    due = record.next_attempt_at
    if due is None or due >= due_before or not is_expired(record, rules, now):
        return Change(result=None)
    payment = view.record(record.payment_id) if record.kind is Kind.CANCELLATION else None
    reason = Reason(code=Code.REQUEST_EXPIRED, detail="its message did not come back")
    change = closed_without_success(record, reason, now, payment=payment)
    return Change(result=change.result, records=change.records, answers=change.answers)
