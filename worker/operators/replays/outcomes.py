"""What a replayed letter has come to, as far as its operation's record tells."""

from dataclasses import dataclass
from typing import assert_never

from worker.codes import Code
from worker.journal import ReplayResult, ReplayStep, Whereabouts
from worker.records import Kind, State


@dataclass(frozen=True, slots=True)
class Undecided:
    """No worker has decided it yet; ``is_retrying``: an attempt has failed, another will follow."""

    is_retrying: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision that followed."""

    result: ReplayResult
    code: Code | None = None
    detail: str | None = None


def outcome_of(step: ReplayStep, now: Whereabouts | None) -> Outcome | Undecided:
    """What became of a letter that was sent as ``step.sent_sequence``.

    "Sent" is progress and never a result (operations 1.7).
    """
    if now is None or now.sequence < (step.sent_sequence or 0):
        return Undecided()
    match now.state:
        case State.RETRY_WAIT:
            # One that waits for its account, uncounted, has had no attempt.
            return Undecided(is_retrying=now.attempts > 0)
        case State.CALLING:
            return Undecided(is_retrying=now.attempts > 1)
        case State.SUCCEEDED if now.is_duplicate:
            return Outcome(
                ReplayResult.DUPLICATE_SUPPRESSED, detail="another payment of the same content"
            )
        case State.SUCCEEDED:
            return Outcome(ReplayResult.SETTLED)
        case State.CANCELLED:
            what = "removed" if now.kind is Kind.CANCELLATION else "cancelled by its producer"
            return Outcome(ReplayResult.SETTLED, detail=what)
        case State.IN_DOUBT:
            return Outcome(ReplayResult.IN_DOUBT, now.code)
        case State.FAILED if now.code is step.code:
            return Outcome(ReplayResult.FAILED_SAME_CODE, now.code)
        case State.FAILED:
            return Outcome(ReplayResult.FAILED_NEW_CODE, now.code)
        case other:
            assert_never(other)
