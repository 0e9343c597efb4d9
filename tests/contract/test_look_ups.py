"""What every store must do for the look-ups of doubts: on the fake, on SQLite, on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.contract.test_store import LEDGERS, NAMES, LedgerOnTrial, MakeLedger, ObservableStore
from tests.fakes_clock import START
from tests.store_samples import decided_record, number, write
from worker.look_ups import Doubt, Finding, LookUp, LookUpPlan, PlanState
from worker.model import Cents
from worker.ports import Store, StoreUnavailableError
from worker.records import Change, Kind, Needs, Record, State

MINUTE = timedelta(minutes=1)
NOW = START + 10 * MINUTE
LEASE = NOW + 2 * MINUTE


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def on_trial(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as ledger:
        yield ledger
        await ledger.close()


@pytest_asyncio.fixture
async def store(on_trial: LedgerOnTrial) -> ObservableStore:
    return await on_trial.open()


def doubtful(value: int = 1, *, minute: int = 0, sequence: int = 1) -> Record:
    """A payment in doubt since that minute."""
    record = decided_record(value, version=1, state=State.IN_DOUBT)
    return replace(
        record, sequence=sequence, event_id=None, decided_at=START + minute * MINUTE, token=None
    )


def plan_of(value: int = 1, *, due: datetime | None = START, sequence: int = 1) -> LookUpPlan:
    return LookUpPlan(
        operation_id=number(value),
        account="safedebit",
        sequence=sequence,
        steps=0,
        state=PlanState.PLANNED,
        due_at=due,
    )


def look_up_of(value: int = 1, *, step: int = 1) -> LookUp:
    return LookUp(
        operation_id=number(value),
        sequence=1,
        step=step,
        at=NOW,
        reference=f"{value:032x}",
        finding=Finding.OTHER_AMOUNT,
        amount=Cents(99),
        http_status=200,
    )


async def doubts(store: Store, *, limit: int = 9) -> list[UUID]:
    found = await store.look_ups.doubts_without_plan(account="safedebit", limit=limit)
    return [each.operation_id for each in found]


async def take(store: Store, token: int = 7, *, now: datetime = NOW) -> LookUpPlan | None:
    return await store.look_ups.take(
        account="safedebit", token=number(token), now=now, lease_until=now + 2 * MINUTE
    )


async def conclude(store: Store, plan: LookUpPlan, *look_ups: LookUp) -> None:
    change = Change(result=None, look_ups=look_ups, look_up_plan=plan)
    await store.transact(Needs(()), lambda _view: change)


async def test_what_is_in_doubt_and_not_planned_is_found_oldest_first(
    store: ObservableStore,
) -> None:
    await write(store, doubtful(1, minute=3), doubtful(2, minute=1), doubtful(3, minute=2))
    assert await doubts(store) == [number(2), number(3), number(1)]
    assert await doubts(store, limit=2) == [number(2), number(3)]
    (found, *_) = await store.look_ups.doubts_without_plan(account="safedebit", limit=1)
    assert found == Doubt(operation_id=number(2), sequence=1, decided_at=START + MINUTE)


async def test_only_a_payment_that_was_sent_under_a_reference_is_found(
    store: ObservableStore,
) -> None:
    await write(
        store,
        replace(doubtful(1), state=State.FAILED),
        replace(doubtful(2), account="combo"),
        replace(doubtful(3), reference=None),
        replace(doubtful(4), duplicate_of=number(9)),
        replace(doubtful(5), kind=Kind.CANCELLATION),
    )
    assert await doubts(store) == []


async def test_a_doubt_is_planned_once_and_again_when_it_is_another_one(
    store: ObservableStore,
) -> None:
    await write(store, doubtful(1))
    await store.look_ups.keep([plan_of(due=NOW)])
    assert await doubts(store) == []
    await store.look_ups.keep([plan_of(due=START)])
    assert await store.look_ups.of([number(1), number(2)]) == [plan_of(due=NOW)]
    await write(store, replace(doubtful(1, sequence=3), version=2))
    assert await doubts(store) == [number(1)], "it was opened again and is in doubt again"
    again = plan_of(due=LEASE, sequence=3)
    await store.look_ups.keep([again])
    await store.look_ups.keep([plan_of(due=START)])
    assert await store.look_ups.of([number(1)]) == [again]
    assert await store.look_ups.of([]) == []
    await store.look_ups.keep([])


async def test_the_plan_that_is_due_for_longest_is_taken_and_nobody_else_gets_it(
    on_trial: LedgerOnTrial,
) -> None:
    store, other = await on_trial.open(), await on_trial.open()
    await store.look_ups.keep(
        [
            plan_of(1, due=NOW),
            plan_of(2, due=START),
            plan_of(3, due=NOW + timedelta(microseconds=1)),
            plan_of(4, due=None),
            replace(plan_of(5), account="combo"),
        ]
    )
    first = await take(store, 7)
    assert first == replace(plan_of(2), token=number(7), lease_until=LEASE)
    second = await take(other, 8)
    assert second is not None
    assert second.operation_id == number(1)
    assert await take(store, 9) is None
    late = await take(store, 9, now=LEASE)
    assert late is not None
    assert late.operation_id == number(2), "the lease of a worker that is gone ends"


async def test_of_many_who_want_the_same_plan_at_once_one_gets_it(
    on_trial: LedgerOnTrial,
) -> None:
    stores = [await on_trial.open() for _ in range(4)]
    await stores[0].look_ups.keep([plan_of()])
    taken = await asyncio.gather(*(take(store, n) for n, store in enumerate(stores, 1)))
    assert len([each for each in taken if each is not None]) == 1


async def test_a_plan_given_back_is_due_as_it_was_or_later(store: ObservableStore) -> None:
    await store.look_ups.keep([plan_of(1)])
    await take(store, 7)
    await store.look_ups.give_back(number(1), number(8))
    assert await take(store, 9) is None, "it was somebody else's"
    await store.look_ups.give_back(number(1), number(7))
    assert await store.look_ups.of([number(1)]) == [plan_of(1)]
    await take(store, 7)
    await store.look_ups.give_back(number(1), number(7), due_at=LEASE)
    assert await store.look_ups.of([number(1)]) == [plan_of(1, due=LEASE)]


async def test_a_concluded_step_is_kept_with_its_plan(store: ObservableStore) -> None:
    await write(store, doubtful(1))
    await store.look_ups.keep([plan_of(1)])
    taken = await take(store)
    assert taken is not None
    later = replace(taken, steps=1, due_at=LEASE)
    await conclude(store, later, look_up_of(), replace(look_up_of(), reference="second"))
    assert await store.look_ups.of([number(1)]) == [replace(plan_of(1), steps=1, due_at=LEASE)]
    history = await store.history(number(1), events=[])
    assert history is not None
    assert history.look_ups == (look_up_of(), replace(look_up_of(), reference="second"))
    assert history.look_up_plan == replace(plan_of(1), steps=1, due_at=LEASE)
    await conclude(store, later, look_up_of(step=2))
    after = await store.history(number(1), events=[])
    assert after is not None
    assert [each.step for each in after.look_ups] == [1, 1, 2]


async def test_who_lost_his_plan_leaves_evidence_and_no_more(store: ObservableStore) -> None:
    await write(store, doubtful(1))
    await store.look_ups.keep([plan_of(1)])
    taken = await take(store)
    assert taken is not None
    other = await take(store, 8, now=LEASE)
    await conclude(store, replace(taken, state=PlanState.BREAK, due_at=None), look_up_of())
    assert await store.look_ups.of([number(1)]) == [other]
    await store.look_ups.give_back(number(1), number(8))
    await conclude(store, replace(plan_of(1), state=PlanState.BREAK, due_at=None))
    assert await store.look_ups.of([number(1)]) == [plan_of(1)], "a plan that nobody has taken"
    history = await store.history(number(1), events=[])
    assert history is not None
    assert history.look_ups == (look_up_of(),)


async def test_breaks_are_counted_by_account_while_they_wait_for_a_person(
    store: ObservableStore,
) -> None:
    broken = PlanState.BREAK
    await write(store, doubtful(1), doubtful(2), replace(doubtful(3), account="other"), doubtful(4))
    await store.look_ups.keep(
        [
            *(replace(plan_of(n), state=broken, due_at=None) for n in (1, 2)),
            replace(plan_of(3), account="other", state=broken, due_at=None),
            replace(plan_of(4), state=PlanState.EXHAUSTED, due_at=None),
        ]
    )
    assert (await store.standing()).breaks == {"safedebit": 2, "other": 1}
    found = await store.look_ups.breaks(after=None, limit=2)
    assert [each.operation_id for each in found] == [number(1), number(2)]
    (last,) = await store.look_ups.breaks(after=number(2), limit=2)
    assert last == replace(plan_of(3), account="other", state=broken, due_at=None)
    await write(store, replace(doubtful(1), state=State.SUCCEEDED, version=2))
    await write(store, replace(doubtful(2), sequence=2, version=2))
    assert (await store.standing()).breaks == {"other": 1}


async def test_a_closed_store_plans_no_look_ups(store: ObservableStore) -> None:
    await store.close()
    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: doubts(store),
        lambda: store.look_ups.keep([plan_of()]),
        lambda: take(store),
        lambda: store.look_ups.give_back(number(1), number(2)),
        lambda: store.look_ups.of([number(1)]),
        lambda: store.look_ups.breaks(after=None, limit=1),
    ]
    for question in questions:
        with pytest.raises(StoreUnavailableError):
            await question()
