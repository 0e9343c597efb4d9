"""What waits for a commit: one caller's work, and how the caller is told.

A work's own exception is its caller's affair; what SQLite reports about the file, or a rollback
it made by itself, concerns the whole batch and is raised.

What a failed work has written must be undone, and nothing else. A savepoint around every work
would cost each payment four statements for something that never happens in a healthy ledger, so
there is none at first: where a work fails that has written, its whole batch is rolled back and
run again, each work within a savepoint of its own.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
Settle = Callable[[], None]

_OWN_FAULTS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
)


class HalfWrittenError(Exception):
    """A work failed that had written something; the batch must be run again, each work apart."""


class Waiting(Protocol):
    """A job, whatever the type of its result."""

    @property
    def is_brief(self) -> bool: ...

    @property
    def is_withdrawn(self) -> bool: ...

    def run(self, connection: sqlite3.Connection, *, apart: bool) -> Settle: ...

    def reject(self, error: Exception) -> Settle: ...


@dataclass(frozen=True, slots=True)
class Job(Generic[Result]):
    """One caller's work; running it yields what to tell the caller once it is durable.

    Brief work may run where the event loop waits for it.
    """

    work: Work[Result]
    future: asyncio.Future[Result]
    is_brief: bool

    @property
    def is_withdrawn(self) -> bool:
        """Whether its caller has gone: a claim nobody waits for must not be made any more."""
        return self.future.cancelled()

    def run(self, connection: sqlite3.Connection, *, apart: bool) -> Settle:
        """Raises what concerns the whole batch, and ``HalfWrittenError`` unless ``apart``."""
        written = connection.total_changes
        try:
            if apart:
                with _savepoint(connection):
                    result = self.work(connection)
            else:
                result = self.work(connection)
        except Exception as error:
            concerns_all = isinstance(error, sqlite3.Error) and not isinstance(error, _OWN_FAULTS)
            if concerns_all or not connection.in_transaction:
                raise
            if not apart and connection.total_changes != written:
                raise HalfWrittenError from error
            return self.reject(error)
        return partial(_resolve, self.future, result)

    def reject(self, error: Exception) -> Settle:
        return partial(_reject, self.future, error)


class _savepoint:  # noqa: N801 (a context manager reads as a verb)
    """Undo what was written inside when it raises, and nothing else of the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT work")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("RELEASE work")
        elif self._connection.in_transaction:  # else SQLite has already rolled everything back
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")


def _resolve(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(result)


def _reject(future: asyncio.Future[Result], error: Exception) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses it, and the rest of the batch waits
        stand_in = RuntimeError("the change raised StopIteration")
        stand_in.__cause__ = error
        error = stand_in
    future.set_exception(error)
