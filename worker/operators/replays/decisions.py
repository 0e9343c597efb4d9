"""When a run may send its next letter, when it waits, and when it must stop.

First the canary: a few letters, and all of their outcomes must be good. Then the ramp, 1, 5, 20
and the rest, each part decided before the next begins, never above the rate. The window of letters
that nobody has decided yet bounds the run at any time, so an open breaker or a provider that asks
for patience pauses it: nothing is decided, the window fills, and nothing more is sent (operations
1.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from worker.journal import RunOptions

RAMP: Final = (1, 5, 20)
"""Letters of each part after the canary; the rest follows in one."""

RETRYING: Final = "retrying"
"""What stands for a code where an attempt has failed and another one will follow."""


@unique
class Phase(StrEnum):
    """Which part of a run is under way."""

    CANARY = "canary"
    RAMP = "ramp"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come since it was begun or resumed; times are monotonic seconds.

    ``undecided`` counts ``retrying`` letters too; ``failures`` are decided ones by code.
    ``heard_at`` is when the run last sent a letter or heard of an outcome.
    """

    sent: int = 0
    undecided: int = 0
    retrying: int = 0
    failures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    sent_at: float | None = None
    heard_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Send:
    """The next letter may go."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing may go for so many seconds, or until an outcome is known."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The run must not go on; the reason is for people."""

    reason: str


Move = Send | Wait | Stop

_UNTIL_AN_OUTCOME = Wait(float("inf"))


def next_move(options: RunOptions, progress: Progress, now: float) -> Move:
    """What a run that has letters left does now."""
    stop = _too_bad(options, progress) or _too_quiet(options, progress, now)
    if stop is not None:
        return stop
    if progress.undecided >= options.in_flight:
        return _UNTIL_AN_OUTCOME
    if _is_end_of_part(options, progress.sent) and progress.undecided > progress.retrying:
        return _UNTIL_AN_OUTCOME
    due = 0.0 if progress.sent_at is None else progress.sent_at + 1 / options.rate - now
    return Wait(due) if due > 0 else Send()


def is_over(options: RunOptions, progress: Progress, now: float) -> bool:
    """Whether a run that has sent everything need not wait for outcomes any longer."""
    return not progress.undecided or now - progress.heard_at >= options.wait_seconds


def phase_of(options: RunOptions, sent: int) -> Phase:
    """The part that the next letter belongs to."""
    if sent < options.canary:
        return Phase.CANARY
    return Phase.RAMP if sent < options.canary + sum(RAMP) else Phase.REST


def size_of(options: RunOptions, phase: Phase, letters: int) -> int:
    """How many letters that part has in a run of so many."""
    before = {Phase.CANARY: 0, Phase.RAMP: options.canary, Phase.REST: options.canary + sum(RAMP)}
    most = {Phase.CANARY: options.canary, Phase.RAMP: sum(RAMP), Phase.REST: letters}
    return max(0, min(most[phase], letters - before[phase]))


def _is_end_of_part(options: RunOptions, sent: int) -> bool:
    end = options.canary
    if sent == end:
        return True
    for size in RAMP:
        end += size
        if sent == end:
            return True
    return False


def _too_bad(options: RunOptions, progress: Progress) -> Stop | None:
    bad = dict(progress.failures)
    if progress.retrying:
        bad[RETRYING] = bad.get(RETRYING, 0) + progress.retrying
    if 0 < progress.sent <= options.canary:
        for code in bad:
            return Stop(f"a canary letter came to {code}")
    for code, count in bad.items():
        if count >= options.stop_after_failures:
            return Stop(f"{count} letters came to {code}")
    return None


def _too_quiet(options: RunOptions, progress: Progress, now: float) -> Stop | None:
    if not progress.undecided or now - progress.heard_at < options.wait_seconds:
        return None
    return Stop(f"no outcome for {options.wait_seconds:g} seconds: is a worker running?")
