"""What operators switch is obeyed by every worker, told once, and outlives an absent ledger."""

from uuid import UUID

import pytest

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.fakes_tables import MemoryTables
from worker.breaker import BreakerChange
from worker.calls import Misconfigured, Outcome, Succeeded
from worker.codes import Code
from worker.gate import Hindrance, Obstacle
from worker.ledger import Ledger
from worker.lifecycle.switches import Asked, StillPaused, SwitchWish
from worker.model import Limits
from worker.operators.accounts import obeyed, probed, standings
from worker.permits import AccountPermits
from worker.registers.accounts import REPORT_AGE
from worker.rules import Rules
from worker.switchboard import ANSWERED, NOT_OPEN, WAITING, Switchboard
from worker.switches import EVERY_ACCOUNT

WRONG_PASSWORD = Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)
OK = Succeeded(link=None, item_id="1", http_status=200)


class Office:
    """A worker with two accounts, its switchboard, and the ledger it shares with operators."""

    def __init__(self, *accounts: str, tables: MemoryTables | None = None, worker: int = 1) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock, tables or MemoryTables())
        self.ledger = Ledger(store=self.store, rules=Rules(), clock=self.clock)
        self.told: list[tuple[str, bool]] = []
        self.surprises: list[Exception] = []
        self.hindrances: list[Hindrance] = []
        self.consumes = True
        self.permits = AccountPermits(
            dict.fromkeys(accounts or ("bank", "shop"), Limits()),
            clock=self.clock,
            notify=self._changed,
            hindered=self.hindrances.append,
        )
        self.board = Switchboard(
            ledger=self.ledger,
            permits=self.permits,
            worker=UUID(int=worker),
            stop=lambda: setattr(self, "consumes", False),
            go=lambda: setattr(self, "consumes", True),
            on_paused=lambda account, is_paused: self.told.append((account, is_paused)),
            on_surprise=self.surprises.append,
        )

    def _changed(self, _change: BreakerChange) -> None:
        return None

    async def asks(self, account: str) -> float | None:
        """Seconds an account asks to wait; ``None`` where it may be called."""
        async with self.permits.take(account, within=0.001) as permit:
            return permit if isinstance(permit, float) else None

    async def call(self, account: str, outcome: Outcome) -> None:
        async with self.permits.take(account, within=0.001) as permit:
            assert not isinstance(permit, float)
            permit.begin()
            permit.report(outcome)


def wish(account: str = "bank", reason: str = "ticket 1") -> SwitchWish:
    return SwitchWish(account=account, actor="m.durand", reason=reason)


async def test_a_paused_account_is_not_called_and_the_other_is() -> None:
    office = Office()
    await office.board.look()
    await office.ledger.accounts.pause(wish())
    assert await office.asks("bank") is None, "not read yet"
    await office.board.look()
    assert (await office.asks("bank"), await office.asks("shop")) == (30.0, None)
    assert office.hindrances == [Hindrance("bank", Obstacle.PAUSE, is_refused=True)]
    assert office.consumes
    assert office.board.paused == "bank"
    await office.ledger.accounts.resume(wish())
    await office.board.look()
    assert await office.asks("bank") is None
    assert office.told == [("bank", True), ("bank", False)]


async def test_the_longer_a_pause_the_longer_its_messages_wait() -> None:
    office = Office()
    await office.ledger.accounts.pause(wish())
    waits = []
    for seconds in (0, 119, 121, 10_000):
        office.clock.advance(seconds)
        await office.board.look()
        waits.append(await office.asks("bank"))
    assert waits == [30.0, 30.0, 60.0, 120.0]


async def test_a_call_under_way_ends_and_is_not_tried_again() -> None:
    office = Office()
    await office.board.look()
    async with office.permits.take("bank", within=0.001) as permit:
        assert not isinstance(permit, float)
        permit.begin()
        await office.ledger.accounts.pause(wish())
        await office.board.look()
        assert not permit.may_go_on
        assert permit.pause == 30.0
        permit.report(OK)
    assert await office.asks("bank") == 30.0


@pytest.mark.parametrize("names", [(EVERY_ACCOUNT,), ("bank", "shop")])
async def test_nothing_is_consumed_while_nobody_may_be_called(names: tuple[str, ...]) -> None:
    """Neither by the pause of everything nor by one of each: with nobody to call nothing churns."""
    office = Office()
    await office.board.look()
    for name in names:
        await office.ledger.accounts.pause(wish(name))
    await office.board.look()
    assert (office.consumes, office.board.is_stopped) == (False, True)
    assert await office.asks("shop") == 30.0
    await office.ledger.accounts.resume(wish(names[0]))
    await office.board.look()
    assert (office.consumes, office.board.is_stopped) == (True, False)


async def test_a_pause_outlives_the_end_of_the_one_of_everything() -> None:
    office = Office()
    await office.ledger.accounts.pause(wish())
    await office.ledger.accounts.pause(wish(EVERY_ACCOUNT))
    still = await office.ledger.accounts.resume(wish())
    assert still.other is not None, "everything is paused still"
    await office.ledger.accounts.pause(wish())
    await office.ledger.accounts.resume(wish(EVERY_ACCOUNT))
    await office.board.look()
    assert (await office.asks("bank"), await office.asks("shop")) == (30.0, None)


async def test_a_pause_holds_in_a_worker_that_starts_later() -> None:
    office = Office()
    await office.ledger.accounts.pause(wish(EVERY_ACCOUNT))
    later = Office(tables=office.store.tables, worker=2)
    await later.board.look()
    assert not later.consumes


