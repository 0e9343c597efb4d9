"""A ledger that came back from a backup: what may have happened since is in doubt, at once.

The operator says until when the ledger knows everything, with every worker standing still. An
open payment may have been called, and called again, by a worker whose writes are gone. What may
be repeated goes on; the rest is decided in doubt before the restoration counts as recorded, the
last of it in the one write that records it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker.lifecycle.lost import FORGOTTEN, is_repeatable, lost
from worker.ports import View
from worker.records import Answer, AuditEntry, Change, Kind, Record, Restoration


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The restoration in force, and how many operations it brought into doubt just now."""

    restoration: Restoration
    doubted: int


def is_in_doubt_after(record: Record, restoration: Restoration) -> bool:
    """Whether an operation may have been called in the forgotten span, and must not be again.

    What was written since the restoration was written by a worker that knows of it.
    """
    is_older = record.updated_at <= restoration.restored_at
    return record.state.is_open and is_older and not is_repeatable(record.operation_class)


def restore(
    view: View,
    operations: Sequence[UUID],
    restoration: Restoration,
    now: datetime,
    *,
    is_new: bool,
) -> Change[Restored]:
    """Record a restoration, if it is new, and decide these operations where they are in doubt.

    Doing it again for the same restoration finds nothing left to decide.
    """
    records: list[Record] = []
    answers: list[Answer] = []
    audit: list[AuditEntry] = []
    for operation_id in operations:
        record = view.record(operation_id)
        if record is None or not is_in_doubt_after(record, restoration):
            continue
        payment = view.record(record.payment_id) if record.kind is Kind.CANCELLATION else None
        unknown = replace(record, unknown_attempts=record.unknown_attempts + 1)
        change = lost(unknown, FORGOTTEN, now, payment=payment)
        records += change.records
        answers += change.answers
        audit += (replace(entry, actor=restoration.actor) for entry in change.audit)
    said = AuditEntry(
        at=now,
        actor=restoration.actor,
        action="ledger_restored",
        operation_id=None,
        detail=f"known until {restoration.known_until.isoformat()}, {len(records)} in doubt",
    )
    return Change(
        result=Restored(restoration=restoration, doubted=len(records)),
        records=tuple(records),
        answers=tuple(answers),
        audit=(*audit, said),
        restoration=restoration if is_new else None,
    )
