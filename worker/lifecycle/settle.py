"""Settling an attempt: what its outcome means, and what happens next."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Try,
    Unknown,
)
from worker.codes import Code
from worker.lifecycle.claim import closed_without_success
from worker.lifecycle.contradiction import TOO_LATE
from worker.lifecycle.decide import Reason, decided, moved
from worker.lifecycle.limits import allows_another_attempt, is_expired, may_be_applied
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided, Waiting
from worker.model import OperationClass, Step
from worker.ports import View
from worker.records import Answer, AttemptEntry, Change, Kind, Needs, Record, State
from worker.retry import RESEND_STEP, next_step
from worker.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How an attempt ended: its last outcome and the tries that led there."""

    operation_id: UUID
    payment_id: UUID
    token: UUID
    outcome: Outcome
    tries: tuple[Try, ...]

    @property
    def needs(self) -> Needs:
        """Rows to load: the operation, and for a cancellation the payment it is about."""
        if self.payment_id == self.operation_id:
            return Needs((self.operation_id,))
        return Needs((self.operation_id, self.payment_id))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The attempt came too late to decide anything; what it brought is kept in its history."""

    record: Record


Settled = Decided | Waiting | Evidence


def settle(view: View, end: Settlement, rules: Rules, now: datetime) -> Change[Settled]:
    """Write what an attempt's end means, if the claim is still its own.

    A late attempt may change exactly one thing: the doubt that it left itself takes its definite
    answer. Everything else it brings is evidence (payment rules, invariant I3). Raises
    ``LookupError`` for an operation without a row.
    """
    record = view.record(end.operation_id)
    if record is None:
        raise LookupError(end.operation_id)
    entry = AttemptEntry(
        operation_id=record.operation_id,
        token=end.token,
        number=record.attempts,
        reference=record.reference,
        tries=end.tries,
        ended_at=now,
    )
    if record.token == end.token and record.state is State.CALLING:
        change = _on_time(view, record, end.outcome, rules, now)
    elif record.token == end.token and record.state is State.IN_DOUBT:
        entry = replace(entry, note="late answer")
        change = _late(view, record, end.outcome, now)
    else:
        entry = replace(entry, note=TOO_LATE)
        change = Change(result=Evidence(record))
    return replace(change, attempts=(entry,))


def _on_time(
    view: View, record: Record, outcome: Outcome, rules: Rules, now: datetime
) -> Change[Settled]:
    match outcome:
        case Succeeded():
            return _succeeded(view, record, outcome, now)
        case Declined():
            return _declined(view, _told_no(record), outcome, now)
        case Misconfigured():
            reason = Reason(
                code=outcome.code,
                provider_code=outcome.provider_code,
                provider_code_known=True,
                http_status=outcome.http_status,
            )
            return _without_success(view, _told_no(record), reason, now)
        case NotApplied() | NotSent():
            return _try_again(view, _told_no(record), outcome, rules, now)
        case Unknown():
            return _unknown(view, record, outcome, rules, now)
        case other:
            assert_never(other)


def _told_no(record: Record) -> Record:
    """Take the token away: a doubt that follows a no was left by an earlier attempt.

    This attempt must not be able to end it.
    """
    return replace(record, token=None)


def _succeeded(view: View, record: Record, outcome: Succeeded, now: datetime) -> Change[Settled]:
    if record.kind is Kind.CANCELLATION:
        return cancelled(view, record, now)
    closed, answer = decided(record, Move.SUCCEED, now, link=outcome.link, item_id=outcome.item_id)
    return _closed(closed, answer)


def cancelled(view: View, record: Record, now: datetime) -> Change[Settled]:
    """Close a cancellation and its payment together: one event is the answer of both.

    The payment's sequence rises, so that its subscribers let the cancellation win; later
    repeats of the payment's own request answer ``cancelled`` too (contract section 3).
    """
    payment = view.record(record.payment_id)
    if payment is None:
        raise LookupError(record.payment_id)
    if payment.state is State.CANCELLED:
        # Two cancellations under different keys: the other one was settled first.
        closed, answer = decided(
            record, Move.FAIL, now, reason=Reason(code=Code.ALREADY_CANCELLED), payment=payment
        )
        return _closed(closed, answer)
    ended = replace(
        moved(payment, Move.CANCEL, now),
        sequence=payment.sequence + (0 if payment.state.is_open else 1),
        decided_at=now,
        token=None,
        lease_until=None,
        next_attempt_at=None,
        link=None,
        email=None,
    )
    asked = replace(
        record,
        facts=payment.facts,
        account=payment.account,
        reference=payment.reference,
        live=payment.live,
    )
    closed, answer = decided(asked, Move.SUCCEED, now, payment=ended, item_id=payment.item_id)
    ended = replace(ended, event_id=answer.event.event_id)
    return Change(
        result=Decided(answer, closed, repeated=False),
        records=(closed, ended),
        answers=(answer,),
    )


def _declined(view: View, record: Record, outcome: Declined, now: datetime) -> Change[Settled]:
    reason = Reason(
        code=outcome.code,
        provider_code=outcome.provider_code,
        provider_code_known=outcome.known,
        http_status=outcome.http_status,
    )
    if _is_own_reference(record, outcome, unknown_before=record.unknown_attempts):
        lost = replace(reason, code=Code.LINK_LOST)
        closed, answer = decided(record, Move.DOUBT, now, reason=lost)
        return _closed(closed, answer)
    if not may_be_applied(record):
        return _without_success(view, record, reason, now)
    match record.operation_class:
        case OperationClass.KEYED | OperationClass.ORPHAN_SAFE:
            # The provider's word on this content; a lost link was never handed out.
            closed, answer = decided(record, Move.FAIL, now, reason=reason)
            return _closed(closed, answer)
        case _:
            # A second removal may be refused just because the first one worked.
            return _without_success(view, record, reason, now)


def _is_own_reference(record: Record, outcome: Outcome, *, unknown_before: int) -> bool:
    """Whether the provider knows the reference because an earlier attempt of ours landed.

    The same reference was sent before with an unknown end. Who has said since that nothing was
    applied was mistaken, and the provider knows better.
    """
    return (
        record.operation_class is OperationClass.KEYED
        and isinstance(outcome, Declined)
        and outcome.code is Code.REFERENCE_ALREADY_USED
        and unknown_before > 0
    )


def _try_again(
    view: View, record: Record, outcome: NotApplied | NotSent, rules: Rules, now: datetime
) -> Change[Settled]:
    retry_after = outcome.retry_after if isinstance(outcome, NotApplied) else None
    status = outcome.http_status if isinstance(outcome, NotApplied) else None
    step = next_step(record.attempts - record.opened_attempts, retry_after)
    return _waits(view, record, step, Reason(code=outcome.code, http_status=status), rules, now)


def _unknown(
    view: View, record: Record, outcome: Unknown, rules: Rules, now: datetime
) -> Change[Settled]:
    counted = replace(record, unknown_attempts=record.unknown_attempts + 1)
    reason = Reason(code=outcome.code, http_status=outcome.http_status)
    if outcome.never_resend or not allows_another_attempt(counted):
        payment = _payment_of(view, counted)
        closed, answer = decided(
            counted, Move.DOUBT, now, reason=reason, kept_link=outcome.link, payment=payment
        )
        return _closed(closed, answer)
    step = next_step(counted.attempts - counted.opened_attempts)
    if counted.operation_class is OperationClass.ORPHAN_SAFE:
        step = RESEND_STEP
    return _waits(view, counted, step, reason, rules, now)


def _waits(
    view: View, record: Record, step: Step | None, reason: Reason, rules: Rules, now: datetime
) -> Change[Settled]:
    """Send the request up the ladder, or decide when attempts or time are used up."""
    if step is None:
        return _without_success(view, record, reason, now)
    due = now + timedelta(seconds=step.seconds)
    if is_expired(record, rules, due):
        return _without_success(view, record, reason, now)
    waiting = replace(
        moved(record, Move.WAIT, now), token=None, lease_until=None, next_attempt_at=due
    )
    return Change(
        result=Waiting(step=step, record=waiting, reason=reason.code.value), records=(waiting,)
    )


def _late(view: View, record: Record, outcome: Outcome, now: datetime) -> Change[Settled]:
    """Let an attempt end the doubt it left; no other doubt may hide behind it."""
    only_doubt = record.unknown_attempts - record.cleared_attempts <= 1 and not _is_own_reference(
        record, outcome, unknown_before=record.unknown_attempts - 1
    )
    again = replace(record, sequence=record.sequence + 1)
    # A definite no leaves nothing that may have been applied, so a replay is not barred by it.
    cleared = replace(again, cleared_attempts=record.unknown_attempts)
    match outcome:
        case Succeeded():
            if record.kind is Kind.CANCELLATION:
                return cancelled(view, record, now)
            closed, answer = decided(
                again, Move.SUCCEED, now, link=outcome.link, item_id=outcome.item_id
            )
            return _closed(closed, answer)
        case Declined() | Misconfigured() | NotApplied() if only_doubt:
            known = outcome.known if isinstance(outcome, Declined) else True
            provider_code = None if isinstance(outcome, NotApplied) else outcome.provider_code
            reason = Reason(
                code=outcome.code,
                provider_code=provider_code,
                provider_code_known=known,
                http_status=outcome.http_status,
            )
            closed, answer = decided(
                cleared, Move.FAIL, now, reason=reason, payment=_payment_of(view, record)
            )
            return _closed(closed, answer)
        case NotSent() if only_doubt:
            closed, answer = decided(
                cleared,
                Move.FAIL,
                now,
                reason=Reason(code=outcome.code),
                payment=_payment_of(view, record),
            )
            return _closed(closed, answer)
        case Declined() | Misconfigured() | NotApplied() | NotSent() | Unknown():
            return Change(result=Evidence(record))
        case other:
            assert_never(other)


def _without_success(view: View, record: Record, reason: Reason, now: datetime) -> Change[Settled]:
    change = closed_without_success(record, reason, now, payment=_payment_of(view, record))
    return Change(result=change.result, records=change.records, answers=change.answers)


def _payment_of(view: View, record: Record) -> Record | None:
    return view.record(record.payment_id) if record.kind is Kind.CANCELLATION else None


def _closed(closed: Record, answer: Answer) -> Change[Settled]:
    result = Decided(answer, closed, repeated=False)
    return Change(result=result, records=(closed,), answers=(answer,))
