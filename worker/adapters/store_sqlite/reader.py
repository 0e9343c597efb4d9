"""Reads beside the writer: a thread and a read-only connection of their own.

In WAL mode neither waits for the other. Every method reads one page and ends its read
transaction, because a long one keeps the log from being folded back into the file.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, in_order, read_answer
from worker.adapters.store_rows.history import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    read_attempt,
    read_audit,
)
from worker.adapters.store_rows.values import time_or_none, to_micros
from worker.adapters.store_sqlite.look_ups import look_up_plans, look_ups_of
from worker.adapters.store_sqlite.view import find_answer, find_record
from worker.inventory import Standing
from worker.ports import StoreUnavailableError
from worker.records import Answer, AttemptEntry, AuditEntry, History, Record

Result = TypeVar("Result")

_DOUBTS = (
    "SELECT account, count(*), min(decided_at) FROM operations"
    " WHERE state = 'in_doubt' GROUP BY account"
)
_BREAKS = (
    # From the few breaks on: without statistics the planner would read every doubt there is.
    "SELECT operations.account, count(*) FROM look_up_plans INDEXED BY look_up_plans_breaks"
    " CROSS JOIN operations"
    " ON operations.operation_id = look_up_plans.operation_id"
    " AND operations.sequence = look_up_plans.sequence AND operations.state = 'in_doubt'"
    " WHERE look_up_plans.state = 'break' GROUP BY operations.account"
)
# The indexes of what is open, named: without statistics the planner would read every row there is.
_OPEN = (
    "SELECT min(first_seen) FROM (SELECT first_seen FROM operations INDEXED BY operations_leases"
    " WHERE state = 'calling' UNION ALL SELECT first_seen FROM operations"
    " INDEXED BY operations_waits WHERE state = 'retry_wait')"
)
_UNPUBLISHED = "SELECT min(occurred_at) FROM answers WHERE event_confirmed = 0"
# Put together from our own column names only; values are always bound.
_EXPIRED = (
    "SELECT operation_id FROM operations WHERE state = 'calling' AND lease_until < ?"
    " ORDER BY lease_until, operation_id LIMIT ?"
)
_OVERDUE = (
    "SELECT operation_id FROM operations WHERE state = 'retry_wait' AND next_attempt_at < ?"
    " ORDER BY next_attempt_at, operation_id LIMIT ?"
)
_UNREADABLE = "the ledger cannot be read"
_ANSWER = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers WHERE event_id = ?"  # noqa: S608
_ATTEMPTS = (
    f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts"  # noqa: S608
    " WHERE operation_id = ? ORDER BY position"
)
_AUDIT = (
    f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit"  # noqa: S608
    " WHERE operation_id IS ? ORDER BY entry"
)


class Reader:
    """Every method raises ``StoreUnavailableError`` when the file cannot be read."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reader")

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        def read() -> tuple[Record, Answer | None] | None:
            record = find_record(self._connection, self._vault, operation_id)
            if record is None:
                return None
            return record, find_answer(self._connection, self._vault, operation_id)

        return await self._in_thread(read)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        def read() -> History | None:
            record = find_record(self._connection, self._vault, operation_id)
            if record is None:
                return None
            rows = [self._connection.execute(_ANSWER, (each.bytes,)).fetchone() for each in events]
            answers = [read_answer(row, self._vault) for row in rows if row is not None]
            plans = look_up_plans(self._connection, operations=[operation_id])
            return History(
                record=record,
                answers=tuple(sorted(answers, key=in_order)),
                attempts=tuple(self._attempts(operation_id)),
                audit=tuple(self._audit(operation_id)),
                look_ups=tuple(look_ups_of(self._connection, operation_id)),
                look_up_plan=next(iter(plans), None),
            )

        return await self._in_thread(read)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        def read() -> Sequence[UUID]:
            values = (to_micros(expired_before), limit)
            rows = self._connection.execute(_EXPIRED, values).fetchall()
            return [UUID(bytes=raw) for (raw,) in rows]

        return await self._in_thread(read)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        def read() -> Sequence[UUID]:
            rows = self._connection.execute(_OVERDUE, (to_micros(due_before), limit)).fetchall()
            return [UUID(bytes=raw) for (raw,) in rows]

        return await self._in_thread(read)

    async def standing(self) -> Standing:
        def read() -> Standing:
            rows = self._connection.execute(_DOUBTS).fetchall()
            (opened,) = self._connection.execute(_OPEN).fetchone()
            (unpublished,) = self._connection.execute(_UNPUBLISHED).fetchone()
            breaks = self._connection.execute(_BREAKS).fetchall()
            return Standing(
                doubts={account or "none": count for account, count, _ in rows},
                oldest_doubt=time_or_none(min((oldest for *_, oldest in rows), default=None)),
                oldest_open=time_or_none(opened),
                oldest_unpublished=time_or_none(unpublished),
                breaks={account or "none": count for account, count in breaks},
            )

        return await self._in_thread(read)

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        return await self._in_thread(lambda: self._attempts(operation_id))

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        return await self._in_thread(lambda: self._audit(operation_id))

    async def read(self, look: Callable[[sqlite3.Connection], Result]) -> Result:
        """Look at the file in one read transaction."""
        return await self._in_thread(lambda: look(self._connection))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run something else that waits for the disk in the reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Finish what is being read and release the file."""
        await self.run(self._connection.close)
        self._thread.shutdown(wait=False)

    def _attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        rows = self._connection.execute(_ATTEMPTS, (operation_id.bytes,)).fetchall()
        return [read_attempt(row, self._vault) for row in rows]

    def _audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        key = None if operation_id is None else operation_id.bytes
        return [read_audit(row) for row in self._connection.execute(_AUDIT, (key,)).fetchall()]

    async def _in_thread(self, read: Callable[[], Result]) -> Result:
        def in_one_transaction() -> Result:
            self._connection.execute("BEGIN")  # several statements see one moment
            try:
                return read()
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

        try:
            return await self.run(in_one_transaction)
        except sqlite3.Error as error:
            raise StoreUnavailableError(_UNREADABLE) from error
