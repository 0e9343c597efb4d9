"""Checkpoints: what the log holds is copied into the file, most of it beside the commits.

SQLite left to itself copies within a commit, each time the log has a thousand pages. In a large
ledger almost every second batch of payments waited for that (measured with 200,000 payments: 26 ms
for a decision, 12 without).

Here a connection of its own copies in a thread while the writer goes on. SQLite begins the log anew
with the first commit that finds all of it in the file, which beside a busy writer it never is; so
the last pass takes the place of a batch, once little is left. Where a reader or another process
spoils that, the next checkpoint comes sooner.

SQLite waits for the disk to take the file in a pass that reaches the end of the log, for what all
passes before it have written. A short pass does so beside the commits as a rule, and leaves little
of that to the last one (measured with 200,000 payments: 3 ms, the longest of 33 took 6; with one
long pass before it 52 to 66).

Two connections that write the log and copy it at the same time may damage the file in SQLite before
3.51.3 (its "WAL-reset bug": a copy that begins while a commit begins the log anew counts pages of
the new log as copied). So a reader pins the log during every pass: at a place in the log it keeps
it from being begun anew, and where nothing is left to copy it keeps the pass from copying. No other
connection of ours copies by itself (see ``files.connect``), but the last one that closes.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from queue import SimpleQueue

from worker.adapters.store_sqlite.files import LARGEST_LOG, size_of_log

ROWS_BETWEEN = 2_000
"""Rows written until the next checkpoint; of payments, some four thousand pages of the log, 20 MiB.

A page that several payments changed meanwhile is copied once, so fewer checkpoints write less; with
more rows the disk is busy for longer at a time (measured with 4,000: p99 of a claim 25, not 20 ms).
"""
SECONDS_BETWEEN = 600.0
"""However few rows: what was erased must be erased in the file too, and other processes write.

