"""The durable ledgers that crashes are tried on."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from tests.crash.ledgers import CrashLedger, MemoryLedger, SqliteLedger

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (a private directory is made inside)


@pytest.fixture(scope="session")
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: what a disk keeps is not what is tested here."""
    with TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@asynccontextmanager
async def _ledger(name: str, quick_folder: Path) -> AsyncIterator[CrashLedger]:
    with TemporaryDirectory(dir=quick_folder) as folder:
        ledger = MemoryLedger() if name == "memory" else SqliteLedger(Path(folder))
        yield ledger
        await ledger.close()


@pytest_asyncio.fixture(params=["sqlite"])
async def real_ledger(
    request: pytest.FixtureRequest, quick_folder: Path
) -> AsyncIterator[CrashLedger]:
    """Each durable ledger in turn, emptied before every run."""
    async with _ledger(request.param, quick_folder) as ledger:
        yield ledger


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def any_ledger(
    request: pytest.FixtureRequest, quick_folder: Path
) -> AsyncIterator[CrashLedger]:
    """Each ledger in turn, the one in memory too."""
    async with _ledger(request.param, quick_folder) as ledger:
        yield ledger
