"""Calling under a claim: the outcome is recorded, whatever happens meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from typing_extensions import override

from tests.core import basket
from tests.fakes_clock import FakeClock
from tests.fakes_store import MemoryStore
from tests.fakes_transport import FakeTransport, Step, hang, lost, not_sent, reply
from tests.provider_examples import BASKET_ROUTE, CANCEL, REMOVAL_ROUTE
from tests.rows import OTHER_TOKEN, claim_wish
from worker.caller import Called, Caller
from worker.calls import Departure, HttpReply, HttpRequest, Misconfigured, NoReply
from worker.codes import Code
from worker.ledger import Ledger
from worker.lifecycle.wishes import Decided, Held, Waiting, Won
from worker.model import (
    Limits,
    PaymentRequest,
    ProviderKind,
    Refusal,
    Route,
)
from worker.permits import AccountPermits
from worker.ports import Signing, StoreUnavailableError
from worker.providers import PROVIDERS
from worker.providers.basket import BasketProvider
from worker.records import Record, State
from worker.retry import BACKOFF_CAP
from worker.rules import Rules

ITEM = b'{"result": "success", "id": "12"}'
WISH = claim_wish(BASKET_ROUTE, delivery=basket())
PAYMENT_ID = WISH.envelope.operation_id


class RecoveringClock(FakeClock):
    """A clock during whose n-th sleep the ledger comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.store: MemoryStore | None = None
        self.recovers_after = 1000

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.store is not None and len(self.sleeps) >= self.recovers_after:
            self.store.unavailable = False


