"""Group commit: one connection, one batch at a time, everything that waits in one transaction.

While a commit waits for the disk, the next batch gathers; that alone makes N concurrent payments
share a few fsyncs (measured: 15 times the rate of a commit per row at batches of 20).

A batch of payments is written in the event loop and committed in a thread: see ``transactions``.
What may take long (a list, a search) or must wait for another process's lock is done in the thread
from beginning to end. The last pass of a checkpoint takes the place of a batch: see
``checkpoints``.

Three kinds of failure are kept apart. One work's own exception reaches its caller alone (see
``jobs``). A full disk or a lock fails the batch, and the next one is tried afresh. Everything
else, an I/O error before all, ends the writer: after a failed fsync the kernel may have dropped
the pages it could not write, so trying again on the same handle would report as durable what is
not.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TypeVar
from uuid import UUID

from worker.adapters.store_sqlite.checkpoints import ROWS_BETWEEN, Checkpoints, LogCopier
from worker.adapters.store_sqlite.files import primary_code
from worker.adapters.store_sqlite.jobs import Job, Waiting, Work
from worker.adapters.store_sqlite.transactions import Batch, Transactions, is_full, is_passing
from worker.ports import StoreUnavailableError

Result = TypeVar("Result")

LARGEST_BATCH = 100
"""Works in a batch: bounds how long the event loop is held, by about 0.2 ms for each.

The marks of the last second ride along, a statement each: as many as payments were published.
"""
GATHERING_TURNS = 32
"""Turns of the event loop between two batches: at once where it is idle, longer the busier it is.

