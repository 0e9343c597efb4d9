"""Plans of look-ups: single statements, each harmless to run again after a lost answer."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_rows.look_ups import PLAN_COLUMNS, plan_row, read_doubt, read_plan
from worker.adapters.store_rows.values import micros_or_none, to_micros
from worker.look_ups import Doubt, LookUpPlan

# Put together from our own column names only; values are always bound.
_DOUBTS = (
    "SELECT operation_id, sequence, decided_at FROM operations AS doubts"
    " WHERE state = 'in_doubt' AND account = $1 AND decided_at IS NOT NULL"
    " AND kind = 'initiation' AND duplicate_of IS NULL AND reference IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM look_up_plans WHERE operation_id = doubts.operation_id"
    " AND look_up_plans.sequence >= doubts.sequence)"
    " ORDER BY decided_at, operation_id LIMIT $2"
)
_KEEP = (
    sql.insertion("look_up_plans", PLAN_COLUMNS)
    + " ON CONFLICT (operation_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in PLAN_COLUMNS[1:])
    + " WHERE look_up_plans.sequence < excluded.sequence"
)
# Run again after a lost answer it may take what it has taken already: the token is its own.
_TAKE = (
    "UPDATE look_up_plans SET token = $1, lease_until = $2 WHERE operation_id = ("  # noqa: S608
    "SELECT operation_id FROM look_up_plans WHERE account = $3 AND due_at <= $4"
    " AND (lease_until IS NULL OR lease_until <= $4 OR token = $1)"
    " ORDER BY token IS NOT DISTINCT FROM $1 DESC, due_at, operation_id LIMIT 1"
    f" FOR UPDATE SKIP LOCKED) RETURNING {sql.columns(PLAN_COLUMNS)}"
)
_GIVE_BACK = (
    "UPDATE look_up_plans SET token = NULL, lease_until = NULL, due_at = coalesce($1, due_at)"
    " WHERE operation_id = $2 AND token = $3"
)
_PLANS = (
    f"SELECT {sql.columns(PLAN_COLUMNS)} FROM look_up_plans"  # noqa: S608
    " WHERE operation_id = ANY($1::bytea[])"
)
_BREAKS = (
    f"SELECT {sql.columns(PLAN_COLUMNS, 'look_up_plans')}"  # noqa: S608
    " FROM look_up_plans JOIN operations"
    " ON operations.operation_id = look_up_plans.operation_id"
    " AND operations.sequence = look_up_plans.sequence AND operations.state = 'in_doubt'"
    " WHERE look_up_plans.state = 'break' AND look_up_plans.operation_id > $1"
    " ORDER BY look_up_plans.operation_id LIMIT $2"
)


class PostgresLookUps:
    """Implements ``operator_ports.LookUpPlans`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        rows = await self._reader.rows(_DOUBTS, account, limit)
        return [read_doubt(row) for row in rows]

    async def keep(self, plans: Sequence[LookUpPlan]) -> None:
        await self._reader.put(_KEEP, [plan_row(plan) for plan in plans])

    async def take(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        values = (token.bytes, to_micros(lease_until), account, to_micros(now))
        rows = await self._reader.rows(_TAKE, *values)
        return read_plan(rows[0]) if rows else None

    async def give_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        values = (micros_or_none(due_at), operation_id.bytes, token.bytes)
        await self._reader.rows(_GIVE_BACK, *values)

    async def of(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        rows = await self._reader.rows(_PLANS, [each.bytes for each in operations])
        return [read_plan(row) for row in rows]

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        rows = await self._reader.rows(_BREAKS, b"" if after is None else after.bytes, limit)
        return [read_plan(row) for row in rows]
