"""Reopening a decided operation for a replay: the only way back, and an audited one."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from worker.codes import Code
from worker.lifecycle.decide import moved
from worker.lifecycle.duplicates import other_owner, ownership
from worker.lifecycle.limits import is_expired, may_be_applied
from worker.lifecycle.table import Move
from worker.model import OperationClass
from worker.ports import View
from worker.records import AuditEntry, Change, Kind, Record, State
from worker.rules import Rules


@dataclass(frozen=True, slots=True)
class Reopened:
    """The operation is open again; the replayed copy carries this sequence."""

    sequence: int


@dataclass(frozen=True, slots=True)
class NotReopened:
    """The operation stays as it is; a replayed copy would only repeat the stored answer."""

    reason: str


def reopen(
    view: View,
    operation_id: UUID,
    *,
    from_sequence: int,
    actor: str,
    run: str,
    reason: str,
    rules: Rules,
    now: datetime,
) -> Change[Reopened | NotReopened]:
    """Open a failed operation again, only where no attempt was applied or may have been.

    ``from_sequence`` is the decision that the run set out to replay, and it is opened once: by
    this run, which gets the same answer when it crashed before its publish and asks again, or by
    another. So two runs, or one started twice, never replay one decision twice, whatever becomes
    of their locks (operations 1.5). An orphan-safe link that was never handed out does not bar it
    (contract section 2, Replay).
    """
    record = view.record(operation_id)
    if record is None:
        return Change(result=NotReopened("the ledger does not know it"))
    if is_reopened_by(record, run, from_sequence):
        if is_untried(record):
            return Change(result=Reopened(record.sequence))
        return Change(result=NotReopened("this run has put it back to work already"))
    if record.state.is_open and record.sequence > 1 and is_untried(record):
        return _taken_over(record, from_sequence, run, now)
    bar = (
        _other_decision(record, from_sequence)
        or _bar(record)
        or _seen_to(view, operation_id)
        or _hopeless(view, record, rules, now)
    )
    if bar is not None:
        return Change(result=NotReopened(bar))
    opened = replace(
        moved(record, Move.REOPEN, now),
        sequence=record.sequence + 1,
        opened_attempts=record.attempts,
        cleared_attempts=record.unknown_attempts,
        reopened_by=run,
        waits=0,
        token=None,
        code=None,
        link=None,
        decided_at=None,
        event_id=None,
        next_attempt_at=now,
    )
    audit = AuditEntry(
        at=now,
        actor=actor,
        action="reopen",
        operation_id=operation_id,
        detail=f"run {run}, sequence {opened.sequence}, was {record.state} {record.code}: {reason}",
    )
    return Change(result=Reopened(opened.sequence), records=(opened,), audit=(audit,))


def is_reopened_by(record: Record, run: str, from_sequence: int) -> bool:
    """Whether this run opened it after that decision, whatever has become of it since."""
    return record.reopened_by == run and record.sequence > from_sequence


def is_untried(record: Record) -> bool:
    """Whether it waits for the first attempt of its current opening."""
    return record.state is State.RETRY_WAIT and record.attempts == record.opened_attempts


def _taken_over(
    record: Record, from_sequence: int, run: str, now: datetime
) -> Change[Reopened | NotReopened]:
    """It is open and untried: another run's affair, or nobody's.

    A ledger from before there were runs has openings without one, whose replay may have died
    before its publish; the first run that asks takes such a one over.
    """
    if record.reopened_by is not None:
        return Change(result=NotReopened(f"already in run {record.reopened_by}"))
    if record.sequence != from_sequence + 1:
        return Change(result=NotReopened(_known_as(record)))
    taken = replace(record, reopened_by=run, version=record.version + 1, updated_at=now)
    return Change(result=Reopened(taken.sequence), records=(taken,))


def _other_decision(record: Record, from_sequence: int) -> str | None:
    """Why the decision that was to be replayed is not the newest; ``None`` when it is."""
    if record.sequence == from_sequence:
        return None
    if record.state.is_open and record.reopened_by is not None:
        return f"already in run {record.reopened_by}"
    return _known_as(record)


def _known_as(record: Record) -> str:
    return f"the ledger knows it as {record.state}, sequence {record.sequence}"


def _seen_to(view: View, operation_id: UUID) -> str | None:
    """Why what a person has set aside is not replayed by a run that was planned before.

    It may have been paid by hand. Its letter is in the parking queue, or still on its way there.
    """
    answer = view.answer(operation_id)
    if answer is None or not answer.letter_resolved:
        return None
    return "its letter was set aside: restore it first"


def _hopeless(view: View, record: Record, rules: Rules, now: datetime) -> str | None:
    """Why a replayed copy would be refused without a call (contract section 2).

    Found out here, so that no subscriber is told a second failure for nothing; what changes
    before the copy arrives, the claim finds out.
    """
    if is_expired(record, rules, now):
        return "its time is over: a replay would be decided request_expired"
    if ownership(record) is None or record.fingerprint is None:
        return None
    owner = other_owner(view, record.fingerprint, record.operation_id)
    if owner is None:
        return None
    if owner.state.is_open or owner.state in {State.IN_DOUBT, State.SUCCEEDED}:
        return f"superseded: another payment of the same content is {owner.state}"
    return None


def may_be_asked_again(operation_class: OperationClass | None, *, link_published: bool) -> bool:
    """Whether asking again is harmless although an attempt may have been applied."""
    match operation_class:
        case OperationClass.ORPHAN_SAFE:
            return not link_published
        case OperationClass.READ | OperationClass.IDEMPOTENT:
            return True
        case OperationClass.KEYED | OperationClass.NON_IDEMPOTENT | None:
            return False
        case other:
            assert_never(other)


def _bar(record: Record) -> str | None:
    """Why this operation may not be opened again; ``None`` when it may."""
    if record.kind is Kind.REFUSAL:
        return "a refused message needs a corrected request, under its key or a new one"
    if is_untried(record):
        return "it is waiting for its first attempt"
    if record.state.is_open:
        return f"it is open ({record.state})"
    if record.state in {State.SUCCEEDED, State.CANCELLED}:
        return f"it is decided: {record.state}"
    if record.code is Code.LEDGER_LOST and may_be_applied(record):
        return "its history is lost; a person must check at the provider"
    if may_be_applied(record) and not may_be_asked_again(
        record.operation_class, link_published=record.link_published
    ):
        return "an attempt may have been applied; ask the provider what it has"
    return None
