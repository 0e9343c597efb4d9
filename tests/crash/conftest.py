"""The ledgers that crashes are tried on."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from tests.crash.ledgers import CrashLedger, MemoryLedger, PostgresLedger, SqliteLedger
from tests.postgres import private_server
from worker.adapters.store_postgres import initialise
from worker.rules import PostgresAddress

_MEMORY = Path("/dev/shm")  # noqa: S108 (a private directory is made inside)
_QUICK = _MEMORY if _MEMORY.is_dir() else None
"""Where data lie in memory, if anywhere: what a disk keeps is not what is tested here."""


@pytest.fixture(scope="session")
def quick_database() -> Iterator[PostgresAddress]:
    """An empty database on a server whose data lie there, over its socket: no password to check."""
    with private_server(parent=_QUICK) as server, server.database() as address:
        yield replace(server.administrator, database=address.database)


@asynccontextmanager
async def _ledger(request: pytest.FixtureRequest) -> AsyncIterator[CrashLedger]:
    ledger: CrashLedger
    match request.param:
        case "sqlite":
            with TemporaryDirectory(dir=_QUICK) as folder:
                ledger = SqliteLedger(Path(folder))
                yield ledger
                await ledger.close()
        case "postgresql":
            address: PostgresAddress = request.getfixturevalue("quick_database")
            await initialise(address)
            ledger = PostgresLedger(address)
            yield ledger
            await ledger.close()
        case _:
            yield MemoryLedger()


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def real_ledger(request: pytest.FixtureRequest) -> AsyncIterator[CrashLedger]:
    """Each durable ledger in turn, emptied before every run."""
    async with _ledger(request) as ledger:
        yield ledger


@pytest_asyncio.fixture(params=["memory", "sqlite", "postgresql"])
async def any_ledger(request: pytest.FixtureRequest) -> AsyncIterator[CrashLedger]:
    """Each ledger in turn, the one in memory too."""
    async with _ledger(request) as ledger:
        yield ledger
