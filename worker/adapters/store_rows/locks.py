"""A queue's lock as a row."""

from uuid import UUID

from worker.adapters.store_rows.values import Row, Scalar, from_micros, to_micros
from worker.inventory import QueueLock

LOCK_COLUMNS = ("queue", "token", "actor", "purpose", "since", "until")


def lock_row(lock: QueueLock) -> tuple[Scalar, ...]:
    """The values of ``LOCK_COLUMNS``."""
    return (
        lock.queue,
        lock.token.bytes,
        lock.actor,
        lock.purpose,
        to_micros(lock.since),
        to_micros(lock.until),
    )


def read_lock(row: Row) -> QueueLock:
    """Read the values of ``LOCK_COLUMNS``."""
    queue, token, actor, purpose, since, until = row
    return QueueLock(
        queue=queue,
        token=UUID(bytes=token),
        actor=actor,
        purpose=purpose,
        since=from_micros(since),
        until=from_micros(until),
    )
