"""The ledger before anything is consumed: opened, or waited for where its server is away."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from worker.adapters.connection import Pace
from worker.adapters.encryption import Vault
from worker.adapters.ledgers import LedgerStore, name_of, open_ledger
from worker.adapters.store_errors import LedgerUnreachableError, LedgerUnusableError
from worker.contract.times import time_text
from worker.ledger import Ledger
from worker.lifecycle.lost import in_force_until
from worker.ports import Clock, StoreUnavailableError
from worker.records import Restoration
from worker.rules import TOLERATED_SKEW
from worker.settings import Settings
from worker.telemetry import Telemetry

_PACE = Pace(most=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLedger:
    """The ledger, and the store under it, which whoever opened it closes."""

    store: LedgerStore
    ledger: Ledger


class LedgerStart:
    """Opens the ledger that the settings name, and tells whether it came back from a backup.

    A restoration is recorded while every worker stands still, so it cannot change under us.
    """

    def __init__(self, settings: Settings, *, telemetry: Telemetry, clock: Clock) -> None:
        self._settings = settings
        self._place = settings.ledger_place()
        self._rules = settings.rules()
        self._telemetry = telemetry
        self._clock = clock

    async def open(self, stack: AsyncExitStack) -> OpenedLedger:
        """Open it, to be closed with ``stack``; one try only. Raises ``LedgerError``.

        ``LedgerUnreachableError`` alone may pass by itself; a file never raises it.
        """
        store = await open_ledger(
            self._place,
            vault=Vault(self._settings.ledger_keys()),
            clock=self._clock,
            least_free_mib=self._settings.ledger.minimum_free_mib,
        )
        stack.push_async_callback(store.close)
        try:
            restoration = await store.restoration()
        except StoreUnavailableError as error:
            if isinstance(self._place, Path):
                raise LedgerUnusableError(self._place, str(error)) from error
            raise LedgerUnreachableError(name_of(self._place), str(error)) from error
        if restoration is not None:
            self._tell_of(restoration)
        self._compare_clocks(store.clock)
        ledger = Ledger(store=store, rules=self._rules, clock=store.clock, restoration=restoration)
        return OpenedLedger(store=store, ledger=ledger)

    async def wait(self, stack: AsyncExitStack, reason: str) -> OpenedLedger:
        """Open it however long its server is away, which is told once. Raises ``LedgerError``."""
        self.tell_away(reason)
        failures = 0
        while True:
            await self._clock.sleep(_PACE.delay(failures, self._clock.fraction()))
            try:
                opened = await self.open(stack)
            except LedgerUnreachableError:
                failures += 1
            else:
                self.tell_back()
                return opened

    def tell_away(self, reason: str) -> None:
        """The ledger cannot be used, which holds up everything."""
        self._telemetry.warned("The ledger is away", "ledger.away", reason=reason)

    def tell_back(self) -> None:
        """The ledger can be used again."""
        self._telemetry.noted("The ledger is back", "ledger.back")

    def _compare_clocks(self, shared: Clock) -> None:
        """A wrong clock here harms no lease, but signatures and events carry its time."""
        ahead = shared.now() - self._clock.now()
        if abs(ahead) > TOLERATED_SKEW:
            self._telemetry.warned(
                "This machine's clock and the ledger's differ",
                "clock.differs",
                seconds=round(ahead.total_seconds(), 1),
            )

    def _tell_of(self, restoration: Restoration) -> None:
        until = in_force_until(restoration, self._rules)
        if self._clock.now() <= until:
            self._telemetry.warned(
                "The ledger came back from a backup",
                "ledger.restored",
                known_until=time_text(restoration.known_until),
                restored_at=time_text(restoration.restored_at),
                until=time_text(until),
            )
