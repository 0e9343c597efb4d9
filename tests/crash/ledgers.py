"""The ledgers a crash is survived on, each opened anew by every worker: in memory, and SQLite.

On the real ones a kill also falls inside the commit: before the database hears ``COMMIT``, and
after it has done it but before anybody learns so.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import UUID

from typing_extensions import override

from tests.crash.fuse import Fuse
from tests.fakes_store import MemoryStore, MemoryTables
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.history import ATTEMPT_COLUMNS, read_attempt
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.ports import Clock, Store
from worker.records import Answer, AttemptEntry, Record

NO_HURRY = 1e6
"""Seconds before marks are written by themselves: they ride with the next transaction or die."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a ledger holds, as anybody who opens it would find it."""

    records: Mapping[UUID, Record]
    answers: Mapping[UUID, Answer]
    attempts: Sequence[AttemptEntry]


class CrashLedger(Protocol):
    """Rows that outlive every worker."""

    async def open(self, clock: Clock, fuse: Fuse) -> Store:
        """A store as a new process opens it; once the fuse has blown it writes nothing more."""

    async def rows(self) -> Rows:
        """Everything that is committed."""

    async def clear(self) -> None:
        """Forget everything, for the next run."""

    async def close(self) -> None: ...


class MemoryLedger:
    """The fast one: what was applied is there, what was not is not."""

    def __init__(self) -> None:
        self.tables = MemoryTables()

    async def open(self, clock: Clock, fuse: Fuse) -> Store:
        del fuse  # a commit in memory has no inside
        return MemoryStore(clock, self.tables)

    async def rows(self) -> Rows:
        tables = self.tables
        return Rows(dict(tables.records), dict(tables.answers), list(tables.attempts))

    async def clear(self) -> None:
        self.tables = MemoryTables()

    async def close(self) -> None:
        """Nothing is held."""


class MortalConnection(sqlite3.Connection):
    """The writer's connection of a process that may be killed around its commit.

    Killed, it says nothing more to the database, not even ``ROLLBACK``: the transaction ends
    with the connection, as it does with a process.
    """

    fuse: Fuse

    @override
    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        self.fuse.check()
        if sql != "COMMIT":
            return super().execute(sql, parameters)  # type: ignore[arg-type]  # as it came
        self.fuse.step(f"before the commit of {self.fuse.doing}")
        done = super().execute(sql)
        self.fuse.step(f"after the commit of {self.fuse.doing}")
        return done


class SqliteLedger:
    """One file for many runs; every worker opens it as a process of its own would."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.sqlite"
        self._vault = Vault([generate_key()])
        initialise(self._path)
        # Stays open, so that the log is not folded back each time the last worker goes.
        self._reading = sqlite3.connect(self._path, isolation_level=None)

    async def open(self, clock: Clock, fuse: Fuse) -> Store:
        return await SqliteStore.open(
            self._path,
            vault=self._vault,
            clock=clock,
            least_free=0,
            flush_seconds=NO_HURRY,
            connect=partial(_connect, fuse),
        )

    async def rows(self) -> Rows:
        records = [read_record(row, self._vault) for row in self._all("operations", RECORD_COLUMNS)]
        answers = [read_answer(row, self._vault) for row in self._all("answers", ANSWER_COLUMNS)]
        attempts = [
            read_attempt(row, self._vault) for row in self._all("attempts", ATTEMPT_COLUMNS)
        ]
        return Rows(
            {record.operation_id: record for record in records},
            {answer.event.event_id: answer for answer in answers},
            attempts,
        )

    async def clear(self) -> None:
        named = self._reading.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        tables = [name for (name,) in named if not name.startswith("sqlite_")]
        self._reading.execute("BEGIN IMMEDIATE")
        for table in tables:
            self._reading.execute(f"DELETE FROM {table}")  # noqa: S608 (own table names)
        self._reading.execute("COMMIT")

    async def close(self) -> None:
        self._reading.close()

    def _all(self, table: str, columns: Sequence[str]) -> list[tuple[object, ...]]:
        return self._reading.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608 (own names)


def _connect(fuse: Fuse, path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Connect as ``store_sqlite.files.connect`` does, with a connection that can be killed."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        factory=MortalConnection,
    )
    connection.fuse = fuse if fuse.kills else Fuse()
    return connection
