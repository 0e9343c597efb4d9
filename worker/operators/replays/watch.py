"""Following the letters that a run has sent until each is decided."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID

from worker.inventory import PAGE
from worker.journal import ReplayRun, ReplayStep, StepState
from worker.ledger import Ledger
from worker.operator_ports import ReplayJournal
from worker.operators.replays.decisions import Progress
from worker.operators.replays.outcome_acts import OutcomeActs
from worker.operators.replays.outcomes import Outcome, Undecided, outcome_of


class Watch:
    """What became of the letters so far; one look is a page of rows, however long the run is."""

    def __init__(
        self, *, ledger: Ledger, journal: ReplayJournal, run: ReplayRun, acts: OutcomeActs
    ) -> None:
        self._journal = journal
        self._clock = ledger.clock
        self._run = run
        self._acts = acts
        self._failures: Counter[str] = Counter()
        self.progress = Progress(heard_at=self._clock.monotonic())

    def sent(self) -> None:
        """Count one letter more."""
        now = self._clock.monotonic()
        self.progress = replace(
            self.progress,
            sent=self.progress.sent + 1,
            undecided=self.progress.undecided + 1,
            sent_at=now,
            heard_at=now,
        )

    async def look(self, ended: Callable[[ReplayStep], None]) -> None:
        """Note the letters that were decided since the last look, and tell of each."""
        undecided = retrying = 0
        after: UUID | None = None
        while page := await self._journal.whereabouts(
            self._run.run, state=StepState.SENT, after=after, limit=PAGE
        ):
            known: list[ReplayStep] = []
            for step, now in page:
                match outcome_of(step, now):
                    case Undecided(is_retrying=is_retrying):
                        undecided, retrying = undecided + 1, retrying + is_retrying
                    case Outcome() as outcome:
                        known.append(self._ended(step, outcome))
            # First the act: after a crash in between it is looked for, and so told once.
            await self._acts.note(known)
            await self._journal.note_steps(self._run.run, known)
            for step in known:
                ended(step)
            self._heard(known)
            after = page[-1][0].operation_id
        self.progress = replace(
            self.progress,
            undecided=undecided,
            retrying=retrying,
            failures=MappingProxyType(dict(self._failures)),
        )

    def _ended(self, step: ReplayStep, outcome: Outcome) -> ReplayStep:
        return replace(
            step,
            state=StepState.ENDED,
            result=outcome.result,
            end_code=outcome.code,
            detail=outcome.detail,
            at=self._clock.now(),
        )

    def _heard(self, ended: list[ReplayStep]) -> None:
        if ended:
            self.progress = replace(self.progress, heard_at=self._clock.monotonic())
        for step in ended:
            if step.result is not None and not step.result.is_good:
                self._failures[step.end_code or step.result] += 1
