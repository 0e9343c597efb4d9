"""The two kinds of ledger: how they are filled quickly, how large they are, what they cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.throughput.processes import read_costs
from tests.postgres import PostgresServer
from worker.adapters.ledgers import LedgerPlace
from worker.rules import PostgresAddress

_ROLE = "postgres"
_FILLING = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}
"""For the filling alone: the server is started anew, with everything durable, to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Bytes on the disk: tables and indexes together, the indexes of them, the write-ahead log.

    SQLite does not tell how much of its file indexes take.
    """

    stored: int
    indexes: int | None
    log: int


class Store(Protocol):
    """Where a ledger is."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> LedgerPlace: ...

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Do without durability for as long as the block lasts."""

    def size(self) -> Size: ...

    def spent(self) -> float:
        """Processor seconds of the server so far."""

    def written(self) -> int:
        """Bytes so far: those this process sent to the disk, or those of the server's log."""

    def vacuum(self) -> bool:
        """Do what a server does by itself now and then; ``False`` where there is nothing to do."""


@dataclass(frozen=True, slots=True)
class File:
    """A SQLite ledger."""

    path: Path

    @property
    def name(self) -> str:
        return "sqlite"

    @property
    def place(self) -> LedgerPlace:
        return self.path

    @contextmanager
    def filling(self) -> Iterator[None]:
        yield

    def size(self) -> Size:
        log = self.path.with_name(f"{self.path.name}-wal")
        return Size(
            stored=self.path.stat().st_size,
            indexes=None,
            log=log.stat().st_size if log.exists() else 0,
        )

    def spent(self) -> float:
        return 0.0

    def written(self) -> int:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))

    def vacuum(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL ledger; ``is_alone``: the server may be started anew to fill it quickly."""

    server: PostgresServer
    address: PostgresAddress
    is_alone: bool = True

    @property
    def name(self) -> str:
        return "postgres"

    @property
    def place(self) -> LedgerPlace:
        return self.address

    @contextmanager
    def filling(self) -> Iterator[None]:
        if not self.is_alone:
            yield
            return
        self.server.stop()
        self.server.start(**_FILLING)
        try:
            yield
        finally:
            self._ask("CHECKPOINT")
            self.server.stop()
            self.server.start()

    def size(self) -> Size:
        return Size(
            stored=int(self._ask("SELECT pg_database_size(current_database())")),
            indexes=int(self._ask("SELECT sum(pg_relation_size(indexrelid)) FROM pg_index")),
            log=int(self._ask("SELECT sum(size) FROM pg_ls_waldir()")),
        )

    def spent(self) -> float:
        file = self.server.directory / "data" / "postmaster.pid"
        process = int(file.read_text(encoding="ascii").split()[0])
        return read_costs({_ROLE: [process]}).of(_ROLE)

    def written(self) -> int:
        return int(self._ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))

    def vacuum(self) -> bool:
        self._ask("VACUUM (ANALYZE)")
        return True

    def _ask(self, statement: str) -> str:
        return self.server.psql(statement, database=self.address.database).strip()
