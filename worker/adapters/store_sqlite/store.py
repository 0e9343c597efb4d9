"""The SQLite ledger: implements ``ports.Store`` for the processes of one OS user on one host."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.values import to_micros
from worker.adapters.store_sqlite.audit import SqliteActs
from worker.adapters.store_sqlite.checkpoints import ROWS_BETWEEN, LogCopier
from worker.adapters.store_sqlite.files import check_files, connect, translated
from worker.adapters.store_sqlite.journal import SqliteJournal
from worker.adapters.store_sqlite.letters import SqliteLetters
from worker.adapters.store_sqlite.locks import SqliteLocks
from worker.adapters.store_sqlite.look_ups import SqliteLookUps
from worker.adapters.store_sqlite.payments import SqlitePayments
from worker.adapters.store_sqlite.reader import Reader
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.retention import SqliteRetention
from worker.adapters.store_sqlite.room import LEAST_FREE, LOOK_AGAIN, Room
from worker.adapters.store_sqlite.schema import make_durable, prepare
from worker.adapters.store_sqlite.seals import SqliteSeals
from worker.adapters.store_sqlite.switches import SqliteAccounts
from worker.adapters.store_sqlite.view import run_change
from worker.adapters.store_sqlite.writer import Writer
from worker.inventory import Standing
from worker.model import EmailMark, Secret
from worker.ports import Clock, StoreUnavailableError, View
from worker.records import (
    Answer,
    AttemptEntry,
    AuditEntry,
    Change,
    History,
    Needs,
    Record,
    Restoration,
)
from worker.rules import LOCK_SECONDS

Result = TypeVar("Result")
Connect = Callable[[Path, float], sqlite3.Connection]

_NO_DISK = "the ledger's disk cannot be seen"
_NOT_THE_FILE = "the ledger's file was deleted or replaced"
_TAKE = (
    "UPDATE answers SET taken_at = ? WHERE event_id IN ("  # noqa: S608 (own column names)
    "SELECT event_id FROM answers WHERE event_confirmed = 0 AND occurred_at < ?"
    " AND (taken_at IS NULL OR taken_at < ?)"
    " ORDER BY coalesce(taken_at, occurred_at), occurred_at, event_id LIMIT ?)"
    f" RETURNING {', '.join(ANSWER_COLUMNS)}"
)


def connect_writer(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """The writer's connection; a test passes one that it can also reach itself."""
    return connect(path, busy_seconds=busy_seconds)


