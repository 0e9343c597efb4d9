"""One replay run, from the lock to the last outcome.

Whatever happens on the way, the letters are safe: one is let go only when its copy is confirmed,
and the ledger opens each operation once for this run. So a run may die at any step and be resumed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from worker.inventory import PAGE
from worker.journal import (
    ReplayResult,
    ReplayRun,
    ReplayStep,
    RunState,
    StepState,
)
from worker.ledger import Ledger
from worker.operator_ports import LetterQueue, ReplayJournal
from worker.operators.replays.walked import News, WalkedRun
from worker.operators.walks import (
    DEAD_LETTERS,
    NotConfirmedError,
    QueueLockLostError,
    Walk,
    holding,
    walking,
)
from worker.ports import Publisher, StoreUnavailableError
from worker.records import NO_FACTS, ActFacts


def purpose_of(run: str) -> str:
    """What others are told who find the queue locked."""
    return f"replay {run}"


async def end_dead_run(
    ledger: Ledger, journal: ReplayJournal, run: ReplayRun, *, actor: str
) -> ReplayRun:
    """Note that a run has stopped whose process is gone, so that nobody takes it for alive.

    Only who holds the queue can know that: raises ``QueueLockedError`` while somebody else does.
    """
    async with holding(ledger, DEAD_LETTERS, actor=actor, purpose=f"end of {run.run}"):
        now = await journal.find_run(run.run) or run
        if now.state.has_ended:
            return now
        await journal.end_run(
            run.run,
            state=RunState.STOPPED,
            stop_reason="its process died",
            kept=now.kept,
            removed=now.removed,
            at=ledger.clock.now(),
        )
        detail = f"run {run.run}: stopped (its process died)"
        await ledger.acts.note_act(None, actor=actor, action="replay_end", detail=detail)
        return await journal.find_run(run.run) or run


class Runner:
    """Walks the dead letters for replay runs; a set ``stop`` ends it after the letter in hand."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: ReplayJournal,
        queue: LetterQueue,
        publisher: Publisher,
        stop: asyncio.Event,
        tell: Callable[[News], None],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._queue = queue
        self._publisher = publisher
        self._stop = stop
        self._tell = tell

    async def begin(
        self, run: ReplayRun, steps: AsyncIterator[ReplayStep], *, facts: ActFacts = NO_FACTS
    ) -> ReplayRun:
        """Write the journal of a new run, and replay what is planned in it.

        ``facts`` are what the audit shall hold of it besides.

        Raises ``QueueLockedError`` before anything is written, ``StoreUnavailableError`` and what
        the client library raises: the run can be resumed after each.
        """
        async with self._walk(run, is_new=True) as walk:
            run = await self._write_plan(walk, run, steps)
            planned = f"{run.wanted} letters, plan {run.plan_sha256 or 'by name'}: {run.reason}"
            await self._note_act(run, "replay_begin", planned, facts)
            return await self._go(walk, run, is_resumed=False)

    async def resume(self, run: ReplayRun) -> ReplayRun:
        """Go on with a run that was stopped, or that died; raises as ``begin`` does.

        It begins with a canary again: what stopped it may not be mended.
        """
        async with self._walk(run, is_new=False) as walk:
            await self._journal.resume_run(run.run)
            await self._note_act(run, "replay_resume", run.reason)
            return await self._go(walk, replace(run, state=RunState.RUNNING), is_resumed=True)

    @asynccontextmanager
    async def _walk(self, run: ReplayRun, *, is_new: bool) -> AsyncIterator[Walk]:
        async with walking(
            queue=self._queue,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=run.actor,
            purpose=purpose_of(run.run),
            notes_denial=is_new,  # who resumes a run may have to wait for its dead process
        ) as walk:
            yield walk

    async def _write_plan(
        self, walk: Walk, run: ReplayRun, steps: AsyncIterator[ReplayStep]
    ) -> ReplayRun:
        page: list[ReplayStep] = []
        wanted = 0
        async for step in steps:
            wanted += step.state is StepState.PLANNED
            if step.state is StepState.ENDED:
                self._tell(step)  # named, and nothing that can be replayed
            page.append(step)
            if len(page) == PAGE:
                await self._journal.add_steps(run.run, page)
                page = []
                await walk.hold()
        await self._journal.add_steps(run.run, page)
        run = replace(run, wanted=wanted)
        await self._journal.begin_run(run)
        return run

    async def _go(self, walk: Walk, run: ReplayRun, *, is_resumed: bool) -> ReplayRun:
        walked = WalkedRun(
            run=run,
            ledger=self._ledger,
            journal=self._journal,
            stop=self._stop,
            tell=self._tell,
            is_resumed=is_resumed,
        )
        try:
            why = await walked.go(walk)
        except NotConfirmedError:
            why = "the broker did not confirm a copy; its letter is still in the queue"
        except Exception as error:
            with suppress(StoreUnavailableError):
                await self._end(walk, walked, f"it failed ({type(error).__name__})")
            raise
        return await self._end(walk, walked, why)

    async def _end(self, walk: Walk, walked: WalkedRun, why: str | None) -> ReplayRun:
        run = walked.run
        if await _is_resumed_elsewhere(walk, run):
            return await self._journal.find_run(run.run) or run
        state = RunState.FINISHED if why is None else RunState.STOPPED
        at = self._ledger.clock.now()
        await self._journal.end_run(
            run.run,
            state=state,
            stop_reason=why,
            kept=walked.kept,
            removed=walked.removed,
            at=at,
        )
        results = await results_of(self._journal, run.run)
        told = ", ".join(f"{count} {result}" for result, count in results.items() if count)
        reason = "" if why is None else f" ({why})"
        await self._note_act(run, "replay_end", f"{state}{reason}, {told or 'nothing done'}")
        return await self._journal.find_run(run.run) or run

    async def _note_act(
        self, run: ReplayRun, action: str, detail: str, facts: ActFacts = NO_FACTS
    ) -> None:
        known = replace(facts, run=run.run, plan_sha256=run.plan_sha256, count=run.wanted)
        await self._ledger.acts.note_act(
            None,
            actor=run.actor,
            action=action,
            detail=f"run {run.run}: {detail}",
            facts=known,
        )


async def _is_resumed_elsewhere(walk: Walk, run: ReplayRun) -> bool:
    """Whether another process goes on with the run since this one stood still.

    Told as stopped it would go on all the same, and nobody could ask it to stop any more.
    """
    try:
        await walk.hold()
    except QueueLockLostError as lost:
        return lost.holder.purpose == purpose_of(run.run)
    return False


async def results_of(journal: ReplayJournal, run: str) -> dict[ReplayResult, int]:
    """How many letters of a run have come to what; sent ones without an outcome are pending."""
    results = dict.fromkeys(ReplayResult, 0)
    for tally in await journal.step_tallies(run):
        if tally.state is StepState.SENT:
            results[ReplayResult.PENDING] += tally.count
        elif tally.result is not None:
            results[tally.result] += tally.count
    return results
