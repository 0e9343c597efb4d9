"""The ledgers a crash is survived on: in memory, SQLite, PostgreSQL.

On the durable ones a kill also falls inside the commit: before the database hears ``COMMIT``, and
after it has done it but before anybody learns so.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol, cast
from uuid import UUID

from typing_extensions import override

from tests.crash.fuse import Fuse, KilledError
from tests.fakes_clock import FakeClock
from tests.fakes_store import MemoryStore
from tests.fakes_tables import MemoryTables
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.ledgers import LedgerStore
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_postgres.committer import Committer
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection, Session, connect
from worker.adapters.store_postgres.writer import Writer
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.history import ATTEMPT_COLUMNS, read_attempt
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_rows.values import Row
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.ports import Clock, StoreUnavailableError
from worker.records import Answer, AttemptEntry, Record
from worker.rules import PostgresAddress

VAULT = Vault([generate_key()])
"""One key for the whole run: a ledger remembers which keys it was sealed with."""

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

    async def open(self, clock: Clock, fuse: Fuse) -> LedgerStore:
        """A store as a new process opens it; once the fuse has blown it writes nothing more."""

    async def rows(self) -> Rows:
        """Everything that is committed."""

    async def leave(self, store: LedgerStore, fuse: Fuse) -> None:
        """End with a store that ``open`` gave, whether its process was killed or not."""

    async def clear(self) -> None:
        """Forget everything, for the next run."""

    async def close(self) -> None: ...


class MemoryLedger:
    """The fast one: what was applied is there, what was not is not."""

    def __init__(self) -> None:
        self.tables = MemoryTables()

    async def open(self, clock: Clock, fuse: Fuse) -> LedgerStore:
        del fuse  # a commit in memory has no inside
        return MemoryStore(clock, self.tables)

    async def leave(self, store: LedgerStore, fuse: Fuse) -> None:
        del fuse
        await store.close()

    async def rows(self) -> Rows:
        tables = self.tables
        return Rows(dict(tables.records), dict(tables.answers), list(tables.attempts))

    async def clear(self) -> None:
        self.tables = MemoryTables()

    async def close(self) -> None:
        """Nothing is held."""


_CLEARED = (
    "account_reports",
    "account_switches",
    "answers",
    "attempts",
    "audit",
    "fingerprints",
    "look_up_plans",
    "look_ups",
    "operations",
    "plan_approvals",
    "queue_locks",
    "replay_runs",
    "replay_steps",
    "restorations",
    "tombstones",
    "unanswered_letters",
)
"""Every table that a payment leaves rows in."""


def _read(*, records: Iterable[Row], answers: Iterable[Row], attempts: Iterable[Row]) -> Rows:
    kept = [read_record(row, VAULT) for row in records]
    owed = [read_answer(row, VAULT) for row in answers]
    return Rows(
        {record.operation_id: record for record in kept},
        {answer.event.event_id: answer for answer in owed},
        [read_attempt(row, VAULT) for row in attempts],
    )


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
        initialise(self._path)
        # Stays open, so that the log is not folded back each time the last worker goes.
        self._reading = sqlite3.connect(self._path, isolation_level=None)

    async def open(self, clock: Clock, fuse: Fuse) -> LedgerStore:
        return await SqliteStore.open(
            self._path,
            vault=VAULT,
            clock=clock,
            least_free=0,
            flush_seconds=NO_HURRY,
            connect=partial(_connect, fuse),
        )

    async def leave(self, store: LedgerStore, fuse: Fuse) -> None:
        del fuse  # a killed one writes nothing more, so closing it only frees its files
        await store.close()

    async def rows(self) -> Rows:
        return _read(
            records=self._all("operations", RECORD_COLUMNS),
            answers=self._all("answers", ANSWER_COLUMNS),
            attempts=self._all("attempts", ATTEMPT_COLUMNS),
        )

    async def clear(self) -> None:
        self._reading.execute("BEGIN IMMEDIATE")
        for table in _CLEARED:
            self._reading.execute(f"DELETE FROM {table}")  # noqa: S608 (own table names)
        self._reading.execute("COMMIT")

    async def close(self) -> None:
        self._reading.close()

    def _all(self, table: str, columns: Sequence[str]) -> list[Row]:
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
    connection.fuse = fuse if fuse.enters_commits else Fuse()
    return connection


class LentClock:
    """Implements ``ports.Clock`` by the clock of whichever world is on."""

    def __init__(self) -> None:
        self.of_the_world: Clock = FakeClock()

    def now(self) -> datetime:
        return self.of_the_world.now()

    def monotonic(self) -> float:
        return self.of_the_world.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.of_the_world.sleep(seconds)

    def fraction(self) -> float:
        return self.of_the_world.fraction()

    def new_id(self) -> UUID:
        return self.of_the_world.new_id()

    def nonce(self) -> str:
        return self.of_the_world.nonce()


class MortalLine:
    """A connection to PostgreSQL whose client may be killed, or cut off, around its commit.

    Stands for an ``asyncpg.Connection``; everything but ``execute`` is the connection's own.
    """

    def __init__(self, connection: Connection, worker: "PooledWorker") -> None:
        self._connection = connection
        self._worker = worker

    async def execute(self, statement: str, *values: object) -> str:
        if statement != "COMMIT":
            return await self._connection.execute(statement, *values)
        doing = self._worker.fuse.doing
        self._pass(f"before the commit of {doing}")
        done = await self._connection.execute(statement)
        self._pass(f"after the commit of {doing}")
        return done

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def _pass(self, boundary: str) -> None:
        try:
            self._worker.fuse.step(boundary)
        except KilledError:
            # The server sees the line go and nothing else; so does a client that lives on.
            self._connection.terminate()
            raise ConnectionResetError from None


class PooledWorker:
    """One process's store, lent to one worker after another until one of them is killed."""

    def __init__(self, address: PostgresAddress, reading: Session, clock: Clock) -> None:
        """Put a store together as ``PostgresStore.open`` does, on a line that can be cut.

        Reads are stopped by the fuse around the store, so one line serves those of all workers.
        """
        self.fuse = Fuse()
        self._address = address
        self.committer = Committer(Session(self._connect), VAULT, clock)
        self.writer = Writer(self.committer, flush_seconds=NO_HURRY)
        self.store = PostgresStore(
            writer=self.writer,
            reader=Reader(reading, VAULT, check=self.writer.check),
            vault=VAULT,
            clock=clock,
        )

    async def _connect(self) -> Connection:
        if self.fuse.is_dead:
            raise StoreUnavailableError  # a killed process connects to nothing
        return cast("Connection", MortalLine(await connect(self._address), self))


