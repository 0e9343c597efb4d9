"""When to try again: the pauses inside a delivery, the delay ladder, and its end.

Two limits each: tries and seconds inside a delivery, attempts and the request's age outside.
"""

from worker.model import Step

LADDER = (
    Step.SECONDS_5,
    Step.SECONDS_30,
    Step.MINUTES_2,
    Step.MINUTES_10,
    Step.HOUR_1,
    Step.HOUR_1,
)
"""The steps between counted attempts (design, "Attempts"): seven attempts in all."""

CANCELLATION_WAITS = (Step.SECONDS_5, Step.SECONDS_30, Step.MINUTES_2)
"""How long a cancellation waits for a payment nobody knows yet (contract section 2, Cancel)."""

RESEND_STEP = Step.SECONDS_30
"""The one re-send of an orphan-safe operation goes through this step (design, "Attempts")."""

BACKOFF_BASE = 0.5
BACKOFF_CAP = 10.0


def next_step(attempts: int, retry_after: float | None = None) -> Step | None:
    """Step after the given number of counted attempts; ``None`` when they are used up.

    ``retry_after`` (seconds) may lengthen a step, never shorten it: a server that keeps saying
    "one second" must not burn the whole ladder within a minute.
    """
    if attempts > len(LADDER):
        return None
    step = LADDER[max(attempts, 1) - 1]
    if retry_after is None:
        return step
    return max(step, _smallest(retry_after), key=lambda each: each.seconds)


def waiting_step(seconds: float) -> Step:
    """Step of an uncounted wait: the smallest that covers it, at least 30 seconds."""
    return _smallest(max(seconds, Step.SECONDS_30.seconds))


def backoff(tries: int, fraction: float) -> float:
    """Seconds before the next try inside a delivery: full jitter over a capped exponential.

    ``tries`` made so far (1 or more), ``fraction`` random in [0, 1). Payment rules R6.
    """
    ceiling: float = BACKOFF_BASE * 2 ** min(tries - 1, 16)
    return fraction * min(BACKOFF_CAP, ceiling)


def _smallest(seconds: float) -> Step:
    return next((step for step in Step if step.seconds >= seconds), Step.HOUR_1)
