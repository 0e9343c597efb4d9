"""The sweeper's rounds: for as long as the worker lives, whatever one of them meets."""

from worker.announcer import Announcer
from worker.ledger import Ledger
from worker.ledger_watch import LedgerWatch
from worker.ports import Clock, StoreUnavailableError
from worker.sweeper import INTERVAL, Sweep, Sweeper
from worker.telemetry import Telemetry

_NOTHING = Sweep(announced=0, unclaimed=0, unsent=0, doubted=0)


class Sweeping:
    """Sweeps now and then, and tells how the ledger stands."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        announcer: Announcer,
        watch: LedgerWatch,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._telemetry = telemetry
        self._clock = clock
        self._sweeper = Sweeper(ledger=ledger, announcer=announcer, on_surprise=self._surprised)

    async def go_on(self) -> None:
        """Sweep for ever: nobody would notice a sweeper that has ended, and answers would wait."""
        while True:
            # At random moments, so that the workers of one ledger do not all sweep at once.
            await self._clock.sleep(INTERVAL * (0.5 + self._clock.fraction()))
            await self._watch.until_usable()
            try:
                swept = await self._sweeper.sweep()
                self._telemetry.stands(await self._ledger.standing(), overdue=swept.overdue)
            except StoreUnavailableError as error:
                self._watch.missed(error)
            except Exception as error:  # noqa: BLE001 - told, and tried again with the next sweep
                self._surprised(error)
            else:
                self._tell(swept)

    def _tell(self, swept: Sweep) -> None:
        if swept == _NOTHING:
            return
        self._telemetry.noted(
            "Swept",
            "sweep.done",
            announced=swept.announced,
            unclaimed=swept.unclaimed,
            unsent=swept.unsent,
            doubted=swept.doubted,
            overdue=swept.overdue,
            abandoned=swept.abandoned,
            followed=swept.followed,
        )

    def _surprised(self, error: Exception) -> None:
        self._telemetry.warned("A sweep failed in a way nobody foresaw", "sweep.surprise", error)
