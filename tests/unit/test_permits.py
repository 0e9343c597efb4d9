"""Bulkhead, rate limit and breaker of one account, on a clock that moves when told."""

import asyncio
from contextlib import AsyncExitStack
from itertools import product

import pytest
from typing_extensions import override

from tests.fakes_clock import FakeClock
from worker.breaker import BreakerChange, BreakerState
from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.gate import TURNOVER_SECONDS, Hindrance, Obstacle
from worker.model import Limits
from worker.permits import ALONE_SECONDS, AccountPermits
from worker.ports import Permit

ACCOUNT = "safedebit"
OTHER = "combo"
NO_LIMITS = Limits(concurrent_calls=10)
SOON = 0.001
"""Seconds to wait for a place in real time, where a test expects that none comes."""

OK = Succeeded(link=None, item_id="1", http_status=200)
NO = Declined(code=Code.DECLINED, provider_code="NOK_001", http_status=200, known=True)
WRONG_PASSWORD = Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)
UNLISTED = Unknown(http_status=200, never_resend=True)
SILENCE = Unknown()
UNREACHABLE = NotSent()
BUSY = NotApplied(code=Code.PROVIDER_UNAVAILABLE, http_status=503)


def busy_for(seconds: float) -> NotApplied:
    return NotApplied(code=Code.PROVIDER_RATE_LIMITED, http_status=429, retry_after=seconds)


class Account:
    """One account's permits with everything they told."""

    def __init__(self, limits: Limits = NO_LIMITS, *, patience: float = 0.0) -> None:
        self.clock = FakeClock()
        self.changes: list[BreakerChange] = []
        self.hindrances: list[Hindrance] = []
        self.permits = AccountPermits(
            {ACCOUNT: limits, OTHER: NO_LIMITS},
            clock=self.clock,
            notify=self.changes.append,
            hindered=self.hindrances.append,
            patience=patience,
        )

    async def call(self, *outcomes: Outcome, account: str = ACCOUNT) -> Permit | float:
        """Take a permit, report what came of the call, and leave."""
        async with self.permits.take(account, within=SOON) as permit:
            if not isinstance(permit, float):
                for outcome in outcomes:
                    permit.report(outcome)
            return permit

    async def wait(self) -> float:
        """Seconds until the account may be asked; 0 when it may be now."""
        permit = await self.call()
        return permit if isinstance(permit, float) else 0.0

    def state(self) -> BreakerState:
        """State of its breaker; a method, so that a check does not outlive a call."""
        return self.permits.states()[ACCOUNT]

    @property
    def pauses(self) -> list[float]:
        """Pauses of all openings, in order."""
        return [change.pause for change in self.changes if change.pause]


# --- what payments leave over ------------------------------------------------------------------


async def spare(account: Account, *, within: float = 0.0) -> bool:
    """Whether a read gets a place now; it is left at once."""
    async with account.permits.take_spare(ACCOUNT, within=within) as is_free:
        return is_free


async def test_a_read_takes_a_place_that_nobody_wants_and_gives_it_back() -> None:
    account = Account(Limits(concurrent_calls=2))
    async with account.permits.take_spare(ACCOUNT, within=0.0) as is_free:
        assert is_free
        assert not await spare(account), "the last free place is for a payment"
        assert not isinstance(await account.call(OK), float)
    assert await spare(account)
    assert account.hindrances == []


async def test_of_one_place_in_all_a_read_takes_it_while_no_payment_does() -> None:
    account = Account(Limits(concurrent_calls=1))
    assert await spare(account)
    async with account.permits.take(ACCOUNT, within=SOON):
        assert not await spare(account)
    assert await spare(account)


async def test_a_payment_waits_for_a_read_and_is_next() -> None:
    account = Account(Limits(concurrent_calls=1), patience=5.0)
    async with account.permits.take_spare(ACCOUNT, within=0.0):
        paying = asyncio.ensure_future(account.call(OK))
        while not account.permits.waiting(ACCOUNT):
            await account.clock.sleep(0.0)
        assert not await spare(account)
    assert not isinstance(await paying, float)
    assert await spare(account)


