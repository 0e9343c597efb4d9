"""Work that must be finished although its task is cancelled: recording what happened."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def finish(
    work: Coroutine[Any, Any, Result],
    *,
    seconds: float,
    when_cancelled: Callable[[Result], Awaitable[object]] | None = None,
) -> Result:
    """Run work to its end even when this task is cancelled meanwhile; then stay cancelled.

    After a cancellation the work gets that many seconds more, and ``when_cancelled`` (within the
    same limit) may undo what it achieved: a claim that nobody will use is given back. An
    exception of work that outlives its task is the cancelled task's no longer: it is dropped
    here, because the ledger's state speaks for itself on the redelivery.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait({task}, timeout=seconds)
        succeeded = task.done() and not task.cancelled() and task.exception() is None
        if succeeded and when_cancelled is not None:
            undo = asyncio.ensure_future(when_cancelled(task.result()))
            await asyncio.wait({undo}, timeout=seconds)
            if undo.done() and not undo.cancelled():
                undo.exception()  # looked at, or the loop would log it as forgotten
        raise
