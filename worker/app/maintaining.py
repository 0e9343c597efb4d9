"""The ledger's retention, by the worker itself: now and then, for as long as it lives."""

from datetime import timedelta

from worker.ledger import Ledger
from worker.ledger_watch import LedgerWatch
from worker.operator_ports import Retention
from worker.operators.retention import Keeper, Kept
from worker.operators.walks import QueueLockedError
from worker.ports import Clock, StoreUnavailableError
from worker.rules import Periods
from worker.telemetry import Telemetry

WORKER = "worker"
"""Who acts, in the audit."""


class Maintaining:
    """Erases what is due at every interval; of the workers of one ledger one at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        retention: Retention,
        periods: Periods,
        every: timedelta,
        watch: LedgerWatch,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._keeper = Keeper(ledger=ledger, retention=retention, periods=periods, actor=WORKER)
        self._every = every
        self._watch = watch
        self._telemetry = telemetry
        self._clock = clock

    @property
    def is_wanted(self) -> bool:
        """Whether the worker is to do it at all."""
        return self._every > timedelta(0)

    async def go_on(self) -> None:
        """Maintain for ever, at random moments, so that workers do not all begin at once."""
        while True:
            await self._clock.sleep(self._every.total_seconds() * (0.5 + self._clock.fraction()))
            await self._watch.until_usable()
            try:
                self._tell(await self._keeper.maintain())
            except QueueLockedError:
                continue  # another worker is at it, or an operator
            except StoreUnavailableError as error:
                self._watch.missed(error)
            except Exception as error:  # noqa: BLE001 - told, and tried again at the next interval
                self._telemetry.warned(
                    "Retention failed in a way nobody foresaw", "retention.surprise", error
                )

    def _tell(self, kept: Kept) -> None:
        if kept.is_nothing:
            return
        self._telemetry.noted(
            "Erased what is past its time",
            "retention.done",
            emails=kept.emails,
            links=kept.links,
            rows=kept.rows,
            runs=kept.runs,
            tombstones=kept.tombstones,
            held=kept.held,
        )
