"""Queue locks: single statements, each harmless to run again after a lost answer."""

from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_rows.locks import LOCK_COLUMNS, lock_row, read_lock
from worker.adapters.store_rows.values import to_micros
from worker.inventory import QueueLock

# Put together from our own column names only; values are always bound.
_TAKE = (
    f"INSERT INTO queue_locks ({sql.columns(LOCK_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6)"  # noqa: S608
    " ON CONFLICT (queue) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in LOCK_COLUMNS[1:])
    + " WHERE queue_locks.token = excluded.token OR queue_locks.until <= $7 RETURNING queue"
)
_HELD = f"SELECT {sql.columns(LOCK_COLUMNS)} FROM queue_locks WHERE queue = $1"  # noqa: S608
_GIVE_BACK = "DELETE FROM queue_locks WHERE queue = $1 AND token = $2"


class PostgresLocks:
    """Implements ``operator_ports.QueueLocks`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def take(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        while True:
            if await self._reader.rows(_TAKE, *lock_row(lock), to_micros(now)):
                return None
            held = await self._reader.rows(_HELD, lock.queue)
            if held:  # else it was given back between the two
                return read_lock(held[0])

    async def give_back(self, queue: str, token: UUID) -> None:
        await self._reader.rows(_GIVE_BACK, queue, token.bytes)
