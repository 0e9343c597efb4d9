"""What may be wrong with an operation, each exception with its id and a sentence of facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, unique
from uuid import UUID

from worker.letters import LetterEntry, code_name
from worker.lifecycle.contradiction import contradiction_of
from worker.records import History, Record, State
from worker.sweeper import EXPIRED_AGE

REOPENED_AGE = timedelta(minutes=15)
"""How long a reopened payment may go without an attempt (operations 1.5)."""


@unique
class Flaw(StrEnum):
    """What may be wrong with one operation."""

    OPEN_WITHOUT_MESSAGE = "open_without_message"
    ATTEMPT_WITHOUT_END = "attempt_without_end"
    REOPENED_AND_UNDECIDED = "reopened_and_undecided"
    DECIDED_AND_UNPUBLISHED = "decided_and_unpublished"
    LETTER_NOT_IN_QUEUE = "letter_not_in_queue"
    UNANSWERED = "unanswered"
    LETTERS_DIFFER = "letters_differ"
    OTHER_AMOUNT_AT_PROVIDER = "other_amount_at_provider"
    APPLIED_BUT_TOLD_OTHERWISE = "applied_but_told_otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One exception: the operation, since when, and a sentence of facts without names.

    A letter that names no operation of ours is known by its ``message_id`` alone; a difference
    that nobody has looked into has neither.
    """

    flaw: Flaw
    detail: str
    operation_id: UUID | None = None
    message_id: str | None = None
    since: datetime | None = None


def finding_of_open(record: Record, now: datetime) -> Finding | None:
    """An exception where an open operation has lost its attempt or its message."""
    lease, due = record.lease_until, record.next_attempt_at
    if record.state is State.CALLING and lease is not None and lease < now:
        return _open(Flaw.ATTEMPT_WITHOUT_END, record, lease, f"attempt {record.attempts}")
    if record.state is State.RETRY_WAIT and due is not None and due < now - EXPIRED_AGE:
        return _open(Flaw.OPEN_WITHOUT_MESSAGE, record, due, "nothing came back to be tried again")
    is_untried = record.sequence > 1 and record.attempts == record.opened_attempts
    if is_untried and record.updated_at < now - REOPENED_AGE:
        detail = f"sequence {record.sequence} has had no attempt"
        return _open(Flaw.REOPENED_AND_UNDECIDED, record, record.updated_at, detail)
    return None


def _open(flaw: Flaw, record: Record, since: datetime, detail: str) -> Finding:
    return Finding(
        flaw=flaw, operation_id=record.operation_id, since=since, detail=f"{record.kind}, {detail}"
    )


def finding_of_contradicted(history: History) -> Finding | None:
    """An exception where a provider applied what was told otherwise, until a person saw to it."""
    found = contradiction_of(history)
    if found is None or found.is_acknowledged:
        return None
    record = history.record
    told = record.state.value if record.code is None else f"{record.state} {record.code}"
    return Finding(
        flaw=Flaw.APPLIED_BUT_TOLD_OTHERWISE,
        operation_id=record.operation_id,
        since=found.at,
        detail=f"{record.kind}, told {told}, {found.evidence}: once it is seen to,"
        " `payments acknowledge`",
    )


def finding_of_missing(entry: LetterEntry, why: str) -> Finding:
    """An exception: the ledger lists a letter that nobody can get at."""
    return Finding(
        flaw=Flaw.LETTER_NOT_IN_QUEUE,
        operation_id=entry.operation_id,
        since=entry.failed_at,
        detail=f"{entry.state or 'no row,'} {code_name(entry.code)}: {why}",
    )


def finding_of_unanswered(
    operation_id: UUID | None,
    state: State | None,
    *,
    since: datetime | None,
    message_id: str | None = None,
) -> Finding | None:
    """An exception, unless the operation is decided: then the letter needs nobody any more."""
    if state is not None and not state.is_open:
        return None
    return Finding(
        flaw=Flaw.UNANSWERED,
        operation_id=operation_id,
        message_id=message_id,
        since=since,
        detail="the ledger does not know it" if state is None else f"it is {state}",
    )
