"""Rounds over the doubts: one for each account that is looked up, while the worker lives."""

import asyncio

from worker.ledger import Ledger
from worker.ledger_watch import LedgerWatch
from worker.ports import Clock, StoreUnavailableError, Transport
from worker.providers import PROVIDERS
from worker.reconciler import Reconciler, SparePermits
from worker.rules import RouteBook
from worker.telemetry import Telemetry

INTERVAL = 30.0
"""Seconds between two rounds: the first step of the schedule comes after a minute."""


class Reconciling:
    """Goes round now and then; a slow account keeps no other one waiting."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        book: RouteBook,
        permits: SparePermits,
        transport: Transport,
        watch: LedgerWatch,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._reconciler = Reconciler(
            ledger=ledger,
            book=book,
            permits=permits,
            providers=PROVIDERS,
            transport=transport,
            on_look_up=telemetry.looked_up,
            on_surprise=self._surprised,
        )
        self._watch = watch
        self._telemetry = telemetry
        self._clock = clock

    @property
    def is_wanted(self) -> bool:
        """Whether any account is looked up at all."""
        return bool(self._reconciler.accounts)

    async def go_on(self) -> None:
        """Go round every account for ever, each in its own time."""
        await asyncio.gather(*(self._go_round(account) for account in self._reconciler.accounts))

    async def _go_round(self, account: str) -> None:
        while True:
            # At random moments, so that the workers of one ledger do not all come at once.
            await self._clock.sleep(INTERVAL * (0.5 + self._clock.fraction()))
            await self._watch.until_usable()
            try:
                await self._reconciler.go_round(account)
            except StoreUnavailableError as error:
                self._watch.missed(error)
            except Exception as error:  # noqa: BLE001 - told, and tried again with the next round
                self._surprised(error)

    def _surprised(self, error: Exception) -> None:
        self._telemetry.warned(
            "A look-up failed in a way nobody foresaw", "look_up.surprise", error
        )
