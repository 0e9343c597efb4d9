"""What the path of a payment reads beside its transactions: each method is one read."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, in_order, read_answer
from worker.adapters.store_rows.history import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    ENTRY_OF,
    RESTORATION_COLUMNS,
    read_attempt,
    read_audit,
    read_restoration,
)
from worker.adapters.store_rows.searches import ADOPTED_DOUBTS
from worker.adapters.store_rows.values import time_or_none, to_micros
from worker.adapters.store_sqlite.look_ups import look_ups_of, plans_of
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.view import find_answer, find_record
from worker.inventory import Standing
from worker.records import Answer, AttemptEntry, AuditEntry, History, Record, Restoration

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
_ANSWER = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers WHERE event_id = ?"  # noqa: S608
_ATTEMPTS = (
    f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts"  # noqa: S608
    f" WHERE entry = {ENTRY_OF.format('?')} ORDER BY position"
)
_AUDIT = (
    f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit"  # noqa: S608
    " WHERE operation_id IS ? ORDER BY entry"
)
_ADOPTED_DOUBTS = ADOPTED_DOUBTS.format("?").replace(
    "FROM operations JOIN", "FROM operations INDEXED BY operations_duplicates CROSS JOIN"
)
_RESTORATION = (
    f"SELECT {', '.join(RESTORATION_COLUMNS)} FROM restorations"  # noqa: S608
    " ORDER BY entry DESC LIMIT 1"
)


class Reader:
    """Every method raises ``StoreUnavailableError`` when the file cannot be read."""

    def __init__(self, reading: ReadingThread, vault: Vault) -> None:
        self._reading = reading
        self._vault = vault

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        def look(connection: sqlite3.Connection) -> tuple[Record, Answer | None] | None:
            record = find_record(connection, self._vault, operation_id)
            if record is None:
                return None
            return record, find_answer(connection, self._vault, operation_id)

        return await self._reading.read(look)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        def look(connection: sqlite3.Connection) -> History | None:
            record = find_record(connection, self._vault, operation_id)
            if record is None:
                return None
            rows = [connection.execute(_ANSWER, (each.bytes,)).fetchone() for each in events]
            answers = [read_answer(row, self._vault) for row in rows if row is not None]
            plans = plans_of(connection, [operation_id])
            return History(
                record=record,
                answers=tuple(sorted(answers, key=in_order)),
                attempts=tuple(_attempts(connection, operation_id, self._vault)),
                audit=tuple(_audit(connection, operation_id)),
                look_ups=tuple(look_ups_of(connection, operation_id)),
                look_up_plan=next(iter(plans), None),
            )

        return await self._reading.read(look)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._ids(_EXPIRED, to_micros(expired_before), limit)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._ids(_OVERDUE, to_micros(due_before), limit)

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._ids(_ADOPTED_DOUBTS, limit)

    async def restoration(self) -> Restoration | None:
        def look(connection: sqlite3.Connection) -> Restoration | None:
            row = connection.execute(_RESTORATION).fetchone()
            return None if row is None else read_restoration(row)

        return await self._reading.read(look)

    async def standing(self) -> Standing:
        def look(connection: sqlite3.Connection) -> Standing:
            rows = connection.execute(_DOUBTS).fetchall()
            (opened,) = connection.execute(_OPEN).fetchone()
            (unpublished,) = connection.execute(_UNPUBLISHED).fetchone()
            breaks = connection.execute(_BREAKS).fetchall()
            return Standing(
                doubts={account or "none": count for account, count, _ in rows},
                oldest_doubt=time_or_none(min((oldest for *_, oldest in rows), default=None)),
                oldest_open=time_or_none(opened),
                oldest_unpublished=time_or_none(unpublished),
                breaks={account or "none": count for account, count in breaks},
            )

        return await self._reading.read(look)

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        look = partial(_attempts, operation_id=operation_id, vault=self._vault)
        return await self._reading.read(look)

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        return await self._reading.read(partial(_audit, operation_id=operation_id))

    async def _ids(self, statement: str, *values: int) -> Sequence[UUID]:
        def look(connection: sqlite3.Connection) -> Sequence[UUID]:
            return [UUID(bytes=raw) for (raw,) in connection.execute(statement, values).fetchall()]

        return await self._reading.read(look)


def _attempts(
    connection: sqlite3.Connection, operation_id: UUID, vault: Vault
) -> Sequence[AttemptEntry]:
    rows = connection.execute(_ATTEMPTS, (operation_id.bytes,)).fetchall()
    return [read_attempt(row, vault) for row in rows]


def _audit(connection: sqlite3.Connection, operation_id: UUID | None) -> Sequence[AuditEntry]:
    key = None if operation_id is None else operation_id.bytes
    return [read_audit(row) for row in connection.execute(_AUDIT, (key,)).fetchall()]
