"""Ending a task that does not take the first no for an answer."""

import asyncio

from worker.adapters.sessions import end_task


async def test_a_task_that_drops_a_cancellation_is_cancelled_again() -> None:
    """As ``asyncio.wait_for`` of Python 3.11 does when its result comes at the same time."""
    never = asyncio.Event()
    dropped = 0

    async def stubborn() -> None:
        nonlocal dropped
        try:
            await never.wait()
        except asyncio.CancelledError:
            dropped += 1
        await never.wait()

    task = asyncio.create_task(stubborn())
    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    await started.wait()
    await end_task(task)
    assert dropped == 1
    assert task.cancelled()


async def test_a_task_that_has_ended_is_left_alone() -> None:
    async def done() -> None:
        return

    task = asyncio.create_task(done())
    await task
    await end_task(task)
    assert not task.cancelled()
