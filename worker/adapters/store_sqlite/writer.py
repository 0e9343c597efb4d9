"""Group commit: one thread, one connection, everything that waits in one transaction.

While a commit waits for the disk, the next batch gathers; that alone makes N concurrent payments
share a few fsyncs (measured: 15 times the rate of a commit per row at batches of 20).

Three kinds of failure are kept apart. One work's own exception reaches its caller alone (see
``jobs``). A full disk or a lock fails the batch, and the next one is tried afresh. Everything
else, an I/O error before all, ends the writer: after a failed fsync the kernel may have dropped
the pages it could not write, so trying again on the same handle would report as durable what is
not.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar
from uuid import UUID

from worker.adapters.store_rows.values import Scalar
from worker.adapters.store_sqlite.files import primary_code
from worker.adapters.store_sqlite.jobs import HalfWrittenError, Job, Settle, Waiting, Work
from worker.ports import Clock, StoreUnavailableError

Result = TypeVar("Result")

LARGEST_BATCH = 500  # bounds how long the first of a batch waits for the last
_CLOSED = "the ledger is closed"
_FAILED = "the ledger failed; this process must end"
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_MARK = (
    "UPDATE answers SET event_confirmed = max(event_confirmed, ? AND resends = ?),"
    " letter_confirmed = max(letter_confirmed, ?) WHERE event_id = ?"
)


@dataclass(frozen=True, slots=True)
class _Mark:
    event_id: bytes
    event: bool
    letter: bool
    resends: int


@dataclass(frozen=True, slots=True)
class _Stop:
    """Last item of the queue."""


class Writer:
    """The only one who writes. Methods are called in the event loop; the work runs in a thread.

    ``flush_seconds`` is how long a mark may wait for company. ``commits`` counts the commits;
    ``failed`` is set when the writer has ended for good.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Clock,
        *,
        flush_seconds: float,
        busy_tries: int,
    ) -> None:
        self.commits = 0
        self.failed = asyncio.Event()
        self._connection = connection
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._busy_tries = busy_tries
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Waiting | _Mark | _Stop] = SimpleQueue()
        self._marks: dict[tuple[bytes, int], tuple[bool, bool]] = {}
        self._flush_at = 0.0
        self._refusing = False
        self._stopped = False
        self._defect: BaseException | None = None
        # A daemon: a process that ends without close() must not hang on a waiting thread, and
        # a commit cut short is what the write-ahead log is made for.
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[Result]) -> asyncio.Future[Result]:
        """Queue work for the next batch; the future is done once its commit is durable.

        Cancelling the future takes the work back while it still waits for its batch or for the
        lock; later nobody can.
        """
        self.check()
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(Job(work, future))
        return future

    def mark(self, event_id: UUID, *, event: bool, letter: bool, resends: int) -> None:
        """Queue a mark for the next batch, or for one of its own."""
        self.check()
        self._queue.put(_Mark(event_id.bytes, event, letter, resends))

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` once the writer is closed or has failed."""
        if self._refusing:
            raise StoreUnavailableError(_CLOSED)
        if self._defect is not None:
            raise StoreUnavailableError(_FAILED)

    def refuse(self) -> None:
        """Take nothing more; what is queued is still written."""
        self._refusing = True

    async def close(self) -> None:
        """Commit what is queued, marks included, and end the thread."""
        self.refuse()
        if not self._stopped:
            self._stopped = True
            self._queue.put(_Stop())
        await asyncio.to_thread(self._thread.join)

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs, stopping, due = self._collect()
            if self._defect is not None:
                self._tell([job.reject(_unavailable(self._defect)) for job in jobs])
            elif jobs or (self._marks and (due or stopping)):
                self._commit_or_reject(jobs)
        self._connection.close()

    def _collect(self) -> tuple[list[Waiting], bool, bool]:
        """Take all that waits; and whether this was the last, and whether marks are due."""
        jobs: list[Waiting] = []
        try:
            item = self._queue.get(timeout=self._patience())
        except Empty:
            return jobs, False, True
        while True:
            match item:
                case _Stop():
                    return jobs, True, True
                case _Mark():
                    self._add_mark(item)
                case _:
                    jobs.append(item)
            if len(jobs) >= LARGEST_BATCH or self._queue.empty():
                return jobs, False, self._patience() == 0
            item = self._queue.get()

    def _patience(self) -> float | None:
        """Seconds until marks must be written; without marks there is no hurry."""
        if not self._marks:
            return None
        return max(0.0, self._flush_at - self._clock.monotonic())

    def _add_mark(self, mark: _Mark) -> None:
        if not self._marks:
            self._flush_at = self._clock.monotonic() + self._flush_seconds
        key = (mark.event_id, mark.resends)
        event, letter = self._marks.get(key, (False, False))
        self._marks[key] = (event or mark.event, letter or mark.letter)

    def _commit_or_reject(self, jobs: Sequence[Waiting]) -> None:
        try:
            settled = self._commit(jobs)
        except BaseException as error:  # noqa: BLE001 (the thread's end must be told to whom it may concern)
            if not _is_passing(error):
                self._defect = error
                self._call(self.failed.set)
            # Marks wait for the next chance; lost, each would cost one duplicate event.
            self._flush_at = self._clock.monotonic() + self._flush_seconds
            settled = [job.reject(_unavailable(error)) for job in jobs]
        self._tell(settled)

    def _commit(self, jobs: Sequence[Waiting]) -> list[Settle]:
        try:
            settled = self._transact(jobs, apart=False)
        except HalfWrittenError:
            settled = self._transact(jobs, apart=True)
        self.commits += 1
        self._marks.clear()
        return settled

    def _transact(self, jobs: Sequence[Waiting], *, apart: bool) -> list[Settle]:
        self._begin()
        try:
            self._write_marks()
            settled = [
                job.run(self._connection, apart=apart) for job in jobs if not job.is_withdrawn
            ]
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return settled

    def _begin(self) -> None:
        """Take the write lock: SQLite itself waits for it, several times over."""
        for remaining in reversed(range(self._busy_tries)):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                is_busy = primary_code(error) == sqlite3.SQLITE_BUSY
                if not is_busy or not remaining or self._refusing:
                    raise  # a ledger that is being closed does not wait again
            else:
                return

    def _write_marks(self) -> None:
        if self._marks:
            rows: list[tuple[Scalar, ...]] = [
                (int(event), resends, int(letter), event_id)
                for (event_id, resends), (event, letter) in self._marks.items()
            ]
            self._connection.executemany(_MARK, rows)

    def _tell(self, settled: Sequence[Settle]) -> None:
        if settled:
            self._call(partial(_settle, settled))

    def _call(self, callback: Settle) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop has ended: nobody is left to tell, and what was committed stays.
            self._refusing = True


def _settle(settled: Sequence[Settle]) -> None:
    for settle in settled:
        settle()


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) in _PASSING


def _unavailable(error: BaseException) -> StoreUnavailableError:
    match primary_code(error) if isinstance(error, sqlite3.Error) else None:
        case sqlite3.SQLITE_FULL:
            reason = "the disk is full"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            reason = "it is locked by another program"
        case _:
            reason = f"it failed ({type(error).__name__}); this process must end"
    unavailable = StoreUnavailableError(f"the ledger cannot be written: {reason}")
    unavailable.__cause__ = error
    return unavailable