async def test_while_the_ledger_cannot_be_read_the_last_known_state_holds() -> None:
    office = Office()
    await office.ledger.accounts.pause(wish())
    await office.board.look()
    office.store.unavailable = True
    await office.board.look()
    assert await office.asks("bank") == 30.0
    office.store.unavailable = False
    await office.ledger.accounts.resume(wish())
    office.store.unavailable = True
    await office.board.look()
    assert await office.asks("bank") == 30.0, "nobody has read that it is over"
    assert office.surprises == []


async def test_a_worker_that_has_never_read_the_switches_takes_nothing() -> None:
    office = Office()
    office.store.unavailable = True
    await office.board.look()
    assert not office.consumes
    office.store.unavailable = False
    await office.board.look()
    assert office.consumes


async def test_pausing_twice_keeps_the_first_reason_and_resuming_nothing_says_so() -> None:
    office = Office()
    first = await office.ledger.accounts.pause(wish(reason="ticket 1"))
    second = await office.ledger.accounts.pause(wish(reason="ticket 2"))
    assert (first.is_new, second.is_new) == (True, False)
    assert second.pause is not None
    assert second.pause.reason == "ticket 1"
    ended = await office.ledger.accounts.resume(wish())
    nothing = await office.ledger.accounts.resume(wish())
    assert (ended.is_new, nothing.is_new, nothing.pause) == (True, False, None)
    acts = office.store.tables.audit
    assert [(act.action, act.facts.account) for act in acts] == [
        ("account_pause", "bank"),
        ("account_resume", "bank"),
    ]


async def test_a_probe_is_let_through_at_once_and_what_came_of_it_is_told() -> None:
    office = Office()
    await office.board.look()
    await office.call("bank", WRONG_PASSWORD)
    assert await office.asks("bank") == 30.0
    asked = await office.ledger.accounts.ask_probe(wish())
    assert isinstance(asked, Asked)
    await office.board.look()
    (report,) = [each for each in await office.ledger.accounts.reports() if each.account == "bank"]
    assert (report.probe, report.probe_result) == (asked.wish, WAITING)
    await office.call("bank", OK)
    await office.board.look()
    (report,) = await probed(
        office.ledger, account="bank", asked=asked.wish, pending=WAITING, seconds=1.0
    )
    assert (report.probe_result, report.breaker) == (ANSWERED, "closed")


async def test_a_probe_that_fails_says_why_and_is_not_repeated() -> None:
    office = Office()
    await office.call("bank", WRONG_PASSWORD)
    await office.ledger.accounts.ask_probe(wish())
    await office.board.look()
    await office.call("bank", WRONG_PASSWORD)
    for _ in range(3):
        await office.board.look()
    (report, _) = await office.ledger.accounts.reports()
    assert report.probe_result == "failed: provider_credentials"
    assert await office.asks("bank") == 60.0, "one try was asked for"


async def test_a_closed_breaker_needs_no_probe_and_an_old_wish_is_over() -> None:
    office = Office()
    asked = await office.ledger.accounts.ask_probe(wish())
    assert isinstance(asked, Asked)
    await office.board.look()
    (report, _) = await office.ledger.accounts.reports()
    assert report.probe_result == NOT_OPEN
    late = Office(tables=office.store.tables, worker=2)
    late.clock.advance(61)
    await late.call("bank", WRONG_PASSWORD)
    await late.board.look()
    assert await late.asks("bank") == 30.0


async def test_a_paused_account_is_not_probed_and_the_try_is_an_act() -> None:
    office = Office()
    await office.ledger.accounts.pause(wish(EVERY_ACCOUNT))
    refused = await office.ledger.accounts.ask_probe(wish())
    assert isinstance(refused, StillPaused)
    denied = office.store.tables.audit[-1]
    assert (denied.action, denied.is_denied) == ("account_probe", True)


async def test_a_report_is_renewed_now_and_then_and_taken_back_at_the_end() -> None:
    office = Office()
    for _ in range(4):
        await office.board.look()
        office.clock.advance(2)
    first = await office.ledger.accounts.reports()
    assert [each.seen_at for each in first] == [START] * 2, "what says the same is no news"
    office.clock.advance(10)
    await office.board.look()
    again = await office.ledger.accounts.reports()
    assert {each.account for each in again} == {"bank", "shop"}
    assert again[0].seen_at > first[0].seen_at, "but that it lives still"
    office.clock.advance(REPORT_AGE.total_seconds() + 1)
    assert await office.ledger.accounts.reports() == [], "a worker that is gone"
    await office.board.look()
    await office.board.sign_off()
    assert office.store.tables.reports == {}


async def test_operators_see_every_account_and_wait_until_all_workers_obey() -> None:
    office = Office()
    second = Office(tables=office.store.tables, worker=2)
    await office.board.look()
    await second.board.look()
    await office.ledger.accounts.pause(wish())
    await office.board.look()
    some = await obeyed(office.ledger, accounts=["bank"], is_paused=True, seconds=0.0)
    assert (some.workers, some.obeying, some.is_whole) == (2, 1, False)
    await second.board.look()
    every = await obeyed(office.ledger, accounts=["bank"], is_paused=True, seconds=0.0)
    assert every.is_whole
    await second.call("shop", WRONG_PASSWORD)
    await second.board.look()
    bank, shop, gone = await standings(office.ledger, ["bank", "shop", "none"])
    assert bank.in_force is not None
    assert bank.in_force.reason == "ticket 1"
    assert [each.worker for each in shop.open] == [UUID(int=2)]
    assert shop.open[0].reason == "provider_credentials"
    assert gone.reports == ()
