"""Group commit: one task, one connection, everything that waits in one transaction.

While a commit is under way the next batch gathers; that alone makes N concurrent payments share a
few round trips and syncs of the disk (measured: 30 times the rate of a commit per row).

Whatever happens to the connection, a batch is run again under the same number until it is known to
be committed, or until its time is up; then all who wait are told that the ledger is unavailable,
which leaves open whether their changes happened. A batch whose own values the server refuses is
taken apart, so that the fault reaches its own caller alone.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerError
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.batch import Batch, Mark, Transaction, WriterForgottenError
from worker.adapters.store_postgres.faults import DRIVER_ERRORS, Meaning, meaning_of, unavailable
from worker.adapters.store_postgres.jobs import Job, Settle, TakeJob
from worker.adapters.store_postgres.sessions import Connection, Session, cut_after
from worker.adapters.store_rows.values import to_micros
from worker.ports import Clock, StoreUnavailableError

Result = TypeVar("Result")

LARGEST_BATCH = 200  # bounds how long the first of a batch waits for the last
MOST_LOCKS = 256  # of one batch: all workers share the server's table, 6400 places by default
TRY_SECONDS = 10.0  # one run of a batch, after which its connection is cut
BATCH_SECONDS = 15.0  # after which no further run begins
_MOST_MEETINGS = 20  # with other transactions, before a batch is given up
_AGAIN_SECONDS = 0.25  # between two attempts to connect
_PATIENCE_SECONDS = 5.0  # for a server that was there a moment ago, as while it is restarted
_CLOSED = "the ledger is closed"


class Writer:
    """The only one who writes.

    ``flush_seconds`` is how long a mark may wait for company. ``commits`` counts the batches;
    ``failed`` is set only by a defect of the writer itself, for a server's fault passes.
    """

    def __init__(
        self, session: Session, vault: Vault, clock: Clock, *, flush_seconds: float
    ) -> None:
        self.commits = 0
        self.failed = asyncio.Event()
        self._session = session
        self._vault = vault
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: list[Job] = []
        self._marks: dict[tuple[bytes, int], tuple[bool, bool]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._is_flush_due = False
        self._wake = asyncio.Event()
        self._refusing = False
        self._is_away = False
        self._writer: int | None = None
        self._noted = False
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register with the ledger, which proves that it can be written; raises ``LedgerError``."""
        connection = await self._session.connection()
        with cut_after(connection, TRY_SECONDS):
            await self._register(connection)
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def submit(self, job: Job) -> None:
        """Queue a work for the next batch; its future is done once its commit is durable.

        Cancelling the future does not take the work back.
        """
        self.check()
        self._queue.append(job)
        self._wake.set()

    def mark(self, event_id: UUID, *, event: bool, letter: bool, resends: int) -> None:
        """Queue a mark for the next batch, or for one of its own."""
        self.check()
        key = (event_id.bytes, resends)
        before = self._marks.get(key, (False, False))
        self._marks[key] = (before[0] or event, before[1] or letter)
        self._schedule_flush()

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` once the writer is closed or has failed."""
        if self._refusing or self.failed.is_set():
            raise StoreUnavailableError(_CLOSED)

    def refuse(self) -> None:
        """Take nothing more; what is queued is still written."""
        self._refusing = True
        self._wake.set()

    async def close(self) -> None:
        """Commit what is queued, marks included, and part from the server."""
        self.refuse()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._session.close()

    # --- the task ------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue and not self._refusing:
                    await self._wake.wait()
                self._wake.clear()
                jobs = self._next_jobs()
                if jobs or (self._marks and (self._is_flush_due or self._refusing)):
                    await self._write(jobs)
                elif self._refusing:
                    return
        finally:
            if self._flush is not None:
                self._flush.cancel()
            await self._deregister()

    def _next_jobs(self) -> list[Job]:
        """The longest beginning of the queue that one batch may hold."""
        count = locks = 0
        for job in self._queue[:LARGEST_BATCH]:
            if not isinstance(job, TakeJob):
                locks += len(job.needs.operations) + 1
            if count and locks > MOST_LOCKS:
                break
            count += 1
        jobs, self._queue = self._queue[:count], self._queue[count:]
        return jobs

    def _schedule_flush(self) -> None:
        if self._flush is None and self._marks:
            self._flush = self._loop.call_later(self._flush_seconds, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._is_flush_due = True
        self._wake.set()

    async def _write(self, jobs: Sequence[Job]) -> None:
        marks, self._marks, self._is_flush_due = self._marks, {}, False
        rows = [
            (event_id, int(event), int(letter), sending)
            for (event_id, sending), (event, letter) in marks.items()
        ]
        settled: Sequence[Settle]
        try:
            settled = await self._commit(jobs, rows)
        except Exception as error:  # noqa: BLE001 (it reaches those whom it concerns)
            if isinstance(error, StoreUnavailableError):
                self._keep(marks)
                self._is_away = True
                jobs = [*jobs, *self._queue]  # those would only wait for the same refusal
                self._queue = []
            elif len(jobs) + len(rows) > 1:
                await self._write_apart(jobs, rows)
                return
            settled = [job.reject(error) for job in jobs]
        for settle in settled:
            settle()

    async def _write_apart(self, jobs: Sequence[Job], marks: Sequence[Mark]) -> None:
        """One of them is at fault, and which one is found by trying each by itself."""
        for some_jobs, some_marks in (([], marks), *(([job], []) for job in jobs)):
            if not (some_jobs or some_marks):
                continue
            settled: Sequence[Settle]
            try:
                settled = await self._commit(some_jobs, some_marks)
            except Exception as error:  # noqa: BLE001 (it reaches the one who caused it)
                settled = [job.reject(error) for job in some_jobs]
            for settle in settled:
                settle()

    def _keep(self, marks: dict[tuple[bytes, int], tuple[bool, bool]]) -> None:
        """Marks wait for the next chance; lost, each would cost one duplicate event."""
        for key, (event, letter) in marks.items():
            now = self._marks.get(key, (False, False))
            self._marks[key] = (now[0] or event, now[1] or letter)
        if self._refusing:
            self._marks = {}
        self._schedule_flush()

    # --- one batch -----------------------------------------------------------------------------

    async def _commit(self, jobs: Sequence[Job], marks: Sequence[Mark]) -> Sequence[Settle]:
        """Run one batch until it is committed.

        Raises ``StoreUnavailableError``, or the error of a value that cannot be stored.
        """
        self._number += 1
        now = to_micros(self._clock.now())
        batch = Batch(number=self._number, jobs=jobs, marks=marks, now=now)
        last_start = self._loop.time() + BATCH_SECONDS
        meetings = losses = 0
        while True:
            connection = await self._connection()
            try:
                with cut_after(connection, TRY_SECONDS):
                    await self._run_once(connection, batch)
            except WriterForgottenError:
                await self._undo(connection)
                self._writer = None
            except Exception as error:
                await self._undo(connection)
                match meaning_of(error):
                    case Meaning.OWN:
                        raise
                    case Meaning.AGAIN if meetings < _MOST_MEETINGS:
                        meetings += 1  # let the other one go first
                        await self._clock.sleep(self._clock.fraction() * 0.01 * meetings)
                    case Meaning.LOST if self._loop.time() < last_start:
                        if losses:  # a server that hangs up at once is not to be stormed
                            await self._clock.sleep(_AGAIN_SECONDS)
                        losses += 1  # run again, whether or not it was committed
                    case Meaning.AGAIN | Meaning.LOST | Meaning.AWAY:
                        self._session.drop()
                        raise unavailable(error) from error
            except BaseException:  # the task is cancelled: the loop is ending
                self._session.drop()
                raise
            else:
                self.commits += 1
                return batch.settled or ()

    async def _run_once(self, connection: Connection, batch: Batch) -> None:
        writer = await self._register(connection) if self._writer is None else self._writer
        transaction = Transaction(connection, batch, self._vault, writer=writer, noted=self._noted)
        self._noted = await transaction.run()

    async def _undo(self, connection: Connection) -> None:
        """Leave no transaction open: take it back, or where that is not possible, hang up."""
        try:
            if not connection.is_closed():
                with cut_after(connection, TRY_SECONDS):
                    await connection.execute("ROLLBACK")
        except (*DRIVER_ERRORS, OSError):
            self._session.drop()

    async def _connection(self) -> Connection:
        """The connection, or a new one.

        A server that has just gone is waited for, as it may only be restarted; one that stays away
        is asked once per batch. Raises ``StoreUnavailableError``.
        """
        patient_until = self._loop.time() + (0.0 if self._is_away else _PATIENCE_SECONDS)
        while True:
            try:
                connection = await self._session.connection()
            except LedgerError as error:
                if self._loop.time() > patient_until:
                    raise unavailable(error) from error
                await self._clock.sleep(_AGAIN_SECONDS)
            else:
                self._is_away = False
                return connection

    # --- the store's own row -------------------------------------------------------------------

    async def _register(self, connection: Connection) -> int:
        """Take a row; the numbers of the batches go on counting, whatever the row."""
        await connection.execute(sql.FORGET_WRITERS)
        writer: int = await connection.fetchval(sql.REGISTER)
        self._writer = writer
        return writer

    async def _deregister(self) -> None:
        try:
            connection = await self._session.connection()
            with cut_after(connection, 2.0):
                await connection.execute(sql.DEREGISTER, self._writer)
        except (*DRIVER_ERRORS, OSError, LedgerError):
            self._session.drop()  # the row is forgotten in time

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for a writer that has ended before it was told to."""
        defect = None if task.cancelled() else task.exception()
        if defect is not None:
            self.failed.set()
        for job in self._queue:
            job.reject(StoreUnavailableError(_CLOSED))()
        self._queue = []
