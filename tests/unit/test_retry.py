"""When to try again: the ladder, the waits, the pauses inside a delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Step
from worker.retry import CANCELLATION_WAITS, LADDER, RESEND_STEP, backoff, next_step, waiting_step


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 5), (1, 5), (2, 30), (3, 120), (4, 600), (5, 3600), (6, 3600), (7, None), (8, None)],
)
def test_the_ladder_has_six_steps_between_seven_attempts(
    attempts: int, seconds: int | None
) -> None:
    step = next_step(attempts)
    assert (step.seconds if step else None) == seconds


@pytest.mark.parametrize(
    ("attempts", "retry_after", "seconds"),
    [
        (1, 0.0, 5),
        (1, 5.0, 5),
        (1, 5.1, 30),
        (1, 90.0, 120),
        (1, 3600.0, 3600),
        (1, 1e9, 3600),
        (4, 1.0, 600),
        (7, 1.0, None),
    ],
)
def test_a_server_may_lengthen_a_step_and_never_shorten_it(
    attempts: int, retry_after: float, seconds: int | None
) -> None:
    step = next_step(attempts, retry_after)
    assert (step.seconds if step else None) == seconds


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [(-5.0, 30), (0.0, 30), (30.0, 30), (31.0, 120), (601.0, 3600), (1e9, 3600)],
)
def test_an_uncounted_wait_is_at_least_half_a_minute(wait: float, seconds: int) -> None:
    assert waiting_step(wait).seconds == seconds


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_full_jitter_under_a_capped_exponential(tries: int, fraction: float) -> None:
    """Payment rules R6: U(0, min(cap, base * 2^n)), base 0.5 s, cap 10 s."""
    ceiling = min(10.0, 0.5 * 2 ** (tries - 1)) if tries < 10 else 10.0
    assert backoff(tries, fraction) == pytest.approx(fraction * ceiling)
    assert 0 <= backoff(tries, fraction) <= 10


def test_the_named_steps_are_those_of_the_design() -> None:
    assert [step.value for step in LADDER] == ["5s", "30s", "2m", "10m", "1h", "1h"]
    assert [step.value for step in CANCELLATION_WAITS] == ["5s", "30s", "2m"]
    assert RESEND_STEP is Step.SECONDS_30
