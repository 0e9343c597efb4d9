"""Batches as transactions on the writer's connection, in two halves: write, then commit.

Only ``commit`` waits for the disk, and only a lock of another process makes ``begin`` wait; what
lies between is quick and needs the interpreter. The driver lets go of the interpreter's lock around
every statement, so statements run beside a busy event loop wait for it a dozen times per payment
(measured: 3.4 ms for a batch that costs 1.2 ms). So the halves are apart, and whoever calls decides
where each one runs; never two at a time.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.adapters.store_rows.values import Scalar
from worker.adapters.store_sqlite.files import primary_code
from worker.adapters.store_sqlite.jobs import HalfWrittenError, Settle, Waiting

_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_MARK = (
    "UPDATE answers SET event_confirmed = max(event_confirmed, ? AND resends = ?),"
    " letter_confirmed = max(letter_confirmed, ?) WHERE event_id = ?"
)


@dataclass(slots=True, kw_only=True)
class Batch:
    """What is committed together; ``settled`` tells the callers, once it is durable.

    ``marks`` by event and sending: whether the event, and whether its letter, was confirmed.
    """

    jobs: Sequence[Waiting]
    marks: dict[tuple[bytes, int], tuple[bool, bool]]
    settled: Sequence[Settle] = ()

    @property
    def is_brief(self) -> bool:
        """Whether the event loop may be held for as long as it takes to write."""
        return all(job.is_brief for job in self.jobs)


class Transactions:
    """One connection, one transaction at a time; whatever raises has left none open."""

    def __init__(self, connection: sqlite3.Connection, *, busy_tries: int) -> None:
        self._connection = connection
        self._busy_tries = busy_tries
        (self._busy_milliseconds,) = connection.execute("PRAGMA busy_timeout").fetchone()
        self._wait_for_locks(0)

    @property
    def rows_written(self) -> int:
        """How many so far, in 32 bits; those that were rolled back count as well."""
        return self._connection.total_changes

    def write_at_once(self, batch: Batch) -> bool:
        """Write without waiting for anybody; ``False`` where that was not possible."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            return False
        try:
            self._write(batch, apart=False)
        except HalfWrittenError:
            return False
        return True

    def commit(self) -> None:
        """Make durable what was written."""
        try:
            self._connection.execute("COMMIT")
        finally:
            self._undo()

    def run(self, batch: Batch, *, is_wanted: Callable[[], bool]) -> None:
        """Write and commit; a lock is waited for several times over, while that is wanted."""
        try:
            self._begin(is_wanted)
            self._write(batch, apart=False)
        except HalfWrittenError:
            self._begin(is_wanted)
            self._write(batch, apart=True)
        self.commit()

    def close(self) -> None:
        """Close the connection; the last one folds the log back into the file."""
        self._connection.close()

    def _begin(self, is_wanted: Callable[[], bool]) -> None:
        """Take the write lock: SQLite itself waits for it."""
        self._wait_for_locks(self._busy_milliseconds)
        try:
            for remaining in reversed(range(self._busy_tries)):
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if not is_busy(error) or not remaining or not is_wanted():
                        raise
                else:
                    return
        finally:
            self._wait_for_locks(0)

    def _wait_for_locks(self, milliseconds: int) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _write(self, batch: Batch, *, apart: bool) -> None:
        is_written = False
        try:
            if batch.marks:
                self._connection.executemany(_MARK, _mark_rows(batch))
            batch.settled = [
                job.run(self._connection, apart=apart) for job in batch.jobs if not job.is_withdrawn
            ]
            is_written = True
        finally:
            if not is_written:
                self._undo()

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _mark_rows(batch: Batch) -> list[tuple[Scalar, ...]]:
    return [
        (int(event), resends, int(letter), event_id)
        for (event_id, resends), (event, letter) in batch.marks.items()
    ]


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process held the lock for too long."""
    return primary_code(error) == sqlite3.SQLITE_BUSY


def is_full(error: BaseException | None) -> bool:
    """Whether the disk has no room for what was to be written."""
    return isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL


def is_passing(error: BaseException) -> bool:
    """Whether the next batch may be tried; after anything else nothing is known to be durable."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in _PASSING
