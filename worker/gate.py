"""One account's way in: its places, its rate and its breaker, and who waits for a place.

It has at most ``concurrent_calls`` calls under way, and no more deliveries wait for one of them
than it has answered in the last seconds, ``waiting_calls`` at least: see ``permits`` for why.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, unique

from worker.breaker import Breaker, BreakerChange, BreakerState, Ticket
from worker.calls import Outcome
from worker.model import Limits
from worker.ports import Clock

TURNOVER_SECONDS = 5.0
"""As many may wait as were answered in this time: about as long as the last of them waits."""

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiting delivery looks about: calls that hang tell nobody that they hang."""

_NO_BOUND = 2**31


@unique
class Obstacle(StrEnum):
    """What stood between a delivery and its call."""

    BREAKER = "breaker"
    BULKHEAD = "bulkhead"
    RATE = "rate"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Hindrance:
    """A delivery was refused, or had to wait, for this reason."""

    account: str
    obstacle: Obstacle
    is_refused: bool


OnHindrance = Callable[[Hindrance], None]


class Gate:
    """One account's limits and breaker. Synchronous, apart from waiting for a place.

    ``paused`` is how many seconds whoever asks is to wait while an operator has paused the account.
    """

    def __init__(
        self,
        account: str,
        limits: Limits,
        clock: Clock,
        notify: Callable[[BreakerChange], None],
        hindered: OnHindrance,
    ) -> None:
        self._account = account
        self._limits = limits
        self._clock = clock
        self._hindered = hindered
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_start = 0.0
        self.asked_at: float | None = None
        self.paused: float | None = None
        self.breaker = Breaker(account, clock, notify, most_calls=limits.concurrent_calls)

    @property
    def waiting(self) -> int:
        """Deliveries that wait for a place now."""
        return len(self._waiting)

    @property
    def turnover(self) -> int:
        """Deliveries that may wait for a place: about as many as it will soon have been asked.

        Without a bound for as long as nobody can know: its first calls are still young.
        """
        answered = self.breaker.answered_within(TURNOVER_SECONDS)
        return _NO_BOUND if answered is None else max(self._limits.waiting_calls, answered)

    def refusal(self) -> float | None:
        """Seconds until a call may be tried; ``None`` when it may be now."""
        return self.breaker.refusal() if self.paused is None else self.paused

    async def enter(self, within: float, *, patience: float, is_alone: bool) -> "Pass | float":
        """Take a place, or tell how many seconds to wait before asking.

        A delivery waits for as long as ``patience`` while the turnover promises it a place; of
        an account that is alone any number waits.
        """
        refused = self.refusal()
        if refused is not None:
            return self._refuse(self._closed_by, refused)
        if not self._take_place():
            if not is_alone and self.waiting >= self.turnover:
                return self._refuse(Obstacle.BULKHEAD, within)
            self._hindered(Hindrance(self._account, Obstacle.BULKHEAD, is_refused=False))
            if not await self._wait_for_place(max(within, patience), is_alone=is_alone):
                return self._refuse(Obstacle.BULKHEAD, self.refusal() or within)
        try:
            refused = await self._start(within)
        except BaseException:
            # Whoever is cancelled here has no pass to hand back: the place would be lost.
            self._free_place()
            raise
        if refused is not None:
            self._free_place()
            return refused
        return Pass(self, self.breaker.admit())

    async def enter_spare(self, within: float) -> bool:
        """Take a place that no payment wants, for a read; false at once where there is none.

        Never the last free place, unless there is only one, never through an open breaker or a
        pause, and never as a probe: what a read meets says nothing about payments.
        """
        if not self._is_sound() or self._waiting:
            return False
        if self._taken >= max(1, self._limits.concurrent_calls - 1):
            return False
        delay = self._delay()
        if delay > within:
            return False
        self._taken += 1
        self._take_turn()
        try:
            if delay > 0:
                await self._clock.sleep(delay)
        except BaseException:
            self._free_place()
            raise
        if not self._is_sound():
            self._free_place()
            return False
        return True

    def _is_sound(self) -> bool:
        return self.refusal() is None and self.breaker.state is BreakerState.CLOSED

    def leave_spare(self) -> None:
        """Free the place of a read."""
        self._free_place()

    def leave(self, ticket: Ticket) -> None:
        """Free the place; a probe that reported nothing leaves the breaker as it was."""
        self._free_place()
        self.breaker.dismiss(ticket)

    @property
    def _closed_by(self) -> Obstacle:
        return Obstacle.BREAKER if self.paused is None else Obstacle.PAUSE

    def _refuse(self, obstacle: Obstacle, seconds: float) -> float:
        self._hindered(Hindrance(self._account, obstacle, is_refused=True))
        return seconds

    def _take_place(self) -> bool:
        if self._waiting or self._taken >= self._limits.concurrent_calls:
            return False
        self._taken += 1
        return True

    async def _wait_for_place(self, seconds: float, *, is_alone: bool) -> bool:
        """Queue for a place; false when none came in time, or none can be hoped for any more."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                while not place.done() and (is_alone or self._is_hopeful(place)):
                    if self.refusal() is not None:
                        break
                    await asyncio.wait({place}, timeout=LOOK_AGAIN_SECONDS)
        except TimeoutError:
            pass
        except BaseException:
            if place.done():
                self._free_place()
            raise
        finally:
            if not place.done():
                self._waiting.remove(place)
        return place.done()

    def _is_hopeful(self, place: asyncio.Future[None]) -> bool:
        """Whether a waiting delivery still stands far enough in front for the turnover."""
        turnover = self.turnover
        return self.waiting <= turnover or self._waiting.index(place) < turnover

    def _free_place(self) -> None:
        """Hand the place to whoever waits longest, or keep it free."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._taken -= 1

    async def _start(self, within: float) -> float | None:
        """Wait for our turn under the rate limit; seconds to wait before asking if it is no use."""
        refused = self.refusal()
        if refused is not None:
            return self._refuse(self._closed_by, refused)
        delay = self._delay()
        if delay > within:
            return self._refuse(Obstacle.RATE, delay)
        self._take_turn()
        if delay > 0:
            self._hindered(Hindrance(self._account, Obstacle.RATE, is_refused=False))
            await self._clock.sleep(delay)
        refused = self.refusal()
        return None if refused is None else self._refuse(self._closed_by, refused)

    def _delay(self) -> float:
        """Seconds until another call may start under the rate limit."""
        return max(0.0, self._next_start - self._clock.monotonic())

    def _take_turn(self) -> None:
        if self._limits.calls_per_second:
            start = max(self._next_start, self._clock.monotonic())
            self._next_start = start + 1.0 / self._limits.calls_per_second


class Pass:
    """Leave for one delivery's calls; a ``ports.Permit``."""

    def __init__(self, gate: Gate, ticket: Ticket) -> None:
        self._gate = gate
        self.ticket = ticket

    @property
    def is_probe(self) -> bool:
        return self.ticket.is_probe

    @property
    def may_go_on(self) -> bool:
        """Whether breaker and operators let it: another try makes sense."""
        return self._gate.breaker.state is BreakerState.CLOSED and self._gate.paused is None

    @property
    def pause(self) -> float:
        """Seconds until the account may be asked again; 0 while it is open to calls."""
        return self._gate.refusal() or 0.0

    def begin(self) -> None:
        self._gate.breaker.begin(self.ticket)

    def report(self, outcome: Outcome) -> None:
        self._gate.breaker.report(outcome, self.ticket)
