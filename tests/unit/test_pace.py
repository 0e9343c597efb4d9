"""The backoff between tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.connection import Pace


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1.0), (5, 16.0), (6, 30.0), (10_000, 30.0)]
)
def test_delays_double_up_to_the_most(failures: int, seconds: float) -> None:
    assert Pace().delay(failures, 0.0) == seconds


@given(st.integers(0, 10_000), st.floats(0.0, 1.0, exclude_max=True))
def test_jitter_takes_up_to_half_away(failures: int, fraction: float) -> None:
    full = Pace().delay(failures, 0.0)
    assert full / 2 <= Pace().delay(failures, fraction) <= full
