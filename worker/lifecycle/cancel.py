"""Cancelling: an operation of its own, with a row of its own, about a payment's row."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from worker.codes import Code
from worker.identity import operation_id_of, refusal_identity
from worker.lifecycle.births import decided_at_birth, unwritten_request
from worker.lifecycle.claim import closed_without_success, expired_entry, forced_use
from worker.lifecycle.decide import Reason, decided, moved
from worker.lifecycle.limits import (
    DELIVERY_LIMIT,
    DUE_TOLERANCE,
    allows_another_attempt,
    is_expired,
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
from worker.lifecycle.settle import cancelled
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided, Held, Waiting, Won, held, stored_answer
from worker.model import Cancellation, CancelRequest, Delivery, Envelope, Identity, Refusal, Route
from worker.ports import View
from worker.records import Change, Kind, Needs, Record, Restoration, State, Tombstone
from worker.retry import CANCELLATION_WAITS
from worker.rules import Rules

CancelClaimed = Won | Held | Decided | Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelWish:
    """What a cancellation is decided by; ``plan`` is ``None`` while the payment is unknown.

    ``is_forced`` marks a removal at a live endpoint from staging, which is audited.
    """

    envelope: Envelope
    request: CancelRequest
    plan: Route | Refusal | None
    token: UUID
    may_call: bool
    delivery: Delivery
    is_forced: bool = False

    @property
    def mismatch_identity(self) -> Identity:
        """Identity of the refusal that another payment under the same key would get."""
        return refusal_identity(self.envelope.identity, str(self.request.payment_id))

    @property
    def needs(self) -> Needs:
        """Rows to load: the cancellation's own, its possible mismatch refusal, the payment's."""
        return Needs(
            (
                self.envelope.operation_id,
                operation_id_of(self.mismatch_identity),
                self.request.payment_id,
            )
        )


def claim_cancellation(
    view: View,
    wish: CancelWish,
    rules: Rules,
    now: datetime,
    restoration: Restoration | None = None,
) -> Change[CancelClaimed]:
    """Decide what a cancellation may do, and write it (contract section 2, Cancel).

    A payment waiting on the ladder is cancelled without a call, one being called is waited for,
    an unknown one is waited for three times and then leaves a tombstone. ``restoration`` is the
    ledger's latest return from a backup.
    """
    record = view.record(wish.envelope.operation_id)
    if record is None:
        return _first(view, wish, rules, now, restoration)
    if record.kind is not Kind.CANCELLATION:
        return Change(result=stored_answer(view, record))
    if knows_more(wish.envelope, record) and not is_final(record):
        may_repeat = plan_is_repeatable(wish.plan, record)
        record = caught_up(record, wish.envelope)
        if not may_repeat:
            return lost(record, OLDER, now, payment=_own_payment(view, wish))
    if record.payment_id != wish.request.payment_id:
        return _mismatch(view, wish, now)
    match record.state:
        case State.CALLING:
            return _calling(view, wish, record, rules, now)
        case State.RETRY_WAIT:
            due = record.next_attempt_at or now
            if due - DUE_TOLERANCE > now:
                return Change(result=held(record, due, "not due"))
            return _decide(view, wish, record, rules, now)
        case State.SUCCEEDED | State.FAILED | State.IN_DOUBT | State.CANCELLED:
            return Change(result=stored_answer(view, record))
        case other:
            assert_never(other)


def _first(
    view: View, wish: CancelWish, rules: Rules, now: datetime, restoration: Restoration | None
) -> Change[CancelClaimed]:
    fresh, may_repeat = _fresh(wish, now), plan_is_repeatable(wish.plan)
    if knows_more(wish.envelope, None):
        fresh = caught_up(fresh, wish.envelope)
        if not may_repeat:
            return lost(fresh, OLDER, now, payment=_own_payment(view, wish))
    elif (
        isinstance(wish.plan, Route)
        and not may_repeat
        and was_perhaps_called(wish.delivery, wish.envelope, restoration, rules, now)
    ):
        return lost(fresh, FORGOTTEN, now, payment=_own_payment(view, wish))
    return _decide(view, wish, fresh, rules, now)


def _calling(
    view: View, wish: CancelWish, record: Record, rules: Rules, now: datetime
) -> Change[CancelClaimed]:
    payment = view.record(record.payment_id)
    if record.token == wish.token and record.lease_until is not None:
        won = Won(record=record, token=wish.token, lease_until=record.lease_until, payment=payment)
        return Change(result=won)
    if record.lease_until is not None and record.lease_until > now:
        return Change(result=held(record, record.lease_until, "being called"))
    entry = expired_entry(record, now)
    expired = replace(record, unknown_attempts=record.unknown_attempts + 1)
    if not allows_another_attempt(expired):
        reason = Reason(code=Code.OUTCOME_UNKNOWN, detail="the claim expired")
        closed, answer = decided(expired, Move.DOUBT, now, reason=reason, payment=payment)
        result = Decided(answer, closed, repeated=False)
        return Change(result=result, records=(closed,), answers=(answer,), attempts=(entry,))
    change = _decide(view, wish, expired, rules, now)
    return replace(change, attempts=(entry,)) if change.records else change


def _decide(
    view: View, wish: CancelWish, record: Record, rules: Rules, now: datetime
) -> Change[CancelClaimed]:
    found = view.record(wish.request.payment_id)
    if found is not None and found.kind is not Kind.INITIATION:
        found = None
    payment = _own_payment(view, wish)
    if record.version == 0 and wish.delivery.delivery_count >= DELIVERY_LIMIT:
        return _refused(record, Code.DELIVERY_LIMIT_REACHED, now, payment)
    if is_expired(record, rules, now):
        return _refused(record, Code.REQUEST_EXPIRED, now, payment)
    if found is None:
        return _payment_unknown(wish, record, rules, now)
    if payment is None:
        return _refused(record, Code.PAYMENT_UNKNOWN, now, None)
    known = replace(record, facts=payment.facts)
    match payment.state:
        case State.CALLING:
            return Change(result=held(record, payment.lease_until or now, "payment being called"))
        case State.RETRY_WAIT:
            change = cancelled(view, known, now)
            if not isinstance(change.result, Decided):
                raise TypeError(type(change.result))
            return Change(result=change.result, records=change.records, answers=change.answers)
        case State.SUCCEEDED:
            return _remove(wish, known, payment, rules, now)
        case State.FAILED | State.IN_DOUBT:
            return _refused(known, Code.NOT_CANCELLABLE, now, payment)
        case State.CANCELLED:
            return _refused(known, Code.ALREADY_CANCELLED, now, payment)
        case other:
            assert_never(other)


def _own_payment(view: View, wish: CancelWish) -> Record | None:
    """Another origin's payment is none of this producer's business, not even its state."""
    found = view.record(wish.request.payment_id)
    if found is None or found.kind is not Kind.INITIATION:
        return None
    return found if found.origin == wish.request.origin else None


def _remove(
    wish: CancelWish, record: Record, payment: Record, rules: Rules, now: datetime
) -> Change[CancelClaimed]:
    if payment.item_id is None or payment.email is None or payment.duplicate_of is not None:
        # A link cannot be taken back, and a duplicate has no item of its own.
        return _refused(record, Code.NOT_CANCELLABLE, now, payment)
    if wish.plan is None:
        # The payment appeared between the look-up and this write; the next round routes it.
        return Change(result=held(record, now, "payment appeared"))
    if isinstance(wish.plan, Refusal):
        return _refused(record, wish.plan.code, now, payment)
    if (wish.plan.account.name, wish.plan.live) != (payment.account, payment.live):
        # It was paid elsewhere between the look-up and this write: its item is unknown there.
        return Change(result=held(record, now, "payment moved"))
    if not wish.may_call:
        return Change(result=held(record, now, "no permit"))
    lease_until = now + timedelta(seconds=rules.lease_seconds)
    claimed = replace(
        moved(record, Move.CLAIM, now),
        account=wish.plan.account.name,
        operation=wish.plan.operation,
        operation_class=wish.plan.operation_class,
        live=wish.plan.live,
        reference=payment.reference,
        attempts=record.attempts + 1,
        peak_attempts=max(record.peak_attempts, record.attempts + 1),
        token=wish.token,
        lease_until=lease_until,
        next_attempt_at=None,
    )
    won = Won(record=claimed, token=wish.token, lease_until=lease_until, payment=payment)
    audit = (forced_use(claimed, now),) if wish.is_forced else ()
    return Change(result=won, records=(claimed,), audit=audit)


def _payment_unknown(
    wish: CancelWish, record: Record, rules: Rules, now: datetime
) -> Change[CancelClaimed]:
    if record.waits < len(CANCELLATION_WAITS):
        step = CANCELLATION_WAITS[record.waits]
        waiting = replace(
            moved(record, Move.WAIT, now),
            waits=record.waits + 1,
            next_attempt_at=now + timedelta(seconds=step.seconds),
        )
        result = Waiting(step=step, record=waiting, reason="payment unknown so far")
        return Change(result=result, records=(waiting,))
    tombstone = Tombstone(
        payment_id=wish.request.payment_id,
        origin=wish.request.origin,
        until=now + rules.tombstone_age,
    )
    return replace(_refused(record, Code.PAYMENT_UNKNOWN, now, None), tombstones=(tombstone,))


def _mismatch(view: View, wish: CancelWish, now: datetime) -> Change[CancelClaimed]:
    """Refuse one key for two payments: the first cancellation's answer is not this one's (I7)."""
    own_id = operation_id_of(wish.mismatch_identity)
    known = view.record(own_id)
    if known is not None:
        return Change(result=stored_answer(view, known))
    refusal = replace(
        _fresh(wish, now),
        operation_id=own_id,
        identity=wish.mismatch_identity,
        kind=Kind.REFUSAL,
        sequence=1,
    )
    change = decided_at_birth(
        refusal,
        Move.FAIL,
        now,
        Reason(code=Code.IDEMPOTENCY_MISMATCH),
        conflicts_with=wish.envelope.operation_id,
        cancels=True,
    )
    return Change(result=change.result, records=change.records, answers=change.answers)


def _refused(
    record: Record, code: Code, now: datetime, payment: Record | None
) -> Change[CancelClaimed]:
    change = closed_without_success(record, Reason(code=code), now, payment=payment)
    return Change(result=change.result, records=change.records, answers=change.answers)


def _fresh(wish: CancelWish, now: datetime) -> Record:
    asked = Cancellation(envelope=wish.envelope, request=wish.request)
    return unwritten_request(asked, wish.delivery, now)
