"""Which store a ledger's place stands for: the one spot that knows them by name.

PostgreSQL's is imported when a place asks for it: it costs a process 45 ms and 3 MiB.
"""

import asyncio
from pathlib import Path
from typing import Protocol, assert_never

from worker.adapters.encryption import Vault
from worker.adapters.store_migrations import Initialisation
from worker.adapters.store_sqlite import SqliteStore
from worker.adapters.store_sqlite import initialise as initialise_sqlite
from worker.adapters.store_sqlite.room import LEAST_FREE
from worker.operator_ports import ReplayJournal, Retention, Seals
from worker.ports import Clock, Store
from worker.rules import PostgresAddress

LedgerPlace = Path | PostgresAddress
"""A SQLite file, or a PostgreSQL database."""

LEAST_FREE_MIB = LEAST_FREE // 2**20
"""Below this much free space nothing new is claimed, unless the settings say otherwise."""


class LedgerStore(Store, Protocol):
    """A store as a process holds it."""

    @property
    def failed(self) -> asyncio.Event:
        """Set for good when the last writes may not be durable: the process must end."""

    @property
    def journal(self) -> ReplayJournal:
        """The journal of replay runs, in the same place."""

    @property
    def retention(self) -> Retention:
        """What erases, in the same place."""

    @property
    def clock(self) -> Clock:
        """The clock by which leases and waits are told: the same for all who use the ledger."""


class SealedStore(LedgerStore, Protocol):
    """A store whose secrets are sealed: every one that lasts."""

    @property
    def seals(self) -> Seals:
        """Everything sealed in it."""


async def open_ledger(
    place: LedgerPlace,
    *,
    vault: Vault,
    clock: Clock,
    least_free_mib: int = LEAST_FREE_MIB,
    busy_seconds: float = 5.0,
    busy_tries: int = 6,
) -> SealedStore:
    """Open an initialised ledger in the running loop; one try only.

    Raises ``LedgerError``; ``LedgerUnreachableError`` alone may pass by itself. Of a file a lock
    is waited for ``busy_seconds``, ``busy_tries`` times.
    """
    match place:
        case Path():
            return await SqliteStore.open(
                place,
                vault=vault,
                clock=clock,
                least_free=least_free_mib * 2**20,
                busy_seconds=busy_seconds,
                busy_tries=busy_tries,
            )
        case PostgresAddress():
            from worker.adapters.store_postgres import PostgresStore

            return await PostgresStore.open(place, vault=vault, clock=clock)
        case other:
            assert_never(other)


async def initialise_ledger(place: LedgerPlace) -> Initialisation:
    """Create the ledger or bring an older one up to date. Raises ``LedgerError``."""
    match place:
        case Path():
            return await asyncio.to_thread(initialise_sqlite, place)
        case PostgresAddress():
            from worker.adapters.store_postgres import initialise as initialise_postgres

            return await initialise_postgres(place)
        case other:
            assert_never(other)


def name_of(place: LedgerPlace) -> str:
    """The place as a text for people, without user and password."""
    if isinstance(place, Path):
        return str(place)
    from worker.adapters.store_postgres.sessions import place_of

    return place_of(place)
