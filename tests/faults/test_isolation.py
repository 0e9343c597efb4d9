"""One dead account costs the others nothing, and loses nothing: counted in virtual time."""

from collections.abc import Mapping

import pytest

from tests.bench.isolation import CALL_SECONDS, Illness, Load, Report, measure, ratio
from worker.model import Limits
from worker.rules import fair_share

LOAD = Load(rate=40.0, share=0.5, seconds=25.0)
EACH = 500
"""Requests for each account."""

ILL = tuple(each for each in Illness if each is not Illness.NONE)


@pytest.fixture(scope="module")
def reports() -> Mapping[Illness, Report]:
    return measure(LOAD)


@pytest.mark.parametrize("illness", ILL)
def test_the_other_account_answers_nine_tenths_of_normal(
    reports: Mapping[Illness, Report], illness: Illness
) -> None:
    assert ratio(reports, illness) >= 0.9


@pytest.mark.parametrize("illness", ILL)
def test_the_ill_accounts_messages_drain_once_it_is_well(
    reports: Mapping[Illness, Report], illness: Illness
) -> None:
    """Nothing is left on the ladder, and what was decided is what the account answered."""
    report = reports[illness]
    assert report.left == 0
    assert report.statuses["combo succeeded"] == EACH
    failed = report.statuses["safedebit failed"]
    assert report.statuses["safedebit succeeded"] + failed == EACH
    assert (failed > 0) == (illness is Illness.MISCONFIGURED)
    assert failed <= 20, "only what was in flight when the breaker opened"


@pytest.mark.parametrize("illness", ILL)
def test_waiting_for_the_ill_account_counts_no_attempt(
    reports: Mapping[Illness, Report], illness: Illness
) -> None:
    """Only calls that were under way before the breaker opened, and its probes, were attempts."""
    again = sum(count for attempts, count in reports[illness].attempts.items() if attempts > 1)
    assert again <= 25
    assert max(reports[illness].attempts) <= 2


def test_only_the_ill_account_has_a_breaker_that_opens(reports: Mapping[Illness, Report]) -> None:
    opened = {illness for illness, report in reports.items() if report.breaker}
    assert opened == {Illness.REFUSING, Illness.HANGING, Illness.MISCONFIGURED}
    for illness in opened:
        assert reports[illness].breaker[-1].startswith("closed"), illness
    assert reports[Illness.HANGING].breaker[0] == "open calls hang 30s"


def test_without_a_compartment_a_hanging_account_takes_every_place() -> None:
    """The measure sees what it is for: one account may hold as many calls as there are places."""
    load = Load(rate=50.0, seconds=15.0, limits=Limits(concurrent_calls=50, waiting_calls=50))
    assert ratio(measure(load, [Illness.HANGING]), Illness.HANGING) < 0.5


def test_a_burst_for_a_busy_account_stays_off_the_ladder() -> None:
    """It is asked for more than it can take and answers: its places must not lie idle."""
    load = Load(rate=60.0, share=0.95, seconds=20.0)
    report = measure(load, [Illness.NONE])[Illness.NONE]
    assert report.waits == {}
    assert report.left == 0
    capacity = fair_share(load.places, 2).concurrent_calls / CALL_SECONDS
    asked = load.rate * load.share * load.seconds
    assert report.seconds_to_drain <= 1.2 * asked / capacity - load.seconds + 2.0
