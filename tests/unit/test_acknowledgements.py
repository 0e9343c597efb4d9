"""Which deliveries one acknowledgement may stand for."""

from itertools import combinations

import pytest

from worker.adapters.intake import acknowledgements

TAGS = (1, 2, 3, 4, 5)


def test_all_that_is_finished_leaves_as_one_where_nothing_is_open() -> None:
    assert list(acknowledgements([3, 1, 2], lowest_open=None)) == [(3, True)]


def test_only_what_lies_before_the_lowest_open_delivery_leaves_together() -> None:
    assert list(acknowledgements([6, 2, 4, 3], lowest_open=5)) == [(4, True), (6, False)]


def test_one_alone_stands_for_itself() -> None:
    assert list(acknowledgements([7], lowest_open=8)) == [(7, False)]


def test_nothing_finished_is_nothing_to_say() -> None:
    assert not list(acknowledgements([], lowest_open=1))


@pytest.mark.parametrize(
    "finished", [each for count in range(1, 6) for each in combinations(TAGS, count)]
)
def test_what_is_acknowledged_is_what_is_finished(finished: tuple[int, ...]) -> None:
    """As a broker reads it: each tag is outstanding, and no open delivery is swept along."""
    outstanding = set(TAGS)
    still_open = outstanding - set(finished)
    for tag, is_multiple in acknowledgements(finished, lowest_open=min(still_open, default=None)):
        assert tag in outstanding
        outstanding -= {each for each in outstanding if each <= tag} if is_multiple else {tag}
    assert outstanding == still_open
