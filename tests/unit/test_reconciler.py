"""Doubts are looked up when they are due, by one worker at a time, with reads alone."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.core import (
    RESET_AFTER,
    Body,
    Core,
    World,
    initiation,
    link_account,
    listing,
    make_core,
    with_account,
)
from tests.fakes_clock import START
from worker.calls import HttpReply, HttpRequest, NoReply, Silence
from worker.codes import Code
from worker.lifecycle.reconcile import STEPS
from worker.look_ups import Finding, LookUp, PlanState
from worker.model import Limits, Operation, OperationClass
from worker.ports import StoreUnavailableError
from worker.providers.link import LinkProvider
from worker.reconciler import LEASE, LONGEST, PAUSE, READ_SECONDS
from worker.records import State
from worker.rules import RouteBook
from worker.sweeper import UNPUBLISHED_AGE

ACCOUNT = "safedebit"
MOMENT = timedelta(seconds=1)
SILENT_READ = NoReply(True, Silence.TIMEOUT)  # noqa: FBT003 - positional in the port


def searched_book(
    operation_class: OperationClass = OperationClass.NON_IDEMPOTENT,
    limits: Limits | None = None,
) -> RouteBook:
    """A route book whose link account is looked up."""
    account = replace(link_account(operation_class), look_up=True)
    return with_account(replace(account, limits=limits or account.limits))


async def doubtful(
    *, payments: int = 1, operation_class: OperationClass = OperationClass.NON_IDEMPOTENT
) -> World:
    """A world with payments that were applied and whose answer was lost."""
    world = World(book=searched_book(operation_class))
    world.providers.behaviours = [RESET_AFTER] * 2 * payments
    worker = world.worker()
    for n in range(1, payments + 1):
        await worker.processor.handle(initiation(f"key-{n}", id_commande=str(n)))
    while (copy := world.broker.take()) is not None:
        await worker.processor.handle(copy)
    assert {each.state for each in world.store.tables.records.values()} == {State.IN_DOUBT}
    return world


def pass_time(world: World, age: timedelta) -> None:
    world.clock.advance(age.total_seconds())


async def go_round(world: World) -> list[Finding | None]:
    """Let a fresh worker go round once; what it found."""
    worker = world.worker()
    await worker.reconciler.go_round(ACCOUNT)
    assert worker.surprises == []
    return [each.reconciled.finding for each in worker.looked_up]


async def until_due(world: World) -> list[Finding | None]:
    """Plan, let the first minute pass, and go round."""
    assert await go_round(world) == []
    pass_time(world, STEPS[0])
    return await go_round(world)


def evidence(world: World) -> list[LookUp]:
    return world.store.tables.look_ups


async def events(world: World) -> list[Body]:
    """Every event once the sweeper has sent what is owed."""
    pass_time(world, UNPUBLISHED_AGE + MOMENT)
    await world.worker().sweeper.sweep()
    return world.broker.events


# --- what is found -----------------------------------------------------------------------------


async def test_a_payment_that_the_provider_lists_succeeds_with_one_event_more() -> None:
    world = await doubtful()
    assert await until_due(world) == [Finding.FOUND]
    (record,) = world.store.tables.records.values()
    assert record.state is State.SUCCEEDED
    first, second = await events(world)
    assert (first["sequence"], first["code"]) == (1, "outcome_unknown")
    assert (second["sequence"], second["event_type"]) == (2, "payment.initiation.succeeded")
    assert second["link"] in world.providers.links
    assert await world.worker().ledger.letters.page() == [], "the dead letter is overtaken"
    assert len(await events(world)) == 2
    pass_time(world, timedelta(days=8))
    assert await go_round(world) == []
    assert world.providers.applied.total() == 1, "nothing was sent again"
    assert len(world.providers.requests) == 1
    assert len(world.providers.searches) == 1


async def test_every_reference_of_a_payment_that_was_sent_again_is_looked_up() -> None:
    """Both were applied; the link of the newest reference goes out."""
    world = await doubtful(operation_class=OperationClass.ORPHAN_SAFE)
    first, second = world.providers.references["key-1@example.org"]
    assert await until_due(world) == [Finding.FOUND]
    assert world.providers.searches == [second, first]
    event = (await events(world))[-1]
    assert event["provider_reference"] == second
    assert event["link"] == world.providers.sold[second][1]


async def test_without_a_link_it_stays_in_doubt_and_says_why() -> None:
    world = await doubtful()
    (reference,) = world.providers.references["key-1@example.org"]
    world.providers.search_facts = [listing((reference, "1250", None))]
    assert await until_due(world) == [Finding.FOUND_WITHOUT_LINK]
    event = (await events(world))[-1]
    assert (event["sequence"], event["code"]) == (2, "link_lost")
    (entry,) = await world.worker().ledger.letters.page()
    assert (entry.code, entry.sequence, entry.confirmed) == (Code.LINK_LOST, 2, True)
    pass_time(world, timedelta(days=8))
    assert await go_round(world) == []


async def test_another_amount_is_a_break_that_nothing_changes_by_itself() -> None:
    world = await doubtful()
    (reference,) = world.providers.references["key-1@example.org"]
    world.providers.search_facts = [listing((reference, "1251", None))]
    assert await until_due(world) == [Finding.OTHER_AMOUNT]
    assert len(await events(world)) == 1
    worker = world.worker()
    assert (await worker.ledger.standing()).breaks == {ACCOUNT: 1}
    (plan,) = await worker.ledger.look_ups.plans(list(world.store.tables.records))
    assert (plan.state, plan.due_at) == (PlanState.BREAK, None)
    pass_time(world, timedelta(days=8))
    assert await go_round(world) == []
    assert len(world.providers.searches) == 1


async def test_not_found_is_read_again_at_every_step_and_then_waits_for_a_person() -> None:
    world = await doubtful()
    world.providers.sold.clear()
    (record,) = world.store.tables.records.values()
    assert record.decided_at is not None
    await go_round(world)
    for step in STEPS:
        until = (record.decided_at + step - world.clock.now()).total_seconds()
        world.clock.advance(until - 1.5)
        assert await go_round(world) == []
        world.clock.advance(1.5)
        assert await go_round(world) == [Finding.NOT_FOUND]
    assert [each.step for each in evidence(world)] == list(range(1, len(STEPS) + 1))
    pass_time(world, timedelta(days=30))
    assert await go_round(world) == []
    (plan,) = world.store.tables.look_up_plans.values()
    assert plan.state is PlanState.EXHAUSTED
    assert world.store.tables.records[record.operation_id] == record
    assert len(world.broker.events) == 1


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (SILENT_READ, "timeout"),
        (HttpReply(status=401, headers={}, body=b"", received_at=START), "refused"),
        (HttpReply(status=200, headers={}, body=None, received_at=START), "unreadable"),
    ],
)
async def test_a_failed_read_changes_nothing_and_leaves_the_others_to_the_next_round(
    fact: HttpReply | NoReply, reason: str
) -> None:
    world = await doubtful(payments=2)
    world.providers.search_facts = [fact]
    assert await until_due(world) == [Finding.FAILED]
    assert [each.reason for each in evidence(world)] == [reason]
    assert await go_round(world) == [Finding.FOUND]
    pass_time(world, STEPS[1])
    assert await go_round(world) == [Finding.FOUND]
    assert world.worker().permits.calls(ACCOUNT) == 0


async def test_doubts_are_read_one_after_another_with_a_pause() -> None:
    world = await doubtful(payments=3)
    assert await until_due(world) == [Finding.FOUND] * 3
    assert world.clock.sleeps[-3:] == [PAUSE] * 3


async def test_a_long_round_ends_so_that_new_doubts_are_planned() -> None:
    world = await doubtful(payments=3)
    await go_round(world)
    pass_time(world, STEPS[0])
    worker = world.worker()
    world.providers.on_search = lambda: world.clock.advance(LONGEST / 2)
    assert await worker.reconciler.go_round(ACCOUNT) == 2
    assert await worker.reconciler.go_round(ACCOUNT) == 1


async def test_what_was_settled_meanwhile_is_not_read_any_more() -> None:
    world = await doubtful()
    await go_round(world)
    (record,) = world.store.tables.records.values()
    settled = replace(record, state=State.SUCCEEDED, sequence=2)
    world.store.tables.records[record.operation_id] = settled
    pass_time(world, STEPS[0])
    assert await go_round(world) == []
    (plan,) = world.store.tables.look_up_plans.values()
    assert plan.state is PlanState.ENDED
    assert world.providers.searches == []


# --- where it is not read ----------------------------------------------------------------------


async def test_an_account_without_the_setting_is_not_looked_up() -> None:
    world = await doubtful()
    world.book = replace(
        world.book,
        accounts={
            **world.book.accounts,
            ACCOUNT: replace(world.book.accounts[ACCOUNT], look_up=False),
        },
    )
    assert world.worker().reconciler.accounts == ()


async def test_an_account_that_lost_its_endpoint_is_a_failed_read_without_a_call() -> None:
    world = await doubtful()
    account = replace(world.book.accounts[ACCOUNT], test=None)
    world.book = with_account(account, book=world.book)
    assert await until_due(world) == [Finding.FAILED]
    assert [each.reason for each in evidence(world)] == ["not_configured"]
    assert world.providers.searches == []


async def test_a_busy_account_is_left_to_its_payments() -> None:
    world = await doubtful()
    world.book = searched_book(limits=Limits(concurrent_calls=1))
    worker = world.worker()
    await worker.reconciler.go_round(ACCOUNT)
    pass_time(world, STEPS[0])
    async with worker.permits.take(ACCOUNT, within=1.0):
        assert await worker.reconciler.go_round(ACCOUNT) == 0
    assert (world.providers.searches, evidence(world)) == ([], [])
    assert await worker.reconciler.go_round(ACCOUNT) == 1, "at once: the step was given back"


async def test_an_account_that_is_paused_is_not_read_until_it_goes_on() -> None:
    world = await doubtful()
    worker = world.worker()
    await worker.reconciler.go_round(ACCOUNT)
    pass_time(world, STEPS[0])
    worker.permits.pause(ACCOUNT, 30.0)
    assert await worker.reconciler.go_round(ACCOUNT) == 0
    assert (world.providers.searches, evidence(world)) == ([], [])
    worker.permits.pause(ACCOUNT, None)
    assert await worker.reconciler.go_round(ACCOUNT) == 1


# --- several workers, stops and surprises ------------------------------------------------------


async def test_two_workers_look_up_once_for_each_step() -> None:
    world = await doubtful(payments=4)
    world.providers.sold.clear()
    first, second = world.worker(), world.worker()
    for step in STEPS[:3]:
        (record, *_) = world.store.tables.records.values()
        assert record.decided_at is not None
        world.clock.advance(
            max(0.0, (record.decided_at + step - world.clock.now()).total_seconds())
        )
        await asyncio.gather(
            first.reconciler.go_round(ACCOUNT), second.reconciler.go_round(ACCOUNT)
        )
    assert len(world.providers.searches) == 4 * 3
    steps = [(each.operation_id, each.step) for each in evidence(world)]
    assert len(set(steps)) == len(steps) == 12


@dataclass
class HangingReads:
    """A transport whose reads never end by themselves."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    limits: list[float] = field(default_factory=list)

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: object = None,
    ) -> NoReply:
        del departure
        assert (request.method, fresh_connection) == ("GET", True)
        self.limits.append(seconds)
        self.begun.set()
        never: asyncio.Future[NoReply] = asyncio.get_running_loop().create_future()
        return await never


