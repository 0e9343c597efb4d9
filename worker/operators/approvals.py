"""A second account for a large replay: who may begin it, and who may approve it.

What it proves is that another account of the operating system typed the approval of this very
plan, and no more: whoever may become root may be anybody (operations 1.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.journal import ReplayRun
from worker.ledger import Ledger
from worker.model import RunMode
from worker.operators.plans.rows import Plan
from worker.records import ActFacts
from worker.switches import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalLimits:
    """Above which a replay needs another account: letters, euro cents of real money; 0 is never."""

    letters: int = 0
    cents: int = 0

    def exceeded_by(self, letters: int, cents: int, *, unpriced: int = 0) -> bool:
        """Whether so many letters, or so much, need an approval.

        ``unpriced`` letters may be of any amount: nobody can say that they keep to a limit.
        """
        too_many = bool(self.letters) and letters > self.letters
        return too_many or (bool(self.cents) and (cents > self.cents or unpriced > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Undertaking:
    """What a run sets out to do, for whoever has to judge it.

    ``planner`` and ``plan_sha256`` are of the plan, where there is one; ``is_more`` tells that
    letters are named which the plan leaves out; ``unpriced`` counts payments of an amount that the
    ledger does not know.
    """

    runner: str
    planner: str | None
    plan_sha256: str | None
    letters: int
    cents: int
    is_more: bool = False
    unpriced: int = 0

    @property
    def facts(self) -> ActFacts:
        return ActFacts(plan_sha256=self.plan_sha256, count=self.letters, cents=self.cents)


class NotApprovedError(Exception):
    """A large replay may not begin; ``code`` for scripts, ``fix`` for people."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


_BY_PLAN = "Make a plan, let another account approve it, and replay the plan."


def real_cents(cents: Mapping[RunMode | None, int]) -> int:
    """What is real money of sums by mode, or may be."""
    return sum(sum_ for mode, sum_ in cents.items() if mode is not RunMode.TEST)


async def approval_of(
    ledger: Ledger, limits: ApprovalLimits, wanted: Undertaking
) -> Approval | None:
    """The approval under which a run may begin; ``None`` where it needs none.

    Raises ``NotApprovedError``, and notes the act as denied.
    """
    if not limits.exceeded_by(wanted.letters, wanted.cents, unpriced=wanted.unpriced):
        return None
    try:
        return await _found(ledger, wanted)
    except NotApprovedError as refused:
        await ledger.acts.note_act(
            None,
            actor=wanted.runner,
            action="replay_begin",
            detail=refused.code,
            is_denied=True,
            facts=wanted.facts,
        )
        raise


async def check_resumption(ledger: Ledger, limits: ApprovalLimits, run: ReplayRun) -> None:
    """See that who goes on with a large run is not the only one who has approved its plan.

    What it amounts to is not known any more: where a limit of money is set, a run whose plan was
    approved counts as large. Raises ``NotApprovedError``, and notes the act as denied.
    """
    approvals = () if run.plan_sha256 is None else await ledger.acts.approvals(run.plan_sha256)
    is_large = limits.exceeded_by(run.wanted, 0) or bool(limits.cents and approvals)
    if not is_large or any(each.actor != run.actor for each in approvals):
        return
    await ledger.acts.note_act(
        None,
        actor=run.actor,
        action="replay_resume",
        detail="approval_missing",
        is_denied=True,
        facts=ActFacts(run=run.run, plan_sha256=run.plan_sha256, count=run.wanted),
    )
    raise NotApprovedError(
        "approval_missing",
        f"Run {run.run} is of {run.wanted} letters, and nobody but {run.actor} has approved its"
        " plan.",
        "Let the account that began it go on with it, or make a new plan.",
    )


async def _found(ledger: Ledger, wanted: Undertaking) -> Approval:
    if wanted.plan_sha256 is None:
        raise NotApprovedError(
            "approval_needs_plan", "So many letters are replayed by a plan alone.", _BY_PLAN
        )
    if wanted.is_more:
        raise NotApprovedError(
            "approval_is_for_plan",
            "An approval is for what the plan itself would replay.",
            "Leave --include out, and replay those letters by their ids.",
        )
    approvals = await ledger.acts.approvals(wanted.plan_sha256)
    others = [each for each in approvals if each.actor not in {wanted.runner, wanted.planner}]
    if others:
        return others[0]
    why = " but by those who planned or run it" if approvals else ""
    raise NotApprovedError(
        "approval_missing",
        f"{wanted.letters} letters need the approval of another account: nobody has approved this"
        f" plan{why}.",
        "Have a colleague look at it, and type under another account:"
        " payment-worker dead-letters approve PLAN --reason TEXT",
    )


async def approve(ledger: Ledger, plan: Plan, *, actor: str, reason: str) -> Approval:
    """Approve a plan that another account has made; approving it again changes nothing.

    Raises ``NotApprovedError``, and notes the act as denied.
    """
    counted = sum(total.count for total in plan.totals)
    facts = ActFacts(plan_sha256=plan.sha256, count=counted)
    if actor == plan.actor:
        await ledger.acts.note_act(
            None,
            actor=actor,
            action="approve",
            detail="it is the planner's own",
            is_denied=True,
            facts=facts,
        )
        raise NotApprovedError(
            "approval_by_planner",
            f"{actor} has made this plan, and cannot approve it.",
            "Let a colleague look at it and approve it under an account of their own.",
        )
    approval = Approval(plan_sha256=plan.sha256, actor=actor, reason=reason, at=ledger.clock.now())
    await ledger.acts.approve(approval, facts)
    return approval
