"""Long works on the ledger: the slower it is the less they do at once, and the longer they rest."""

from itertools import pairwise

import pytest

from tests.fakes_clock import FakeClock
from worker.operators.strides import BRIEF_SECONDS, LEAVE, Stride


async def limits(seconds: list[float], *, most: int = 200) -> list[int]:
    """The sizes chosen, with stretches that take so long."""
    clock = FakeClock()
    stride = Stride(clock, most=most)
    chosen = [stride.limit]
    for each in seconds:
        stride.begin()
        clock.advance(each)
        await stride.rest()
        chosen.append(stride.limit)
    return chosen


async def test_what_takes_long_is_followed_by_half_as_much_down_to_a_few_rows() -> None:
    chosen = await limits([0.0, 0.0, *[2 * BRIEF_SECONDS] * 5])
    assert chosen == [25, 50, 100, 50, 25, 12, 10, 10]


async def test_what_is_quick_is_followed_by_more_up_to_the_most() -> None:
    assert await limits([0.0] * 5) == [25, 50, 100, 200, 200, 200]
    assert await limits([0.0] * 3, most=30) == [25, 30, 30, 30]


async def test_what_takes_about_as_long_as_it_may_stays_as_it_is() -> None:
    assert len(set(await limits([0.7 * BRIEF_SECONDS] * 5))) == 1


async def test_a_work_of_single_rows_is_never_asked_for_more_or_for_none() -> None:
    assert set(await limits([1.0, 1.0, 0.0, 0.0], most=1)) == {1}


async def test_the_ledger_is_left_alone_longer_than_the_stretch_took() -> None:
    clock = FakeClock()
    stride, moments = Stride(clock, most=200), []
    for seconds in (0.01, 0.1):
        moments.append(clock.monotonic())
        stride.begin()
        clock.advance(seconds)
        await stride.rest()
    moments.append(clock.monotonic())
    waited = [after - before for before, after in pairwise(moments)]
    assert waited == pytest.approx([0.01 * (1 + LEAVE), 0.1 * (1 + LEAVE)])
