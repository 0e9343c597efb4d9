"""The register of look-ups: which doubt is asked about next, and what that read."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

from worker.inventory import PAGE
from worker.lifecycle.reconcile import Read, Reconciled, planned, reconcile
from worker.look_ups import LookUpPlan
from worker.ports import Clock, Store, View
from worker.records import Change, Needs


class LookUps:
    """Plans of look-ups and their results; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._plans = store.look_ups
        self._clock = clock

    async def plan(self, account: str) -> int:
        """Plan the look-ups of an account's doubts that nobody has planned yet; how many."""
        count = 0
        while doubts := await self._plans.doubts_without_plan(account=account, limit=PAGE):
            await self._plans.keep([planned(each, account) for each in doubts])
            count += len(doubts)
            if len(doubts) < PAGE:
                break
        return count

    async def take(self, account: str, *, lease: timedelta) -> LookUpPlan | None:
        """Take the doubt that has been due for longest; no other worker gets it meanwhile."""
        now = self._clock.now()
        return await self._plans.take(
            account=account, token=self._clock.new_id(), now=now, lease_until=now + lease
        )

    async def give_back(self, plan: LookUpPlan) -> None:
        """Leave a step that was taken to whoever comes next."""
        if plan.token is not None:
            await self._plans.give_back(plan.operation_id, plan.token)

    async def reconcile(self, plan: LookUpPlan, reads: Sequence[Read]) -> Reconciled:
        """Write what a step read, and what follows; see ``lifecycle.reconcile``."""

        def apply(view: View) -> Change[Reconciled]:
            return reconcile(view, plan, reads, self._clock.now())

        return await self._store.transact(Needs((plan.operation_id,)), apply)

    async def breaks(self) -> AsyncIterator[LookUpPlan]:
        """Every doubt whose provider lists another amount, page by page."""
        after = None
        while page := await self._plans.breaks(after=after, limit=PAGE):
            for plan in page:
                yield plan
            after = page[-1].operation_id

    async def plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        """How far the look-ups of these operations are, of those that there are plans for.

        What each of them read stands in the history.
        """
        return await self._plans.of(operations)
