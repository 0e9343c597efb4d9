"""The bounds of an operation: when it is too late, used up, or not safe to try again."""

from datetime import datetime, timedelta
from typing import assert_never

from worker.model import OperationClass
from worker.records import Record, State
from worker.retry import LADDER
from worker.rules import Rules

DUE_TOLERANCE = timedelta(seconds=1)
"""The broker's timer and our clock differ a little; a copy this early is due (I6)."""

DELIVERY_LIMIT = 100
"""Deliveries the broker may count before a request without a row is given up (contract 3)."""


def is_expired(record: Record, rules: Rules, at: datetime) -> bool:
    """Whether no new attempt may start at that time (contract section 2, Expiry)."""
    too_old = at - record.first_seen > rules.max_age
    return too_old or (record.not_after is not None and at > record.not_after)


def may_be_applied(record: Record) -> bool:
    """Whether an earlier attempt ended unknown and nobody has cleared it since.

    A doubt counts one such attempt at least; one that counted none would be no proof of anything.
    """
    is_uncounted = record.state is State.IN_DOUBT and not record.unknown_attempts
    return is_uncounted or record.unknown_attempts > record.cleared_attempts


def attempts_used_up(record: Record) -> bool:
    """Whether the ladder of the current opening is climbed."""
    return record.attempts - record.opened_attempts > len(LADDER)


def allows_another_attempt(record: Record) -> bool:
    """Whether an attempt that ended unknown (already counted) may be followed by another (R4)."""
    if attempts_used_up(record):
        return False
    match record.operation_class:
        case OperationClass.READ | OperationClass.IDEMPOTENT | OperationClass.KEYED:
            return True
        case OperationClass.ORPHAN_SAFE:
            return record.unknown_attempts - record.cleared_attempts <= 1
        case OperationClass.NON_IDEMPOTENT | None:
            return False
        case other:
            assert_never(other)
