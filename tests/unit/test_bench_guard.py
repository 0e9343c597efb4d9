"""What the guard concludes from the pairs it measured."""

from tests.bench.guard import LEAST, MOST_LOST, REFERENCE, Pair, Verdict


def pairs(*ratios: float) -> list[Pair]:
    return [Pair(bare=500.0, worker=500.0 / each) for each in ratios]


def test_the_median_of_the_pairs_is_the_ratio() -> None:
    verdict = Verdict([pairs(0.1, 0.4, 0.3, 0.9, 0.5)], least=0.4)
    assert [round(each, 6) for each in verdict.ratios] == [0.4]


def test_a_ratio_that_is_high_enough_is_kept() -> None:
    assert Verdict([pairs(0.31, 0.33)], least=0.3).is_kept
    assert not Verdict([pairs(0.29, 0.28)], least=0.3).is_kept


def test_a_low_ratio_counts_only_if_it_stays_low() -> None:
    low, high = pairs(0.2), pairs(0.4)
    assert Verdict([low, high], least=0.3).is_kept
    assert not Verdict([low, low, low], least=0.3).is_kept


def test_nothing_measured_is_nothing_kept() -> None:
    assert not Verdict([], least=0.3).is_kept


def test_a_quarter_of_the_reference_may_be_lost() -> None:
    assert MOST_LOST == 0.25
    assert Verdict([pairs(REFERENCE * 0.76)], LEAST).is_kept
    assert not Verdict([pairs(REFERENCE * 0.74)], LEAST).is_kept


def test_a_failed_check_says_what_was_measured() -> None:
    told = str(Verdict([pairs(0.2), pairs(0.25)], least=0.3))
    assert told == (
        "bare / worker 0.200, 0.250; at least 0.300. Microseconds of a payment: bare 500,"
        " worker 2,250"
    )
