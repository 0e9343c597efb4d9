"""The journal of replay runs: what a run set out to do, and what has become of each letter.

It says nothing that a payment depends on: whether a letter was replayed is decided by the ledger's
record, so a line that a crash kept from being written is found out again from there.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from worker.codes import Code
from worker.letters import Verdict
from worker.records import Kind, State


@unique
class RunState(StrEnum):
    """Where a run stands; one that died still says that it is running."""

    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"

    @property
    def has_ended(self) -> bool:
        """Whether nobody walks for it any more."""
        return self in {RunState.STOPPED, RunState.FINISHED}


@unique
class StepState(StrEnum):
    """Where one letter of a run stands.

    ``REMOVED`` is a letter that was met on the way and that a newer decision had overtaken.
    """

    PLANNED = "planned"
    LEFT_OUT = "left_out"
    SENT = "sent"
    ENDED = "ended"
    REMOVED = "removed"


@unique
class ReplayResult(StrEnum):
    """What a replay came to, letter by letter (operations 1.7)."""

    SETTLED = "settled"
    FAILED_SAME_CODE = "failed_same_code"
    FAILED_NEW_CODE = "failed_new_code"
    DUPLICATE_SUPPRESSED = "duplicate_suppressed"
    ALREADY_DONE = "already_done"
    IN_DOUBT = "in_doubt"
    PENDING = "pending"
    SKIPPED = "skipped"

    @property
    def is_good(self) -> bool:
        """Whether nobody has to look at this payment any more."""
        return self in _GOOD


_GOOD = frozenset(
    {ReplayResult.SETTLED, ReplayResult.DUPLICATE_SUPPRESSED, ReplayResult.ALREADY_DONE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How careful a run is (operations 1.5).

    ``canary`` letters go first, ``rate`` is in letters per second, ``stop_after_failures`` counts
    outcomes of one code, ``in_flight`` letters may be undecided at once, and ``wait_seconds`` is
    how long the run waits without hearing of any outcome.
    """

    canary: int = 5
    rate: float = 5.0
    stop_after_failures: int = 3
    in_flight: int = 50
    wait_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRun:
    """One run: ``wanted`` letters, and how many others it ``kept`` or ``removed`` on its way."""

    run: str
    actor: str
    reason: str
    plan_sha256: str | None
    options: RunOptions
    state: RunState
    started_at: datetime
    wanted: int
    stop_reason: str | None = None
    ended_at: datetime | None = None
    stop_asked_at: datetime | None = None
    stop_asked_by: str | None = None
    kept: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One letter of a run, by its ``position`` in the plan.

    ``sequence`` and ``code`` are of the decision to be replayed (no code: nothing was decided),
    ``sent_sequence`` is the replayed copy's, ``end_code`` that of the new decision.
    """

    operation_id: UUID
    position: int
    sequence: int
    code: Code | None
    verdict: Verdict
    at: datetime
    state: StepState = StepState.PLANNED
    result: ReplayResult | None = None
    sent_sequence: int | None = None
    end_code: Code | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """How the operation of a step stands in the ledger now.

    ``attempts`` are those of its current opening, the one under way included.
    """

    kind: Kind
    state: State
    sequence: int
    code: Code | None
    attempts: int
    is_duplicate: bool
    reopened_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTally:
    """How many steps of a run have come to the same."""

    state: StepState
    result: ReplayResult | None
    count: int
