"""Turning a record into its next state and the answer it owes, in one place."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker.codes import Code, is_dead_lettered
from worker.identity import event_id_of
from worker.lifecycle.table import Move, after
from worker.model import Fault, Secret
from worker.records import Answer, Event, Kind, Letter, Record, State, Status

_STATUS = {
    (False, State.SUCCEEDED): Status.SUCCEEDED,
    (False, State.FAILED): Status.FAILED,
    (False, State.IN_DOUBT): Status.IN_DOUBT,
    (False, State.CANCELLED): Status.CANCELLED,
    (True, State.SUCCEEDED): Status.CANCELLED,
    (True, State.FAILED): Status.CANCEL_FAILED,
    (True, State.IN_DOUBT): Status.CANCEL_IN_DOUBT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a decision is not a success."""

    code: Code
    provider_code: str | None = None
    provider_code_known: bool = False
    http_status: int | None = None
    faults: tuple[Fault, ...] = ()
    detail: str | None = None


def moved(record: Record, move: Move, now: datetime) -> Record:
    """Return the record in its next state, one version further.

    Raises ``IllegalMoveError`` for a pair that the table does not have.
    """
    return replace(
        record,
        state=after(record.state, move),
        version=record.version + 1,
        updated_at=now,
    )


def decided(
    record: Record,
    move: Move,
    now: datetime,
    *,
    reason: Reason | None = None,
    link: Secret | None = None,
    kept_link: Secret | None = None,
    item_id: str | None = None,
    conflicts_with: UUID | None = None,
    cancels: bool | None = None,
    payment: Record | None = None,
) -> tuple[Record, Answer]:
    """Close an existing record by a move and build the answer it owes.

    ``link`` goes out with the event; ``kept_link`` is stored for the operator and never
    published. ``payment`` is the payment a cancellation is about: its sequence and state are
    told, its own sequence is not touched.
    """
    return answered(
        record,
        after(record.state, move),
        now,
        reason=reason,
        link=link,
        kept_link=kept_link,
        item_id=item_id,
        conflicts_with=conflicts_with,
        cancels=cancels,
        payment=payment,
    )


def answered(
    record: Record,
    state: State,
    now: datetime,
    *,
    reason: Reason | None = None,
    link: Secret | None = None,
    kept_link: Secret | None = None,
    item_id: str | None = None,
    conflicts_with: UUID | None = None,
    cancels: bool | None = None,
    payment: Record | None = None,
) -> tuple[Record, Answer]:
    """Return the record in a decided state, one version further, and the answer it then owes.

    ``cancels`` tells that a refusal answers a cancellation; it follows from the kind otherwise.
    """
    is_cancellation = record.kind is Kind.CANCELLATION or bool(cancels)
    status = _STATUS[(is_cancellation, state)]
    sequence = record.sequence
    if is_cancellation:
        sequence = payment.sequence if payment is not None else 0
    # A cancellation that failed tells its payment's sequence, which stays the same however often
    # it is replayed: its own tells those answers apart. Of a successful one there is only one.
    decision = sequence if status is Status.CANCELLED else record.sequence
    event = Event(
        event_id=event_id_of(record.operation_id, status, decision),
        status=status,
        occurred_at=now,
        origin=record.origin,
        payment_id=record.payment_id,
        request_id=record.message_id,
        sequence=sequence,
        facts=record.facts,
        attempts=record.attempts,
        link=link,
        code=reason.code if reason else None,
        provider_code=reason.provider_code if reason else None,
        http_status=reason.http_status if reason else None,
        faults=reason.faults if reason else (),
        provider=record.account,
        provider_reference=record.reference,
        basket_item_id=item_id,
        livemode=record.live,
        duplicate_of=record.duplicate_of,
        conflicts_with=conflicts_with,
        payment_status=payment.state if payment is not None and is_cancellation else None,
    )
    letter = None
    if reason and is_dead_lettered(reason.code, provider_code_known=reason.provider_code_known):
        letter = Letter(code=reason.code, detail=reason.detail or _detail(reason), failed_at=now)
    closed = replace(
        record,
        state=state,
        version=record.version + 1,
        updated_at=now,
        decided_at=now,
        event_id=event.event_id,
        code=event.code,
        link=link or kept_link,
        link_published=link is not None,
        item_id=item_id,
        lease_until=None,
        next_attempt_at=None,
        token=record.token if state is State.IN_DOUBT else None,
        unknown_attempts=_unknown_attempts(record, state),
        email=record.email if _may_be_removed(state, item_id) else None,
    )
    answer = Answer(
        operation_id=record.operation_id,
        event=event,
        letter=letter,
        correlation_id=record.correlation_id or record.message_id,
        traceparent=record.traceparent,
    )
    return closed, answer


def _unknown_attempts(record: Record, state: State) -> int:
    """In doubt, more attempts are unknown than cleared, whether or not this ledger saw one.

    So a doubt that a person or a look-up has cleared is known from one that nobody has.
    """
    if state is not State.IN_DOUBT:
        return record.unknown_attempts
    return max(record.unknown_attempts, record.cleared_attempts + 1)


def _may_be_removed(state: State, item_id: str | None) -> bool:
    """Whether a removal may follow, which needs the e-mail the item was added under."""
    return state is State.IN_DOUBT or (state is State.SUCCEEDED and bool(item_id))


def _detail(reason: Reason) -> str:
    """What an operator reads beside the code: facts from closed sets, nothing personal."""
    parts = [f"{fault.field}: {fault.code}" for fault in reason.faults]
    if reason.http_status is not None:
        parts.append(f"HTTP {reason.http_status}")
    if reason.provider_code is not None:
        parts.append(f"provider code {reason.provider_code}")
    return "; ".join(parts) or reason.code.value
