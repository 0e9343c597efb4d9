"""A ledger that is lost, or older than the world: what proves it, and what follows.

A copy of ours is published after the write that it tells of, so its numbers never exceed the
row's. A copy that names an attempt or a sequence the ledger does not know was written by a ledger
that knew more (payment rules, invariant I10). After a restoration nothing needs to prove it: what
was in a worker's hands in the forgotten span may have been called.

What may be repeated goes on. Anything else is never sent again: it is in doubt, for a person.
"""

from dataclasses import replace
from datetime import datetime

from worker.codes import Code
from worker.lifecycle.decide import Reason, decided
from worker.lifecycle.duplicates import ownership
from worker.lifecycle.table import Move, after
from worker.lifecycle.wishes import Decided
from worker.model import Delivery, Envelope, OperationClass, Refusal, Route
from worker.records import AuditEntry, Change, Record, Restoration, State
from worker.rules import Rules

_REPEATABLE = frozenset({OperationClass.READ, OperationClass.IDEMPOTENT, OperationClass.KEYED})


def is_repeatable(operation_class: OperationClass | None) -> bool:
    """Whether a call that nobody remembers may be made again; what is not known may not."""
    return operation_class in _REPEATABLE


def plan_is_repeatable(plan: Route | Refusal | None, record: Record | None = None) -> bool:
    """Whether both what is planned and what the row remembers may be made again."""
    if not isinstance(plan, Route) or not is_repeatable(plan.operation_class):
        return False
    known = None if record is None else record.operation_class
    return known is None or is_repeatable(known)


def knows_more(envelope: Envelope, record: Record | None) -> bool:
    """Whether a copy of ours tells of an attempt or a decision that the ledger has not got."""
    if not envelope.source.is_believed:
        return False
    if record is None:
        return envelope.attempts >= 1 or envelope.sequence > 1
    known = max(record.attempts, record.peak_attempts)
    return envelope.attempts > known or envelope.sequence > record.sequence


def attempts_known(record: Record) -> int:
    """How many attempts a copy has to tell of that goes where this row is not known.

    One at least where something was applied or may have been, although for another operation:
    the answer of a duplicate is no attempt of its own.
    """
    is_harmless = record.state.is_open or record.state is State.FAILED
    return max(record.attempts, record.peak_attempts, 0 if is_harmless else 1)


def in_force_until(restoration: Restoration, rules: Rules) -> datetime:
    """When a restoration ends to matter: by then what was waiting is too old for an attempt."""
    return restoration.restored_at + rules.max_age


def was_perhaps_called(
    delivery: Delivery,
    envelope: Envelope,
    restoration: Restoration | None,
    rules: Rules,
    now: datetime,
) -> bool:
    """Whether a request without a row may have been called in the span the ledger forgot.

    Only one that the broker gave to a worker before can have been: it says so itself. One that
    was made after the restoration cannot: of our own copies we know when they were first seen,
    of a request only what its producer says. One that was put back without a row is a request that
    the broker had given up, so a worker had it in hand, and what stands on it as first seen is when
    a walk found it. In force until ``max_age`` after the restoration.
    """
    if restoration is None or now > in_force_until(restoration, rules):
        return False
    is_believed = envelope.source.is_believed
    was_given_up = is_believed and envelope.replay_count > 0
    if not was_given_up and not delivery.redelivered and delivery.delivery_count < 1:
        return False
    begun = envelope.first_seen if is_believed and not was_given_up else delivery.timestamp
    return begun is None or begun <= restoration.restored_at


def caught_up(record: Record, envelope: Envelope) -> Record:
    """Bring a row up to a copy's numbers, with an attempt that ended nobody knows how.

    A row that was decided was opened again since, or no copy could know more: it is open. Its
    next decision must come after both. The version stays: one write follows.
    """
    sequence = max(record.sequence, envelope.sequence)
    known = replace(
        record,
        sequence=sequence,
        attempts=max(record.attempts, envelope.attempts),
        peak_attempts=max(record.peak_attempts, record.attempts, envelope.attempts),
        unknown_attempts=record.unknown_attempts + 1,
    )
    if record.state.is_open:
        return known
    return replace(
        known,
        state=after(record.state, Move.REOPEN),
        sequence=max(sequence, record.sequence + 1),
        opened_attempts=record.attempts,
        cleared_attempts=record.unknown_attempts,
        token=None,
        code=None,
        decided_at=None,
        event_id=None,
    )


def is_final(record: Record) -> bool:
    """Whether nothing that was forgotten can matter: a known state yields to no less known one."""
    return record.state in {State.SUCCEEDED, State.CANCELLED}


def lost(
    record: Record,
    why: str,
    now: datetime,
    *,
    payment: Record | None = None,
    cancels: bool | None = None,
) -> Change[Decided]:
    """Decide an open row whose history is lost: in doubt, never sent, for a person; audited.

    The token goes: a late answer of an attempt we know cannot speak for one we do not know.
    ``payment`` is the payment that a cancellation is about; ``cancels`` marks a refused message
    as one.
    """
    closed, answer = decided(
        replace(record, token=None),
        Move.DOUBT,
        now,
        reason=Reason(code=Code.LEDGER_LOST, detail=why),
        kept_link=record.link,
        cancels=cancels,
        payment=payment,
    )
    act = AuditEntry(
        at=now,
        actor="worker",
        action="ledger_lost",
        operation_id=record.operation_id,
        detail=f"{why}; sequence {record.sequence}, attempts {record.attempts}",
    )
    return Change(
        result=Decided(answer, closed, repeated=False),
        records=(closed,),
        answers=(answer,),
        owner=ownership(closed),
        audit=(act,),
    )


OLDER = "a copy knows of more than the ledger"
FORGOTTEN = "a worker may have called it after the backup was taken"
