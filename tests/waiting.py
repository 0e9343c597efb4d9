"""Waiting for something observable instead of for time."""

import asyncio
from collections.abc import Awaitable, Callable

from worker.adapters.clock import SystemClock

_clock = SystemClock()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Poll until the condition holds; a ``TimeoutError`` after that many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await _clock.sleep(0.02)


async def until_true(condition: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
    """Ask until the answer is yes; a ``TimeoutError`` after that many seconds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await _clock.sleep(0.1)
