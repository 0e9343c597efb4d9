"""The calls of one attempt: how many, how long, and when not at all."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from typing_extensions import override

from tests.fakes_clock import START, FakeClock
from tests.fakes_transport import FakeTransport, Step, hang, hang_connecting, lost, not_sent, reply
from tests.rows import NOW, TOKEN, payment
from worker.call import Call, Ended, Unused, cut_off
from worker.calls import (
    HttpReply,
    HttpRequest,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.lifecycle.wishes import Won
from worker.model import Limits, OperationClass
from worker.permits import AccountPermits
from worker.ports import Permit
from worker.rules import Rules

RULES = Rules()
OK = Succeeded(link=None, item_id="1", http_status=200)
UNAVAILABLE = NotApplied(code=Code.PROVIDER_UNAVAILABLE, http_status=503)


class Given:
    """A permit that says what it is told to say."""

    def __init__(self, *, is_probe: bool = False, may_go_on: bool = True) -> None:
        self.is_probe = is_probe
        self.may_go_on = may_go_on
        self.pause = 60.0
        self.begun = 0
        self.reported: list[Outcome] = []

    def begin(self) -> None:
        self.begun += 1

    def report(self, outcome: Outcome) -> None:
        self.reported.append(outcome)


def read(reply: HttpReply) -> Outcome:
    """A provider's reading, by the status alone."""
    match reply.status:
        case 200:
            return OK
        case 401:
            return Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)
        case 503:
            after = reply.headers.get("retry-after")
            return replace(UNAVAILABLE, retry_after=float(after) if after else None)
        case _:
            return Unknown(http_status=reply.status)


