"""What a run of retention does in which order, alone, and what it leaves to the payments."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.store_samples import (
    EMAIL,
    LINK,
    decided_record,
    number,
    sample_answer,
    sample_letter,
    write,
)
from worker.inventory import Stretch
from worker.ledger import Ledger
from worker.operators.retention import RETENTION, Keeper, Kept
from worker.operators.strides import BRIEF_SECONDS
from worker.operators.walks import QueueLockedError, holding
from worker.ports import StoreUnavailableError
from worker.records import State
from worker.rules import Periods, Rules

DAY = timedelta(days=1)


class Desk:
    def __init__(self, *, page: int = 200) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.ledger = Ledger(store=self.store, rules=Rules(), clock=self.clock)
        self.keeper = Keeper(
            ledger=self.ledger,
            retention=self.store.retention,
            periods=Periods(),
            actor="anna",
            page=page,
        )

    async def pay(self, n: int = 1, *, state: State = State.SUCCEEDED) -> None:
        """A payment with everything personal it may hold, made a second after the one before."""
        answer = replace(sample_answer(n, sequence=0, link=LINK), event_confirmed=True)
        record = replace(
            decided_record(n, version=1, state=state),
            created_at=START + timedelta(seconds=n),
            decided_at=START + timedelta(seconds=n),
            email=EMAIL,
            email_mark=self.store.email_marks(EMAIL)[0],
            link=LINK,
        )
        await write(self.store, record, answers=(answer,))

    def pass_days(self, days: int) -> None:
        self.clock.advance(days * DAY.total_seconds())


async def test_each_thing_goes_at_its_own_time_and_then_nothing_is_due() -> None:
    desk = Desk()
    await desk.pay()
    desk.pass_days(30)
    assert await desk.keeper.maintain() == Kept()
    desk.pass_days(1)
    assert await desk.keeper.maintain() == Kept(emails=1)
    desk.pass_days(90)
    assert await desk.keeper.maintain() == Kept(links=1)
    desk.pass_days(277)
    assert await desk.keeper.maintain() == Kept(rows=1)
    assert await desk.ledger.find(number(1)) is None
    assert await desk.keeper.maintain() == Kept()


async def test_a_ledger_that_was_never_maintained_is_brought_up_to_date_in_one_run() -> None:
    desk = Desk(page=2)
    for n in range(1, 6):
        await desk.pay(n)
    await desk.pay(6, state=State.IN_DOUBT)
    desk.pass_days(400)
    due = Kept(emails=5, links=5, rows=5, held=1)
    looked = await desk.keeper.look()
    assert replace(looked, held=1) == due
    assert await desk.keeper.maintain() == due
    assert await desk.keeper.maintain() == Kept(held=1)


async def test_what_was_erased_is_noted_by_number_and_nothing_else_is() -> None:
    desk = Desk()
    await desk.keeper.maintain()
    assert not desk.store.tables.audit
    await desk.pay()
    desk.pass_days(31)
    await desk.keeper.look()
    assert not desk.store.tables.audit
    await desk.keeper.maintain()
    (act,) = desk.store.tables.audit
    assert (act.actor, act.action, act.operation_id) == ("anna", "maintain", None)
    assert act.detail.startswith("e-mails 1, links 0, rows 0")


async def test_a_letter_that_nobody_has_seen_to_is_told_once_it_is_overdue() -> None:
    desk = Desk()
    answer = replace(sample_answer(sequence=0, letter=sample_letter()), event_confirmed=True)
    record = replace(decided_record(version=1, state=State.FAILED), decided_at=START)
    await write(desk.store, record, answers=(answer,))
    desk.pass_days(180)
    assert (await desk.keeper.maintain()).overdue_letters == 0
    desk.pass_days(1)
    assert await desk.keeper.maintain() == Kept(overdue_letters=1)
    desk.pass_days(300)
    assert await desk.keeper.maintain() == Kept(held=1, overdue_letters=1)


@pytest.mark.parametrize(
    ("held_seconds", "limits"),
    [(0.0, [25, 50, 100]), (2 * BRIEF_SECONDS, [25, 12, 10, 10, 10, 10, 10, 10, 10])],
    ids=["it holds nobody up", "it holds payments up"],
)
async def test_a_stretch_that_holds_payments_up_is_followed_by_a_smaller_one(
    held_seconds: float, limits: list[int]
) -> None:
    desk = Desk()
    for n in range(1, 101):
        await desk.pay(n)
    desk.pass_days(31)
    desk.store.retention.held_seconds = held_seconds
    assert await desk.keeper.maintain() == Kept(emails=100)
    assert desk.store.retention.limits[: len(limits)] == limits


async def test_two_runs_never_work_at_once() -> None:
    desk = Desk()
    async with holding(desk.ledger, RETENTION, actor="worker", purpose="maintain"):
        with pytest.raises(QueueLockedError) as locked:
            await desk.keeper.maintain()
    assert locked.value.holder.actor == "worker"
    assert await desk.keeper.maintain() == Kept()


async def test_a_run_that_was_cut_off_is_ended_by_the_next() -> None:
    desk = Desk(page=1)
    for n in range(1, 4):
        await desk.pay(n)
    desk.pass_days(31)
    first = Stretch(before=desk.clock.now() - 30 * DAY, limit=1)
    assert (await desk.store.retention.erase_emails(first)).erased == 1
    desk.store.unavailable = True
    with pytest.raises(StoreUnavailableError):
        await desk.keeper.maintain()
    desk.store.unavailable = False
    assert await desk.keeper.maintain() == Kept(emails=2)
