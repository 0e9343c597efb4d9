"""Following the letters that a run has sent until each is decided."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID

from worker.inventory import PAGE
from worker.journal import ReplayRun, ReplayStep, StepState
from worker.ledger import Ledger
from worker.operator_ports import ReplayJournal
from worker.operators.replays.decisions import Progress
from worker.operators.replays.outcomes import Outcome, Undecided, outcome_of
from worker.ports import Clock
from worker.records import REPLAY_OUTCOME, ActFacts, AuditEntry


def outcomes_as_acts(run: ReplayRun, steps: Sequence[ReplayStep]) -> Sequence[AuditEntry]:
    """What each letter of a run has come to, as acts of whoever runs it (operations 1.8)."""
    return [
        AuditEntry(
            at=step.at,
            actor=run.actor,
            action=REPLAY_OUTCOME,
            operation_id=step.operation_id,
            detail=step.end_code or "",
            facts=ActFacts(run=run.run, plan_sha256=run.plan_sha256, result=step.result.value),
        )
        for step in steps
        if step.state is StepState.ENDED and step.result is not None
    ]


class Watch:
    """What became of the letters so far; one look is a page of rows, however long the run is."""

    def __init__(
        self, *, ledger: Ledger, journal: ReplayJournal, clock: Clock, run: ReplayRun
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._run = run
        self._failures: Counter[str] = Counter()
        self.progress = Progress(heard_at=clock.monotonic())

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
            # First the act: told twice after a crash in between, it is told at least once.
            await self._ledger.acts.note_all(outcomes_as_acts(self._run, known))
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
