"""Plans of look-ups: taken, postponed and given back in the writer's transactions."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.look_ups import (
    LOOK_UP_COLUMNS,
    PLAN_COLUMNS,
    plan_row,
    read_doubt,
    read_look_up,
    read_plan,
)
from worker.adapters.store_rows.values import micros_or_none, to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.writer import Writer
from worker.look_ups import Doubt, LookUp, LookUpPlan

# Put together from our own column names only; values are always bound.
_PLAN = ", ".join(PLAN_COLUMNS)
_DOUBTS = (
    "SELECT operation_id, sequence, decided_at FROM operations AS doubts"
    " WHERE state = 'in_doubt' AND account = ? AND decided_at IS NOT NULL"
    " AND kind = 'initiation' AND duplicate_of IS NULL AND reference IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM look_up_plans WHERE operation_id = doubts.operation_id"
    " AND look_up_plans.sequence >= doubts.sequence)"
    " ORDER BY decided_at, operation_id LIMIT ?"
)
_KEEP = (
    f"INSERT INTO look_up_plans ({_PLAN}) VALUES ({', '.join('?' * len(PLAN_COLUMNS))})"  # noqa: S608
    " ON CONFLICT (operation_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in PLAN_COLUMNS[1:])
    + " WHERE look_up_plans.sequence < excluded.sequence"
)
_TAKE = (
    "UPDATE look_up_plans SET token = ?, lease_until = ? WHERE operation_id = ("  # noqa: S608
    "SELECT operation_id FROM look_up_plans WHERE account = ? AND due_at <= ?"
    " AND (lease_until IS NULL OR lease_until <= ?)"
    f" ORDER BY due_at, operation_id LIMIT 1) RETURNING {_PLAN}"
)
_GIVE_BACK = (
    "UPDATE look_up_plans SET token = NULL, lease_until = NULL, due_at = coalesce(?, due_at)"
    " WHERE operation_id = ? AND token = ?"
)
_PLAN_OF = f"SELECT {_PLAN} FROM look_up_plans WHERE operation_id = ?"  # noqa: S608
_BREAKS = (
    f"SELECT {', '.join(f'look_up_plans.{name}' for name in PLAN_COLUMNS)}"  # noqa: S608
    " FROM look_up_plans INDEXED BY look_up_plans_breaks CROSS JOIN operations"
    " ON operations.operation_id = look_up_plans.operation_id"
    " AND operations.sequence = look_up_plans.sequence AND operations.state = 'in_doubt'"
    " WHERE look_up_plans.state = 'break' AND look_up_plans.operation_id > ?"
    " ORDER BY look_up_plans.operation_id LIMIT ?"
)
_LOOK_UPS = (
    f"SELECT {', '.join(LOOK_UP_COLUMNS)} FROM look_ups"  # noqa: S608
    " WHERE operation_id = ? ORDER BY position"
)


class SqliteLookUps:
    """Implements ``operator_ports.LookUpPlans`` on the store's own writer and reading thread."""

    def __init__(self, writer: Writer, reading: ReadingThread) -> None:
        self._writer = writer
        self._reading = reading

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        def look(connection: sqlite3.Connection) -> Sequence[Doubt]:
            rows = connection.execute(_DOUBTS, (account, limit)).fetchall()
            return [read_doubt(row) for row in rows]

        return await self._reading.read(look)

    async def keep(self, plans: Sequence[LookUpPlan]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_KEEP, [plan_row(plan) for plan in plans])

        await self._writer.submit(work)

    async def take(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        at = to_micros(now)
        values = (token.bytes, to_micros(lease_until), account, at, at)

        def work(connection: sqlite3.Connection) -> LookUpPlan | None:
            rows = connection.execute(_TAKE, values).fetchall()
            return read_plan(rows[0]) if rows else None

        return await self._writer.submit(work)

    async def give_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        values = (micros_or_none(due_at), operation_id.bytes, token.bytes)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_GIVE_BACK, values)

        await self._writer.submit(work)

    async def of(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        def look(connection: sqlite3.Connection) -> Sequence[LookUpPlan]:
            return plans_of(connection, operations)

        return await self._reading.read(look)

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        values = (b"" if after is None else after.bytes, limit)

        def look(connection: sqlite3.Connection) -> Sequence[LookUpPlan]:
            return [read_plan(row) for row in connection.execute(_BREAKS, values).fetchall()]

        return await self._reading.read(look)


def plans_of(connection: sqlite3.Connection, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
    """The plans that there are of these operations."""
    rows = [connection.execute(_PLAN_OF, (each.bytes,)).fetchone() for each in operations]
    return [read_plan(row) for row in rows if row is not None]


def look_ups_of(connection: sqlite3.Connection, operation_id: UUID) -> Sequence[LookUp]:
    """Every read about one operation, in the order they were made."""
    rows = connection.execute(_LOOK_UPS, (operation_id.bytes,)).fetchall()
    return [read_look_up(row) for row in rows]
