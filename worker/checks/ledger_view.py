"""What can be seen of the ledger by opening it as a worker would, and closing it again.

Raises ``LedgerError`` and ``VaultError`` where it cannot be opened, ``StoreUnavailableError``
where it cannot be used.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.adapters.encryption import Vault, VaultError
from worker.adapters.ledgers import LedgerStore, name_of, open_ledger
from worker.adapters.store_errors import LedgerError
from worker.inventory import Standing
from worker.ports import Clock, StoreUnavailableError
from worker.records import Restoration
from worker.settings import Settings
from worker.switches import Switch

_BUSY_SECONDS = 2.0  # a running worker holds the lock for milliseconds


_TROUBLES = (LedgerError, VaultError, StoreUnavailableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A ledger that was opened and can be written."""

    key_ids: tuple[str, ...]
    restoration: Restoration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What in the ledger waits for a person: doubts, and the oldest line of the letters' index."""

    standing: Standing
    oldest_letter: datetime | None


class LedgerView:
    """Looks at the ledger that the settings name."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._place = settings.ledger_place()
        self._clock = clock

    @property
    def name(self) -> str:
        """Its place for people, without user and password."""
        return name_of(self._place)

    @property
    def is_elsewhere(self) -> bool:
        """Whether a server keeps it, with a clock of its own."""
        return self._settings.ledger.postgres is not None

    async def open(self) -> Opened:
        """Open it, prove that it can be written, and close it."""
        vault = Vault(self._settings.ledger_keys())
        async with self._opened(vault) as store:
            await store.ping()
            return Opened(key_ids=tuple(vault.key_ids), restoration=await store.restoration())

    async def waiting(self) -> Waiting | None:
        """What waits for a person; ``None`` where the ledger does not tell."""
        try:
            async with self._opened(Vault(self._settings.ledger_keys())) as store:
                now = store.clock.now()
                letters = await store.letters.page(
                    after=None,
                    limit=1,
                    now=now,
                    first_seen_before=now - self._settings.rules().max_age,
                )
                return Waiting(
                    standing=await store.standing(),
                    oldest_letter=letters[0].failed_at if letters else None,
                )
        except _TROUBLES:
            return None

    async def switches(self) -> Sequence[Switch] | None:
        """What operators have switched; ``None`` where the ledger does not tell."""
        try:
            async with self._opened(Vault(self._settings.ledger_keys())) as store:
                return await store.accounts.switches()
        except _TROUBLES:
            return None

    async def ahead(self) -> timedelta | None:
        """Its clock before ours; ``None`` where it is not reached."""
        try:
            async with self._opened(Vault(self._settings.ledger_keys())) as store:
                return store.clock.now() - self._clock.now()
        except _TROUBLES:
            return None

    @asynccontextmanager
    async def _opened(self, vault: Vault) -> AsyncIterator[LedgerStore]:
        store = await open_ledger(
            self._place, vault=vault, clock=self._clock, busy_seconds=_BUSY_SECONDS, busy_tries=1
        )
        try:
            yield store
        finally:
            await store.close()
