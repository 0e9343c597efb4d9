"""Long works on a file: the longer they hold the payments up, the less they do at once."""

from worker.operators.strides import BRIEF_SECONDS, Stride


def limits(held: list[float], *, most: int = 200) -> list[int]:
    """The sizes chosen, with stretches that hold the payments for so long."""
    stride = Stride(most=most)
    chosen = [stride.limit]
    for seconds in held:
        stride.judge(seconds)
        chosen.append(stride.limit)
    return chosen


def test_what_takes_long_is_followed_by_half_as_much_down_to_a_few_rows() -> None:
    chosen = limits([0.0, 0.0, *[2 * BRIEF_SECONDS] * 5])
    assert chosen == [25, 50, 100, 50, 25, 12, 10, 10]


def test_what_is_quick_is_followed_by_more_up_to_the_most() -> None:
    assert limits([0.0] * 5) == [25, 50, 100, 200, 200, 200]
    assert limits([0.0] * 3, most=30) == [25, 30, 30, 30]


def test_what_takes_about_as_long_as_it_may_stays_as_it_is() -> None:
    assert set(limits([0.7 * BRIEF_SECONDS] * 5)) == {25}


def test_a_work_of_single_rows_is_never_asked_for_more_or_for_none() -> None:
    assert set(limits([1.0, 1.0, 0.0, 0.0], most=1)) == {1}
