"""What every store finds that may have been applied after it was told otherwise."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
import pytest_asyncio

from tests.contract.test_store import LEDGERS, NAMES, LedgerOnTrial, MakeLedger, ObservableStore
from tests.fakes_clock import START
from tests.store_samples import decided_record, number, write
from worker.calls import Succeeded, Try
from worker.lifecycle.contradiction import TOO_LATE
from worker.look_ups import Finding, LookUp
from worker.ports import Store
from worker.records import AttemptEntry, Change, Needs, Record, State


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def on_trial(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as ledger:
        yield ledger
        await ledger.close()


@pytest_asyncio.fixture
async def store(on_trial: LedgerOnTrial) -> ObservableStore:
    return await on_trial.open()


def told(value: int, state: State = State.FAILED) -> Record:
    return replace(decided_record(value, version=1, state=state), event_id=None)


def late(value: int, note: str | None = TOO_LATE) -> AttemptEntry:
    applied = Succeeded(link=None, item_id="12", http_status=200)
    return AttemptEntry(
        operation_id=number(value),
        token=number(99),
        number=1,
        reference=f"{value:032x}",
        tries=(Try(started_at=START, ended_at=START, outcome=applied),),
        ended_at=START,
        note=note,
    )


async def read_of(store: Store, value: int, finding: Finding) -> None:
    look_up = LookUp(
        operation_id=number(value),
        sequence=1,
        step=1,
        at=START,
        reference=f"{value:032x}",
        finding=finding,
    )
    change = Change(result=None, look_ups=(look_up,))
    await store.transact(Needs(()), lambda _view: change)


async def found(store: Store, *, after: UUID | None = None, limit: int = 99) -> list[UUID]:
    return list(await store.payments.late_successes(after=after, limit=limit))


async def test_what_came_too_late_is_found_of_every_state_that_was_told_otherwise(
    store: ObservableStore,
) -> None:
    for value, state in enumerate(State, 1):
        await write(store, told(value, state), attempts=(late(value), late(value)))
    otherwise = [
        number(value)
        for value, state in enumerate(State, 1)
        if state in {State.FAILED, State.CANCELLED}
    ]
    assert await found(store) == otherwise


async def test_an_attempt_in_time_is_not_looked_at(store: ObservableStore) -> None:
    await write(store, told(1), attempts=(late(1, None), late(1, "late answer")))
    assert await found(store) == []


async def test_what_a_look_up_has_found_is_looked_at(store: ObservableStore) -> None:
    for value, finding in enumerate(Finding, 1):
        await write(store, told(value))
        await read_of(store, value, finding)
    there = [
        number(value)
        for value, finding in enumerate(Finding, 1)
        if finding not in {Finding.NOT_FOUND, Finding.FAILED}
    ]
    assert await found(store) == there


async def test_pages_follow_each_other_by_id(store: ObservableStore) -> None:
    for value in (4, 2, 3, 1):
        await write(store, told(value), attempts=(late(value),))
    await read_of(store, 2, Finding.FOUND)
    assert await found(store, limit=2) == [number(1), number(2)]
    assert await found(store, after=number(2), limit=2) == [number(3), number(4)]
    assert await found(store, after=number(4)) == []
