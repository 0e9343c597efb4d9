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


def doubts_without_plan(
    connection: sqlite3.Connection, *, account: str, limit: int
) -> Sequence[Doubt]:
    """See ``ports.Store.doubts_without_plan``."""
    return [read_doubt(row) for row in connection.execute(_DOUBTS, (account, limit)).fetchall()]


def plan_look_ups(connection: sqlite3.Connection, *, plans: Sequence[LookUpPlan]) -> None:
    """See ``ports.Store.plan_look_ups``."""
    connection.executemany(_KEEP, [plan_row(plan) for plan in plans])


def take_look_up(
    connection: sqlite3.Connection,
    *,
    account: str,
    token: UUID,
    now: datetime,
    lease_until: datetime,
) -> LookUpPlan | None:
    """See ``ports.Store.take_look_up``."""
    at = to_micros(now)
    values = (token.bytes, to_micros(lease_until), account, at, at)
    rows = connection.execute(_TAKE, values).fetchall()
    return read_plan(rows[0]) if rows else None


def give_look_up_back(
    connection: sqlite3.Connection, *, operation_id: UUID, token: UUID, due_at: datetime | None
) -> None:
    """See ``ports.Store.give_look_up_back``."""
    connection.execute(_GIVE_BACK, (micros_or_none(due_at), operation_id.bytes, token.bytes))


def look_up_plans(
    connection: sqlite3.Connection, *, operations: Sequence[UUID]
) -> Sequence[LookUpPlan]:
    """See ``ports.Store.look_up_plans``."""
    rows = [connection.execute(_PLAN_OF, (each.bytes,)).fetchone() for each in operations]
    return [read_plan(row) for row in rows if row is not None]


def breaks(
    connection: sqlite3.Connection, *, after: UUID | None, limit: int
) -> Sequence[LookUpPlan]:
    """See ``ports.Store.breaks``."""
    values = (b"" if after is None else after.bytes, limit)
    return [read_plan(row) for row in connection.execute(_BREAKS, values).fetchall()]


def look_ups_of(connection: sqlite3.Connection, operation_id: UUID) -> Sequence[LookUp]:
    """Every read about one operation, in the order they were made."""
    rows = connection.execute(_LOOK_UPS, (operation_id.bytes,)).fetchall()
    return [read_look_up(row) for row in rows]
