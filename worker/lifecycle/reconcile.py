"""Reconciling a doubt with what its provider lists: reads only, nothing is ever sent again.

Found under our reference and with our amount, the payment succeeded; without a link that may be
handed out its link is lost, and a person cancels or issues it anew. Found with another amount it
is a break: stored, alerted, and left to a person. Not found, or not readable, changes nothing: the
next step of the schedule reads again, and after the last one it waits for a person, who is shown
what was read (payment rules, rule set 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from worker.codes import Code
from worker.lifecycle.decide import Reason, decided
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided
from worker.look_ups import (
    Doubt,
    Finding,
    Listed,
    ListedOtherwise,
    LookUp,
    LookUpPlan,
    LookUpReading,
    NotListed,
    PlanState,
    ReadFailed,
)
from worker.model import Secret
from worker.ports import View
from worker.records import Answer, AttemptEntry, AuditEntry, Change, Record, State

STEPS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=6),
    *(timedelta(days=day) for day in range(1, 8)),
)
"""When a doubt is looked up, counted from its decision: rule set 3, point 2."""

MOST_REFERENCES = 6
"""References of one payment that are looked up, the newest first; more than two take reopenings."""


@dataclass(frozen=True, slots=True)
class Read:
    """What the provider said about one reference, and when."""

    reference: str
    at: datetime
    reading: LookUpReading


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a step of the schedule came to; ``decided`` where it changed the answer.

    ``finding`` is ``None`` where nothing was read: the doubt was over before.
    """

    plan: LookUpPlan
    finding: Finding | None = None
    decided: Decided | None = None


def planned(doubt: Doubt, account: str) -> LookUpPlan:
    """The plan of a doubt that nobody has looked up yet; an old one is due at once, one time."""
    return LookUpPlan(
        operation_id=doubt.operation_id,
        account=account,
        sequence=doubt.sequence,
        steps=0,
        state=PlanState.PLANNED,
        due_at=doubt.decided_at + STEPS[0],
    )


def next_due(decided_at: datetime, now: datetime) -> datetime | None:
    """The first time of the schedule after ``now``; steps missed meanwhile are not made up for."""
    due = (decided_at + step for step in STEPS)
    return next((each for each in due if each > now), None)


def is_doubt_of(plan: LookUpPlan, record: Record | None) -> bool:
    """Whether the operation is still in the doubt that the plan is for."""
    return (
        record is not None
        and record.state is State.IN_DOUBT
        and record.sequence == plan.sequence
        and record.duplicate_of is None
    )


def references_of(record: Record, attempts: Sequence[AttemptEntry]) -> tuple[str, ...]:
    """Every reference that the payment was sent under, the newest first."""
    sent = [record.reference, *(attempt.reference for attempt in reversed(attempts))]
    known = dict.fromkeys(each for each in sent if each is not None)
    return tuple(known)[:MOST_REFERENCES]


def reconcile(
    view: View, plan: LookUpPlan, reads: Sequence[Read], now: datetime
) -> Change[Reconciled]:
    """Conclude one step of the schedule; whatever was read is kept as evidence."""
    record = view.record(plan.operation_id)
    evidence = tuple(_evidence(plan, read) for read in reads)
    if record is None or not is_doubt_of(plan, record):
        # It was settled, answered late or opened again meanwhile: nothing is left to find out.
        over = replace(plan, state=PlanState.ENDED, due_at=None)
        return Change(result=Reconciled(over), look_ups=evidence, look_up_plan=over)
    stepped = replace(plan, steps=plan.steps + 1)
    change = _concluded(record, view.answer(record.operation_id), stepped, reads, now)
    return replace(change, look_ups=evidence, look_up_plan=change.result.plan)