Looked at after each batch; a worker has one every few seconds, since its ledger is pinged.
"""
_SOONER = 8
"""How many times as often it is tried while a log is not begun anew."""
_LITTLE = 100
"""Pages that a pass found new: those of a batch or two."""
_MOST_PASSES = 6
"""Two to four are usual. On a slow disk each leaves as much as it takes, and so does the last."""
_ROWS_WRAP = 0xFFFF_FFFF
"""The driver counts rows in 32 bits."""


@dataclass(frozen=True, slots=True)
class Log:
    """Pages that the log held when a pass began, and how many of them are in the file after it.

    Both are -1 where another process was copying.
    """

    held: int
    copied: int

    @property
    def is_copied(self) -> bool:
        """Whether all of it is in the file."""
        return self.copied == self.held >= 0


class LogCopier:
    """Copies the log into the file; used by one thread at a time. Raises ``sqlite3.Error``.

    ``pinning`` is the connection that reads while ``copying`` copies.
    """

    def __init__(
        self, path: Path, *, copying: sqlite3.Connection, pinning: sqlite3.Connection
    ) -> None:
        self._path = path
        self._copying = copying
        self._pinning = pinning

    @property
    def is_large(self) -> bool:
        """Whether the log has not been begun anew for too long; any thread may ask."""
        return size_of_log(self._path) > LARGEST_LOG

    def copy_most(self, is_wanted: Callable[[], bool]) -> bool:
        """Copy beside a busy writer until little is left; whether one more pass would finish it.

        It would not where a reader needs the log, or another process is copying.
        """
        copied = 0
        for _ in range(_MOST_PASSES):
            if not is_wanted():
                return False
            log = self.copy()
            if log.held < 0 or log.held - log.copied > _LITTLE:
                return False
            if log.held - copied <= _LITTLE:
                break
            copied = log.copied
        return True

    def copy(self) -> Log:
        """Copy what no reader still needs, in one pass; waits for the disk and for nobody else."""
        self._pinning.execute("BEGIN")
        try:
            self._pinning.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            _, held, copied = self._copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            if self._pinning.in_transaction:
                self._pinning.execute("ROLLBACK")
        return Log(held, copied)

    def close(self) -> None:
        """Release the file."""
        try:
            self._pinning.close()
        finally:
            self._copying.close()


class _State(Enum):
    RESTING = auto()
    COPYING = auto()
    READY = auto()
    FINISHING = auto()


Told = Callable[[BaseException | None], None]


class Checkpoints:
    """One checkpoint after another, each in two parts. Methods are called in the event loop.

    After ``rows_between`` rows or ``seconds_between`` seconds the next begins. ``ready`` is called
    when the first part has ended (``is_last_pass_due`` says whether there is another), ``ended``
    after the second; both are told what went wrong, if anything did.
    """

    def __init__(
        self,
        copier: LogCopier,
        *,
        rows_between: int,
        seconds_between: float = SECONDS_BETWEEN,
        ready: Told,
        ended: Told,
    ) -> None:
        self._copier = copier
        self._rows_between = rows_between
        self._seconds_between = seconds_between
        self._ready = ready
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._is_closing = False
        self._state = _State.RESTING
        self._rows = self._rows_before = 0
        self._due_at = self._loop.time() + seconds_between
        if copier.is_large:  # processes were killed, and each has only added to it
            self._due_at = self._loop.time()
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon like the writer's: a copy cut short is made again.
        self._thread = threading.Thread(target=self._run, name="ledger-checkpoints", daemon=True)
        self._thread.start()

    @property
    def is_under_way(self) -> bool:
        """Whether one has begun and not ended."""
        return self._state is not _State.RESTING

    @property
    def is_last_pass_due(self) -> bool:
        """Whether the rest can be copied as soon as this process does not write."""
        return self._state is _State.READY

    def consider(self, rows_written: int, *, at_once: bool = False) -> None:
        """Begin one where it is time to; ``rows_written`` counts all of this connection, ever.

        ``at_once`` because the disk is full: a log that is begun anew needs no more room.
        """
        self._rows = rows_written
        written = (rows_written - self._rows_before) & _ROWS_WRAP
        is_time = written >= self._rows_between or self._loop.time() >= self._due_at
        if not self.is_under_way and (is_time or at_once):
            self._state = _State.COPYING
            self._hand_over(self._copy_most, self._end_copying)

    def finish(self) -> None:
        """Copy the rest, while this process does not write."""
        self._state = _State.FINISHING
        self._hand_over(self._copy_rest, self._end_finishing)

    def stop(self) -> None:
        """Let what is under way end after its pass."""
        self._stopping.set()

    async def close(self) -> None:
        """Wait for the pass that is under way and release the file; safe to call again."""
        if not self._is_closing:
            self._is_closing = True
            self.stop()
            self._errands.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None:
            errand()
        self._copier.close()

    def _hand_over(
        self, work: Callable[[], bool], told: Callable[[bool, BaseException | None], None]
    ) -> None:
        def carry_out() -> None:
            is_copied, fault = False, None
            try:
                is_copied = work()
            except BaseException as error:  # noqa: BLE001 (it must be told to whom it may concern)
                fault = error
            with suppress(RuntimeError):  # the loop has ended, and with it the writer
                self._loop.call_soon_threadsafe(told, is_copied, fault)

        self._errands.put(carry_out)

    def _copy_most(self) -> bool:
        return self._copier.copy_most(lambda: not self._stopping.is_set())

    def _copy_rest(self) -> bool:
        return self._copier.copy().is_copied and not self._copier.is_large

    # --- in the event loop again ---------------------------------------------------------------

    def _end_copying(self, is_copied: bool, fault: BaseException | None) -> None:  # noqa: FBT001 (a callback)
        if is_copied:
            self._state = _State.READY
        else:
            self._rest(sooner=True)
        self._ready(fault)

    def _end_finishing(self, is_copied: bool, fault: BaseException | None) -> None:  # noqa: FBT001 (a callback)
        self._rest(sooner=not is_copied)
        self._ended(fault)

    def _rest(self, *, sooner: bool) -> None:
        share = _SOONER if sooner else 1
        self._state = _State.RESTING
        self._rows_before = self._rows - self._rows_between + self._rows_between // share
        self._due_at = self._loop.time() + self._seconds_between / share
