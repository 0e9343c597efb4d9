"""Work that must be finished although its task is cancelled: recording what happened."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def finish(
    work: Awaitable[Result],
    *,
    seconds: float,
    when_cancelled: Callable[[Result], Awaitable[object]] | None = None,
) -> Result:
    """Run work to its end even when this task is cancelled meanwhile; then stay cancelled.

    After a cancellation the work gets that many seconds more, and ``when_cancelled`` (within the
    same seconds) may undo what it achieved: a claim that nobody will use is given back. Work
    that can be undone and has not ended by then is called off; other work is left to itself,
    because what it records is nowhere else. An exception of work that outlives its task is the
    cancelled task's no longer: it is dropped here, because the ledger's state speaks for itself
    on the redelivery.
    """
    task = asyncio.ensure_future(work)  # a future is taken as it is, anything else gets a task
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            ending = asyncio.ensure_future(_end(task, when_cancelled))
            await asyncio.wait({ending}, timeout=seconds)
            if not ending.done() and when_cancelled is not None:
                task.cancel()
            task.add_done_callback(_forget)
        raise


async def attempt(work: Coroutine[Any, Any, object], *, seconds: float) -> None:
    """Give work that many seconds of a cancelled task's time, then leave it to itself."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=seconds)


def _forget(task: "asyncio.Future[Any]") -> None:
    """Look at an error, or the event loop would report it as forgotten."""
    if not task.cancelled():
        task.exception()


async def _end(
    task: asyncio.Future[Result], when_cancelled: Callable[[Result], Awaitable[object]] | None
) -> None:
    """Wait for the work and undo it; nobody is left who could be told of an error."""
    await asyncio.wait({task})
    if task.cancelled() or task.exception() is not None or when_cancelled is None:
        return
    with contextlib.suppress(Exception):
        await when_cancelled(task.result())
