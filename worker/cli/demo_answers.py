"""What the demonstration has been answered so far, as its subscriber sees it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from worker.cli.demo_cases import Case
from worker.cli.exit_codes import CommandError, ExitCode
from worker.model import Delivery
from worker.ports import Clock
from worker.records import Status

COLUMNS = ("request", "provider", "answer", "link_or_code", "attempts", "seconds")
LINK_WIDTH = 29
_DECISION_SECONDS = 75.0


class Answers:
    """Events by the payment they are about, and how long each took, in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.cases: dict[UUID, Case] = {}
        self.events: dict[UUID, list[Mapping[str, object]]] = {}
        self._started: dict[UUID, float] = {}
        self._seconds: dict[UUID, float] = {}
        self._news = asyncio.Event()
        self._is_over = False

    @property
    def answered(self) -> int:
        """Payments with at least one answer."""
        return len(self.events.keys() & self.cases.keys())

    @property
    def count(self) -> int:
        """Events in all."""
        return sum(len(each) for each in self.events.values())

    def expect(self, payment_id: UUID, case: Case) -> None:
        """A payment of this case is going to be asked for."""
        self.cases[payment_id] = case

    def start(self, payment_id: UUID) -> None:
        """Time runs for this payment from now."""
        self._started[payment_id] = self._clock.monotonic()

    def stop_waiting(self) -> None:
        """Nothing more will come: whoever waits is told so at once."""
        self._is_over = True
        self._news.set()

    @asynccontextmanager
    async def following(self, deliveries: AsyncIterator[Delivery]) -> AsyncIterator[None]:
        """Note the events of a result queue until the end of this context."""
        task = asyncio.create_task(self._follow(deliveries))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, deliveries: AsyncIterator[Delivery]) -> None:
        async for delivery in deliveries:
            event = json.loads(delivery.body)
            payment_id = UUID(event["payment_id"])
            now = self._clock.monotonic()
            self.events.setdefault(payment_id, []).append(event)
            self._seconds[payment_id] = now - self._started.get(payment_id, now)
            self._news.set()

    async def until(self, payment_id: UUID, count: int) -> None:
        """Wait until a payment has that many answers; raises ``CommandError`` when none comes."""
        await self.until_all(lambda: len(self.events.get(payment_id, [])) >= count)

    async def until_all(self, are_here: Callable[[], bool]) -> None:
        """Wait for news until it is so; raises ``CommandError`` when it takes too long."""
        try:
            async with asyncio.timeout(_DECISION_SECONDS):
                while not are_here() and not self._is_over:
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            self._is_over = True
        if not are_here():
            missing = [case.shows for each, case in self.cases.items() if each not in self.events]
            raise CommandError(
                "unanswered",
                f"No answer: {', '.join(missing) or 'a second one'}.",
                exit_code=ExitCode.FAILED,
            )

    def row(self, payment_id: UUID, width: int | None) -> dict[str, object]:
        """One line of the table; ``width`` shortens a link for people."""
        event, case = self.events[payment_id][-1], self.cases[payment_id]
        # A simulated link opens nothing, so it may be shown.
        shown = str(event["link"] or event["code"] or "-")
        return {
            "request": case.shows,
            "provider": event["provider"] or "-",
            "answer": _status_of(event),
            "link_or_code": shown if width is None or len(shown) <= width else f"{shown[:width]}…",
            "attempts": event["attempts"],
            "seconds": f"{self._seconds[payment_id]:.1f}",
        }

    def unexpected(self) -> list[str]:
        """Cases whose first answer, or whose replay, did not come out as it must."""
        wrong = [
            case.shows
            for payment_id, case in self.cases.items()
            if _status_of(self.events[payment_id][0]) is not case.expected
        ]
        return wrong + [
            f"the replay of {case.shows}"
            for payment_id, case in self.cases.items()
            if case.is_replayed and _status_of(self.events[payment_id][-1]) is not Status.SUCCEEDED
        ]


def _status_of(event: Mapping[str, object]) -> Status:
    """The answer in one word, as the routing key says it."""
    return next(each for each in Status if each.event_type == event["event_type"])
