"""What the letters of a run have come to, as acts of whoever runs it, each told once.

An act and the journal's step are two writes. A run that died in between comes to the same outcome
once more when it is resumed, so a resumed run looks first what it has told of a letter already. A
fresh run has told nothing, and need not look.
"""

from collections.abc import Sequence

from worker.journal import ReplayRun, ReplayStep, StepState
from worker.ledger import Ledger
from worker.records import REPLAY_OUTCOME, ActFacts, AuditEntry


class OutcomeActs:
    """Audits the outcomes of one run; raises ``StoreUnavailableError``."""

    def __init__(self, *, ledger: Ledger, run: ReplayRun, is_resumed: bool) -> None:
        self._ledger = ledger
        self._run = run
        self._is_resumed = is_resumed

    async def note(self, steps: Sequence[ReplayStep]) -> None:
        """Tell those that have ended (operations 1.8), unless the very same was told before."""
        acts = [_act(self._run, step) for step in steps]
        await self._ledger.acts.note_all(
            [act for act in acts if act is not None and not await self._is_told(act)]
        )

    async def _is_told(self, act: AuditEntry) -> bool:
        """Another outcome than the one that was told is news, and told besides."""
        if not self._is_resumed or act.operation_id is None:
            return False
        history = await self._ledger.history(act.operation_id)
        told = () if history is None else history.audit
        return any(
            (each.action, each.facts, each.detail) == (act.action, act.facts, act.detail)
            for each in told
        )


def _act(run: ReplayRun, step: ReplayStep) -> AuditEntry | None:
    if step.state is not StepState.ENDED or step.result is None:
        return None
    return AuditEntry(
        at=step.at,
        actor=run.actor,
        action=REPLAY_OUTCOME,
        operation_id=step.operation_id,
        detail=step.end_code or "",
        facts=ActFacts(run=run.run, plan_sha256=run.plan_sha256, result=step.result.value),
    )
