"""Claiming a payment: the one write that must be durable before any provider sees a byte."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from worker.codes import Code
from worker.identity import payment_reference
from worker.lifecycle.births import decided_at_birth, fresh_record
from worker.lifecycle.decide import Reason, decided
from worker.lifecycle.duplicates import (
    answer_of_duplicate,
    is_superseded,
    ownership,
    refuse_mismatch,
)
from worker.lifecycle.limits import (
    DELIVERY_LIMIT,
    DUE_TOLERANCE,
    allows_another_attempt,
    is_expired,
    may_be_applied,
)
from worker.lifecycle.lost import (
    FORGOTTEN,
    OLDER,
    caught_up,
    is_final,
    knows_more,
    lost,
    plan_is_repeatable,
    was_perhaps_called,
)
from worker.lifecycle.table import Move, after
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, Kept, Won, held, stored_answer
from worker.model import OperationClass, ProviderKind, Refusal, Route
from worker.ports import View
from worker.records import AttemptEntry, AuditEntry, Change, Kind, Record, Restoration, State
from worker.rules import Rules


def claim(
    view: View, wish: Claim, rules: Rules, now: datetime, restoration: Restoration | None = None
) -> Change[Claimed]:
    """Decide what a delivery may do about its payment, and write it.

    At most one caller gets ``Won`` for one attempt. A decided payment gives its stored answer,
    a payment somebody else is calling is held, another content under the same key becomes a
    refusal of its own, and a payment that must not be called is decided here (payment rules,
    invariants I1, I2, I6, I7, I10). ``restoration`` is the ledger's latest return from a backup.
    """
    record = view.record(wish.envelope.operation_id)
    if record is None:
        return _first(view, wish, rules, now, restoration)
    if record.kind is Kind.REFUSAL:
        return Change(result=stored_answer(view, record))
    if knows_more(wish.envelope, record) and not is_final(record):
        may_repeat = plan_is_repeatable(wish.plan, record)
        record = caught_up(record, wish.envelope)
        if not may_repeat:
            return lost(record, OLDER, now)
    if record.fingerprint is not None and record.fingerprint != wish.request.fingerprint:
        return refuse_mismatch(view, wish, record, now)
    match record.state:
        case State.CALLING:
            return _calling(view, wish, record, rules, now)
        case State.RETRY_WAIT:
            due = record.next_attempt_at or now
            if due - DUE_TOLERANCE > now:
                return Change(result=held(record, due, "not due"))
            return _attempt(view, wish, record, rules, now)
        case State.SUCCEEDED | State.FAILED | State.IN_DOUBT | State.CANCELLED:
            return Change(result=stored_answer(view, record))
        case other:
            assert_never(other)


def closed_without_success(
    record: Record, reason: Reason, now: datetime, *, payment: Record | None = None
) -> Change[Decided]:
    """Decide an open record: failed, or in doubt where an attempt may have been applied.

    ``retryable`` and "replay after the fix" promise that nothing was applied; after an unknown
    attempt nobody can promise it.
    """
    if may_be_applied(record):
        doubt = Reason(
            code=Code.OUTCOME_UNKNOWN,
            http_status=reason.http_status,
            provider_code=reason.provider_code,
            detail=f"an earlier attempt ended unknown, the last with {reason.code}",
        )
        closed, answer = decided(record, Move.DOUBT, now, reason=doubt, payment=payment)
    else:
        closed, answer = decided(record, Move.FAIL, now, reason=reason, payment=payment)
    return Change(
        result=Decided(answer, closed, repeated=False), records=(closed,), answers=(answer,)
    )


def _first(
    view: View, wish: Claim, rules: Rules, now: datetime, restoration: Restoration | None
) -> Change[Claimed]:
    fresh = fresh_record(wish, now)
    is_forgotten = knows_more(wish.envelope, None)
    if is_forgotten:
        # The ledger lost an attempt: how it ended is not known (I10).
        fresh = caught_up(fresh, wish.envelope)
    if not plan_is_repeatable(wish.plan):
        if is_forgotten:
            return lost(fresh, OLDER, now)
        if was_perhaps_called(wish.delivery, wish.envelope, restoration, rules, now):
            return lost(fresh, FORGOTTEN, now)
    if wish.delivery.delivery_count >= DELIVERY_LIMIT:
        return closed_without_success(fresh, Reason(code=Code.DELIVERY_LIMIT_REACHED), now)
    tombstone = view.tombstone(wish.envelope.operation_id)
    if tombstone is not None and tombstone.until > now and tombstone.origin == fresh.origin:
        return decided_at_birth(fresh, Move.CANCEL, now, None)
    expired = is_expired(fresh, rules, now)
    duplicate = answer_of_duplicate(view, wish, rules, now)
    if duplicate is not None and not (expired and isinstance(duplicate.result, Held)):
        return duplicate
    if expired:
        return closed_without_success(fresh, Reason(code=Code.REQUEST_EXPIRED), now)
    if isinstance(wish.plan, Refusal):
        return closed_without_success(fresh, _refused(wish.plan), now)
    if not wish.may_call:
        return Change(result=Held(until=now, reason="no permit"))
    return _won(wish, wish.plan, fresh, rules, now)


def _calling(
    view: View, wish: Claim, record: Record, rules: Rules, now: datetime
) -> Change[Claimed]:
    if record.token == wish.token and record.lease_until is not None:
        # The commit whose answer was lost: our own claim stands.
        return Change(result=Won(record=record, token=wish.token, lease_until=record.lease_until))
    if record.lease_until is not None and record.lease_until > now:
        return Change(result=held(record, record.lease_until, "being called"))
    expired = replace(record, unknown_attempts=record.unknown_attempts + 1)
    entry = expired_entry(record, now)
    if not allows_another_attempt(expired):
        closed, answer = decided(
            expired,
            Move.DOUBT,
            now,
            reason=Reason(code=Code.OUTCOME_UNKNOWN, detail="the claim expired"),
        )
        result = Decided(answer, closed, repeated=False)
        return Change(result=result, records=(closed,), answers=(answer,), attempts=(entry,))
    change = _attempt(view, wish, expired, rules, now)
    return replace(change, attempts=(entry,)) if change.records else change


def _attempt(
    view: View, wish: Claim, record: Record, rules: Rules, now: datetime
) -> Change[Claimed]:
    if is_expired(record, rules, now):
        return closed_without_success(record, Reason(code=Code.REQUEST_EXPIRED), now)
    if is_superseded(view, wish, record.sequence):
        return closed_without_success(record, Reason(code=Code.SUPERSEDED), now)
    kept = kept_by(record)
    if kept is not None and kept != wish.kept and not _goes_to(wish.plan, kept):
        return Change(result=kept)
    if isinstance(wish.plan, Refusal):
        return closed_without_success(record, _refused(wish.plan), now)
    if not wish.may_call:
        return Change(result=held(record, now, "no permit"))
    return _won(wish, wish.plan, record, rules, now)


def kept_by(record: Record) -> Kept | None:
    """Account and class a payment must stay with, once it had an attempt."""
    if record.attempts and record.account and record.operation_class:
        return Kept(record.account, record.operation_class)
    return None


def _goes_to(plan: Route | Refusal, kept: Kept) -> bool:
    """Whether a plan made without knowing the first attempt leads to the same place anyway."""
    return isinstance(plan, Route) and kept == Kept(plan.account.name, plan.operation_class)


def _won(wish: Claim, plan: Route, record: Record, rules: Rules, now: datetime) -> Change[Claimed]:
    lease_until = now + timedelta(seconds=rules.lease_seconds)
    keyed = plan.operation_class is OperationClass.KEYED
    claimed = replace(
        record,
        state=after(None if record.version == 0 else record.state, Move.CLAIM),
        version=record.version + 1,
        updated_at=now,
        account=plan.account.name,
        operation=plan.operation,
        operation_class=plan.operation_class,
        live=plan.live,
        reference=payment_reference(record.operation_id, 0 if keyed else record.unknown_attempts),
        attempts=record.attempts + 1,
        peak_attempts=max(record.peak_attempts, record.attempts + 1),
        token=wish.token,
        lease_until=lease_until,
        next_attempt_at=None,
        email=wish.request.email if plan.account.provider is ProviderKind.BASKET else None,
        duplicate_of=None,  # a reopened duplicate that is called is a payment of its own
    )
    return Change(
        result=Won(record=claimed, token=wish.token, lease_until=lease_until),
        records=(claimed,),
        owner=ownership(claimed),
        audit=(forced_use(claimed, now),) if wish.is_forced else (),
    )


def forced_use(record: Record, now: datetime) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor="worker",
        action="force_live",
        operation_id=record.operation_id,
        detail=f"attempt {record.attempts} at account {record.account}",
    )


def _refused(plan: Refusal) -> Reason:
    return Reason(code=plan.code, faults=plan.faults)


def expired_entry(record: Record, now: datetime) -> AttemptEntry:
    if record.token is None:
        raise LookupError(record.operation_id)
    return AttemptEntry(
        operation_id=record.operation_id,
        token=record.token,
        number=record.attempts,
        reference=record.reference,
        tries=(),
        ended_at=now,
        note="the claim expired",
    )
