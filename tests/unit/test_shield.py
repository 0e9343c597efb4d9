"""Work that outlives the cancellation of its task."""

import asyncio

import pytest

from tests.crash.fuse import Turn
from worker.shield import attempt, finish

SOON = 0.001


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.is_done = False
        self.is_called_off = False
        self.undone: list[str] = []

    async def run(self) -> str:
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.is_called_off = True
            raise
        self.is_done = True
        return "done"

    async def fail(self) -> str:
        await self.run()
        raise LookupError("work")

    async def undo(self, result: str) -> None:
        self.undone.append(result)

    async def undo_in_vain(self, result: str) -> None:
        await self.undo(result)
        raise LookupError("undo")


async def test_work_that_is_let_be_gives_its_result() -> None:
    work = Work()
    work.go_on.set()
    assert await finish(work.run(), seconds=1, when_cancelled=work.undo) == "done"
    assert work.undone == []


async def test_an_error_of_work_that_is_let_be_is_the_callers() -> None:
    work = Work()
    work.go_on.set()
    with pytest.raises(LookupError, match="work"):
        await finish(work.fail(), seconds=1, when_cancelled=work.undo)
    assert work.undone == []


async def stopped(work: Work, running: "asyncio.Task[str]", *, go_on: bool) -> None:
    """Cancel the task while it works, and let the work go on or not."""
    await work.started.wait()
    running.cancel()
    await Turn()
    assert not work.is_done
    if go_on:
        work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_cancelled_work_is_finished_undone_and_stays_cancelled() -> None:
    work = Work()
    running = asyncio.ensure_future(finish(work.run(), seconds=10, when_cancelled=work.undo))
    await stopped(work, running, go_on=True)
    assert work.is_done
    assert work.undone == ["done"]
    assert running.cancelled()


async def test_an_error_after_the_cancellation_is_nobodys_any_more() -> None:
    work = Work()
    running = asyncio.ensure_future(finish(work.fail(), seconds=10, when_cancelled=work.undo))
    await stopped(work, running, go_on=True)
    assert work.is_done
    assert work.undone == []


async def test_undoing_in_vain_changes_nothing_about_the_cancellation() -> None:
    work = Work()
    running = asyncio.ensure_future(
        finish(work.run(), seconds=10, when_cancelled=work.undo_in_vain)
    )
    await stopped(work, running, go_on=True)
    assert work.undone == ["done"]


async def test_recording_that_takes_too_long_is_left_to_itself() -> None:
    work = Work()
    running = asyncio.ensure_future(finish(work.run(), seconds=SOON))
    await stopped(work, running, go_on=False)
    work.go_on.set()
    while not work.is_done:
        await Turn()


async def test_a_claim_that_takes_too_long_is_called_off() -> None:
    """Made later, it would belong to nobody until its lease has expired."""
    work = Work()
    running = asyncio.ensure_future(finish(work.run(), seconds=SOON, when_cancelled=work.undo))
    await stopped(work, running, go_on=False)
    work.go_on.set()
    while not work.is_called_off:
        await Turn()
    assert (work.is_done, work.undone) == (False, [])


async def test_an_attempt_ends_with_its_seconds_and_its_work_goes_on() -> None:
    work = Work()
    await attempt(work.fail(), seconds=SOON)
    assert not work.is_done
    work.go_on.set()
    while not work.is_done:
        await Turn()


async def test_work_that_was_itself_cancelled_is_not_waited_for() -> None:
    async def gives_up() -> str:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finish(gives_up(), seconds=10)