class PostgresLedger:
    """One database for many runs; what was not killed of a worker is lent to the next."""

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._clock = LentClock()
        self._idle: list[PooledWorker] = []
        self._busy: dict[LedgerStore, PooledWorker] = {}
        self._reading = Session(lambda: connect(address))

    async def open(self, clock: Clock, fuse: Fuse) -> LedgerStore:
        self._clock.of_the_world = clock
        worker = self._idle.pop() if self._idle else await self._start()
        worker.fuse = fuse if fuse.enters_commits else Fuse()
        self._busy[worker.store] = worker
        return worker.store

    async def leave(self, store: LedgerStore, fuse: Fuse) -> None:
        worker = self._busy.pop(store)
        if not fuse.is_dead:
            with suppress(StoreUnavailableError):
                await store.ping()  # its marks are written, as by a worker that closes
        if worker.fuse.is_dead:
            await worker.writer.close()
        else:
            worker.fuse = Fuse()
            self._idle.append(worker)

    async def rows(self) -> Rows:
        return _read(
            records=await self._all("operations", RECORD_COLUMNS),
            answers=await self._all("answers", ANSWER_COLUMNS),
            attempts=await self._all("attempts", ATTEMPT_COLUMNS),
        )

    async def clear(self) -> None:
        looking = await self._reading.connection()
        await looking.execute("; ".join(f"DELETE FROM {table}" for table in _CLEARED))  # noqa: S608 (own table names)

    async def close(self) -> None:
        for worker in self._idle:
            await worker.writer.close()
        await self._reading.close()

    async def _start(self) -> PooledWorker:
        worker = PooledWorker(self._address, self._reading, self._clock)
        await worker.committer.register()
        return worker

    async def _all(self, table: str, columns: Sequence[str]) -> list[Row]:
        looking = await self._reading.connection()
        wanted = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 (own names)
        return [tuple(row) for row in await looking.fetch(wanted)]