async def test_a_stop_gives_the_step_back_at_once() -> None:
    world = await doubtful()
    await go_round(world)
    pass_time(world, STEPS[0])
    hanging = HangingReads()
    stopped = worker_on(world, hanging)
    going = asyncio.ensure_future(stopped.reconciler.go_round(ACCOUNT))
    await hanging.begun.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert hanging.limits == [READ_SECONDS]
    assert await go_round(world) == [Finding.FOUND], "another worker need not wait for a lease"


def worker_on(world: World, transport: HangingReads) -> Core:
    return make_core(
        store=world.store,
        publisher=world.broker,
        transport=transport,
        clock=world.clock,
        book=world.book,
        rules=world.rules,
    )


async def test_the_step_of_a_worker_that_is_gone_is_free_after_its_lease() -> None:
    world = await doubtful()
    await go_round(world)
    pass_time(world, STEPS[0])
    assert await world.worker().ledger.look_ups.take(ACCOUNT, lease=LEASE) is not None
    assert await go_round(world) == []
    pass_time(world, LEASE)
    assert await go_round(world) == [Finding.FOUND]


async def test_a_surprise_about_one_payment_counts_as_a_failed_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await doubtful()
    await go_round(world)
    pass_time(world, STEPS[0])

    def choke(*_: Iterable[object]) -> HttpRequest:
        raise ZeroDivisionError

    monkeypatch.setattr(LinkProvider, "look_up", choke)
    worker = world.worker()
    assert await worker.reconciler.go_round(ACCOUNT) == 1
    assert [type(each) for each in worker.surprises] == [ZeroDivisionError]
    assert [each.reason for each in evidence(world)] == ["surprise"]


async def test_a_ledger_that_is_away_is_the_callers_trouble() -> None:
    world = await doubtful()
    world.store.unavailable = True
    with pytest.raises(StoreUnavailableError):
        await world.worker().reconciler.go_round(ACCOUNT)


async def test_a_basket_payment_is_never_looked_up() -> None:
    world = World(book=searched_book())
    world.providers.behaviours = [RESET_AFTER]
    await world.worker().processor.handle(initiation(payment_target="MILLIET"))
    (record,) = world.store.tables.records.values()
    assert (record.state, record.operation) == (State.IN_DOUBT, Operation.ADD_BASKET_ITEM)
    assert await until_due(world) == []
    assert world.store.tables.look_up_plans == {}