class SqliteStore:
    """Group commit, reads in a thread beside it; see ``writer`` for what a failure means.

    ``failed`` is set when the store refuses everything from now on: the process must end, its
    unacknowledged deliveries come back to another one. ``commits`` counts commits.
    """

    def __init__(
        self, *, writer: Writer, reading: ReadingThread, room: Room, vault: Vault, clock: Clock
    ) -> None:
        """Use ``open``."""
        self._writer = writer
        self._reading = reading
        self._reader = Reader(reading, vault)
        self._room = room
        self._vault = vault
        self._known = KnownRecords(vault)  # of the writer alone
        self._clock = clock
        self.letters = SqliteLetters(writer, reading)
        self.payments = SqlitePayments(reading, vault)
        self.acts = SqliteActs(reading)
        self.accounts = SqliteAccounts(writer, reading)
        self.look_ups = SqliteLookUps(writer, reading)
        self.locks = SqliteLocks(writer)
        self.journal = SqliteJournal(writer, reading)
        self.retention = SqliteRetention(writer, clock)
        self.seals = SqliteSeals(writer, vault)
        self._closing: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._has_room = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        vault: Vault,
        clock: Clock,
        least_free: int = LEAST_FREE,
        flush_seconds: float = 1.0,
        busy_seconds: float = LOCK_SECONDS,
        busy_tries: int = 6,
        rows_between: int = ROWS_BETWEEN,
        connect: Connect = connect_writer,
    ) -> Self:
        """Open an initialised ledger in the running loop; raises ``LedgerError``.

        ``least_free`` in bytes. SQLite waits ``busy_seconds`` for a lock, ``busy_tries`` times:
        30 s in all before "locked" is an error. ``rows_between`` is that of ``checkpoints``.
        """
        opened = partial(_open, path, vault, busy_seconds=busy_seconds, connect=connect)
        writing, copier, reading, room = await asyncio.to_thread(opened, least_free=least_free)
        writer = Writer(
            writing,
            copier=copier,
            flush_seconds=flush_seconds,
            busy_tries=busy_tries,
            rows_between=rows_between,
        )
        return cls(
            writer=writer,
            reading=ReadingThread(reading, check=writer.check),
            room=room,
            vault=vault,
            clock=clock,
        )

    @property
    def failed(self) -> asyncio.Event:
        """Set for good by an I/O error: whether the last writes are durable is not known."""
        return self._writer.failed

    @property
    def clock(self) -> Clock:
        """The machine's own: nobody elsewhere can use the file."""
        return self._clock

    @property
    def commits(self) -> int:
        """How many transactions were committed so far."""
        return self._writer.commits

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        return self._vault.email_marks(email)

    def transact(
        self, needs: Needs, apply: Callable[[View], Change[Result]]
    ) -> asyncio.Future[Result]:
        """See ``ports.Store``. A caller that is cancelled takes back what waits for its batch."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Result:
            return run_change(
                connection, self._vault, self._known, needs=needs, apply=apply, now=now
            )

        return self._writer.submit(work, is_brief=True)

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._writer.mark(event_id, event=event, letter=letter, resends=resends)

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        return await self._reader.find(operation_id)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        return await self._reader.history(operation_id, events=events)

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        since = to_micros(untouched_since)
        values = (to_micros(now), since, since, limit)

        def work(connection: sqlite3.Connection) -> Sequence[Answer]:
            rows = connection.execute(_TAKE, values).fetchall()
            answers = [read_answer(row, self._vault) for row in rows]
            # RETURNING promises no order
            return sorted(answers, key=lambda a: (a.event.occurred_at, a.event.event_id))

        return await self._writer.submit(work)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._reader.expired_claims(expired_before=expired_before, limit=limit)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._reader.overdue_waits(due_before=due_before, limit=limit)

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._reader.adopted_doubts(limit=limit)

    async def restoration(self) -> Restoration | None:
        return await self._reader.restoration()

    async def standing(self) -> Standing:
        return await self._reader.standing()

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        return await self._reader.attempts(operation_id)

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        return await self._reader.audit(operation_id)

    async def has_room(self) -> bool:
        """See ``ports.Store``; looks at the disk at most every ten seconds."""
        self._writer.check()
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_AGAIN:
            try:
                self._has_room = await self._reading.run(self._room.is_enough)
            except OSError as error:
                raise StoreUnavailableError(_NO_DISK) from error
            self._looked_at = now
        return self._has_room

    async def ping(self) -> None:
        """See ``ports.Store``: takes the write lock of the file that the path leads to."""
        await self._writer.submit(lambda _connection: None)
        self._writer.check()
        if not await self._reading.run(self._room.is_same_file):
            raise StoreUnavailableError(_NOT_THE_FILE)

    async def close(self) -> None:
        """Write what is queued and release the files; safe to call again."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        # The writer last: the last connection folds the log back, and a reader may not write.
        self._writer.refuse()
        await self._reading.close()
        await self._writer.close()


def _open(
    path: Path, vault: Vault, *, busy_seconds: float, connect: Connect, least_free: int
) -> tuple[sqlite3.Connection, LogCopier, sqlite3.Connection, Room]:
    check_files(path)
    with ExitStack() as undo, translated(path):
        writing = connect(path, busy_seconds)
        undo.callback(writing.close)
        prepare(path, writing, vault)
        copier = open_copier(path, busy_seconds)
        undo.callback(copier.close)
        reading = connect_reader(path, busy_seconds)
        undo.callback(reading.close)
        room = Room(path, least_free=least_free)
        undo.pop_all()
    return writing, copier, reading, room


def open_copier(path: Path, busy_seconds: float) -> LogCopier:
    """The two connections of the checkpoints; raises ``LedgerError`` and ``sqlite3.Error``."""
    with ExitStack() as undo:
        copying = connect_writer(path, busy_seconds)
        undo.callback(copying.close)
        make_durable(path, copying)
        pinning = connect_reader(path, busy_seconds)
        undo.callback(pinning.close)
        undo.pop_all()
    return LogCopier(path, copying=copying, pinning=pinning)


def connect_reader(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """The readers' connection: it cannot write, whatever it is told."""
    return connect(path, busy_seconds=busy_seconds, read_only=True)
