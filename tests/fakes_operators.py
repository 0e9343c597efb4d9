"""What people did, switched and hold, in memory; see ``contract/test_store.py``."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tests.fakes_tables import MemoryAccess, MemoryTables
from worker.acts import BEGINNING, KeptAct, next_place
from worker.inventory import QueueLock
from worker.switches import AccountReport, Approval, Switch


class MemoryActs:
    """Implements ``operator_ports.ActLog`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def page(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        await self._access.read()
        place, kept = BEGINNING, []
        for row, entry in enumerate(self._tables.audit, 1):
            place = next_place(place, entry)
            kept.append(KeptAct(row=row, entry=entry, place=place))
        return kept[after : after + limit]

    async def rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        await self._access.read()
        rows = [
            row
            for row, entry in enumerate(self._tables.audit, 1)
            if (since is None or entry.at >= since) and (until is None or entry.at < until)
        ]
        return (rows[0], rows[-1]) if rows else None

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        await self._access.read()
        found = [
            each for each in self._tables.approvals.values() if each.plan_sha256 == plan_sha256
        ]
        return sorted(found, key=lambda approval: (approval.at, approval.actor))


class MemoryAccounts:
    """Implements ``operator_ports.AccountBoard`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def switches(self) -> Sequence[Switch]:
        await self._access.read()
        return [switch for _, switch in sorted(self._tables.switches.items())]

    async def report(self, reports: Sequence[AccountReport]) -> None:
        await self._access.submit(
            lambda: self._tables.reports.update(
                {(report.account, report.worker): report for report in reports}
            )
        )

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        def forget() -> None:
            for key, report in list(self._tables.reports.items()):
                if report.worker == worker or report.seen_at < before:
                    del self._tables.reports[key]

        await self._access.submit(forget)

    async def reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        await self._access.read()
        reports = sorted(self._tables.reports.items())
        return [report for _, report in reports if report.seen_at >= seen_since]


class MemoryLocks:
    """Implements ``operator_ports.QueueLocks`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def take(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        def work() -> QueueLock | None:
            held = self._tables.queue_locks.get(lock.queue)
            if held is not None and held.token != lock.token and held.until > now:
                return held
            self._tables.queue_locks[lock.queue] = lock
            return None

        return await self._access.submit(work)

    async def give_back(self, queue: str, token: UUID) -> None:
        def work() -> None:
            held = self._tables.queue_locks.get(queue)
            if held is not None and held.token == token:
                del self._tables.queue_locks[queue]

        await self._access.submit(work)
