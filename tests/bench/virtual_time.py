"""An event loop whose time passes only by waiting: an hour of it takes as long as its work does.

Nothing in it depends on how busy the machine is, so that two runs can be compared by counts.
It is for code without sockets and threads: whoever waits for those would wait for ever.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from typing_extensions import override

from tests.fakes_clock import START, FakeClock

Result = TypeVar("Result")


class _Selector(selectors.SelectSelector):
    """Waiting moves the loop's time instead of lasting."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += max(0.0, timeout or 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that lives in its own time, which starts at 0."""

    def __init__(self) -> None:
        self._own = _Selector()
        super().__init__(self._own)

    @override
    def time(self) -> float:
        return self._own.passed


class VirtualClock:
    """Implements ``ports.Clock`` in the time of the running loop, without chance."""

    def __init__(self) -> None:
        self._numbers = FakeClock()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is a home of time

    def fraction(self) -> float:
        return self._numbers.fraction()

    def new_id(self) -> UUID:
        return self._numbers.new_id()

    def nonce(self) -> str:
        return self._numbers.nonce()


def run_virtually(scenario: Coroutine[Any, Any, Result]) -> Result:
    """Run a scenario to its end in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