Measured on two processors: with none a busy worker commits one or two payments at a time and
spends 1,730 microseconds of processor time on each, with 32 turns 1,230, with 64 1,110. A worker
that waits for its prefetch window loses by more than 32: 587 payments per second, 530 with 64.
"""
_CLOSED = "the ledger is closed"
_FAILED = "the ledger failed; this process must end"


class Writer:
    """The only one who writes. Methods are called in the event loop.

    ``copier`` and ``rows_between`` are for ``checkpoints``. ``flush_seconds`` is how long a mark
    may wait for company. ``commits`` counts the commits; ``failed`` is set when the writer has
    ended for good.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        copier: LogCopier,
        flush_seconds: float,
        busy_tries: int,
        rows_between: int = ROWS_BETWEEN,
    ) -> None:
        self.commits = 0
        self.failed = asyncio.Event()
        self._transactions = Transactions(connection, busy_tries=busy_tries)
        self._checkpoints = Checkpoints(
            copier, rows_between=rows_between, ready=self._ready, ended=self._finished
        )
        self._flush_seconds = flush_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: list[Waiting] = []
        self._marks: dict[tuple[bytes, int], tuple[bool, bool]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._is_flush_due = False
        self._is_awake = False
        self._refusing = False
        self._closing = False
        self._stopped = False
        self._defect: BaseException | None = None
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: a process that ends without close() must not hang on a waiting thread, and
        # a commit cut short is what the write-ahead log is made for.
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[Result], *, is_brief: bool = False) -> asyncio.Future[Result]:
        """Queue work for the next batch; the future is done once its commit is durable.

        Brief work looks up a few rows by their keys and no more. Cancelling the future takes the
        work back while it still waits for its batch or for the lock; later nobody can.
        """
        self.check()
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.append(Job(work, future, is_brief))
        self._wake()
        return future

    def mark(self, event_id: UUID, *, event: bool, letter: bool, resends: int) -> None:
        """Queue a mark for the next batch, or for one of its own."""
        self.check()
        self._add_mark((event_id.bytes, resends), event=event, letter=letter)

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` once the writer is closed or has failed."""
        if self._refusing:
            raise StoreUnavailableError(_CLOSED)
        if self._defect is not None:
            raise StoreUnavailableError(_FAILED)

    def refuse(self) -> None:
        """Take nothing more; what is queued is still written, and the file stays open."""
        self._refusing = True

    async def close(self) -> None:
        """Commit what is queued, marks included, and end the thread."""
        self.refuse()
        # The writer's connection closes last and folds the log back. A disk's refusal is told to a
        # descriptor once: the copier has heard it, and closing last might fold what was not kept.
        await self._checkpoints.close()
        self._closing = True
        if self._loop.is_closed():  # with whoever was waiting
            self._stop()
        else:
            self._wake()
        await asyncio.to_thread(self._thread.join)

    # --- in the event loop ---------------------------------------------------------------------

    def _wake(self) -> None:
        """Begin the next batch soon; while one is under way, its end does."""
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        if self._checkpoints.is_last_pass_due and self._is_taking:
            self._checkpoints.finish()
            return
        jobs, self._queue = self._queue[:LARGEST_BATCH], self._queue[LARGEST_BATCH:]
        if self._defect is not None:
            _reject(jobs, self._defect)
            self._marks.clear()
        elif jobs or (self._marks and (self._is_flush_due or self._refusing)):
            marks, self._marks, self._is_flush_due = self._marks, {}, False
            self._write(Batch(jobs=jobs, marks=marks))
            return
        self._is_awake = False
        if self._queue:
            self._wake()
        elif self._closing:
            self._stop()

    def _write(self, batch: Batch) -> None:
        try:
            is_written = batch.is_brief and self._transactions.write_at_once(batch)
        except BaseException as error:  # noqa: BLE001 (it must be told to whom it may concern)
            self._end(batch, error)
            return
        patiently = partial(self._run_patiently, batch)
        errand = self._transactions.commit if is_written else patiently
        self._errands.put(partial(self._carry_out, errand, batch))

    def _end(self, batch: Batch, error: BaseException | None) -> None:
        """Tell the callers, and go on with what has gathered meanwhile."""
        if error is None:
            self.commits += 1
            for settle in batch.settled:
                settle()
        else:
            self._judge(error)
            if self._is_taking:
                # Marks wait for the next chance; lost, each would cost one duplicate event.
                for key, (event, letter) in batch.marks.items():
                    self._add_mark(key, event=event, letter=letter)
            _reject(batch.jobs, error)
        if self._is_taking:
            self._checkpoints.consider(self._transactions.rows_written, at_once=is_full(error))
        self._gather(GATHERING_TURNS)

    def _ready(self, error: BaseException | None) -> None:
        """The last pass of a checkpoint waits for its turn, if there is to be one."""
        self._judge(error)
        self._wake()

    def _finished(self, error: BaseException | None) -> None:
        self._judge(error)
        self._next()

    def _judge(self, error: BaseException | None) -> None:
        """End the writer for what does not pass."""
        if error is not None and not is_passing(error):
            self._defect = error
            self._checkpoints.stop()
            self.failed.set()

    @property
    def _is_taking(self) -> bool:
        return self._defect is None and not self._refusing

    def _gather(self, turns: int) -> None:
        """Let the loop come round, that whoever is about to write joins the next batch."""
        if turns and self._is_taking:
            self._loop.call_soon(self._gather, turns - 1)
        else:
            self._next()

    def _add_mark(self, key: tuple[bytes, int], *, event: bool, letter: bool) -> None:
        before = self._marks.get(key, (False, False))
        self._marks[key] = (before[0] or event, before[1] or letter)
        if self._flush is None:
            self._flush = self._loop.call_later(self._flush_seconds, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._is_flush_due = True
        self._wake()

    def _stop(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        if not self._stopped:
            self._stopped = True
            self._errands.put(None)

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None:
            errand()
        self._transactions.close()

    def _run_patiently(self, batch: Batch) -> None:
        self._transactions.run(batch, is_wanted=lambda: not self._refusing)

    def _carry_out(self, errand: Callable[[], None], batch: Batch) -> None:
        fault: BaseException | None = None
        try:
            errand()
        except BaseException as error:  # noqa: BLE001 (it must be told to whom it may concern)
            fault = error
        try:
            self._loop.call_soon_threadsafe(self._end, batch, fault)
        except RuntimeError:
            # The loop has ended: nobody is left to tell, and what was committed stays.
            self._refusing = True


def _reject(jobs: Sequence[Waiting], error: BaseException) -> None:
    for job in jobs:
        job.reject(_unavailable(error))()


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
