"""One walk of a replay run round the queue: what it still wants, and what it waits for.

A letter is let go only when its copy is confirmed, and while the run waits it holds none.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from worker.inventory import PAGE
from worker.journal import (
    ReplayResult,
    ReplayRun,
    ReplayStep,
    RunState,
    StepState,
)
from worker.ledger import Ledger
from worker.letters import Verdict
from worker.lifecycle.reopen import is_reopened_by
from worker.operator_ports import ReplayJournal
from worker.operators.replays.decisions import Phase, Send, Stop, Wait, is_over, next_move, phase_of
from worker.operators.replays.letters import LetterHands, Way, sent_step
from worker.operators.replays.outcome_acts import OutcomeActs
from worker.operators.replays.watch import Watch
from worker.operators.walks import (
    Walk,
)
from worker.records import Record, State

POLL_SECONDS = 0.25
"""How often outcomes are looked for, and a wish to stop."""


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """A part of the run begins."""

    phase: Phase


News = PhaseBegan | ReplayStep
"""What a run tells of while it goes on: its parts, and each step as it was sent or has ended."""


class WalkedRun:
    """One walk of a run: what it still wants, and what it met."""

    def __init__(
        self,
        *,
        run: ReplayRun,
        ledger: Ledger,
        journal: ReplayJournal,
        stop: asyncio.Event,
        tell: Callable[[News], None],
        is_resumed: bool,
    ) -> None:
        self.run = run
        self.kept = run.kept
        self.removed = run.removed
        self._ledger = ledger
        self._clock = ledger.clock
        self._journal = journal
        self._stop = stop
        self._tell = tell
        self._hands = LetterHands(ledger=ledger, clock=ledger.clock, run=run)
        self._acts = OutcomeActs(ledger=ledger, run=run, is_resumed=is_resumed)
        self._watch = Watch(ledger=ledger, journal=journal, run=run, acts=self._acts)
        self._wanted: dict[UUID, ReplayStep] = {}
        self._phase: Phase | None = None
        self._looked_at: float | None = None

    async def go(self, walk: Walk) -> str | None:
        """Replay what is planned; why it stopped, or ``None`` when all was met.

        Raises ``NotConfirmedError``, ``QueueLockLostError``, ``StoreUnavailableError``.
        """
        await self._read_wanted(walk)
        why = await self._answer_again(walk)
        if why is None and self._wanted:
            why = await self._walk_round(walk)
        if why is None:
            await self._settle_unmet(walk)
            return await self._wait_for_outcomes(walk)
        await self._look()
        return why

    async def _read_wanted(self, walk: Walk) -> None:
        after = -1
        states = frozenset({StepState.PLANNED})
        while page := await self._journal.steps(
            self.run.run, states=states, after=after, limit=PAGE
        ):
            self._wanted.update((step.operation_id, step) for step in page)
            await walk.hold()
            after = page[-1].position
        await self._read_untried(walk)

    async def _read_untried(self, walk: Walk) -> None:
        """Letters that were told as sent and that no worker has taken up.

        A tool that died may have opened one and not sent it. Its letter was not met if the broker
        still held it for the dead connection, which takes longer to notice than the lock lasts.
        Nobody else may send it, so it is looked for once more.
        """
        after: UUID | None = None
        while page := await self._journal.whereabouts(
            self.run.run, state=StepState.SENT, after=after, limit=PAGE
        ):
            self._wanted.update(
                (step.operation_id, step)
                for step, now in page
                if now is not None
                and now.state is State.RETRY_WAIT
                and now.attempts == 0
                and now.reopened_by == self.run.run
            )
            await walk.hold()
            after = page[-1][0].operation_id

    async def _answer_again(self, walk: Walk) -> str | None:
        """What is decided needs no letter: its stored answer is sent again.

        What the broker gave up besides is looked for all the same, or its letter would stay.
        """
        for step in list(self._wanted.values()):
            if step.verdict is not Verdict.ALREADY_DONE or step.code is None:
                continue
            why = await self._asked_to_stop()
            if why is not None:
                return why
            await walk.hold()
            await self._note(await self._hands.answer_again(step))
        return None

    async def _walk_round(self, walk: Walk) -> str | None:
        why = await self._turn(walk)
        if why is not None:
            return why
        async for letter in walk:
            handled = await self._hands.handle(letter, self._wanted)
            match handled.way:
                case Way.KEPT:
                    self.kept += 1
                case Way.REMOVED:
                    self.removed += 1
                case Way.SENT:
                    self._watch.sent()
            if handled.step is not None:
                await self._note(handled.step)
            if not self._wanted:
                return None
            # Here no letter is in hand, so nobody misses one while the run waits.
            why = await self._turn(walk)
            if why is not None:
                return why
        if not walk.is_complete:
            return "the queue could not be walked to its end: somebody else took a letter"
        return None

    async def _turn(self, walk: Walk) -> str | None:
        """Wait until the next letter may go; why the run must stop instead."""
        while True:
            await walk.hold()
            why = await self._asked_to_stop()
            if why is not None:
                return why
            now = self._clock.monotonic()
            progress = self._watch.progress
            match next_move(self.run.options, progress, now):
                case Send():
                    self._begin_phase(phase_of(self.run.options, progress.sent))
                    return None
                case Stop(reason=reason):
                    return reason
                case Wait(seconds=seconds):
                    await self._clock.sleep(min(seconds, POLL_SECONDS))

    def _begin_phase(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase = phase
            self._tell(PhaseBegan(phase))

    async def _asked_to_stop(self) -> str | None:
        """Look for outcomes and for a wish to stop, not more often than need be."""
        if self._stop.is_set():
            return "it was interrupted"
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < POLL_SECONDS:
            return None
        self._looked_at = now
        await self._look()
        found = await self._journal.find_run(self.run.run)
        if found is not None and found.state is RunState.STOPPING:
            return f"{found.stop_asked_by} asked for it"
        return None

    async def _look(self) -> None:
        await self._watch.look(self._tell)

    async def _settle_unmet(self, walk: Walk) -> None:
        """Say of every letter that the whole walk did not meet where it may be."""
        for step in list(self._wanted.values()):
            await walk.hold()
            found = await self._ledger.find(step.operation_id)
            record = None if found is None else found[0]
            if record is not None and is_reopened_by(record, self.run.run, step.sequence):
                # Its copy was confirmed and its letter let go just before this run died.
                await self._note(sent_step(step, record.sequence, self._clock))
                continue
            if step.verdict is Verdict.ALREADY_DONE and step.code is None:
                await self._note(await self._hands.answer_again(step))
                continue
            await self._note(
                replace(
                    step,
                    state=StepState.ENDED,
                    result=ReplayResult.SKIPPED,
                    detail=step.detail or _why_unmet(step, record),
                    at=self._clock.now(),
                )
            )

    async def _wait_for_outcomes(self, walk: Walk) -> str | None:
        await self._look()
        while not is_over(self.run.options, self._watch.progress, self._clock.monotonic()):
            await walk.hold()
            why = await self._asked_to_stop()
            if why is not None:
                return why
            await self._clock.sleep(POLL_SECONDS)
        return None

    async def _note(self, step: ReplayStep) -> None:
        """Journal a step, and forget it once it wants no letter any more."""
        await self._acts.note([step])
        await self._journal.note_steps(self.run.run, [step])
        if step.state is StepState.PLANNED:
            self._wanted[step.operation_id] = step
            return
        self._wanted.pop(step.operation_id, None)
        self._tell(step)


def _why_unmet(step: ReplayStep, record: Record | None) -> str:
    if record is None or record.sequence <= step.sequence:
        return "not in the queue"
    if record.state.is_open and record.reopened_by is not None:
        return f"already in run {record.reopened_by}"
    return f"decided anew since: {record.state}, sequence {record.sequence}"
