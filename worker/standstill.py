"""Whether every provider account is down: then nothing is consumed until a probe is due.

With all breakers open each message could only go to the ladder, and with it, one after another,
the whole backlog (rabbitmq section 7.1). With one account configured that is the ordinary case
of a breaker that opens.
"""

from collections.abc import Callable

from worker.permits import AccountPermits
from worker.ports import Clock

LOOK_SECONDS = 1.0
"""Between two looks at the breakers."""

SHORT_SECONDS = 5.0
"""Shorter waits are no reason to stop consuming: deliveries wait them out with the worker, as far
as their patience goes."""


class Standstill:
    """Pauses consumption while no account may be asked.

    ``on_down`` is told once, when the last account goes down, and ``on_back`` once, when one
    answers again; ``pause`` and ``resume`` follow each wait for a probe between the two.
    """

    def __init__(
        self,
        permits: AccountPermits,
        *,
        clock: Clock,
        pause: Callable[[], None],
        resume: Callable[[], None],
        on_down: Callable[[], None],
        on_back: Callable[[], None],
        patience: float = SHORT_SECONDS,
    ) -> None:
        self._short = min(SHORT_SECONDS, patience)
        self._permits = permits
        self._clock = clock
        self._pause = pause
        self._resume = resume
        self._on_down = on_down
        self._on_back = on_back
        self._is_down = False

    @property
    def trouble(self) -> str | None:
        """Why no account is asked; ``None`` while one may be."""
        return "every provider account is down" if self._is_down else None

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Pause or resume as the breakers stand now; what operators paused is no outage."""
        seconds = None if self._permits.are_all_paused else self._permits.standstill()
        if seconds is not None and seconds > self._short:
            self._pause()
            if not self._is_down:
                self._is_down = True
                self._on_down()
            return
        self._resume()
        if self._is_down and self._permits.is_any_closed:
            self._is_down = False
            self._on_back()