def _concluded(
    record: Record,
    doubt: Answer | None,
    plan: LookUpPlan,
    reads: Sequence[Read],
    now: datetime,
) -> Change[Reconciled]:
    """One other amount outweighs everything: something is wrong that a person must see."""
    if any(isinstance(read.reading, ListedOtherwise) for read in reads):
        broken = replace(plan, state=PlanState.BREAK, due_at=None)
        return Change(result=Reconciled(broken, Finding.OTHER_AMOUNT))
    listed = [(read.reference, read.reading) for read in reads if isinstance(read.reading, Listed)]
    for reference, reading in listed:
        if reading.link is not None:
            return _found(record, plan, reference, reading.link, now)
    if listed:
        reference, reading = listed[0]
        return _found_without_link(record, doubt, plan, reference, reading.unlisted_link, now)
    is_failed = any(isinstance(read.reading, ReadFailed) for read in reads)
    due = next_due(record.decided_at or record.updated_at, now)
    state = PlanState.EXHAUSTED if due is None else PlanState.PLANNED
    finding = Finding.FAILED if is_failed or not reads else Finding.NOT_FOUND
    return Change(result=Reconciled(replace(plan, state=state, due_at=due), finding))


def _found(
    record: Record, plan: LookUpPlan, reference: str, link: Secret, now: datetime
) -> Change[Reconciled]:
    again = replace(record, sequence=record.sequence + 1, reference=reference)
    closed, answer = decided(again, Move.SUCCEED, now, link=link)
    over = replace(plan, state=PlanState.ENDED, due_at=None)
    return Change(
        result=Reconciled(over, Finding.FOUND, Decided(answer, closed, repeated=False)),
        records=(closed,),
        answers=(answer,),
        audit=(_act(closed, "succeeded", now),),
    )


def _found_without_link(
    record: Record,
    doubt: Answer | None,
    plan: LookUpPlan,
    reference: str,
    unlisted: Secret | None,
    now: datetime,
) -> Change[Reconciled]:
    """It exists and nobody has its link; of a link known to be lost there is nothing new to say.

    The letter of the doubt stays the letter of this one: it holds the only copy of the request.
    """
    finding = Finding.FOUND_WITHOUT_LINK
    if record.code is Code.LINK_LOST:
        waits = replace(plan, state=PlanState.EXHAUSTED, due_at=None)
        return Change(result=Reconciled(waits, finding))
    # The token goes: an attempt that comes late and was refused must not undo what is listed.
    again = replace(record, sequence=record.sequence + 1, reference=reference, token=None)
    closed, answer = decided(
        again,
        Move.FIND,
        now,
        reason=Reason(code=Code.LINK_LOST, detail="the provider lists it without a usable link"),
        kept_link=unlisted or record.link,
    )
    if doubt is not None:
        answer = replace(
            answer,
            letter_confirmed=doubt.letter_confirmed,
            letter_resolved=doubt.letter_resolved,
        )
    waits = replace(plan, sequence=closed.sequence, state=PlanState.EXHAUSTED, due_at=None)
    return Change(
        result=Reconciled(waits, finding, Decided(answer, closed, repeated=False)),
        records=(closed,),
        answers=(answer,),
        audit=(_act(closed, "link_lost", now),),
    )


def _act(record: Record, became: str, now: datetime) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor="worker",
        action="reconcile",
        operation_id=record.operation_id,
        detail=(
            f"account {record.account} lists reference {record.reference}: {became},"
            f" sequence {record.sequence}"
        ),
    )


def _evidence(plan: LookUpPlan, read: Read) -> LookUp:
    kept = LookUp(
        operation_id=plan.operation_id,
        sequence=plan.sequence,
        step=plan.steps + 1,
        at=read.at,
        reference=read.reference,
        finding=finding_of(read.reading),
    )
    match read.reading:
        case Listed(http_status=status) | NotListed(http_status=status):
            return replace(kept, http_status=status)
        case ListedOtherwise(http_status=status, amount=amount):
            return replace(kept, http_status=status, amount=amount)
        case ReadFailed(reason=reason, http_status=status, provider_code=code):
            return replace(kept, http_status=status, reason=reason, provider_code=code)
        case other:
            assert_never(other)


def finding_of(reading: LookUpReading) -> Finding:
    """One stable word for what was read."""
    match reading:
        case Listed(link=None):
            return Finding.FOUND_WITHOUT_LINK
        case Listed():
            return Finding.FOUND
        case ListedOtherwise():
            return Finding.OTHER_AMOUNT
        case NotListed():
            return Finding.NOT_FOUND
        case ReadFailed():
            return Finding.FAILED
        case other:
            assert_never(other)
