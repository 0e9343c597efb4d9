"""Plans of look-ups in memory; they pass ``contract/test_look_ups.py`` as the databases' do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from tests.fakes_tables import MemoryAccess, MemoryTables
from worker.look_ups import Doubt, LookUpPlan
from worker.records import Kind, Record, State


class MemoryLookUps:
    """Implements ``operator_ports.LookUpPlans`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        await self._access.read()
        doubts = [
            (record.decided_at, record.operation_id, record.sequence)
            for record in self._tables.records.values()
            if record.state is State.IN_DOUBT
            and record.account == account
            and record.kind is Kind.INITIATION
            and record.duplicate_of is None
            and record.reference is not None
            and record.decided_at is not None
            and not self._is_planned(record)
        ]
        return [
            Doubt(operation_id=operation_id, sequence=sequence, decided_at=decided_at)
            for decided_at, operation_id, sequence in sorted(doubts)[:limit]
        ]

    def _is_planned(self, record: Record) -> bool:
        plan = self._tables.look_up_plans.get(record.operation_id)
        return plan is not None and plan.sequence >= record.sequence

    async def keep(self, plans: Sequence[LookUpPlan]) -> None:
        def work() -> None:
            for plan in plans:
                known = self._tables.look_up_plans.get(plan.operation_id)
                if known is None or known.sequence < plan.sequence:
                    self._tables.look_up_plans[plan.operation_id] = plan

        await self._access.submit(work)

    async def take(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        def work() -> LookUpPlan | None:
            due = [
                (plan.due_at, plan.operation_id)
                for plan in self._tables.look_up_plans.values()
                if plan.account == account
                and plan.due_at is not None
                and plan.due_at <= now
                and (plan.lease_until is None or plan.lease_until <= now)
            ]
            if not due:
                return None
            _due_at, operation_id = min(due)
            taken = replace(
                self._tables.look_up_plans[operation_id], token=token, lease_until=lease_until
            )
            self._tables.look_up_plans[operation_id] = taken
            return taken

        return await self._access.submit(work)

    async def give_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        def work() -> None:
            plan = self._tables.look_up_plans.get(operation_id)
            if plan is not None and plan.token == token:
                self._tables.look_up_plans[operation_id] = replace(
                    plan, token=None, lease_until=None, due_at=due_at or plan.due_at
                )

        await self._access.submit(work)

    async def of(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        await self._access.read()
        plans = self._tables.look_up_plans
        return [plans[each] for each in operations if each in plans]

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        await self._access.read()
        found = sorted(self._tables.breaks(), key=lambda plan: plan.operation_id)
        return [each for each in found if after is None or each.operation_id > after][:limit]
