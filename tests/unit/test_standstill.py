"""Consumption pauses while every account is down, and goes on for each probe."""

import pytest

from tests.fakes_clock import FakeClock
from worker.calls import Misconfigured, NotApplied, Outcome, Succeeded
from worker.codes import Code
from worker.model import Limits
from worker.permits import AccountPermits
from worker.standstill import Standstill

WRONG_PASSWORD = Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)
BUSY = NotApplied(code=Code.PROVIDER_RATE_LIMITED, http_status=429, retry_after=5.0)
OK = Succeeded(link=None, item_id="1", http_status=200)


class Office:
    """Some accounts, and what their standstill told."""

    def __init__(self, *accounts: str) -> None:
        self.clock = FakeClock()
        self.told: list[str] = []
        self.is_paused = False
        self.permits = AccountPermits(
            dict.fromkeys(accounts, Limits()), clock=self.clock, notify=lambda _change: None
        )
        self.standstill = Standstill(
            self.permits,
            clock=self.clock,
            pause=lambda: setattr(self, "is_paused", True),
            resume=lambda: setattr(self, "is_paused", False),
            on_down=lambda: self.told.append("down"),
            on_back=lambda: self.told.append("back"),
        )

    async def call(self, account: str, outcome: Outcome) -> None:
        async with self.permits.take(account, within=0.001) as permit:
            assert not isinstance(permit, float)
            permit.begin()
            permit.report(outcome)

    def looks(self) -> bool:
        """Look once; whether consumption is paused then."""
        self.standstill.look()
        return self.is_paused


async def test_one_account_that_works_keeps_consuming() -> None:
    office = Office("a", "b")
    await office.call("a", WRONG_PASSWORD)
    assert (office.looks(), office.told, office.standstill.trouble) == (False, [], None)


@pytest.mark.parametrize("accounts", [("a",), ("a", "b")])
async def test_all_down_pauses_until_a_probe_is_nearly_due(accounts: tuple[str, ...]) -> None:
    office = Office(*accounts)
    for each in accounts:
        await office.call(each, WRONG_PASSWORD)
    assert office.looks()
    assert office.standstill.trouble == "every provider account is down"
    office.clock.advance(24.9)
    assert office.looks()
    office.clock.advance(0.1)
    assert not office.looks()
    assert office.told == ["down"]


async def test_each_failed_probe_pauses_again_and_is_not_told_again() -> None:
    office = Office("a")
    await office.call("a", WRONG_PASSWORD)
    for pause in (30.0, 60.0, 120.0):
        assert office.looks()
        office.clock.advance(pause)
        assert not office.looks()
        await office.call("a", WRONG_PASSWORD)
    assert office.looks()
    assert office.told == ["down"]


async def test_nothing_more_is_taken_while_the_one_probe_is_under_way() -> None:
    office = Office("a")
    await office.call("a", WRONG_PASSWORD)
    office.clock.advance(30.0)
    async with office.permits.take("a", within=0.001) as permit:
        assert not isinstance(permit, float)
        assert office.looks()
        permit.report(OK)
    assert not office.looks()
    assert office.told == ["down", "back"]


async def test_a_short_wait_is_no_standstill() -> None:
    office = Office("a")
    await office.call("a", BUSY)
    assert (office.looks(), office.told) == (False, [])
