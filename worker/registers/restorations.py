"""The register of restorations: when the ledger came back from a backup, and what that undid."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from worker.inventory import PAGE
from worker.lifecycle.restore import Restored, is_in_doubt_after, restore
from worker.ports import Clock, Store, View
from worker.records import Change, Needs, Record, Restoration
from worker.registers.payments import Payments


class Restorations:
    """Returns from a backup; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, payments: Payments, clock: Clock) -> None:
        self._store = store
        self._payments = payments
        self._clock = clock

    async def latest(self) -> Restoration | None:
        """The ledger's latest return from a backup, as it stands now."""
        return await self._store.restoration()

    async def affected(self, restoration: Restoration) -> Sequence[Record]:
        """What recording this restoration brings into doubt."""
        return [
            record
            async for record in self._payments.open_operations(untouched_for=timedelta(0))
            if is_in_doubt_after(record, restoration)
        ]

    async def record(
        self, restoration: Restoration, affected: Sequence[Record], *, is_new: bool
    ) -> Restored:
        """Decide what a restoration brings into doubt, page by page, and record it with the last.

        One write for all of a long backlog would need more locks than a server has (measured: it
        refused 24 000). Cut off before the last, nothing is recorded, and doing it again goes on.
        """
        doubted, rest = 0, affected
        while len(rest) > PAGE:
            doubted += (await self._record_page(restoration, rest[:PAGE], is_new=False)).doubted
            rest = rest[PAGE:]
        last = await self._record_page(restoration, rest, is_new=is_new)
        return replace(last, doubted=doubted + last.doubted)

    async def _record_page(
        self, restoration: Restoration, affected: Sequence[Record], *, is_new: bool
    ) -> Restored:
        operations = [record.operation_id for record in affected]
        payments = [record.payment_id for record in affected]

        def apply(view: View) -> Change[Restored]:
            return restore(view, operations, restoration, self._clock.now(), is_new=is_new)

        needs = Needs(tuple(dict.fromkeys([*operations, *payments])))
        return await self._store.transact(needs, apply)
