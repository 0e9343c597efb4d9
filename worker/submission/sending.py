"""Publishes checked requests: several at a time, each confirmed, none twice under two ids.

An unknown outcome may be a message that arrived; it is repeated under the same id, which pays
nothing twice. Repeats go one by one while nothing else is under way: a broker that refuses one
message closes the channel, and every other message in flight then looks unknown as well
(publisher rule P4). The first message goes alone, and the next after a refusal: what is refused
to one is often refused to all.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import assert_never

from worker.messages import OutgoingMessage, Publication
from worker.model import Fault
from worker.ports import Clock, Publisher
from worker.submission.checking import Ready

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0

QUEUE_FULL = Fault("broker", "queue_full", "The broker does not take it now: the queue is full.")


@unique
class Fate(StrEnum):
    """What became of one request, in the words of the report."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    RETURNED = "returned"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and its fate; a fault says why the broker did not take it."""

    request: Ready
    fate: Fate
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is under way at once, and when to give up.

    ``patience`` is how long an undecided message is repeated, in seconds since the broker last
    decided one. After ``refusals`` in a row nothing more is sent: the rest would fare alike.
    """

    in_flight: int = 50
    patience: float = 60.0
    refusals: int = 10


PublishAlone = Callable[[OutgoingMessage], Awaitable[Publication | Fault]]
"""Publishes one message on a channel of its own, where the broker's refusal can be told."""


class Sender:
    """Sends one batch; every request is reported exactly once, in the order fates are known."""

    def __init__(
        self,
        publisher: Publisher,
        publish_alone: PublishAlone,
        *,
        clock: Clock,
        report: Callable[[Sent], None],
        limits: Limits | None = None,
    ) -> None:
        self._publisher = publisher
        self._publish_alone = publish_alone
        self._clock = clock
        self._report = report
        self._limits = limits or Limits()
        self._stopping = asyncio.Event()
        self._refusals = 0
        self._is_welcome = False
        self._decided_at = clock.monotonic()

    def stop(self) -> None:
        """Send nothing more; what is under way is still waited for."""
        self._stopping.set()

    async def send(self, requests: Iterable[Ready]) -> None:
        """Send all, or as many as the broker takes; the rest is reported as not sent.

        No two requests may share a ``message_id``: returns are told apart by it (P6).
        """
        waiting = deque(requests)
        self._decided_at = self._clock.monotonic()
        while waiting and not self._stopping.is_set():
            batch = waiting if self._is_welcome else deque([waiting.popleft()])
            for request, publication in await self._pipeline(batch):
                await self._insist(request, publication)
            if batch is not waiting:
                waiting.extendleft(batch)  # stopped before it began
        for request in waiting:
            self._report(Sent(request, Fate.NOT_SENT))

    async def _pipeline(self, waiting: deque[Ready]) -> list[tuple[Ready, Publication]]:
        """Publish until all are sent or one is undecided; return those undecided."""
        undecided: list[tuple[Ready, Publication]] = []

        async def publish_some() -> None:
            while waiting and not undecided and not self._stopping.is_set():
                request = waiting.popleft()
                publication = await self._publisher.publish(request.message)
                if not self._is_settled(request, publication):
                    undecided.append((request, publication))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._limits.in_flight, len(waiting))):
                group.create_task(publish_some())
        return undecided

    async def _insist(self, request: Ready, publication: Publication) -> None:
        """Repeat one request under its id until its fate is known or patience ends."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            answer = await self._publish_alone(request.message)
            if isinstance(answer, Fault):
                self._settle(request, Fate.REFUSED, answer)
                return
            if self._is_settled(request, answer):
                return
            publication = answer
            if self._clock.monotonic() - self._decided_at >= self._limits.patience:
                self.stop()
                break
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if publication is Publication.REFUSED:
            self._settle(request, Fate.REFUSED, QUEUE_FULL)
        else:
            self._settle(request, Fate.UNKNOWN)

    def _is_settled(self, request: Ready, publication: Publication) -> bool:
        match publication:
            case Publication.CONFIRMED:
                self._settle(request, Fate.ACCEPTED)
                return True
            case Publication.UNROUTABLE:
                self._settle(request, Fate.RETURNED)
                return True
            case Publication.REFUSED | Publication.UNKNOWN:
                return False
            case other:
                assert_never(other)

    def _settle(self, request: Ready, fate: Fate, fault: Fault | None = None) -> None:
        if fate is not Fate.UNKNOWN and fault is not QUEUE_FULL:
            self._decided_at = self._clock.monotonic()
        self._is_welcome = fate is Fate.ACCEPTED
        self._refusals = 0 if self._is_welcome else self._refusals + 1
        if self._refusals >= self._limits.refusals:
            self.stop()
        self._report(Sent(request, fate, fault))
