"""Payments that go on while something is broken, and the verdict on them afterwards."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tests.acceptance.installation import SUBSCRIBER
from tests.faults.soak_client import TROUBLES, Desk, Place, Producer, Subscriber
from tests.faults.soak_judge import Books, Evidence, Heard, Verdict, judge
from tests.faults.soak_load import Load, Request
from tests.faults.soak_site import LADDER
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

RESULTS = f"results.{SUBSCRIBER}"

_LOOK_SECONDS = 0.2

_clock = SystemClock()


class Traffic:
    """A producer at a steady rate and a subscriber, beside providers that fail nobody."""

    def __init__(self, place: Place, simulator: Simulator, *, seed: int, rate: float) -> None:
        self._simulator = simulator
        self._load = Load(seed, 0.0)
        self._rate = rate
        self._producer = Producer(place)
        self._subscriber = Subscriber(place, RESULTS, _ignore)
        self.desk = Desk(place)
        self._tasks = asyncio.TaskGroup()
        self._sends: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Clients that stay connected until the end; payments flow until ``drain``."""
        async with self._tasks as tasks:
            keepers = [
                tasks.create_task(each) for each in (self._producer.keep(), self._subscriber.keep())
            ]
            self._flow = tasks.create_task(self._send_on())
            try:
                yield
            finally:
                for each in (*keepers, self._flow, *self._sends):
                    each.cancel()

    @property
    def heard(self) -> list[Heard]:
        """Every event so far."""
        return self._subscriber.heard

    @property
    def waiting(self) -> list[Request]:
        """Confirmed requests that were not answered yet."""
        return [
            sending.request
            for key, sending in self._producer.sendings.items()
            if sending.confirmed_at is not None and key not in self._subscriber.answered
        ]

    async def goes_on(self, count: int) -> None:
        """Wait for so many more answered requests."""
        wanted = len(self._subscriber.answered) + count
        while len(self._subscriber.answered) < wanted:
            await _clock.sleep(_LOOK_SECONDS)

    async def first_answer_since(self, moment: float) -> float:
        """Wait until a request that was sent after a monotonic moment is answered, and say when."""
        while True:
            for event in self._subscriber.heard:
                sending = self._producer.sendings.get(event.request_id or "")
                if sending is not None and sending.sent_at > moment:
                    return event.at
            await _clock.sleep(_LOOK_SECONDS / 4)

    def send_again(self) -> None:
        """Send what was not answered once more under its key, as a producer in doubt does."""
        for request in self.waiting:
            self._start(self._producer.send(request))

    async def drain(self, seconds: float) -> None:
        """Send nothing new, and wait until all is answered and no request is under way.

        Raises ``TimeoutError`` after so many seconds.
        """
        self._flow.cancel()
        async with asyncio.timeout(seconds):
            while self._sends or self.waiting or not await self._is_quiet():
                await _clock.sleep(_LOOK_SECONDS)

    async def empty(self) -> None:
        """Hear what is still in the result queue, once nobody publishes any more."""
        async with asyncio.timeout(60):
            while (await self.desk.depths(RESULTS))[RESULTS]:
                await _clock.sleep(_LOOK_SECONDS)

    async def verdict(self) -> Verdict:
        """Judge everything since the beginning; takes what is left off the queues."""
        book = self._simulator.book
        return judge(
            Evidence(
                asked=[each.asked for each in self._producer.sendings.values()],
                heard=self._subscriber.heard,
                letters=await self.desk.letters(),
                left=await self.desk.left("work", *LADDER, "unclaimed", "unrouted", "parking"),
                books=Books(
                    links=book.links, item_urls=book.item_urls, removals=book.applied.removals
                ),
            )
        )

    async def _send_on(self) -> None:
        while True:
            request = next(self._load.batch())  # its twin would be a duplicate of our own making
            self._start(self._producer.send(request))
            await _clock.sleep(self._load.pause(self._rate))

    def _start(self, sending: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(sending)
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _is_quiet(self) -> bool:
        try:
            return not any((await self.desk.depths("work", *LADDER)).values())
        except TROUBLES:
            return False


def _ignore(_event: Heard) -> None:
    return