class HangingClock(FakeClock):
    """A clock whose sleep never ends by itself; ``asleep`` tells that it began."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.asleep.set()
        await asyncio.get_running_loop().create_future()


class WatchedTransport(FakeTransport):
    """A transport that lets something happen before it answers."""

    before_answering: Callable[[], None] | None = None

    @override
    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        answer = await super().send(
            request, fresh_connection=fresh_connection, seconds=seconds, departure=departure
        )
        if self.before_answering is not None:
            self.before_answering()
        return answer


class Till:
    """A caller on fakes, with one claim to call under."""

    def __init__(self, *steps: Step, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = MemoryStore(self.clock)
        self.transport = WatchedTransport(list(steps))
        rules = Rules()
        self.surprises: list[Exception] = []
        self.contradictions: list[Record] = []
        self.ledger = Ledger(store=self.store, rules=rules, clock=self.clock)
        self.permits = AccountPermits(
            {"combo": Limits()}, clock=self.clock, notify=lambda _change: None
        )
        self.caller = Caller(
            ledger=self.ledger,
            providers=PROVIDERS,
            transport=self.transport,
            clock=self.clock,
            signing=self.clock,
            rules=rules,
            on_surprise=self.surprises.append,
            on_contradiction=self.contradictions.append,
        )

    async def pay(self, asked: PaymentRequest = WISH.request) -> Called:
        """Claim, and call under the claim."""
        won = await self.ledger.claim(WISH)
        assert isinstance(won, Won)
        async with self.permits.take("combo", within=1.0) as permit:
            timed = replace(won, lease_ends=self.clock.monotonic() + 110.0)
            return await self.caller.pay(timed, BASKET_ROUTE, asked, permit)

    async def stopped(self, when: asyncio.Event) -> None:
        """Cancel the payment once that has happened; it must end as cancelled."""
        paying = asyncio.ensure_future(self.pay())
        await when.wait()
        paying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await paying

    @property
    def row(self) -> Record:
        return self.store.tables.records[PAYMENT_ID]


async def test_an_answer_is_recorded_with_its_tries() -> None:
    till = Till(not_sent(), reply(200, ITEM, applied=True))
    called = await till.pay()
    assert isinstance(called.end, Decided)
    assert called.end.record.item_id == "12"
    assert len(called.tries) == 2
    assert till.store.tables.attempts[0].tries == called.tries


async def test_the_first_try_answered_is_one_call() -> None:
    till = Till(lost(applied=True))
    called = await till.pay()
    assert isinstance(called.end, Decided)
    assert called.end.record.state is State.IN_DOUBT


async def test_a_refused_connection_waits_on_the_ladder() -> None:
    called = await Till(not_sent(), not_sent(), not_sent()).pay()
    assert isinstance(called.end, Waiting)
    assert called.end.record.attempts == 1


@pytest.mark.parametrize("state", list(State))
async def test_what_was_applied_after_it_was_told_otherwise_is_told_to_somebody(
    state: State,
) -> None:
    """Payment rules, I3: what comes too late is kept as evidence, and somebody must know."""
    till = Till(reply(200, ITEM, applied=True))

    def decide_meanwhile() -> None:
        till.store.tables.records[PAYMENT_ID] = replace(till.row, state=state, token=None)

    till.transport.before_answering = decide_meanwhile
    called = await till.pay()
    assert isinstance(called.end, Held)
    is_told_otherwise = state in {State.FAILED, State.CANCELLED}
    assert [each.payment_id for each in till.contradictions] == [PAYMENT_ID] * is_told_otherwise


# --- surprises -----------------------------------------------------------------------------------


class BrokenProvider(BasketProvider):
    """A provider whose code breaks."""

    @override
    def initiate(
        self, request: PaymentRequest, route: Route, reference: str, signing: Signing
    ) -> HttpRequest:
        raise ZeroDivisionError


async def test_any_surprise_while_calling_is_unknown_and_never_an_error_of_ours() -> None:
    """Payment rules, rule set 2: nobody can say how far it got."""
    till = Till()
    till.caller = Caller(
        ledger=till.ledger,
        providers={ProviderKind.BASKET: BrokenProvider()},
        transport=till.transport,
        clock=till.clock,
        signing=till.clock,
        rules=Rules(),
        on_surprise=till.surprises.append,
        on_contradiction=till.contradictions.append,
    )
    called = await till.pay()
    assert isinstance(called.end, Decided)
    assert called.end.answer.event.code is Code.OUTCOME_UNKNOWN
    assert len(till.surprises) == 1


async def test_a_probe_that_meets_a_fault_of_ours_gives_the_claim_back() -> None:
    till = Till(reply(401, applied=False))
    async with till.permits.take("combo", within=1.0) as permit:
        assert not isinstance(permit, float)
        permit.report(Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401))
    till.clock.advance(30.0)
    called = await till.pay()
    assert isinstance(called.end, Held)
    assert called.end.reason == "provider_credentials"
    assert called.end.until == till.clock.now() + timedelta(seconds=60)
    assert (till.row.state, till.row.attempts) == (State.RETRY_WAIT, 0)
    assert till.row.next_attempt_at == called.end.until


# --- a ledger that is away -----------------------------------------------------------------------


async def test_an_answer_outlives_a_ledger_that_is_away_for_a_moment() -> None:
    """Nobody else knows it: lost, a paid item would end in doubt."""
    clock = RecoveringClock()
    till = Till(reply(200, ITEM, applied=True), clock=clock)
    clock.store, clock.recovers_after = till.store, 3
    till.transport.before_answering = lambda: setattr(till.store, "unavailable", True)
    called = await till.pay()
    assert isinstance(called.end, Decided)
    assert called.end.record.item_id == "12"
    assert len(clock.sleeps) == 3


async def test_an_answer_is_kept_while_the_claim_lasts() -> None:
    """Ten seconds were not enough for one lock: SQLite alone waits for it thirty."""
    clock = RecoveringClock()
    till = Till(reply(200, ITEM, applied=True), clock=clock)
    clock.store, clock.recovers_after = till.store, 20
    till.transport.before_answering = lambda: setattr(till.store, "unavailable", True)
    called = await till.pay()
    assert isinstance(called.end, Decided)
    assert 60 < sum(clock.sleeps) < Rules().lease_seconds


async def test_a_ledger_that_stays_away_is_the_callers_trouble() -> None:
    till = Till(reply(200, ITEM, applied=True))
    till.transport.before_answering = lambda: setattr(till.store, "unavailable", True)
    with pytest.raises(StoreUnavailableError):
        await till.pay()
    lasts = Rules().lease_seconds
    assert lasts - BACKOFF_CAP < sum(till.clock.sleeps) <= lasts


async def test_a_commit_whose_answer_was_lost_is_found_to_be_written() -> None:
    till = Till(reply(200, ITEM, applied=True))
    till.transport.before_answering = lambda: setattr(till.store, "lost_answers", 1)
    called = await till.pay()
    assert isinstance(called.end, Held)
    assert (called.end.reason, called.end.attempts) == ("claim lost", 1)
    assert till.row.state is State.SUCCEEDED


async def test_a_claim_that_another_took_over_is_left_alone() -> None:
    till = Till(reply(200, ITEM, applied=True))

    def take_over() -> None:
        till.store.tables.records[PAYMENT_ID] = replace(till.row, token=OTHER_TOKEN, attempts=2)

    till.transport.before_answering = take_over
    called = await till.pay()
    assert isinstance(called.end, Held)
    assert (called.end.reason, called.end.attempts) == ("claim lost", 2)
    assert (till.row.state, till.row.token) == (State.CALLING, OTHER_TOKEN)


# --- stopped -------------------------------------------------------------------------------------


async def test_a_call_stopped_under_way_is_recorded_as_unknown() -> None:
    till = Till(hang(applied=True))
    await till.stopped(till.transport.waiting)
    assert (till.row.state, till.row.code) == (State.IN_DOUBT, Code.OUTCOME_UNKNOWN)


async def test_a_call_stopped_between_two_tries_was_no_attempt() -> None:
    clock = HangingClock()
    till = Till(not_sent(), clock=clock)
    await till.stopped(clock.asleep)
    assert (till.row.state, till.row.attempts) == (State.RETRY_WAIT, 0)


async def test_a_stop_that_cannot_be_recorded_is_still_a_stop() -> None:
    """Its lease ends it; the task must not answer with an error of the ledger."""
    till = Till(hang(applied=True))
    paying = asyncio.ensure_future(till.pay())
    await till.transport.waiting.wait()
    till.store.unavailable = True
    paying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paying
    assert till.row.state is State.CALLING


# --- what must be there --------------------------------------------------------------------------


@pytest.mark.parametrize("permit", [None, 5.0])
async def test_no_call_without_a_permit(permit: float | None) -> None:
    till = Till()
    won = await till.ledger.claim(WISH)
    assert isinstance(won, Won)
    with pytest.raises(TypeError):
        await till.caller.pay(won, BASKET_ROUTE, WISH.request, permit)
    with pytest.raises(TypeError):
        await till.caller.remove(won, REMOVAL_ROUTE, CANCEL, permit)


async def test_no_removal_without_a_plan_and_an_item() -> None:
    till = Till()
    won = await till.ledger.claim(WISH)
    assert isinstance(won, Won)
    async with till.permits.take("combo", within=1.0) as permit:
        with pytest.raises(TypeError):
            await till.caller.remove(won, None, CANCEL, permit)
        with pytest.raises(LookupError):
            await till.caller.remove(won, REMOVAL_ROUTE, CANCEL, permit)
        with pytest.raises(TypeError):
            await till.caller.pay(won, Refusal(code=Code.MODE_NOT_ALLOWED), WISH.request, permit)
    assert till.transport.calls == []