async def test_a_read_is_no_probe_and_tells_the_breaker_nothing() -> None:
    account = Account()
    await account.call(WRONG_PASSWORD)
    assert not await spare(account)
    account.clock.advance(31.0)
    assert not await spare(account), "the probe is a payment"
    assert account.state() is BreakerState.OPEN
    await account.call(OK)
    assert await spare(account)


async def test_a_read_keeps_to_the_rate_and_waits_for_its_turn_only_so_long() -> None:
    account = Account(Limits(concurrent_calls=9, calls_per_second=0.5))
    assert await spare(account)
    assert not await spare(account, within=1.9)
    assert await spare(account, within=2.0)
    assert account.clock.sleeps == [2.0]
    async with account.permits.take(ACCOUNT, within=2.0) as permit:
        assert not isinstance(permit, float), "the turn after that is a payment's"


async def test_a_read_that_is_called_off_leaves_no_place_taken() -> None:
    account = Account(Limits(concurrent_calls=1, calls_per_second=0.5))
    await account.call(OK)
    reading = asyncio.ensure_future(spare(account, within=5.0))
    await account.clock.sleep(0.0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    account.clock.advance(60.0)
    assert await spare(account)


async def test_a_breaker_that_opens_while_a_read_waits_for_its_turn_lets_nobody_through() -> None:
    account = Account(Limits(concurrent_calls=9, calls_per_second=0.5))
    async with account.permits.take(ACCOUNT, within=SOON) as permit:
        assert not isinstance(permit, float)
        reading = asyncio.ensure_future(spare(account, within=5.0))
        await account.clock.sleep(0.0)
        permit.report(WRONG_PASSWORD)
    assert not await reading


# --- the breaker ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [WRONG_PASSWORD, UNLISTED])
async def test_one_fault_of_ours_opens_at_once(outcome: Outcome) -> None:
    account = Account()
    await account.call(outcome)
    assert account.state() is BreakerState.OPEN
    assert await account.wait() == 30.0
    assert account.changes == [BreakerChange(ACCOUNT, BreakerState.OPEN, _reason(outcome), 30.0)]


def _reason(outcome: Outcome) -> str:
    return "provider_credentials" if outcome is WRONG_PASSWORD else "link host not listed"


@pytest.mark.parametrize("outcome", [SILENCE, UNREACHABLE, BUSY])
async def test_silence_opens_by_rate_after_five(outcome: Outcome) -> None:
    account = Account()
    for _ in range(4):
        await account.call(outcome)
        assert account.state() is BreakerState.CLOSED
    await account.call(outcome)
    assert account.state() is BreakerState.OPEN


@pytest.mark.parametrize(("answers", "state"), [(5, BreakerState.OPEN), (6, BreakerState.CLOSED)])
async def test_silence_opens_when_it_is_half_of_the_last_calls(
    answers: int, state: BreakerState
) -> None:
    account = Account()
    for _ in range(answers):
        await account.call(OK)
    for _ in range(5):
        await account.call(SILENCE)
    assert account.state() is state


async def test_old_failures_are_forgotten_after_twenty_calls() -> None:
    account = Account()
    for _ in range(4):
        await account.call(SILENCE)
    for _ in range(20):
        await account.call(OK)
    for _ in range(4):
        await account.call(SILENCE)
    assert account.state() is BreakerState.CLOSED


@pytest.mark.parametrize("outcome", [OK, NO])
async def test_an_answer_never_opens_it(outcome: Outcome) -> None:
    account = Account()
    for _ in range(50):
        await account.call(outcome)
    assert (account.state(), account.changes) == (BreakerState.CLOSED, [])


async def test_other_accounts_go_on() -> None:
    clock = FakeClock()
    permits = AccountPermits(
        {ACCOUNT: NO_LIMITS, "combo": NO_LIMITS}, clock=clock, notify=lambda _change: None
    )
    async with permits.take(ACCOUNT, within=SOON) as permit:
        assert not isinstance(permit, float)
        permit.report(WRONG_PASSWORD)
    assert permits.states() == {ACCOUNT: BreakerState.OPEN, "combo": BreakerState.CLOSED}
    async with permits.take("combo", within=SOON) as permit:
        assert not isinstance(permit, float)


async def test_calls_in_flight_when_it_opened_do_not_lengthen_the_pause() -> None:
    account = Account()
    async with AsyncExitStack() as stack:
        passes = [
            await stack.enter_async_context(account.permits.take(ACCOUNT, within=SOON))
            for _ in range(3)
        ]
        for each in passes:
            assert not isinstance(each, float)
            each.report(WRONG_PASSWORD)
            assert not each.may_go_on
            assert each.pause == 30.0
    assert account.pauses == [30.0]


# --- the probe --------------------------------------------------------------------------------


async def opened(outcome: Outcome = WRONG_PASSWORD) -> Account:
    """An account whose breaker has opened and whose pause is over."""
    account = Account()
    await account.call(outcome)
    account.clock.advance(30.0)
    return account


async def test_one_call_probes_and_the_others_wait() -> None:
    account = await opened()
    async with account.permits.take(ACCOUNT, within=SOON) as probe:
        assert not isinstance(probe, float)
        assert probe.is_probe
        assert account.state() is BreakerState.HALF_OPEN
        assert await account.wait() == 30.0
        probe.report(OK)
        assert await account.wait() == 0.0
    assert account.state() is BreakerState.CLOSED


@pytest.mark.parametrize("outcome", [OK, NO])
async def test_an_answered_probe_closes_and_forgets(outcome: Outcome) -> None:
    """Declined is an answer: the account works."""
    account = await opened()
    await account.call(outcome)
    assert account.state() is BreakerState.CLOSED
    await account.call(WRONG_PASSWORD)
    assert account.pauses == [30.0, 30.0]


@pytest.mark.parametrize(
    ("outcome", "longest"), [(WRONG_PASSWORD, 3600.0), (SILENCE, 300.0), (UNREACHABLE, 300.0)]
)
async def test_each_failed_probe_doubles_the_pause(outcome: Outcome, longest: float) -> None:
    """Payment rules R9: a wrong password up to an hour."""
    account = await opened()
    expected = 30.0
    for _ in range(9):
        await account.call(outcome)
        expected = min(longest, expected * 2)
        assert account.pauses[-1] == expected
        assert await account.wait() == expected
        account.clock.advance(expected)


async def test_a_probe_told_to_come_back_pauses_without_doubling() -> None:
    account = await opened()
    await account.call(BUSY)
    assert await account.wait() == 30.0
    account.clock.advance(30.0)
    await account.call(busy_for(7.0))
    assert await account.wait() == 7.0


async def test_an_unused_probe_is_given_back() -> None:
    """The permit was taken, but there was nothing to call: the next one probes."""
    account = await opened()
    unused = await account.call()
    assert not isinstance(unused, float)
    assert account.state() is BreakerState.OPEN
    used = await account.call(OK)
    assert not isinstance(used, float)
    assert used.is_probe
    assert account.state() is BreakerState.CLOSED


async def test_a_probe_that_failed_and_still_settles_does_not_end_the_next_one() -> None:
    account = await opened()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(account.permits.take(ACCOUNT, within=SOON))
        assert not isinstance(first, float)
        first.report(WRONG_PASSWORD)
        account.clock.advance(60.0)
        async with account.permits.take(ACCOUNT, within=SOON) as second:
            assert not isinstance(second, float)
            assert second.is_probe
            await stack.aclose()
            assert account.state() is BreakerState.HALF_OPEN
            assert await account.wait() == 30.0


async def test_a_call_from_before_does_not_go_on_beside_the_probe() -> None:
    account = Account()
    async with account.permits.take(ACCOUNT, within=SOON) as early:
        assert not isinstance(early, float)
        assert early.may_go_on
        await account.call(WRONG_PASSWORD)
        account.clock.advance(30.0)
        async with account.permits.take(ACCOUNT, within=SOON) as probe:
            assert not isinstance(probe, float)
            assert not early.may_go_on


async def test_an_operator_can_ask_for_a_probe_at_once() -> None:
    account = Account()
    await account.call(WRONG_PASSWORD)
    account.permits.probe(ACCOUNT)
    await account.call(OK)
    assert account.state() is BreakerState.CLOSED


async def test_a_failing_call_beside_a_probe_keeps_the_breaker_open() -> None:
    account = Account()
    async with account.permits.take(ACCOUNT, within=SOON) as early:
        assert not isinstance(early, float)
        await account.call(WRONG_PASSWORD)
        account.clock.advance(30.0)
        async with account.permits.take(ACCOUNT, within=SOON) as probe:
            assert not isinstance(probe, float)
            early.report(WRONG_PASSWORD)
            assert account.state() is BreakerState.OPEN
        assert await account.wait() == 60.0


# --- calls that hang ----------------------------------------------------------------------------


async def hanging(account: Account, stack: AsyncExitStack, count: int) -> list[Permit]:
    """Begin that many calls that nobody answers."""
    permits: list[Permit] = []
    for _ in range(count):
        permit = await stack.enter_async_context(account.permits.take(ACCOUNT, within=SOON))
        assert not isinstance(permit, float)
        permit.begin()
        permits.append(permit)
    return permits


@pytest.mark.parametrize(
    ("calls", "seconds", "state"),
    [
        (5, 9.9, BreakerState.CLOSED),
        (4, 10.0, BreakerState.CLOSED),
        (5, 10.0, BreakerState.OPEN),
    ],
)
async def test_calls_that_hang_open_it_before_they_have_ended(
    calls: int, seconds: float, state: BreakerState
) -> None:
    account = Account()
    async with AsyncExitStack() as stack:
        await hanging(account, stack, calls)
        account.clock.advance(seconds)
        await account.wait()
        assert account.state() is state
        assert account.permits.calls(ACCOUNT) == calls
    assert account.permits.calls(ACCOUNT) == 0


async def test_an_account_with_few_places_is_silent_when_all_of_them_hang() -> None:
    account = Account(Limits(concurrent_calls=2))
    async with AsyncExitStack() as stack:
        await hanging(account, stack, 2)
        account.clock.advance(10.0)
        assert await account.wait() == 30.0
        (change,) = account.changes
        assert (change.state, change.reason) == (BreakerState.OPEN, "calls hang")


async def test_slow_calls_beside_answered_ones_are_no_silence() -> None:
    account = Account()
    async with AsyncExitStack() as stack:
        *_, last = await hanging(account, stack, 7)
        account.clock.advance(9.0)
        last.report(OK)
        account.clock.advance(9.0)
        assert await account.wait() == 0.0
        account.clock.advance(1.0)
        assert await account.wait() == 30.0


async def test_an_account_that_was_not_asked_was_not_silent() -> None:
    account = Account()
    await account.call(OK)
    account.clock.advance(3600.0)
    async with AsyncExitStack() as stack:
        await hanging(account, stack, 8)
        account.clock.advance(9.0)
        assert await account.wait() == 0.0


async def test_a_late_answer_refutes_the_suspicion() -> None:
    """The account was slow and not dead: nobody waits for a probe."""
    account = Account()
    async with AsyncExitStack() as stack:
        first, *_ = await hanging(account, stack, 5)
        account.clock.advance(10.0)
        assert await account.wait() == 30.0
        first.report(OK)
        assert account.state() is BreakerState.CLOSED
        assert await account.wait() == 0.0


async def test_a_probe_that_a_late_answer_made_needless_opens_nothing_when_it_is_unused() -> None:
    account = Account()
    async with AsyncExitStack() as stack:
        first, *_ = await hanging(account, stack, 5)
        account.clock.advance(10.0)
        assert await account.wait() == 30.0
        account.clock.advance(30.0)
        async with account.permits.take(ACCOUNT, within=SOON) as probe:
            assert not isinstance(probe, float)
            assert probe.is_probe
            first.report(OK)
            assert account.state() is BreakerState.CLOSED
        assert account.state() is BreakerState.CLOSED
    assert [change.reason for change in account.changes] == ["calls hang", "probe", "answered"]


async def test_calls_that_end_unanswered_after_it_opened_neither_lengthen_nor_reopen() -> None:
    account = Account()
    async with AsyncExitStack() as stack:
        hung = await hanging(account, stack, 8)
        account.clock.advance(10.0)
        assert await account.wait() == 30.0
        account.clock.advance(30.0)
        async with account.permits.take(ACCOUNT, within=SOON) as probe:
            assert not isinstance(probe, float)
            assert probe.is_probe
            for each in hung:
                each.report(SILENCE)
            assert account.state() is BreakerState.HALF_OPEN
            probe.report(OK)
        assert account.state() is BreakerState.CLOSED
    assert account.pauses == [30.0]


# --- Retry-After ------------------------------------------------------------------------------


async def test_a_server_that_names_a_time_is_left_alone_until_then() -> None:
    account = Account()
    await account.call(busy_for(20.0))
    assert await account.wait() == 20.0
    account.clock.advance(20.0)
    assert await account.wait() == 0.0


async def test_a_late_wish_to_wait_does_not_shorten_a_pause() -> None:
    account = Account()
    async with account.permits.take(ACCOUNT, within=SOON) as early:
        assert not isinstance(early, float)
        await account.call(WRONG_PASSWORD)
        early.report(busy_for(1.0))
    assert await account.wait() == 30.0


# --- bulkhead and rate limit ------------------------------------------------------------------


async def test_no_more_calls_than_places() -> None:
    account = Account(Limits(concurrent_calls=2))
    async with account.permits.take(ACCOUNT, within=SOON):
        async with account.permits.take(ACCOUNT, within=SOON):
            assert await account.wait() == SOON
        assert await account.wait() == 0.0


async def test_only_so_many_deliveries_wait_while_another_account_is_asked_for() -> None:
    """Whoever comes later goes to the ladder at once and holds no place of the others."""
    account = Account(Limits(concurrent_calls=1, waiting_calls=2))
    await account.call(OK, account=OTHER)
    async with account.permits.take(ACCOUNT, within=SOON):
        waiting = [asyncio.ensure_future(_enter(account, within=10.0)) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0)
        assert account.permits.waiting(ACCOUNT) == 2
        assert await _enter(account, within=10.0) == 10.0
        assert account.permits.waiting(ACCOUNT) == 2
    assert [isinstance(await each, float) for each in waiting] == [False, False]
    delayed, refused = (
        Hindrance(ACCOUNT, Obstacle.BULKHEAD, is_refused=each) for each in (False, True)
    )
    assert account.hindrances == [delayed, delayed, refused]


async def test_an_account_alone_keeps_its_backlog_waiting() -> None:
    """There is nobody whose places it takes, and the ladder would only stir it up."""
    account = Account(Limits(concurrent_calls=1, waiting_calls=1), patience=10.0)
    await account.call(OK, account=OTHER)
    account.clock.advance(ALONE_SECONDS)
    async with account.permits.take(ACCOUNT, within=SOON):
        waiting = [asyncio.ensure_future(_enter(account, within=SOON)) for _ in range(9)]
        await asyncio.wait(waiting, timeout=0.01)
        assert account.permits.waiting(ACCOUNT) == 9
    assert not [each for each in await asyncio.gather(*waiting) if isinstance(each, float)]


async def test_as_many_may_wait_as_were_answered_in_the_last_seconds() -> None:
    """A busy account that answers slows the intake; the ladder would leave its places idle."""
    account = Account(Limits(concurrent_calls=2, waiting_calls=1))
    await account.call(OK, account=OTHER)
    async with (
        account.permits.take(ACCOUNT, within=SOON) as slow,
        account.permits.take(ACCOUNT, within=SOON) as quick,
    ):
        assert not isinstance(slow, float)
        assert not isinstance(quick, float)
        slow.begin()
        account.clock.advance(TURNOVER_SECONDS)
        for _ in range(3):
            quick.report(OK)
        waiting = [asyncio.ensure_future(_enter(account, within=10.0)) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0)
        assert account.permits.waiting(ACCOUNT) == 3
        assert await _enter(account, within=10.0) == 10.0
    assert [isinstance(await each, float) for each in waiting] == [False] * 3


async def test_an_account_that_falls_silent_sends_all_but_the_first_away() -> None:
    account = Account(Limits(concurrent_calls=1, waiting_calls=1), patience=30.0)
    await account.call(OK, account=OTHER)
    async with account.permits.take(ACCOUNT, within=SOON) as permit:
        assert not isinstance(permit, float)
        permit.begin()
        waiting = [asyncio.ensure_future(_enter(account, within=SOON)) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0)
        assert account.permits.waiting(ACCOUNT) == 3, "its first call is too young to judge"
        account.clock.advance(TURNOVER_SECONDS)
        assert await asyncio.gather(*waiting[1:]) == [SOON, SOON]
        assert account.permits.waiting(ACCOUNT) == 1
    assert not isinstance(await waiting[0], float)


async def test_a_breaker_that_opens_sends_the_waiting_away() -> None:
    account = Account(Limits(concurrent_calls=1))
    await account.call(OK, account=OTHER)
    async with account.permits.take(ACCOUNT, within=SOON) as permit:
        assert not isinstance(permit, float)
        waiting = asyncio.ensure_future(_enter(account, within=10.0))
        await asyncio.wait({waiting}, timeout=0)
        permit.report(WRONG_PASSWORD)
        assert await waiting == 30.0
        assert account.permits.waiting(ACCOUNT) == 0


async def test_a_delivery_stopped_while_it_waits_leaves_no_place_behind() -> None:
    account = Account(Limits(concurrent_calls=1))
    async with account.permits.take(ACCOUNT, within=SOON):
        waiting = asyncio.ensure_future(_enter(account, within=10.0))
        late = asyncio.ensure_future(_enter(account, within=10.0))
        await asyncio.wait({waiting, late}, timeout=0)
        waiting.cancel()
        await asyncio.wait({waiting})
    late.cancel()  # it has the place already, and has not been told yet
    await asyncio.wait({late})
    assert await account.wait() == 0.0


# --- every account is down ------------------------------------------------------------------------


async def all_down(*, patience: float) -> Account:
    """Two accounts, both of them with a wrong password."""
    account = Account(patience=patience)
    await account.call(WRONG_PASSWORD, account=OTHER)
    assert account.permits.standstill() is None
    await account.call(WRONG_PASSWORD)
    return account


async def test_deliveries_wait_for_the_probe_when_every_account_is_down() -> None:
    """Never the whole backlog on the ladder (rabbitmq section 7.1)."""
    account = await all_down(patience=39.0)
    assert account.permits.standstill() == 30.0
    permit = await account.call(OK)
    assert not isinstance(permit, float)
    assert permit.is_probe
    assert account.clock.monotonic() == 30.0
    assert account.permits.standstill() is None


async def test_a_probe_that_is_not_due_in_time_is_not_waited_for() -> None:
    account = await all_down(patience=29.0)
    assert await account.wait() == 30.0
    assert account.clock.sleeps == []


async def test_nobody_waits_for_a_probe_while_the_worker_stops() -> None:
    account = await all_down(patience=39.0)
    account.permits.hurry()
    assert await account.wait() == 30.0
    assert account.clock.sleeps == []


async def test_one_account_down_sends_its_deliveries_to_the_ladder_at_once() -> None:
    account = Account(patience=39.0)
    await account.call(WRONG_PASSWORD)
    assert await account.wait() == 30.0
    assert account.clock.sleeps == []
    assert account.hindrances == [Hindrance(ACCOUNT, Obstacle.BREAKER, is_refused=True)]


async def test_a_waiting_call_gets_the_place_that_becomes_free() -> None:
    account = Account(Limits(concurrent_calls=1))
    async with account.permits.take(ACCOUNT, within=SOON):
        waiting = asyncio.ensure_future(_enter(account, within=10.0))
        await asyncio.wait({waiting}, timeout=0)
        assert not waiting.done()
    assert not isinstance(await waiting, float)


async def _enter(account: Account, *, within: float) -> Permit | float:
    async with account.permits.take(ACCOUNT, within=within) as permit:
        return permit


async def test_calls_start_no_faster_than_the_rate() -> None:
    account = Account(Limits(concurrent_calls=9, calls_per_second=4.0))
    for _ in range(3):
        assert not isinstance(await _enter(account, within=1.0), float)
    assert account.clock.sleeps == [0.25, 0.25]


async def test_a_turn_that_comes_too_late_is_refused_and_takes_no_place() -> None:
    account = Account(Limits(concurrent_calls=1, calls_per_second=0.1))
    assert await account.wait() == 0.0
    assert await _enter(account, within=1.0) == 10.0
    account.clock.advance(10.0)
    assert await account.wait() == 0.0


class StoppingClock(FakeClock):
    """A clock whose next sleep is cancelled, or during which something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stopping = False
        self.meanwhile: list[Permit] = []

    @override
    async def sleep(self, seconds: float) -> None:
        if self.is_stopping:
            raise asyncio.CancelledError
        for permit in self.meanwhile:
            permit.report(WRONG_PASSWORD)
        await super().sleep(seconds)


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_task_stopped_while_its_turn_comes_leaves_place_and_probe_free(
    is_open: object,
) -> None:
    clock = StoppingClock()
    limits = Limits(concurrent_calls=1, calls_per_second=4.0)
    permits = AccountPermits({ACCOUNT: limits}, clock=clock, notify=lambda _change: None)
    async with permits.take(ACCOUNT, within=1.0) as permit:
        assert not isinstance(permit, float)
        permit.report(WRONG_PASSWORD if is_open else OK)
    permits.probe(ACCOUNT)
    clock.is_stopping = True
    with pytest.raises(asyncio.CancelledError):
        async with permits.take(ACCOUNT, within=1.0):
            pass
    clock.is_stopping = False
    async with permits.take(ACCOUNT, within=1.0) as permit:
        assert not isinstance(permit, float)
        assert permit.is_probe == bool(is_open)


async def test_a_breaker_that_opens_while_a_turn_comes_is_noticed() -> None:
    clock = StoppingClock()
    limits = Limits(concurrent_calls=2, calls_per_second=4.0)
    permits = AccountPermits({ACCOUNT: limits}, clock=clock, notify=lambda _change: None)
    async with permits.take(ACCOUNT, within=1.0) as first:
        assert not isinstance(first, float)
        clock.meanwhile = [first]
        async with permits.take(ACCOUNT, within=1.0) as second:
            assert second == 29.75


async def test_no_limit_means_no_pause() -> None:
    account = Account(Limits(concurrent_calls=9, calls_per_second=0.0))
    for _each, _again in product(range(5), range(5)):
        await account.call(OK)
    assert account.clock.sleeps == []
