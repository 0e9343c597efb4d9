"""Queue locks: taken, renewed and given back in the writer's transactions."""

import sqlite3
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.locks import LOCK_COLUMNS, lock_row, read_lock
from worker.adapters.store_rows.values import to_micros
from worker.inventory import QueueLock

# Put together from our own column names only; values are always bound.
_TAKE = (
    f"INSERT INTO queue_locks ({', '.join(LOCK_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (queue) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in LOCK_COLUMNS[1:])
    + " WHERE queue_locks.token = excluded.token OR queue_locks.until <= ?"
)
_HELD = f"SELECT {', '.join(LOCK_COLUMNS)} FROM queue_locks WHERE queue = ?"  # noqa: S608
_GIVE_BACK = "DELETE FROM queue_locks WHERE queue = ? AND token = ?"


def lock_queue(
    connection: sqlite3.Connection, lock: QueueLock, *, now: datetime
) -> QueueLock | None:
    """See ``ports.Store.lock_queue``."""
    if connection.execute(_TAKE, (*lock_row(lock), to_micros(now))).rowcount == 1:
        return None
    return read_lock(connection.execute(_HELD, (lock.queue,)).fetchone())


def unlock_queue(connection: sqlite3.Connection, queue: str, token: UUID) -> None:
    """See ``ports.Store.unlock_queue``."""
    connection.execute(_GIVE_BACK, (queue, token.bytes))
