"""Refusing a message that cannot be read: decided at once, under an id of its own."""

from datetime import datetime

from worker.codes import Code
from worker.lifecycle.births import decided_at_birth
from worker.lifecycle.decide import Reason
from worker.lifecycle.limits import DELIVERY_LIMIT
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided, stored_answer
from worker.model import Delivery, Unreadable
from worker.ports import View
from worker.records import Change, Kind, Record, State


def refuse(view: View, message: Unreadable, delivery: Delivery, now: datetime) -> Change[Decided]:
    """Decide an unreadable message; its key stays free for a corrected one (I7)."""
    known = view.record(message.envelope.operation_id)
    if known is not None:
        return Change(result=stored_answer(view, known))
    envelope = message.envelope
    reason = Reason(code=message.code, faults=message.faults)
    if delivery.delivery_count >= DELIVERY_LIMIT:
        reason = Reason(code=Code.DELIVERY_LIMIT_REACHED)
    fresh = Record(
        operation_id=envelope.operation_id,
        kind=Kind.REFUSAL,
        payment_id=envelope.operation_id,
        identity=envelope.identity,
        fingerprint=None,
        origin=message.origin,
        facts=message.facts,
        state=State.FAILED,
        sequence=max(envelope.sequence, 1),
        version=0,
        first_seen=envelope.first_seen,
        created_at=now,
        updated_at=now,
        not_after=envelope.not_after,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        traceparent=delivery.header("traceparent"),
    )
    return decided_at_birth(fresh, Move.FAIL, now, reason, cancels=message.is_cancellation)
