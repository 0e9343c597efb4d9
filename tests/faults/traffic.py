"""Payments that go on while something is broken, and the verdict on them afterwards."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.acceptance.installation import SUBSCRIBER
from tests.faults.soak_client import TROUBLES, Desk, Place, Producer, Sending, Subscriber
from tests.faults.soak_judge import Books, Evidence, Heard, Letter, Verdict, judge
from tests.faults.soak_load import Load, Request
from tests.faults.soak_site import LADDER
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

RESULTS = f"results.{SUBSCRIBER}"

_LOOK_SECONDS = 0.2
_EMPTY_SECONDS = 60.0

_clock = SystemClock()


class Traffic:
    """Producers at one steady rate and a subscriber, beside providers that fail nobody.

    There is one producer for each place, and they take turns: where one of them is cut off, the
    others go on.
    """

    def __init__(
        self, places: Sequence[Place], simulator: Simulator, *, seed: int, rate: float
    ) -> None:
        self.desk = Desk(places[0])
        self._simulator = simulator
        self._load = Load(seed, 0.0)
        self._rate = rate
        self._producers = [Producer(place) for place in places]
        self._subscriber = Subscriber(places[0], RESULTS, _ignore)
        self._letters: list[Letter] = []
        self._left: set[str] = set()
        self._tasks = asyncio.TaskGroup()
        self._sends: set[asyncio.Task[None]] = set()
        self._flow: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Clients that stay connected until the end."""
        async with self._tasks as tasks:
            keepers = [tasks.create_task(self._subscriber.keep())]
            keepers += [tasks.create_task(each.keep()) for each in self._producers]
            try:
                yield
            finally:
                self._stop_flow()
                for each in (*keepers, *self._sends):
                    each.cancel()

    def flow(self) -> None:
        """Send payments from now on, until ``drain``."""
        self._flow = self._tasks.create_task(self._send_on())

    @property
    def waiting(self) -> list[Request]:
        """Confirmed requests that were not answered yet."""
        return [
            sending.request
            for key, sending in self._sendings.items()
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
                sending = self._sendings.get(event.request_id or "")
                if sending is not None and sending.sent_at > moment:
                    return event.at
            await _clock.sleep(_LOOK_SECONDS / 4)

    def send_again(self) -> None:
        """Send what was not answered once more under its key, as a producer in doubt does."""
        for request in self.waiting:
            self._send(request)

    async def drain(self, seconds: float) -> None:
        """Send nothing new, and wait until all is answered and no request is under way.

        Raises ``TimeoutError`` after so many seconds.
        """
        self._stop_flow()
        async with asyncio.timeout(seconds):
            while self._sends or self.waiting or not await self._is_quiet():
                await _clock.sleep(_LOOK_SECONDS)

    async def empty(self) -> None:
        """Hear what is still in the result queue, once nobody publishes any more."""
        async with asyncio.timeout(_EMPTY_SECONDS):
            while (await self.desk.depths(RESULTS))[RESULTS]:
                await _clock.sleep(_LOOK_SECONDS)

    async def verdict(self) -> Verdict:
        """Judge everything since the beginning; takes what is left off the queues."""
        book = self._simulator.book
        self._letters += await self.desk.letters()
        self._left |= await self.desk.left("work", *LADDER, "unclaimed", "unrouted", "parking")
        return judge(
            Evidence(
                asked=[each.asked for each in self._sendings.values()],
                heard=self._subscriber.heard,
                letters=self._letters,
                left=frozenset(self._left),
                books=Books(
                    links=book.links, item_urls=book.item_urls, removals=book.applied.removals
                ),
            )
        )

    @property
    def _sendings(self) -> dict[str, Sending]:
        return {key: sending for each in self._producers for key, sending in each.sendings.items()}

    async def _send_on(self) -> None:
        while True:
            self._send(next(self._load.batch()))  # its twin would be a duplicate of our own making
            await _clock.sleep(self._load.pause(self._rate))

    def _send(self, request: Request) -> None:
        producer = next(
            (each for each in self._producers if request.key in each.sendings),
            self._producers[len(self._sendings) % len(self._producers)],
        )
        self._start(producer.send(request))

    def _start(self, sending: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(sending)
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    def _stop_flow(self) -> None:
        if self._flow is not None:
            self._flow.cancel()
            self._flow = None

    async def _is_quiet(self) -> bool:
        try:
            return not any((await self.desk.depths("work", *LADDER)).values())
        except TROUBLES:
            return False


def _ignore(_event: Heard) -> None:
    return
