"""Reads beside the writer, on a connection of their own.

Each method is one question; several statements that must see one moment share a read-only
transaction. A caller who is cancelled costs the connection, never a transaction left open.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerError
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.faults import Meaning, meaning_of, unavailable
from worker.adapters.store_postgres.sessions import Connection, Session, cut_after
from worker.adapters.store_rows.answers import in_order, read_answer
from worker.adapters.store_rows.history import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    ENTRY_OF,
    RESTORATION_COLUMNS,
    read_attempt,
    read_audit,
    read_restoration,
)
from worker.adapters.store_rows.look_ups import (
    LOOK_UP_COLUMNS,
    PLAN_COLUMNS,
    read_look_up,
    read_plan,
)
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_rows.searches import ADOPTED_DOUBTS
from worker.adapters.store_rows.values import Row, Scalar, time_or_none, to_micros
from worker.inventory import Standing
from worker.records import Answer, AttemptEntry, AuditEntry, History, Record, Restoration

Result = TypeVar("Result")

READ_SECONDS = 10.0
BEFORE_ALL = (-(2**63), b"")
_DOUBTS = (
    "SELECT account, count(*), min(decided_at) FROM operations"
    " WHERE state = 'in_doubt' GROUP BY account"
)
_BREAKS = (
    "SELECT operations.account, count(*) FROM look_up_plans JOIN operations"
    " ON operations.operation_id = look_up_plans.operation_id"
    " AND operations.sequence = look_up_plans.sequence AND operations.state = 'in_doubt'"
    " WHERE look_up_plans.state = 'break' GROUP BY operations.account"
)
# Each half by the partial index of its state; an IN of both would have none.
_OPEN = (
    "SELECT min(first_seen) FROM (SELECT first_seen FROM operations WHERE state = 'calling'"
    " UNION ALL SELECT first_seen FROM operations WHERE state = 'retry_wait') AS open"
)
_UNPUBLISHED = "SELECT min(occurred_at) FROM answers WHERE event_confirmed = 0"
# Put together from our own column names only; values are always bound.
_EXPIRED = (
    "SELECT operation_id FROM operations WHERE state = 'calling' AND lease_until < $1"
    " ORDER BY lease_until, operation_id LIMIT $2"
)
_OVERDUE = (
    "SELECT operation_id FROM operations WHERE state = 'retry_wait' AND next_attempt_at < $1"
    " ORDER BY next_attempt_at, operation_id LIMIT $2"
)
_ATTEMPTS = (
    f"SELECT {sql.columns(ATTEMPT_COLUMNS)} FROM attempts"  # noqa: S608
    f" WHERE entry = {ENTRY_OF.format('$1')} ORDER BY position"
)
_AUDIT = (
    f"SELECT {sql.columns(AUDIT_COLUMNS)} FROM audit"  # noqa: S608
    " WHERE operation_id IS NOT DISTINCT FROM $1 ORDER BY entry"
)

_PLAN = f"SELECT {sql.columns(PLAN_COLUMNS)} FROM look_up_plans WHERE operation_id = $1"  # noqa: S608
_LOOK_UPS = (
    f"SELECT {sql.columns(LOOK_UP_COLUMNS)} FROM look_ups"  # noqa: S608
    " WHERE operation_id = $1 ORDER BY position"
)
_ADOPTED_DOUBTS = ADOPTED_DOUBTS.format("$1")
_RESTORATION = (
    f"SELECT {sql.columns(RESTORATION_COLUMNS)} FROM restorations"  # noqa: S608
    " ORDER BY entry DESC LIMIT 1"
)


class Reader:
    """Every method raises ``StoreUnavailableError`` when the server cannot be asked.

    ``check`` raises it too, once the store refuses everything.
    """

    def __init__(self, session: Session, vault: Vault, *, check: Callable[[], None]) -> None:
        self._session = session
        self._vault = vault
        self._check = check
        self._turn = asyncio.Lock()

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        rows = await self.rows(sql.OPERATIONS, [operation_id.bytes])
        if not rows:
            return None
        (row,) = rows
        record, answer = row[: len(RECORD_COLUMNS)], row[len(RECORD_COLUMNS) :]
        return read_record(record, self._vault), (
            None if answer[0] is None else read_answer(answer, self._vault)
        )

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        async def look(connection: Connection) -> History | None:
            rows = await connection.fetch(sql.OPERATIONS, [operation_id.bytes])
            if not rows:
                return None
            found = await connection.fetch(sql.ANSWERS, [each.bytes for each in events])
            attempts = await connection.fetch(_ATTEMPTS, operation_id.bytes)
            audit = await connection.fetch(_AUDIT, operation_id.bytes)
            look_ups = await connection.fetch(_LOOK_UPS, operation_id.bytes)
            plan = await connection.fetchrow(_PLAN, operation_id.bytes)
            answers = [read_answer(tuple(row), self._vault) for row in found]
            return History(
                record=read_record(tuple(rows[0])[: len(RECORD_COLUMNS)], self._vault),
                answers=tuple(sorted(answers, key=in_order)),
                attempts=tuple(read_attempt(tuple(row), self._vault) for row in attempts),
                audit=tuple(read_audit(tuple(row)) for row in audit),
                look_ups=tuple(read_look_up(tuple(row)) for row in look_ups),
                look_up_plan=None if plan is None else read_plan(tuple(plan)),
            )

        return await self.read(look)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        rows = await self.rows(_EXPIRED, to_micros(expired_before), limit)
        return [UUID(bytes=raw) for (raw,) in rows]

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        rows = await self.rows(_OVERDUE, to_micros(due_before), limit)
        return [UUID(bytes=raw) for (raw,) in rows]

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return [UUID(bytes=raw) for (raw,) in await self.rows(_ADOPTED_DOUBTS, limit)]

    async def restoration(self) -> Restoration | None:
        rows = await self.rows(_RESTORATION)
        return read_restoration(rows[0]) if rows else None

    async def standing(self) -> Standing:
        async def look(connection: Connection) -> Standing:
            rows = await connection.fetch(_DOUBTS)
            opened = await connection.fetchval(_OPEN)
            unpublished = await connection.fetchval(_UNPUBLISHED)
            breaks = await connection.fetch(_BREAKS)
            return Standing(
                doubts={account or "none": count for account, count, _ in rows},
                oldest_doubt=time_or_none(min((oldest for *_, oldest in rows), default=None)),
                oldest_open=time_or_none(opened),
                oldest_unpublished=time_or_none(unpublished),
                breaks={account or "none": count for account, count in breaks},
            )

        return await self.read(look)

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        rows = await self.rows(_ATTEMPTS, operation_id.bytes)
        return [read_attempt(row, self._vault) for row in rows]

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        key = None if operation_id is None else operation_id.bytes
        return [read_audit(row) for row in await self.rows(_AUDIT, key)]

    async def state(self) -> tuple[bool, datetime]:
        """Whether the server takes writes at all, or is a copy; and its wall time."""
        ((read_only, now),) = await self.rows("SELECT pg_is_in_recovery(), clock_timestamp()")
        return not read_only, now

    async def rows(self, statement: str, *values: object) -> list[Row]:
        """The rows of one statement.

        It may run twice: one that writes, as those of the operators' tools do, must bear that.
        """

        async def look(connection: Connection) -> list[Row]:
            return [tuple(row) for row in await connection.fetch(statement, *values)]

        return await self._ask(look)

    async def put(self, statement: str, rows: Sequence[tuple[Scalar, ...]]) -> None:
        """Write rows by one statement that takes them column by column; it may run twice."""
        self._check()
        if rows:
            await self.rows(statement, *(list(column) for column in zip(*rows, strict=True)))

    async def read(self, look: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Several statements that see one moment."""

        async def look_at_once(connection: Connection) -> Result:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await look(connection)

        return await self._ask(look_at_once)

    async def change(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Several statements that write together. They may run twice, and must bear that."""

        async def change_at_once(connection: Connection) -> Result:
            async with connection.transaction(isolation="read_committed"):
                return await work(connection)

        return await self._ask(change_at_once)

    async def close(self) -> None:
        """Finish what is being read and part from the server."""
        async with self._turn:
            await self._session.close()

    async def _ask(self, look: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Ask once more on a new connection where the old one turned out to be lost."""
        self._check()
        async with self._turn:
            for is_last in (False, True):
                try:
                    connection = await self._session.connection()
                    with cut_after(connection, READ_SECONDS):
                        return await look(connection)
                except LedgerError as error:
                    raise unavailable(error) from error
                except Exception as error:
                    self._session.drop()
                    match meaning_of(error):
                        case Meaning.OWN:
                            raise
                        case Meaning.AWAY:
                            raise unavailable(error) from error
                        case Meaning.LOST | Meaning.AGAIN if is_last:
                            raise unavailable(error) from error
                        case _:
                            continue
                except BaseException:
                    self._session.drop()
                    raise
        raise AssertionError