class Attempt:
    """One attempt on fakes."""

    def __init__(
        self,
        *steps: Step,
        permit: Permit | None = None,
        operation_class: OperationClass = OperationClass.ORPHAN_SAFE,
        lease: float = 110.0,
        fraction: float = 0.5,
        not_after: float | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock or FakeClock(fractions=[fraction])
        self.transport = FakeTransport(list(steps))
        self.built = 0
        self.permit = permit or Given()
        record = replace(
            payment(operation_class=operation_class),
            not_after=NOW + timedelta(seconds=not_after) if not_after is not None else None,
        )
        self.call = Call(
            won=Won(record=record, token=TOKEN, lease_until=NOW, lease_ends=lease),
            permit=self.permit,
            build=self.build,
            read=read,
            transport=self.transport,
            clock=self.clock,
            rules=RULES,
        )

    def build(self) -> HttpRequest:
        self.built += 1
        return HttpRequest(url="https://example.org", headers=(), body=b"")

    async def run(self) -> Ended | Unused:
        return await self.call.run()

    @property
    def outcomes(self) -> list[Outcome]:
        """What each try came to."""
        return [each.outcome for each in self.call.tries]


async def test_an_answer_ends_the_attempt_at_once() -> None:
    attempt = Attempt(reply(200, applied=True))
    assert await attempt.run() == Ended(OK)
    assert attempt.outcomes == [OK]
    assert isinstance(attempt.permit, Given)
    assert attempt.permit.reported == [OK]


async def test_nothing_sent_is_tried_three_times_with_a_request_built_anew() -> None:
    """A signature is valid for seconds only."""
    attempt = Attempt(not_sent(), not_sent(), not_sent())
    assert await attempt.run() == Ended(NotSent())
    assert attempt.built == len(attempt.call.tries) == 3
    assert attempt.clock.sleeps == [0.25, 0.5]


async def test_a_server_that_did_not_act_is_tried_again() -> None:
    attempt = Attempt(reply(503, applied=False), reply(200, applied=True))
    assert await attempt.run() == Ended(OK)
    assert attempt.outcomes == [UNAVAILABLE, OK]


@pytest.mark.parametrize("step", [lost(applied=True), reply(500, applied=True)])
async def test_what_may_have_been_applied_is_never_tried_again_here(step: Step) -> None:
    attempt = Attempt(step)
    ended = await attempt.run()
    assert isinstance(ended, Ended)
    assert isinstance(ended.outcome, Unknown)
    assert attempt.clock.sleeps == []


async def test_doubt_after_a_try_that_was_not_sent_is_doubt() -> None:
    attempt = Attempt(not_sent(), lost(applied=True))
    assert await attempt.run() == Ended(Unknown())


@pytest.mark.parametrize(("seconds", "tries"), [("14", 2), ("16", 1), ("3600", 1)])
async def test_a_time_to_come_back_is_waited_for_within_fifteen_seconds_only(
    seconds: str, tries: int
) -> None:
    busy = reply(503, applied=False, headers={"retry-after": seconds})
    attempt = Attempt(busy, reply(200, applied=True))
    await attempt.run()
    assert len(attempt.call.tries) == tries


async def test_no_try_begins_past_the_time_of_the_request() -> None:
    attempt = Attempt(not_sent(), not_after=0.2)
    assert await attempt.run() == Ended(NotSent())
    assert len(attempt.call.tries) == 1


async def test_a_breaker_that_opened_ends_the_tries() -> None:
    attempt = Attempt(not_sent(), permit=Given(may_go_on=False))
    assert await attempt.run() == Ended(NotSent())
    assert len(attempt.call.tries) == 1


@pytest.mark.parametrize(("lease", "calls"), [(45.0, 0), (45.001, 1)])
async def test_the_first_byte_leaves_only_while_a_whole_call_fits_the_lease(
    lease: float, calls: int
) -> None:
    """Payment rules I2: on the monotonic clock, from before the claim."""
    attempt = Attempt(reply(200, applied=True), lease=lease)
    ended = await attempt.run()
    assert len(attempt.transport.calls) == calls
    assert ended == (Ended(OK) if calls else Unused(0.0, "lease too short"))


async def test_a_lease_that_runs_short_between_tries_ends_with_the_last_one() -> None:
    attempt = Attempt(not_sent(), lease=45.1)
    assert await attempt.run() == Ended(NotSent())
    assert attempt.clock.sleeps == [0.25]
    assert len(attempt.transport.calls) == 1


async def test_a_probe_that_meets_a_fault_of_ours_decides_nothing() -> None:
    """Payment rules R9: a wrong password must not use the night's payments up."""
    attempt = Attempt(reply(401, applied=False), permit=Given(is_probe=True))
    assert await attempt.run() == Unused(60.0, "provider_credentials")


async def test_a_probe_that_reaches_nobody_decides_nothing() -> None:
    """Payment rules R9: while the account is down its messages wait uncounted."""
    attempt = Attempt(not_sent(), permit=Given(is_probe=True))
    assert await attempt.run() == Unused(60.0, "provider_unavailable")


async def test_a_call_in_flight_that_meets_a_fault_of_ours_decides() -> None:
    attempt = Attempt(reply(401, applied=False))
    ended = await attempt.run()
    assert isinstance(ended, Ended)
    assert isinstance(ended.outcome, Misconfigured)


@pytest.mark.parametrize("operation_class", list(OperationClass))
async def test_only_the_class_that_cannot_be_repeated_gets_a_fresh_connection(
    operation_class: OperationClass,
) -> None:
    attempt = Attempt(reply(200, applied=True), operation_class=operation_class)
    await attempt.run()
    (call,) = attempt.transport.calls
    assert call.fresh_connection == (operation_class is OperationClass.NON_IDEMPOTENT)
    assert call.seconds == RULES.call_seconds


async def test_the_pause_is_the_longer_of_ours_and_the_servers() -> None:
    busy = reply(503, applied=False, headers={"retry-after": "2"})
    attempt = Attempt(busy, reply(200, applied=True), fraction=0.0)
    await attempt.run()
    assert attempt.clock.sleeps == [2.0]


async def test_a_try_remembers_when_it_began_and_ended() -> None:
    attempt = Attempt(not_sent(), reply(200, applied=True))
    await attempt.run()
    first, second = attempt.call.tries
    assert first.started_at == first.ended_at == START
    assert second.started_at == START + timedelta(seconds=0.25)


async def test_a_call_cut_off_under_way_may_have_arrived() -> None:
    attempt = Attempt(hang(applied=True))
    assert cut_off(attempt.call) is None
    running = asyncio.ensure_future(attempt.run())
    await attempt.transport.waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cut_off(attempt.call) == Unknown()


async def test_a_call_cut_off_while_it_connects_was_not_sent() -> None:
    attempt = Attempt(hang_connecting())
    running = asyncio.ensure_future(attempt.run())
    await attempt.transport.waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cut_off(attempt.call) is None


class HangingClock(FakeClock):
    """A clock whose sleep never ends by itself."""

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.get_running_loop().create_future()


async def test_a_call_cut_off_between_two_tries_was_not_applied() -> None:
    clock = HangingClock()
    attempt = Attempt(not_sent(), clock=clock)
    running = asyncio.ensure_future(attempt.run())
    while not clock.sleeps:
        await asyncio.wait({running}, timeout=0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert attempt.outcomes == [NotSent()]
    assert cut_off(attempt.call) is None


async def test_the_breaker_of_the_account_stops_the_tries_of_its_own_probe() -> None:
    clock = FakeClock()
    permits = AccountPermits({"safedebit": Limits()}, clock=clock, notify=lambda _change: None)
    async with permits.take("safedebit", within=1.0) as permit:
        assert not isinstance(permit, float)
        attempt = Attempt(reply(503, applied=False, headers={"retry-after": "1"}), permit=permit)
        ended = await attempt.run()
    assert ended == Ended(replace(UNAVAILABLE, retry_after=1.0))
