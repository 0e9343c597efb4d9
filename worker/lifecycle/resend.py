"""Sending an answer again: the newest one, marked unpublished, for the sweeper to publish.

An older sequence is never sent: a subscriber that has the newer one would drop it, and one that
has not would believe it. The event keeps its id, so whoever has it drops the repeat.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from worker.ports import View
from worker.records import AuditEntry, Change


@unique
class Resending(StrEnum):
    """What became of a wish to send an operation's answer again."""

    MARKED = "marked"
    OVERTAKEN = "overtaken"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendWish:
    """Whose answer, on whose word; ``event_id`` is the event in hand, ``None`` for the newest."""

    operation_id: UUID
    actor: str
    reason: str
    event_id: UUID | None = None


def resend(view: View, wish: ResendWish, now: datetime) -> Change[Resending]:
    """Mark the newest answer of an operation as not published; audited.

    Each wish counts, whether or not an earlier one was fulfilled: only a confirmation of the
    sending that follows ends it.
    """
    record = view.record(wish.operation_id)
    if record is None:
        return Change(result=Resending.UNKNOWN)
    if record.state.is_open:
        return Change(result=Resending.OPEN)
    answer = view.answer(wish.operation_id)
    if answer is None:
        return Change(result=Resending.UNKNOWN)
    if wish.event_id is not None and wish.event_id != answer.event.event_id:
        return Change(result=Resending.OVERTAKEN)
    again = replace(answer, event_confirmed=False, resends=answer.resends + 1)
    act = AuditEntry(
        at=now,
        actor=wish.actor,
        action="resend",
        operation_id=wish.operation_id,
        detail=f"event {answer.event.event_id}, time {again.resends}: {wish.reason}",
    )
    return Change(result=Resending.MARKED, answers=(again,), audit=(act,))
