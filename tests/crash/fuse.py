"""A fuse that stops a worker at one boundary: before or after one call of one port."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from typing_extensions import override

from tests.core import Core, World, make_core
from worker.calls import HttpReply, HttpRequest, NoReply
from worker.messages import OutgoingMessage, Publication
from worker.ports import Publisher, Store, Transport, View
from worker.records import (
    Answer,
    Books,
    Change,
    LetterEntry,
    Needs,
    Record,
    Restoration,
    Standing,
)
from worker.rules import RouteBook

Result = TypeVar("Result")


class KilledError(BaseException):
    """The process is gone: no handler of the product may see this as an error of its own."""


class Turn:
    """Awaiting it gives the event loop exactly one turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(slots=True)
class Fuse:
    """Counts boundaries and acts at the ``at``-th (1 is the first); 0 never acts.

    ``passed`` names every boundary in order. Killed, every later boundary kills too, so nothing
    of that process reaches the world again.
    """

    at: int = 0
    passed: list[str] = field(default_factory=list)
    is_blown: bool = False

    async def boundary(self, name: str) -> None:
        self.step(name)

    def step(self, name: str) -> None:
        """A boundary of a call that does not wait."""
        if self.is_blown:
            raise KilledError(name)
        self.passed.append(name)
        if len(self.passed) == self.at:
            self.is_blown = True
            raise KilledError(name)


@dataclass(slots=True)
class CancellingFuse(Fuse):
    """Cancels the worker's task at the boundary, as a stop does, and lets it clean up."""

    victim: "asyncio.Task[object] | None" = None

    @override
    async def boundary(self, name: str) -> None:
        self.step(name)
        if self.is_blown:
            await Turn()

    @override
    def step(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.at and self.victim is not None:
            self.is_blown = True
            self.victim.cancel()


@dataclass(slots=True)
class PausingFuse(Fuse):
    """Freezes the worker at the boundary until ``go_on`` is set, as a stopped machine does."""

    paused: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    async def boundary(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.at:
            self.is_blown = True
            self.paused.set()
            await self.go_on.wait()

    @override
    def step(self, name: str) -> None:
        self.passed.append(name)


class FusedStore:
    """A store with a boundary before and after every call."""

    def __init__(self, inner: Store, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        return await self._through("transact", lambda: self._inner.transact(needs, apply))

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._fuse.step("before mark")
        self._inner.mark_confirmed(event_id, event=event, letter=letter, resends=resends)
        self._fuse.step("after mark")

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        return await self._through("find", lambda: self._inner.find(operation_id))

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        return await self._through(
            "take_unpublished",
            lambda: self._inner.take_unpublished(
                untouched_since=untouched_since, now=now, limit=limit
            ),
        )

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._through(
            "expired_claims",
            lambda: self._inner.expired_claims(expired_before=expired_before, limit=limit),
        )

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._inner.overdue_waits(due_before=due_before, limit=limit)

    async def letters(
        self, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[LetterEntry]:
        return await self._inner.letters(after=after, limit=limit)

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        return await self._inner.open_operations(
            untouched_since=untouched_since, after=after, limit=limit
        )

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        return await self._inner.unpublished(
            decided_before=decided_before, after=after, limit=limit
        )

    async def operation_of(self, event_id: UUID) -> UUID | None:
        return await self._through("operation_of", lambda: self._inner.operation_of(event_id))

    async def books(self, *, since: datetime, until: datetime) -> Books:
        return await self._inner.books(since=since, until=until)

    async def restoration(self) -> Restoration | None:
        return await self._inner.restoration()

    async def standing(self) -> Standing:
        return await self._inner.standing()

    async def has_room(self) -> bool:
        return await self._through("has_room", self._inner.has_room)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()

    async def _through(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        await self._fuse.boundary(f"before {name}")
        result = await call()
        await self._fuse.boundary(f"after {name}")
        return result


class FusedPublisher:
    """A publisher with a boundary before and after every publish."""

    def __init__(self, inner: Publisher, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def publish(self, message: OutgoingMessage) -> Publication:
        await self._fuse.boundary(f"before publish to {message.exchange}")
        published = await self._inner.publish(message)
        await self._fuse.boundary(f"after publish to {message.exchange}")
        return published


class FusedTransport:
    """A transport with a boundary before and after every call."""

    def __init__(self, inner: Transport, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def send(
        self, request: HttpRequest, *, fresh_connection: bool, seconds: float
    ) -> HttpReply | NoReply:
        await self._fuse.boundary("before send")
        answer = await self._inner.send(request, fresh_connection=fresh_connection, seconds=seconds)
        await self._fuse.boundary("after send")
        return answer


def fused_worker(world: World, fuse: Fuse, book: RouteBook | None = None) -> Core:
    """A worker whose every way into the world goes through one fuse."""
    return make_core(
        store=FusedStore(world.store, fuse),
        publisher=FusedPublisher(world.broker, fuse),
        transport=FusedTransport(world.providers, fuse),
        clock=world.clock,
        book=book or world.book,
        rules=world.rules,
    )
