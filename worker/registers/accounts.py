"""The register of accounts: how operators have switched them, and how workers stand to them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from worker.lifecycle.switches import (
    Asked,
    StillPaused,
    Switched,
    SwitchWish,
    ask_probe,
    pause,
    resume,
)
from worker.ports import Clock, Store
from worker.switches import AccountReport, Switch

REPORT_AGE = timedelta(seconds=45)
"""A worker that has said nothing for that long is gone: it renews its report every 15 s."""

REPORTS_KEPT = timedelta(days=1)


class Accounts:
    """Pauses, probes and reports; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._board = store.accounts
        self._clock = clock

    async def pause(self, wish: SwitchWish) -> Switched:
        """Stop an account's calls, or all consumption; see ``lifecycle.switches``."""
        return await self._store.transact(
            wish.needs, lambda view: pause(view, wish, self._clock.now())
        )

    async def resume(self, wish: SwitchWish) -> Switched:
        """Let an account be called again; see ``lifecycle.switches``."""
        return await self._store.transact(
            wish.needs, lambda view: resume(view, wish, self._clock.now())
        )

    async def ask_probe(self, wish: SwitchWish) -> Asked | StillPaused:
        """Ask an account's open breakers for one try; see ``lifecycle.switches``."""
        identifier = self._clock.new_id()
        return await self._store.transact(
            wish.needs, lambda view: ask_probe(view, wish, identifier, self._clock.now())
        )

    async def switches(self) -> Mapping[str, Switch]:
        """Everything that operators have switched, by account."""
        return {switch.account: switch for switch in await self._board.switches()}

    async def report(self, reports: Sequence[AccountReport]) -> None:
        """Note how a worker stands to its accounts."""
        await self._board.report(reports)

    async def forget_reports(self, worker: UUID) -> None:
        """Take out what a worker that ends has reported, and what nobody renews any more."""
        await self._board.forget_reports(worker=worker, before=self._clock.now() - REPORTS_KEPT)

    async def reports(self) -> Sequence[AccountReport]:
        """How the workers stand that have reported lately."""
        since = self._clock.now() - REPORT_AGE
        return await self._board.reports(seen_since=since)
