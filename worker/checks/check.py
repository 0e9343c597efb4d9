"""A check: a stable id, what it promises, and how it looks."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from worker.checks.deployment import Deployment
from worker.checks.verdicts import Blame, Group, Remark

Look = Callable[[Deployment], Awaitable[Sequence[Remark]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of the doctor's table (operations 3); an id is never reused.

    ``title`` says what is so when all is well; ``fix`` is what helps in general, and ``blame``
    what a failure calls for, where a remark does not say otherwise. ``needs`` names the checks
    without which this one sees nothing. ``at_start`` marks what must be true to consume safely.
    ``seconds`` limits the look.
    """

    id: str
    group: Group
    title: str
    fix: str
    look: Look
    blame: Blame = Blame.DEFECT
    needs: tuple[str, ...] = ()
    at_start: bool = False
    seconds: float = 10.0
