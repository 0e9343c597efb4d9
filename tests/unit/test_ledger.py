"""The ledger's own words: what each leaves to the store, and what it adds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from typing_extensions import override

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.provider_examples import BASKET_ROUTE, LINK_ROUTE
from tests.rows import OTHER_TOKEN, TOKEN, claim_wish
from tests.store_samples import sample_record, write
from worker.calls import Misconfigured, NotSent, Outcome
from worker.codes import Code
from worker.inventory import PAGE
from worker.ledger import Ledger
from worker.lifecycle.reopen import NotReopened, Reopened
from worker.lifecycle.settle import Settlement
from worker.lifecycle.wishes import Decided, Held, Won
from worker.ports import StoreUnavailableError, View
from worker.records import Change, Needs, Restoration, State
from worker.rules import Rules

Result = TypeVar("Result")

WISH = claim_wish(LINK_ROUTE)
PAYMENT_ID = WISH.envelope.operation_id
AGO = timedelta(hours=2)


class Book:
    """A ledger on a store in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.ledger = Ledger(store=self.store, rules=Rules(), clock=self.clock)

    async def settle(self, outcome: Outcome) -> object:
        end = Settlement(
            operation_id=PAYMENT_ID,
            payment_id=PAYMENT_ID,
            token=TOKEN,
            outcome=outcome,
            tries=(),
        )
        return await self.ledger.settle(end)


async def test_a_claim_is_durable_before_it_is_told() -> None:
    book = Book()
    won = await book.ledger.claim(WISH)
    assert isinstance(won, Won)
    assert await book.ledger.find(PAYMENT_ID) == (won.record, None)
    assert won.lease_until == book.clock.now() + timedelta(seconds=Rules().lease_seconds)


async def test_of_two_claims_at_once_one_is_won() -> None:
    book = Book()
    first = await book.ledger.claim(WISH)
    second = await book.ledger.claim(replace(WISH, token=OTHER_TOKEN))
    assert isinstance(first, Won)
    assert isinstance(second, Held)


async def test_a_claim_given_back_is_due_after_the_pause() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    pause = timedelta(seconds=30)
    released = await book.ledger.release(PAYMENT_ID, TOKEN, after=pause)
    assert released is not None
    assert released.next_attempt_at == book.clock.now() + pause
    assert await book.ledger.release(PAYMENT_ID, TOKEN, after=pause) is None


async def test_an_unknown_or_fresh_claim_does_not_expire() -> None:
    book = Book()
    assert await book.ledger.expire(PAYMENT_ID, older_than=AGO) is None
    await book.ledger.claim(WISH)
    assert await book.ledger.expire(PAYMENT_ID, older_than=AGO) is None
    assert await book.ledger.expired_claims(older_than=AGO, limit=10) == []


async def test_an_old_claim_expires_once() -> None:
    book = Book()
    await book.ledger.claim(replace(WISH, plan=BASKET_ROUTE))
    book.clock.advance(3 * 3600)
    assert await book.ledger.expired_claims(older_than=AGO, limit=10) == [PAYMENT_ID]
    expired = await book.ledger.expire(PAYMENT_ID, older_than=AGO)
    assert isinstance(expired, Decided)
    assert expired.record.state is State.IN_DOUBT
    assert await book.ledger.expire(PAYMENT_ID, older_than=AGO) is None


async def test_a_mark_is_written_with_the_next_commit() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    settled = await book.settle(Misconfigured(code=Code.PROVIDER_TLS))
    assert isinstance(settled, Decided)
    book.ledger.confirmed(settled.answer, letter=True)
    book.ledger.confirmed(settled.answer, event=True)
    await book.ledger.ping()
    found = await book.ledger.find(PAYMENT_ID)
    assert found is not None
    assert found[1] == replace(settled.answer, event_confirmed=True, letter_confirmed=True)


async def test_a_mark_that_cannot_be_noted_is_nobodys_trouble() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    settled = await book.settle(Misconfigured(code=Code.PROVIDER_TLS))
    assert isinstance(settled, Decided)
    book.store.unavailable = True
    book.ledger.confirmed(settled.answer, event=True)
    book.store.unavailable = False
    (answer,) = book.store.tables.answers.values()
    assert not answer.event_confirmed


async def test_a_failed_payment_is_reopened_once_and_audited() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    await book.settle(Misconfigured(code=Code.PROVIDER_TLS))
    for _ in range(2):
        reopened = await book.ledger.payments.reopen(
            PAYMENT_ID, from_sequence=1, actor="ops", run="r-1", reason="fixed"
        )
        assert reopened == Reopened(2)
    (entry,) = book.store.tables.audit
    assert entry.actor == "ops"


async def test_an_open_payment_is_not_reopened() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    await book.settle(NotSent())
    reopened = await book.ledger.payments.reopen(
        PAYMENT_ID, from_sequence=1, actor="ops", run="r-1", reason="fixed"
    )
    assert isinstance(reopened, NotReopened)


async def test_the_index_shows_what_needs_a_person() -> None:
    book = Book()
    await book.ledger.claim(WISH)
    await book.settle(Misconfigured(code=Code.PROVIDER_TLS))
    (entry,) = await book.ledger.letters.page(limit=10)
    assert (entry.operation_id, entry.code) == (PAYMENT_ID, Code.PROVIDER_TLS)


async def test_a_store_that_is_away_or_full_says_so() -> None:
    book = Book()
    book.store.room = False
    assert not await book.ledger.has_room()
    book.store.unavailable = True
    for asking in (book.ledger.ping(), book.ledger.has_room(), book.ledger.claim(WISH)):
        with pytest.raises(StoreUnavailableError):
            await asking


class Narrow(MemoryStore):
    """A store that refuses a write over more rows than a page, and every one after ``writes``."""

    writes = 100

    @override
    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        if len(needs.operations) > PAGE or not self.writes:
            raise StoreUnavailableError
        self.writes -= 1
        return await super().transact(needs, apply)


async def test_a_restoration_of_a_long_backlog_is_recorded_with_its_last_page() -> None:
    """In one write it would take more locks than a server has; cut off, it goes on."""
    clock = FakeClock()
    store = Narrow(clock)
    ledger = Ledger(store=store, rules=Rules(), clock=clock)
    count = 2 * PAGE + 1
    for begin in range(0, count, PAGE):
        some = [sample_record(n) for n in range(begin, min(begin + PAGE, count))]
        await write(store, *some)
    clock.advance(60.0)
    restoration = Restoration(known_until=START, restored_at=clock.now(), actor="o.perator")
    store.writes = 2
    with pytest.raises(StoreUnavailableError):
        await ledger.restorations.record(
            restoration, await ledger.restorations.affected(restoration), is_new=True
        )
    assert await ledger.restorations.latest() is None
    store.writes = 100
    again = await ledger.restorations.record(
        restoration, await ledger.restorations.affected(restoration), is_new=True
    )
    assert (again.doubted, await ledger.restorations.latest()) == (1, restoration)
    assert await ledger.restorations.affected(restoration) == []
