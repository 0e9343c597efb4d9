"""Queue locks: taken, renewed and given back in the writer's transactions."""

import sqlite3
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.locks import LOCK_COLUMNS, lock_row, read_lock
from worker.adapters.store_rows.values import to_micros
from worker.adapters.store_sqlite.writer import Writer
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


class SqliteLocks:
    """Implements ``operator_ports.QueueLocks`` on the store's own writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def take(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        def work(connection: sqlite3.Connection) -> QueueLock | None:
            if connection.execute(_TAKE, (*lock_row(lock), to_micros(now))).rowcount == 1:
                return None
            return read_lock(connection.execute(_HELD, (lock.queue,)).fetchone())

        return await self._writer.submit(work)

    async def give_back(self, queue: str, token: UUID) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_GIVE_BACK, (queue, token.bytes))

        await self._writer.submit(work)
