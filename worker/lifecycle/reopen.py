"""Reopening a decided operation for a replay: the only way back, and an audited one."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from worker.codes import Code
from worker.lifecycle.decide import moved
from worker.lifecycle.limits import may_be_applied
from worker.lifecycle.table import Move
from worker.model import OperationClass
from worker.ports import View
from worker.records import AuditEntry, Change, Kind, Record, State


@dataclass(frozen=True, slots=True)
class Reopened:
    """The operation is open again; the replayed copy carries this sequence."""

    sequence: int


@dataclass(frozen=True, slots=True)
class NotReopened:
    """The operation stays as it is; a replayed copy would only repeat the stored answer."""

    reason: str


def reopen(
    view: View, operation_id: UUID, *, actor: str, run: str, reason: str, now: datetime
) -> Change[Reopened | NotReopened]:
    """Open a failed operation again, only where no attempt was applied or may have been.

    An orphan-safe link that was never handed out does not bar it (contract section 2, Replay).
    Doing it twice for one opening is doing it once: the sequence rises once, so a replay that
    crashed between this write and its publish may be run again.
    """
    record = view.record(operation_id)
    if record is None:
        return Change(result=NotReopened("the ledger does not know it"))
    if record.state is State.RETRY_WAIT and record.attempts == record.opened_attempts:
        if record.sequence > 1:
            return Change(result=Reopened(record.sequence))
        return Change(result=NotReopened("it is waiting for its first attempt"))
    bar = _bar(record)
    if bar is not None:
        return Change(result=NotReopened(bar))
    opened = replace(
        moved(record, Move.REOPEN, now),
        sequence=record.sequence + 1,
        opened_attempts=record.attempts,
        cleared_attempts=record.unknown_attempts,
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
    if record.state.is_open:
        return f"it is open ({record.state})"
    if record.state in {State.SUCCEEDED, State.CANCELLED}:
        return f"it is decided: {record.state}"
    if record.code is Code.LEDGER_LOST:
        return "its history is lost; a person must check at the provider"
    is_doubtful = record.state is State.IN_DOUBT or may_be_applied(record)
    if is_doubtful and not may_be_asked_again(
        record.operation_class, link_published=record.link_published
    ):
        return "an attempt may have been applied; a person must settle it first"
    return None
