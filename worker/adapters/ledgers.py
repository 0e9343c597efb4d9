"""Which store a ledger's place stands for: the one spot that knows them by name."""

import asyncio
from pathlib import Path
from typing import Protocol

from worker.adapters.encryption import Vault
from worker.adapters.store_sqlite import Initialisation, SqliteStore, initialise
from worker.adapters.store_sqlite.room import LEAST_FREE
from worker.ports import Clock, Store

LEAST_FREE_MIB = LEAST_FREE // 2**20
"""Below this much free space nothing new is claimed, unless the settings say otherwise."""


class LedgerStore(Store, Protocol):
    """A store as a process holds it."""

    @property
    def failed(self) -> asyncio.Event:
        """Set for good when the last writes may not be durable: the process must end."""


async def open_ledger(
    place: Path,
    *,
    vault: Vault,
    clock: Clock,
    least_free_mib: int = LEAST_FREE_MIB,
    busy_seconds: float = 5.0,
    busy_tries: int = 6,
) -> LedgerStore:
    """Open an initialised ledger in the running loop; one try only. Raises ``LedgerError``.

    A lock is waited for ``busy_seconds``, ``busy_tries`` times.
    """
    return await SqliteStore.open(
        place,
        vault=vault,
        clock=clock,
        least_free=least_free_mib * 2**20,
        busy_seconds=busy_seconds,
        busy_tries=busy_tries,
    )


async def initialise_ledger(place: Path) -> Initialisation:
    """Create the ledger or bring an older one up to date. Raises ``LedgerError``."""
    return await asyncio.to_thread(initialise, place)
