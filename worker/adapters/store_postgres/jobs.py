"""What waits for a commit: one caller's work, and how the caller is told."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, Protocol, TypeVar

from worker.adapters.store_postgres.overlay import Overlay
from worker.adapters.store_postgres.view import PostgresView
from worker.ports import View
from worker.records import Answer, Change, Needs

Result = TypeVar("Result")
Settle = Callable[[], None]


class Waiting(Protocol):
    """A change that somebody waits for, whatever the type of its result."""

    @property
    def needs(self) -> Needs: ...

    @property
    def now(self) -> datetime: ...

    @property
    def is_withdrawn(self) -> bool: ...

    def decide(self, overlay: Overlay) -> tuple[Change[object], Settle]:
        """What to write, and what to tell the caller once it is durable."""

    def reject(self, error: Exception) -> Settle: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeJob(Generic[Result]):
    """One ``transact``; ``apply`` may be run several times, its last result counts."""

    needs: Needs
    apply: Callable[[View], Change[Result]]
    now: datetime
    future: asyncio.Future[Result]

    @property
    def is_withdrawn(self) -> bool:
        """Whether its caller has gone: a claim nobody waits for must not be made any more."""
        return self.future.cancelled()

    def decide(self, overlay: Overlay) -> tuple[Change[object], Settle]:
        change = self.apply(PostgresView(overlay, needs=self.needs, now=self.now))
        return change, partial(_resolve, self.future, change.result)

    def reject(self, error: Exception) -> Settle:
        return partial(_reject, self.future, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeJob:
    """One ``take_unpublished``: written by the database itself, after all changes of its batch."""

    untouched_since: int
    now: int
    limit: int
    future: asyncio.Future[Sequence[Answer]]

    def accept(self, answers: Sequence[Answer]) -> Settle:
        return partial(_resolve, self.future, answers)

    def reject(self, error: Exception) -> Settle:
        return partial(_reject, self.future, error)


Job = Waiting | TakeJob


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
