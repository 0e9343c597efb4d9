"""The register of acts: who did what, and who lets another one replay a plan."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from worker.acts import KeptAct
from worker.inventory import PAGE
from worker.ports import Clock, Store, View
from worker.records import NO_FACTS, ActFacts, AuditEntry, Change, Needs
from worker.switches import Approval


class Acts:
    """The audit, noted and read; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._log = store.acts
        self._clock = clock

    async def note(self, entry: AuditEntry) -> None:
        """Remember an act that changes no row: who did what."""

        def apply(_view: View) -> Change[None]:
            return Change(result=None, audit=(entry,))

        await self._store.transact(Needs(()), apply)

    async def note_all(self, entries: Sequence[AuditEntry]) -> None:
        """Remember several acts in one write."""

        def apply(_view: View) -> Change[None]:
            return Change(result=None, audit=tuple(entries))

        if entries:
            await self._store.transact(Needs(()), apply)

    async def note_act(
        self,
        operation_id: UUID | None,
        *,
        actor: str,
        action: str,
        detail: str,
        is_denied: bool = False,
        facts: ActFacts = NO_FACTS,
    ) -> None:
        """Audit an act that changes nothing; ``None`` where it is about no single operation."""

        def apply(_view: View) -> Change[None]:
            entry = AuditEntry(
                at=self._clock.now(),
                actor=actor,
                action=action,
                operation_id=operation_id,
                detail=detail,
                is_denied=is_denied,
                facts=facts,
            )
            return Change(result=None, audit=(entry,))

        await self._store.transact(Needs(()), apply)

    async def kept(self, *, first: int = 0, last: int | None = None) -> AsyncIterator[KeptAct]:
        """Every audited act from one row to another, page by page, in the order of the chain."""
        after = first - 1
        while page := await self._log.page(after=after, limit=PAGE):
            for act in page:
                if last is not None and act.row > last:
                    return
                yield act
            after = page[-1].row

    async def before(self, row: int) -> KeptAct | None:
        """The act right before a row; rows leave gaps where a transaction was taken back."""
        step = 1
        while True:
            page = await self._log.page(after=max(0, row - 1 - step), limit=step)
            before = [act for act in page if act.row < row]
            if before or step >= row:
                return before[-1] if before else None
            step *= 2

    async def rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        """First and last row of a period's acts, if there are any."""
        return await self._log.rows(since=since, until=until)

    async def approve(self, approval: Approval, facts: ActFacts) -> None:
        """Remember that an account lets another one replay a plan; audited."""
        act = AuditEntry(
            at=approval.at,
            actor=approval.actor,
            action="approve",
            operation_id=None,
            detail=approval.reason,
            facts=facts,
        )

        def apply(_view: View) -> Change[None]:
            return Change(result=None, approvals=(approval,), audit=(act,))

        await self._store.transact(Needs(()), apply)

    async def approvals(self, plan_sha256: str) -> Sequence[Approval]:
        """Who has approved this very plan."""
        return await self._log.approvals(plan_sha256=plan_sha256)
