"""Refusing a message that cannot be read: decided at once, under an id of its own."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from worker.codes import Code
from worker.lifecycle.births import decided_at_birth, unwritten_request
from worker.lifecycle.claim import closed_without_success, expired_entry
from worker.lifecycle.decide import Reason
from worker.lifecycle.limits import DELIVERY_LIMIT
from worker.lifecycle.lost import OLDER, caught_up, is_final, knows_more, lost
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided, Held, held, stored_answer
from worker.model import Delivery, Unreadable
from worker.ports import View
from worker.records import AttemptEntry, Change, Record, State


def refuse(
    view: View, message: Unreadable, delivery: Delivery, now: datetime
) -> Change[Decided | Held]:
    """Decide an unreadable message; its key stays free for a corrected one (I7).

    A copy of ours may be unreadable too, edited by an operator or written by another version: it
    carries the id of an operation that is open, which is decided then, unless somebody calls.
    """
    reason = Reason(code=message.code, faults=message.faults)
    known = view.record(message.envelope.operation_id)
    if known is not None:
        if knows_more(message.envelope, known) and not is_final(known):
            return lost(caught_up(known, message.envelope), OLDER, now)
        return _known(view, known, reason, now)
    if knows_more(message.envelope, None):
        # It was readable once, or it would not have got that far: it may have been called.
        waiting = replace(_fresh(message, delivery, now), state=State.RETRY_WAIT)
        behind = caught_up(waiting, message.envelope)
        return lost(behind, OLDER, now, cancels=message.is_cancellation)
    if delivery.delivery_count >= DELIVERY_LIMIT:
        reason = Reason(code=Code.DELIVERY_LIMIT_REACHED)
    fresh = _fresh(message, delivery, now)
    change = decided_at_birth(fresh, Move.FAIL, now, reason, cancels=message.is_cancellation)
    return Change(result=change.result, records=change.records, answers=change.answers)


def _known(view: View, record: Record, reason: Reason, now: datetime) -> Change[Decided | Held]:
    match record.state:
        case State.CALLING:
            if record.lease_until is not None and record.lease_until > now:
                return Change(result=held(record, record.lease_until, "being called"))
            expired = replace(record, unknown_attempts=record.unknown_attempts + 1)
            change = closed_without_success(expired, reason, now)
            entries: tuple[AttemptEntry, ...] = (expired_entry(record, now),)
        case State.RETRY_WAIT:
            change, entries = closed_without_success(record, reason, now), ()
        case State.SUCCEEDED | State.FAILED | State.IN_DOUBT | State.CANCELLED:
            return Change(result=stored_answer(view, record))
        case other:
            assert_never(other)
    return Change(
        result=change.result, records=change.records, answers=change.answers, attempts=entries
    )


def _fresh(message: Unreadable, delivery: Delivery, now: datetime) -> Record:
    return replace(unwritten_request(message, delivery, now), state=State.FAILED)
