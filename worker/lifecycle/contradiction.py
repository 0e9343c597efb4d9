"""What a provider has applied after its operation was told as failed or cancelled.

A known state is never replaced (payment rules, invariant I3), so what comes so late is evidence
alone: its producer may have asked again since, under a new key, and been paid for that. Only a
person can mend it, and says so in the audit; until then it is an exception of the books.
"""

from dataclasses import dataclass
from datetime import datetime

from worker.calls import Outcome, Succeeded
from worker.look_ups import Finding
from worker.records import AttemptEntry, History, Record, State

TOO_LATE = "too late, kept as evidence"
"""What an attempt's history says of one that could decide nothing any more."""

ACKNOWLEDGED = "acknowledge"
"""The act of whoever has seen to a contradiction; its detail names what was seen."""

_TOLD_OTHERWISE = frozenset({State.FAILED, State.CANCELLED})
_SEEN_THERE = frozenset({Finding.FOUND, Finding.FOUND_WITHOUT_LINK, Finding.OTHER_AMOUNT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """When the last of it came, and what it was; ``is_acknowledged`` once people have seen to it.

    ``evidence`` names everything that nobody has seen to yet, or all where nothing is left.
    """

    at: datetime
    evidence: str
    is_acknowledged: bool


def contradicts(record: Record, outcome: Outcome) -> bool:
    """Whether an attempt that decided nothing any more says otherwise than what was told."""
    return isinstance(outcome, Succeeded) and record.state in _TOLD_OTHERWISE


def contradiction_of(history: History) -> Contradiction | None:
    """What came of a provider after the decision and says that it was applied after all.

    What came before it was known to whoever decided, and says nothing new.
    """
    record = history.record
    if record.state not in _TOLD_OTHERWISE or record.decided_at is None:
        return None
    found = [
        (each.ended_at, f"attempt {each.number} ended succeeded")
        for each in history.attempts
        if each.note == TOO_LATE and _was_applied(each)
    ]
    found += [
        (each.at, f"a look-up of reference {each.reference} found it")
        for each in history.look_ups
        if each.finding in _SEEN_THERE
    ]
    later = sorted(each for each in found if each[0] >= record.decided_at)
    if not later:
        return None
    # By name and not by time: what was being written while somebody acknowledged was not seen.
    named = [f"{what} at {at:%Y-%m-%d %H:%M:%S.%fZ}" for at, what in later]
    acts = [each.detail for each in history.audit if each.action == ACKNOWLEDGED]
    unseen = [name for name in named if not any(name in act for act in acts)]
    return Contradiction(
        at=later[-1][0],
        evidence=", ".join(unseen or named),
        is_acknowledged=not unseen,
    )


def _was_applied(attempt: AttemptEntry) -> bool:
    return bool(attempt.tries) and isinstance(attempt.tries[-1].outcome, Succeeded)
