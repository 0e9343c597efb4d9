"""What waits for a commit: one caller's work, and how the caller is told.

A work's own exception is its caller's affair; what SQLite reports about the file, or a rollback
it made by itself, concerns the whole batch and is raised.
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


class Waiting(Protocol):
    """A job, whatever the type of its result."""

    @property
    def is_withdrawn(self) -> bool: ...

    def run(self, connection: sqlite3.Connection) -> Settle: ...

    def reject(self, error: Exception) -> Settle: ...


@dataclass(frozen=True, slots=True)
class Job(Generic[Result]):
    """One caller's work; running it yields what to tell the caller once it is durable."""

    work: Work[Result]
    future: asyncio.Future[Result]

    @property
    def is_withdrawn(self) -> bool:
        """Whether its caller has gone: a claim nobody waits for must not be made any more."""
        return self.future.cancelled()

    def run(self, connection: sqlite3.Connection) -> Settle:
        try:
            result = self.work(connection)
        except Exception as error:
            concerns_all = isinstance(error, sqlite3.Error) and not isinstance(error, _OWN_FAULTS)
            if concerns_all or not connection.in_transaction:
                raise
            return self.reject(error)
        return partial(_resolve, self.future, result)

    def reject(self, error: Exception) -> Settle:
        return partial(_reject, self.future, error)


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
