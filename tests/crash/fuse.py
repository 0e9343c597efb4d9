"""A fuse that stops a worker at one boundary: before or after one durable step of its work.

A boundary stands before and after every call of every port: each ledger transaction by its name
(claim, settle, ...), the provider's call, each publish and its confirm, the marks, the
acknowledgement, and what an operator's tool does with a letter. A store under the fuse may add
boundaries of its own around its commits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from typing_extensions import override

from worker.calls import Departure, HttpReply, HttpRequest, NoReply
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Delivery
from worker.operator_ports import LetterInHand, LetterQueue
from worker.ports import Publisher, StoreUnavailableError, Transport

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

    Or it acts at the first one called ``name``.
    ``passed`` names every boundary in order. Killed, every later boundary kills too, so nothing
    of that process reaches the world again. ``enters_commits`` says whether this kind may act
    inside a commit, where nothing can be frozen or cancelled; ``doing`` is the transaction whose
    commit comes next.
    """

    kills: ClassVar[bool] = True
    enters_commits: ClassVar[bool] = True

    at: int = 0
    passed: list[str] = field(default_factory=list)
    is_blown: bool = False
    doing: str = "marks"
    name: str | None = None

    def is_reached_by(self, name: str) -> bool:
        """Note a boundary, and tell whether it is the one to act at."""
        self.passed.append(name)
        return not self.is_blown and (len(self.passed) == self.at or name == self.name)

    async def boundary(self, name: str) -> None:
        self.step(name)

    @property
    def is_dead(self) -> bool:
        """Whether the process is gone."""
        return self.is_blown and self.kills

    def check(self) -> None:
        """A killed process goes on with nothing."""
        if self.is_dead:
            raise KilledError

    def step(self, name: str) -> None:
        """A boundary of a call that does not wait."""
        self.check()
        if self.is_reached_by(name):
            self.is_blown = True
            raise KilledError(name)

    async def through(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """A call of the ledger between its two boundaries."""
        await self.boundary(f"before {name}")
        self.doing = name
        try:
            result = await call()
        except StoreUnavailableError:
            self.check()  # killed inside its commit: there is nobody left to hear of it
            raise
        self.doing = "marks"
        await self.boundary(f"after {name}")
        return result


@dataclass(slots=True)
class CancellingFuse(Fuse):
    """Cancels the worker's task at the boundary, as a stop does, and lets it clean up."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    victim: "asyncio.Task[object] | None" = None

    @override
    async def boundary(self, name: str) -> None:
        self.step(name)
        if self.is_blown:
            await Turn()

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and self.victim is not None:
            self.is_blown = True
            self.victim.cancel()


@dataclass(slots=True)
class PausingFuse(Fuse):
    """Freezes the worker at the boundary until ``go_on`` is set, as a stopped machine does."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    paused: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    async def boundary(self, name: str) -> None:
        if self.is_reached_by(name):
            self.is_blown = True
            self.paused.set()
            await self.go_on.wait()

    @override
    def step(self, name: str) -> None:
        self.passed.append(name)


@dataclass(slots=True)
class LosingFuse(Fuse):
    """Loses the ledger at the boundary, once: the worker lives and does not learn what was done."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and name in _OF_THE_LEDGER:
            self.is_blown = True
            raise StoreUnavailableError(name)


@dataclass(slots=True)
class CuttingFuse(Fuse):
    """Cuts the line to the database around one commit, once: the worker lives on."""

    kills: ClassVar[bool] = False

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and "the commit of" in name:
            self.is_blown = True
            raise KilledError(name)


_OF_THE_LEDGER = frozenset(
    f"{side} {name}"
    for side in ("before", "after")
    for name in (
        "abandon",
        "claim",
        "claim_cancellation",
        "expire",
        "expired_claims",
        "find",
        "has_room",
        "lock",
        "mark",
        "overdue_waits",
        "refuse",
        "release",
        "reopen",
        "settle",
        "take_unpublished",
        "unlock",
    )
)


class FusedPublisher:
    """A publisher with a boundary before every publish, and before and after its confirm."""

    def __init__(self, inner: Publisher, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def publish(self, message: OutgoingMessage) -> Publication:
        name = _PUBLISHED[message.exchange, message.routing_key == "unclaimed"]
        await self._fuse.boundary(f"before publish of {name}")
        published = await self._inner.publish(message)
        await self._fuse.boundary(f"before confirm of {name}")
        await self._fuse.boundary(f"after confirm of {name}")
        return published


_PUBLISHED = {
    (Exchange.RESULTS, False): "the event",
    (Exchange.DEAD_LETTER, False): "the dead letter",
    (Exchange.DEAD_LETTER, True): "the unclaimed event",
    (Exchange.RETRY, False): "the ladder copy",
    (Exchange.REPLAY, False): "the replay",
}


class FusedTransport:
    """A transport with a boundary before and after every call."""

    def __init__(self, inner: Transport, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        await self._fuse.boundary("before call")
        answer = await self._inner.send(
            request, fresh_connection=fresh_connection, seconds=seconds, departure=departure
        )
        await self._fuse.boundary("after call")
        return answer


class FusedLetterQueue:
    """A dead-letter queue with a boundary before and after everything done to a letter."""

    def __init__(self, inner: LetterQueue, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def depth(self) -> int:
        return await self._inner.depth()

    async def take(self) -> LetterInHand | None:
        await self._fuse.boundary("before take of a letter")
        letter = await self._inner.take()
        await self._fuse.boundary("after take of a letter")
        return None if letter is None else FusedLetter(letter, self._fuse)


class FusedLetter:
    """A letter in hand whose settling has a boundary before and after."""

    def __init__(self, inner: LetterInHand, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def delivery(self) -> Delivery:
        return self._inner.delivery

    async def acknowledge(self) -> None:
        await self._fuse.boundary("before acknowledgement of a letter")
        await self._inner.acknowledge()
        await self._fuse.boundary("after acknowledgement of a letter")

    async def give_back(self) -> None:
        await self._fuse.boundary("before return of a letter")
        await self._inner.give_back()
        await self._fuse.boundary("after return of a letter")
