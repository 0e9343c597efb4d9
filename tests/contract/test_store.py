"""What every store must do: one suite, run on the fake, on SQLite and on PostgreSQL."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import store_samples as some
from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.fakes_tables import MemoryTables
from tests.postgres import PostgresServer
from tests.store_samples import (
    decided_record,
    event_number,
    fingerprint,
    number,
    sample_answer,
    sample_letter,
    sample_record,
    sample_unanswered,
    until_true,
    write,
)
from worker.acts import ChainCheck, KeptAct
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_errors import (
    ConcurrentUpdateError,
    MissingOperationError,
    UndeclaredReadError,
)
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_postgres import initialise as initialise_postgres
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.codes import Code
from worker.inventory import Books, DecidedPage, QueueLock, Standing
from worker.letters import EVERY_LETTER, LetterCase, LetterEntry, LetterFilter, LetterTally
from worker.model import Facts, OperationClass, Origin, PaymentTarget, RunMode
from worker.operator_ports import ReplayJournal, Retention
from worker.ports import Clock, Store, StoreUnavailableError, View
from worker.records import (
    ActFacts,
    Answer,
    AttemptEntry,
    AuditEntry,
    Change,
    History,
    Kind,
    Needs,
    Record,
    Restoration,
    State,
    Tombstone,
)
from worker.rules import PostgresAddress
from worker.switches import AccountReport, Approval, Pause, ProbeWish, Switch

Result = TypeVar("Result")
KEY = generate_key()
SECOND = timedelta(seconds=1)


class ObservableStore(Store, Protocol):
    """A store and what its history can be read by."""

    @property
    def commits(self) -> int: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def journal(self) -> ReplayJournal: ...

    @property
    def retention(self) -> Retention: ...

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]: ...

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]: ...


class LedgerOnTrial(Protocol):
    """Opens any number of stores on the same rows."""

    clock: FakeClock

    async def open(self) -> ObservableStore: ...

    async def close(self) -> None: ...


class MemoryLedger:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self._tables = MemoryTables()
        self._stores: list[MemoryStore] = []

    async def open(self) -> ObservableStore:
        self._stores.append(MemoryStore(self.clock, self._tables))
        return self._stores[-1]

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class SqliteLedger:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self._path = folder / "ledger.sqlite"
        self._stores: list[SqliteStore] = []
        initialise(self._path)

    async def open(self) -> ObservableStore:
        store = await SqliteStore.open(
            self._path, vault=Vault([KEY]), clock=self.clock, least_free=0, flush_seconds=0.01
        )
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class PostgresLedger:
    def __init__(self, address: PostgresAddress) -> None:
        self.clock = FakeClock()
        self._address = address
        self._stores: list[PostgresStore] = []

    async def open(self) -> ObservableStore:
        if not self._stores:
            await initialise_postgres(self._address)
        store = await PostgresStore.open(
            self._address, vault=Vault([KEY]), clock=self.clock, flush_seconds=0.01
        )
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@contextmanager
def memory_ledger(_request: pytest.FixtureRequest) -> Iterator[LedgerOnTrial]:
    yield MemoryLedger()


@contextmanager
def sqlite_ledger(_request: pytest.FixtureRequest) -> Iterator[LedgerOnTrial]:
    with TemporaryDirectory() as folder:
        yield SqliteLedger(Path(folder))


@contextmanager
def postgres_ledger(request: pytest.FixtureRequest) -> Iterator[LedgerOnTrial]:
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as address:
        yield PostgresLedger(address)


MakeLedger = Callable[[pytest.FixtureRequest], AbstractContextManager[LedgerOnTrial]]
LEDGERS: list[MakeLedger] = [memory_ledger, sqlite_ledger, postgres_ledger]
NAMES = ["memory", "sqlite", "postgres"]


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as on_trial:
        yield on_trial
        await on_trial.close()


@pytest_asyncio.fixture
async def store(ledger: LedgerOnTrial) -> ObservableStore:
    return await ledger.open()


async def look(store: Store, needs: Needs, read: Callable[[View], Result]) -> Result:
    return await store.transact(needs, lambda view: Change(result=read(view)))


# --- writing and reading -----------------------------------------------------------------------


async def test_a_change_gives_its_result_and_can_be_found(store: ObservableStore) -> None:
    record, answer = decided_record(version=1), sample_answer(sequence=0)
    change = Change(result="won", records=(record,), answers=(answer,))
    assert await store.transact(Needs(()), lambda _view: change) == "won"
    assert await store.find(number(1)) == (record, answer)


async def test_what_was_never_written_is_not_found(store: ObservableStore) -> None:
    assert await store.find(number(1)) is None
    assert await look(store, Needs((number(1),)), lambda view: view.record(number(1))) is None
    assert await look(store, Needs((number(1),)), lambda view: view.answer(number(1))) is None


async def test_an_open_operation_is_found_without_an_answer(store: ObservableStore) -> None:
    await write(store, sample_record())
    assert await store.find(number(1)) == (sample_record(), None)


@pytest.mark.parametrize(
    "name", ["facts", "message_id", "duplicate_of", "fingerprint", "origin", "first_seen"]
)
async def test_what_hardly_ever_changes_is_written_when_it_does(
    store: ObservableStore, name: str
) -> None:
    """By a change that has looked at the row, as all of ours have."""
    await write(store, replace(sample_record(), duplicate_of=number(9)))
    changes: dict[str, object] = {
        "facts": replace(sample_record().facts, id_client="7", id_commande="8"),
        "message_id": None,
        "duplicate_of": None,
        "fingerprint": None,
        "origin": Origin("web"),
        "first_seen": START + SECOND,
    }

    def apply(view: View) -> Change[Record]:
        before = view.record(number(1))
        assert before is not None
        after = replace(before, version=2, **{name: changes[name]})  # type: ignore[arg-type] # by name
        return Change(result=after, records=(after,))

    after = await store.transact(Needs((number(1),)), apply)
    assert await store.find(number(1)) == (after, None)


async def test_a_later_version_replaces_the_whole_row(store: ObservableStore) -> None:
    await write(store, replace(sample_record(), link=some.LINK, item_id="17"))
    await write(store, decided_record(), answers=(sample_answer(),))
    assert await store.find(number(1)) == (decided_record(), sample_answer())


async def test_the_answer_is_the_one_the_record_names(store: ObservableStore) -> None:
    await write(store, sample_record())
    await write(store, decided_record(), answers=(sample_answer(),))
    second = sample_answer(sequence=2)
    await write(store, decided_record(version=3), answers=(second,))
    seen = await look(store, Needs((number(1),)), lambda view: view.answer(number(1)))
    assert seen == second
    assert await store.find(number(1)) == (decided_record(version=3), second)


def ended(note: str | None = None) -> AttemptEntry:
    """An attempt of the first operation."""
    return AttemptEntry(
        operation_id=number(1),
        token=number(9),
        number=1,
        reference=None,
        tries=(),
        ended_at=START,
        note=note,
    )


async def test_history_is_only_added_to(store: ObservableStore) -> None:
    await write(store, sample_record(), attempts=(ended("expired"),))
    await write(store, attempts=(ended("late evidence"), replace(ended(""), token=number(8))))
    notes = [attempt.note for attempt in await store.attempts(number(1))]
    assert notes == ["expired", "late evidence", ""]
    assert await store.attempts(number(2)) == []


async def test_an_attempt_of_nobody_is_refused_and_harms_nobody(store: ObservableStore) -> None:
    refused, written = await asyncio.gather(
        write(store, sample_record(3), attempts=(ended(),)),
        write(store, sample_record(2), attempts=(replace(ended(), operation_id=number(2)),)),
        return_exceptions=True,
    )
    assert isinstance(refused, MissingOperationError)
    assert written is None
    assert await store.attempts(number(1)) == []
    assert len(await store.attempts(number(2))) == 1
    assert await store.find(number(3)) is None, "all of a change or nothing"
    await write(store, sample_record(1))
    assert await store.attempts(number(1)) == []


async def test_audited_acts_are_found_by_operation(store: ObservableStore) -> None:
    def act(operation_id: UUID | None) -> AuditEntry:
        return AuditEntry(
            at=START, actor="o.perator", action="reopen", operation_id=operation_id, detail="run 7"
        )

    await write(store, audit=(act(number(1)), act(None), act(number(1))))
    assert await store.audit(number(1)) == [act(number(1))] * 2
    assert await store.audit(None) == [act(None)]


async def every_act(store: Store) -> list[KeptAct]:
    return list(await store.acts.page(after=0, limit=1000))


async def test_every_act_follows_on_the_one_before_it(ledger: LedgerOnTrial) -> None:
    """Of two workers at once too: one chain, and no act twice in a place."""
    first, second = await ledger.open(), await ledger.open()

    def act(detail: str) -> AuditEntry:
        facts = ActFacts(run="R-1", count=2)
        return AuditEntry(
            at=START, actor="a", action="b", operation_id=None, detail=detail, facts=facts
        )

    writes = [
        write(store, sample_record(10 * turn + which), audit=(act(f"{turn}"), act(f"{which}")))
        for turn in range(1, 8)
        for which, store in enumerate((first, second))
    ]
    await asyncio.gather(*writes)
    acts = await every_act(second)
    check = ChainCheck()
    assert [check.follow(kept) for kept in acts] == [None] * 28
    assert (check.head.position, check.without_place) == (28, 0)
    assert await first.acts.page(after=acts[-3].row, limit=1) == [acts[-2]]


async def test_an_act_that_was_not_written_leaves_no_place_behind(store: ObservableStore) -> None:
    entry = AuditEntry(at=START, actor="a", action="b", operation_id=None, detail="c")
    await write(store, sample_record(1), audit=(entry,))
    with pytest.raises(ConcurrentUpdateError):
        await write(store, sample_record(1), audit=(entry,))
    await write(store, audit=(replace(entry, is_denied=True),))
    acts = await every_act(store)
    assert [each.place and each.place.position for each in acts] == [1, 2]
    assert [each.entry.is_denied for each in acts] == [False, True]


async def test_the_rows_of_a_period_of_acts_are_found(store: ObservableStore) -> None:
    def act(seconds: int) -> AuditEntry:
        at = START + seconds * SECOND
        return AuditEntry(at=at, actor="a", action="b", operation_id=None, detail="c")

    await write(store, audit=tuple(act(seconds) for seconds in (0, 20, 10, 30)))
    rows = [each.row for each in await every_act(store)]
    found = await store.acts.rows(since=START + 10 * SECOND, until=START + 30 * SECOND)
    assert found == (rows[1], rows[2])
    assert await store.acts.rows(since=None, until=None) == (rows[0], rows[3])
    assert await store.acts.rows(since=START + 40 * SECOND, until=None) is None


def sample_switch(account: str = "bank") -> Switch:
    return Switch(
        account=account,
        pause=Pause(actor="m.durand", reason="ticket 1", since=START),
        probe=ProbeWish(wish=number(7), actor="a.petit", at=START),
    )


async def test_switches_are_seen_by_every_worker_and_within_their_batch(
    ledger: LedgerOnTrial,
) -> None:
    first, second = await ledger.open(), await ledger.open()
    needs = Needs((), accounts=("bank", "shop"))

    def raise_reason(view: View) -> Change[str]:
        switch = view.switch("bank") or sample_switch()
        assert switch.pause is not None
        pause = replace(switch.pause, reason=switch.pause.reason + "!")
        assert view.switch("shop") is None
        return Change(result=pause.reason, switches=(replace(switch, pause=pause),))

    stores = (first, second) * 5
    told = await asyncio.gather(*(store.transact(needs, raise_reason) for store in stores))
    assert sorted(told) == [f"ticket 1{'!' * turn}" for turn in range(1, 11)]
    (switch,) = await second.accounts.switches()
    assert switch.pause is not None
    assert (switch.pause.reason, switch.probe) == (f"ticket 1{'!' * 10}", sample_switch().probe)
    await first.transact(
        needs, lambda _view: Change(result=None, switches=(Switch(account="bank"),))
    )
    await first.transact(needs, lambda _view: Change(result=None, switches=(sample_switch("*"),)))
    assert await second.accounts.switches() == [sample_switch("*"), Switch(account="bank")]


async def test_a_switch_that_was_not_declared_is_not_seen(store: ObservableStore) -> None:
    with pytest.raises(UndeclaredReadError):
        await look(store, Needs(()), lambda view: view.switch("bank"))


async def test_reports_replace_those_of_the_same_worker_and_are_forgotten(
    store: ObservableStore,
) -> None:
    def report(worker: int, account: str, seconds: int, reason: str | None = None) -> AccountReport:
        return AccountReport(
            worker=number(worker),
            account=account,
            breaker="open",
            is_paused=worker == 1,
            seen_at=START + seconds * SECOND,
            reason=reason,
            next_try=None if reason is None else START,
            probe=None if reason is None else number(7),
            probe_result=reason,
        )

    await store.accounts.report([])
    await store.accounts.report([report(1, "shop", 0), report(1, "bank", 0)])
    await store.accounts.report([report(2, "bank", 5), report(1, "bank", 9, "no answer")])
    wanted = [report(1, "bank", 9, "no answer"), report(2, "bank", 5), report(1, "shop", 0)]
    assert await store.accounts.reports(seen_since=START) == wanted
    assert await store.accounts.reports(seen_since=START + 5 * SECOND) == wanted[:2]
    await store.accounts.forget_reports(worker=number(2), before=START + SECOND)
    assert await store.accounts.reports(seen_since=START) == wanted[:1]


def as_given(change: Change[None], _view: View) -> Change[None]:
    return change


async def test_each_account_approves_a_plan_once(store: ObservableStore) -> None:
    def approval(actor: str, seconds: int) -> Approval:
        at = START + seconds * SECOND
        return Approval(plan_sha256="9f2c", actor=actor, reason="looked at it", at=at)

    first, again, other = approval("b", 0), approval("b", 5), approval("a", 3)
    for each in (first, again, other):
        change = Change(result=None, approvals=(each,))
        await store.transact(Needs(()), partial(as_given, change))
    assert await store.acts.approvals(plan_sha256="9f2c") == [first, other]
    assert await store.acts.approvals(plan_sha256="77") == []


# --- transactions ------------------------------------------------------------------------------


async def test_a_view_sees_what_its_batch_wrote_before(store: ObservableStore) -> None:
    needs = Needs((number(1),), fingerprint(1))

    def claim(view: View) -> Change[str]:
        if view.record(number(1)) is not None:
            owner = view.owner(fingerprint(1))
            return Change(result="held by its owner" if owner is not None else "held")
        owner_entry = (fingerprint(1), number(1))
        return Change(result="won", records=(sample_record(),), owner=owner_entry)

    answers = await asyncio.gather(*(store.transact(needs, claim) for _ in range(5)))
    assert answers == ["won", *["held by its owner"] * 4]


async def test_an_exception_reaches_its_caller_alone(store: ObservableStore) -> None:
    class RuleBrokenError(Exception):
        pass

    def broken(_view: View) -> Change[None]:
        raise RuleBrokenError

    ends = await asyncio.gather(
        write(store, sample_record(1)),
        store.transact(Needs(()), broken),
        write(store, sample_record(2)),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [type(None), RuleBrokenError, type(None)]
    assert await store.find(number(1)) == (sample_record(1), None)
    assert await store.find(number(2)) == (sample_record(2), None)


async def test_even_a_stop_iteration_leaves_the_batch_alone(store: ObservableStore) -> None:
    def broken(_view: View) -> Change[Record]:
        return Change(result=next(iter(())))

    ends = await asyncio.gather(
        store.transact(Needs(()), broken), write(store, sample_record()), return_exceptions=True
    )
    assert isinstance(ends[0], RuntimeError)
    assert ends[1] is None


async def test_a_change_that_fails_in_the_middle_is_not_written_at_all(
    store: ObservableStore,
) -> None:
    await write(store, sample_record(2))
    entry = AuditEntry(at=START, actor="a", action="b", operation_id=number(1), detail="c")
    ends = await asyncio.gather(
        write(store, sample_record(3)),
        write(
            store, sample_record(1), sample_record(2), answers=(sample_answer(),), audit=(entry,)
        ),
        write(store, sample_record(4)),
        return_exceptions=True,
    )
    assert isinstance(ends[1], ConcurrentUpdateError)
    assert await store.find(number(1)) is None
    assert await store.audit(number(1)) == []
    assert await store.find(number(3)) is not None
    assert await store.find(number(4)) is not None


@pytest.mark.parametrize(
    ("stored", "written"),
    [(None, 2), (1, 1), (1, 3), (2, 2), (2, 1)],
    ids=["absent", "inserted twice", "skipping one", "written twice", "going back"],
)
async def test_a_write_needs_exactly_the_version_before(
    store: ObservableStore, stored: int | None, written: int
) -> None:
    for version in range(1, (stored or 0) + 1):
        await write(store, sample_record(version=version))
    before = await store.find(number(1))
    with pytest.raises(ConcurrentUpdateError) as caught:
        await write(store, replace(sample_record(version=written), item_id="other"))
    assert caught.value.operation_id == number(1)
    assert await store.find(number(1)) == before


async def test_one_change_may_write_a_record_twice(store: ObservableStore) -> None:
    await write(store, sample_record(), sample_record(version=2))
    assert await store.find(number(1)) == (sample_record(version=2), None)


async def test_a_cancelled_caller_does_not_disturb_the_batch(store: ObservableStore) -> None:
    cancelled = asyncio.ensure_future(write(store, sample_record(1)))
    others = [asyncio.ensure_future(write(store, sample_record(n))) for n in (2, 3)]
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
    cancelled.cancel()
    await asyncio.gather(*others)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await store.find(number(2)) is not None
    assert await store.find(number(3)) is not None
    await write(store, sample_record(4))


async def test_concurrent_changes_share_their_commits(store: ObservableStore) -> None:
    """The first change holds its batch open until the others wait; they form one batch."""
    everyone_waits = threading.Event()
    here = threading.get_ident()

    def slow(_view: View) -> Change[None]:
        if threading.get_ident() != here:  # a store in memory works in the loop's own thread
            assert everyone_waits.wait(timeout=10)
        return Change(result=None)

    before = store.commits
    tasks = [asyncio.ensure_future(store.transact(Needs(()), slow))]
    tasks += [asyncio.ensure_future(write(store, sample_record(n))) for n in range(100)]
    asyncio.get_running_loop().call_soon(everyone_waits.set)
    await asyncio.gather(*tasks)
    assert store.commits - before <= 2


async def test_rows_that_were_not_declared_cannot_be_read(store: ObservableStore) -> None:
    """A store that loads a batch at once would say "no such row", and that means "send"."""
    await write(store, sample_record())
    reads: list[Callable[[View], object]] = [
        lambda view: view.record(number(1)),
        lambda view: view.answer(number(1)),
        lambda view: view.tombstone(number(1)),
        lambda view: view.owner(fingerprint(1)),
    ]
    for read in reads:
        with pytest.raises(UndeclaredReadError):
            await look(store, Needs((number(2),), fingerprint(2)), read)


# --- fingerprints and tombstones ---------------------------------------------------------------


async def test_a_fingerprint_has_one_owner_and_the_last_one_named(store: ObservableStore) -> None:
    needs = Needs((), fingerprint(7))
    assert await look(store, needs, lambda view: view.owner(fingerprint(7))) is None
    await write(store, sample_record(1), owner=(fingerprint(7), number(1)))
    assert await look(store, needs, lambda view: view.owner(fingerprint(7))) == sample_record(1)
    await write(store, sample_record(2), owner=(fingerprint(7), number(2)))
    assert await look(store, needs, lambda view: view.owner(fingerprint(7))) == sample_record(2)


async def test_the_owner_of_a_declared_fingerprint_is_declared_too(store: ObservableStore) -> None:
    await write(store, sample_record())
    owner_entry = (fingerprint(7), number(1))
    await write(store, decided_record(), answers=(sample_answer(),), owner=owner_entry)

    def read(view: View) -> Answer | None:
        owner = view.owner(fingerprint(7))
        assert owner is not None
        return view.answer(owner.operation_id)

    assert await look(store, Needs((), fingerprint(7)), read) == sample_answer()


async def test_a_tombstone_is_seen_until_it_expires(
    ledger: LedgerOnTrial, store: ObservableStore
) -> None:
    now = store.clock.now()
    tombstone = Tombstone(payment_id=number(1), origin=some.DCP, until=now + 10 * SECOND)
    await write(store, tombstones=(tombstone,))
    needs = Needs((number(1),))
    assert await look(store, needs, lambda view: view.tombstone(number(1))) == tombstone
    ledger.clock.advance(9.999)
    assert await look(store, needs, lambda view: view.tombstone(number(1))) == tombstone
    ledger.clock.advance(0.001)
    assert await look(store, needs, lambda view: view.tombstone(number(1))) is None


async def test_a_later_tombstone_replaces_the_earlier(store: ObservableStore) -> None:
    now = store.clock.now()
    first = Tombstone(payment_id=number(1), origin=some.DCP, until=now + 10 * SECOND)
    later = replace(first, until=now + 20 * SECOND)
    await write(store, tombstones=(first,))
    await write(store, tombstones=(later,))
    needs = Needs((number(1),))
    assert await look(store, needs, lambda view: view.tombstone(number(1))) == later


# --- what was published ------------------------------------------------------------------------


async def marked(store: Store) -> tuple[bool, bool]:
    found = await store.find(number(1))
    assert found is not None
    assert found[1] is not None
    return found[1].event_confirmed, found[1].letter_confirmed


async def test_marks_are_written_without_anyone_waiting(store: ObservableStore) -> None:
    await write(store, sample_record())
    await write(store, decided_record(), answers=(sample_answer(letter=sample_letter()),))
    assert await marked(store) == (False, False)

    async def is_marked(event: bool, letter: bool) -> bool:  # noqa: FBT001 (the expected marks)
        return await marked(store) == (event, letter)

    store.mark_confirmed(event_number(1), event=False, letter=True)
    await until_true(lambda: is_marked(event=False, letter=True))
    store.mark_confirmed(event_number(1), event=True, letter=False)
    await until_true(lambda: is_marked(event=True, letter=True))


async def test_marks_ride_with_the_next_change(store: ObservableStore) -> None:
    await write(store, sample_record())
    await write(store, decided_record(), answers=(sample_answer(),))
    store.mark_confirmed(event_number(1), event=True, letter=False)
    seen = await look(store, Needs((number(1),)), lambda view: view.answer(number(1)))
    assert seen is not None
    assert (seen.event_confirmed, seen.letter_confirmed) == (True, False)


async def test_a_mark_never_goes_back(store: ObservableStore) -> None:
    await write(store, sample_record())
    confirmed = replace(sample_answer(), event_confirmed=True)
    await write(store, decided_record(), answers=(confirmed,))
    store.mark_confirmed(event_number(1), event=False, letter=True)
    await write(store, answers=(replace(sample_answer(), correlation_id="rewritten"),))
    found = await store.find(number(1))
    assert found is not None
    assert found[1] == replace(confirmed, letter_confirmed=True, correlation_id="rewritten")


async def test_a_mark_for_an_unknown_event_changes_nothing(store: ObservableStore) -> None:
    store.mark_confirmed(number(5), event=True, letter=True)
    await write(store, sample_record())
    assert await store.find(number(1)) == (sample_record(), None)


async def test_an_event_asked_for_again_is_owed_again_and_taken(store: ObservableStore) -> None:
    await write(store, sample_record())
    published = replace(sample_answer(), event_confirmed=True, letter_confirmed=True)
    await write(store, decided_record(), answers=(published,))
    again = replace(published, event_confirmed=False, resends=1)
    await write(store, answers=(again,))
    found = await store.find(number(1))
    assert found is not None
    assert found[1] == again
    now = START + timedelta(minutes=10)
    assert await store.take_unpublished(untouched_since=now, now=now, limit=9) == [again]


async def test_a_mark_of_an_earlier_sending_does_not_end_a_later_one(
    store: ObservableStore,
) -> None:
    """The copy the mark speaks of may be gone: the operator asked because nobody received it."""
    await write(store, sample_record())
    again = replace(sample_answer(letter=sample_letter()), resends=1)
    await write(store, decided_record(), answers=(again,))
    store.mark_confirmed(event_number(1), event=True, letter=True, resends=0)
    await write(store, sample_record(2))
    assert await marked(store) == (False, True)
    store.mark_confirmed(event_number(1), event=True, letter=False, resends=1)
    await write(store, sample_record(3))
    assert await marked(store) == (True, True)


async def test_marks_of_two_sendings_in_one_batch_are_kept_apart(store: ObservableStore) -> None:
    await write(store, sample_record())
    await write(store, decided_record(), answers=(replace(sample_answer(), resends=1),))
    store.mark_confirmed(event_number(1), event=True, letter=False, resends=1)
    store.mark_confirmed(event_number(1), event=True, letter=True, resends=0)
    await write(store, sample_record(2))
    assert await marked(store) == (True, True)


async def test_a_rewritten_answer_forgets_neither_its_mark_nor_its_sendings(
    store: ObservableStore,
) -> None:
    await write(store, sample_record())
    resent = replace(sample_answer(), event_confirmed=True, resends=2)
    await write(store, decided_record(), answers=(resent,))
    await write(store, answers=(replace(sample_answer(), correlation_id="rewritten"),))
    found = await store.find(number(1))
    assert found is not None
    assert found[1] == replace(resent, correlation_id="rewritten")


async def test_marks_are_durable_after_close(ledger: LedgerOnTrial) -> None:
    store = await ledger.open()
    await write(store, sample_record())
    await write(store, decided_record(), answers=(sample_answer(),))
    store.mark_confirmed(event_number(1), event=True, letter=True)
    await store.close()
    assert await marked(await ledger.open()) == (True, True)


# --- the sweeper's questions -------------------------------------------------------------------


async def test_unpublished_answers_are_taken_oldest_first_and_once(store: ObservableStore) -> None:
    for n in (3, 1, 2):
        await write(store, answers=(sample_answer(n, occurred_at=START + n * SECOND),))
    await write(store, answers=(replace(sample_answer(4), event_confirmed=True),))
    now = START + timedelta(minutes=10)

    async def take(limit: int) -> list[UUID]:
        taken = await store.take_unpublished(
            untouched_since=START + 3 * SECOND, now=now, limit=limit
        )
        return [answer.operation_id for answer in taken]

    assert await take(1) == [number(1)]
    assert await take(9) == [number(2)], "number 3 is not old enough, 4 is published"
    assert await take(9) == []


async def test_an_answer_that_stays_unpublished_is_taken_again_later(
    store: ObservableStore,
) -> None:
    await write(store, answers=(sample_answer(),))
    first = START + timedelta(minutes=5)

    async def take(minutes: int) -> int:
        now = START + timedelta(minutes=minutes)
        untouched = now - timedelta(minutes=2)
        return len(await store.take_unpublished(untouched_since=untouched, now=now, limit=9))

    assert await take(5) == 1
    assert await take(7) == 0, f"taken at {first}, which is not before two minutes ago"
    assert await take(8) == 1


async def test_an_answer_nobody_took_yet_comes_before_one_that_was_refused_again(
    store: ObservableStore,
) -> None:
    """Else those of one full queue, taken again and again, would keep all others from leaving."""
    for n in (1, 2, 3):
        await write(store, answers=(sample_answer(n, occurred_at=START + n * SECOND),))
    taken = []
    for minutes in (5, 8, 11, 14):
        now = START + timedelta(minutes=minutes)
        (answer,) = await store.take_unpublished(
            untouched_since=now - timedelta(minutes=2), now=now, limit=1
        )
        taken.append(answer.operation_id)
    assert taken == [number(1), number(2), number(3), number(1)]


async def test_two_workers_never_take_the_same_answer(ledger: LedgerOnTrial) -> None:
    stores = [await ledger.open(), await ledger.open()]
    await write(stores[0], answers=tuple(sample_answer(n) for n in range(40)))
    now = START + timedelta(minutes=10)
    taken = await asyncio.gather(
        *(
            stores[turn % 2].take_unpublished(untouched_since=now, now=now, limit=5)
            for turn in range(12)
        )
    )
    ids = [answer.operation_id for page in taken for answer in page]
    assert sorted(ids) == [number(n) for n in range(40)]


async def test_two_workers_see_each_others_records(ledger: LedgerOnTrial) -> None:
    first, second = await ledger.open(), await ledger.open()
    await write(first, sample_record())
    await write(second, sample_record(version=2))
    assert await first.find(number(1)) == (sample_record(version=2), None)
    with pytest.raises(ConcurrentUpdateError):
        await write(first, sample_record(version=2))


async def test_expired_claims_are_those_in_calling_only(store: ObservableStore) -> None:
    lease = START + timedelta(seconds=180)
    for n, state in enumerate(State):
        await write(store, replace(sample_record(n, state=state), lease_until=lease))
    await write(store, replace(sample_record(20), lease_until=lease - SECOND))
    await write(store, replace(sample_record(21), lease_until=None))
    calling = number(list(State).index(State.CALLING))

    async def expired(seconds: int, limit: int = 9) -> Sequence[UUID]:
        before = lease + timedelta(seconds=seconds)
        return await store.expired_claims(expired_before=before, limit=limit)

    assert await expired(-1) == []
    assert await expired(0) == [number(20)]
    assert await expired(1) == [number(20), calling]
    assert await expired(1, limit=1) == [number(20)]


# --- the dead-letter index ---------------------------------------------------------------------


async def put_letter(store: Store, n: int, *, state: State = State.FAILED, after: int = 0) -> None:
    letter = sample_letter(START + after * SECOND)
    await write(store, sample_record(n))
    await write(store, decided_record(n, state=state), answers=(sample_answer(n, letter=letter),))


async def page_of(
    store: Store,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    wanted: LetterFilter = EVERY_LETTER,
) -> Sequence[LetterEntry]:
    """A page as it is at the start, when nothing of the samples is past its time."""
    return await store.letters.page(
        after=after, limit=limit, now=START, first_seen_before=START, wanted=wanted
    )


async def all_letters(store: Store, *, limit: int) -> list[LetterEntry]:
    found: list[LetterEntry] = []
    after = None
    while page := await page_of(store, after=after, limit=limit):
        assert len(page) <= limit
        found += page
        after = (page[-1].failed_at, page[-1].operation_id)
    return found


async def test_the_index_lists_undone_letters_by_what_a_person_decides_by(
    store: ObservableStore,
) -> None:
    await put_letter(store, 1, state=State.FAILED, after=1)
    await put_letter(store, 2, state=State.IN_DOUBT, after=2)
    store.mark_confirmed(event_number(2), event=True, letter=True)
    await write(store, sample_record(3))
    assert [(entry.operation_id, entry.state) for entry in await all_letters(store, limit=9)] == [
        (number(1), State.FAILED),
        (number(2), State.IN_DOUBT),
    ]
    second = (await all_letters(store, limit=9))[1]
    assert second == LetterEntry(
        operation_id=number(2),
        payment_id=number(2),
        sequence=1,
        failed_at=START + 2 * SECOND,
        origin=some.DCP,
        facts=sample_record(2).facts,
        confirmed=True,
        case=LetterCase(
            code=sample_letter().code,
            kind=sample_record(2).kind,
            state=State.IN_DOUBT,
            operation_class=decided_record(2).operation_class,
            link_published=False,
            may_be_applied=False,
            is_expired=False,
            names_order=True,
            is_superseded=False,
        ),
    )


@pytest.mark.parametrize(
    "state", [State.CALLING, State.RETRY_WAIT, State.SUCCEEDED, State.CANCELLED]
)
async def test_a_letter_leaves_the_index_once_its_payment_moved_on(
    store: ObservableStore, state: State
) -> None:
    await put_letter(store, 1)
    await write(store, replace(decided_record(1, version=3, state=state), event_id=event_number(1)))
    assert await all_letters(store, limit=9) == []


async def test_only_the_latest_answers_letter_is_listed(store: ObservableStore) -> None:
    await put_letter(store, 1)
    later = sample_answer(sequence=2, letter=sample_letter(START + SECOND))
    await write(store, decided_record(version=3, state=State.FAILED), answers=(later,))
    assert [(e.sequence, e.failed_at) for e in await all_letters(store, limit=9)] == [
        (2, START + SECOND)
    ]


async def test_pages_are_stable_while_letters_are_added(store: ObservableStore) -> None:
    """Seven letters fail at the same moment, so that ids decide; later ones come between pages."""
    for n in (5, 3, 7, 1, 6, 2, 4):
        await put_letter(store, n)
    first = await page_of(store, after=None, limit=3)
    await put_letter(store, 99, after=1)
    rest = await page_of(store, after=(first[-1].failed_at, first[-1].operation_id), limit=9)
    ids = [entry.operation_id for entry in (*first, *rest)]
    assert ids == [*(number(n) for n in range(1, 8)), number(99)]
    assert await all_letters(store, limit=2) == [*first, *rest]


ORIGIN_WEB = Origin("web")


async def put_assorted_letters(store: Store) -> None:
    """Six letters, each a second after the one before and each different in one thing."""
    facts = sample_record().facts
    rows = [
        (replace(decided_record(1, state=State.FAILED)), Code.PROVIDER_UNAVAILABLE),
        (replace(decided_record(2, state=State.IN_DOUBT), unknown_attempts=1), Code.LINK_LOST),
        (replace(decided_record(3, state=State.FAILED), origin=ORIGIN_WEB), Code.INTERNAL_ERROR),
        (
            replace(
                decided_record(4, state=State.FAILED), facts=replace(facts, id_societe="O'Hara")
            ),
            Code.PROVIDER_UNAVAILABLE,
        ),
        (
            replace(
                decided_record(5, state=State.FAILED),
                kind=Kind.CANCELLATION,
                payment_id=number(77),
                facts=replace(facts, payment_target=PaymentTarget.PAYBOX, id_commande="0"),
            ),
            Code.PROVIDER_UNAVAILABLE,
        ),
        (
            replace(
                decided_record(6, state=State.FAILED),
                kind=Kind.REFUSAL,
                facts=Facts(),
                operation_class=None,
            ),
            Code.INVALID_MESSAGE,
        ),
    ]
    for n, (record, code) in enumerate(rows, start=1):
        letter = replace(sample_letter(START + n * SECOND), code=code)
        await write(store, sample_record(n))
        await write(store, record, answers=(sample_answer(n, letter=letter),))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LetterFilter(), [1, 2, 3, 4, 5, 6]),
        (LetterFilter(codes=frozenset({Code.LINK_LOST, Code.INVALID_MESSAGE})), [2, 6]),
        (LetterFilter(codes=frozenset()), []),
        (LetterFilter(origin=ORIGIN_WEB), [3]),
        (LetterFilter(company="O'Hara"), [4]),
        (LetterFilter(target=PaymentTarget.PAYBOX), [5]),
        (LetterFilter(payment_id=number(77)), [5]),
        (LetterFilter(operation_id=number(5)), [5]),
        (LetterFilter(since=START + 2 * SECOND, until=START + 4 * SECOND), [2, 3]),
        (LetterFilter(since=START + 5 * SECOND), [5, 6]),
        (LetterFilter(company="1", origin=some.DCP, until=START + 5 * SECOND), [1, 2]),
    ],
    ids=[
        "all",
        "codes",
        "none",
        "origin",
        "company",
        "target",
        "payment",
        "operation",
        "time",
        "since",
        "many",
    ],
)
async def test_a_filter_finds_letters_that_meet_all_of_it(
    store: ObservableStore, wanted: LetterFilter, found: list[int]
) -> None:
    """Listed page by page, and counted, by the same rule."""
    await put_assorted_letters(store)
    listed: list[LetterEntry] = []
    after = None
    while page := await page_of(store, after=after, limit=2, wanted=wanted):
        listed += page
        after = (page[-1].failed_at, page[-1].operation_id)
    assert [entry.operation_id for entry in listed] == [number(n) for n in found]
    tallies = await store.letters.tallies(now=START, first_seen_before=START, wanted=wanted)
    assert {tally.case: tally.count for tally in tallies} == Counter(each.case for each in listed)


async def test_letters_of_one_case_are_counted_together(store: ObservableStore) -> None:
    """With the first and the last failure, and how many the broker has confirmed."""
    await put_assorted_letters(store)
    await put_letter(store, 8, after=9)
    store.mark_confirmed(event_number(8), event=True, letter=True)
    await store.ping()
    tallies = await store.letters.tallies(
        now=START,
        first_seen_before=START,
        wanted=LetterFilter(target=PaymentTarget.LABANQUEPOSTALE),
    )
    case = LetterCase(
        code=Code.PROVIDER_UNAVAILABLE,
        kind=Kind.INITIATION,
        state=State.FAILED,
        operation_class=OperationClass.NON_IDEMPOTENT,
        link_published=False,
        may_be_applied=False,
        is_expired=False,
        names_order=True,
        is_superseded=False,
    )
    together = LetterTally(
        case=case, count=3, confirmed=1, first=START + SECOND, last=START + 9 * SECOND
    )
    assert together in tallies
    assert {(each.case.code, each.case.may_be_applied) for each in tallies if each != together} == {
        (Code.LINK_LOST, True),
        (Code.INTERNAL_ERROR, False),
    }


async def test_unanswered_letters_stand_among_the_decided_ones(store: ObservableStore) -> None:
    """In one order over any pages, told by a code of their own, each with what a person needs."""
    await put_assorted_letters(store)
    limited = replace(sample_unanswered(11, failed_at=START + 3 * SECOND), not_after=START)
    late = replace(sample_unanswered(12, failed_at=START + 9 * SECOND), facts=Facts(), cause=None)
    await store.letters.keep_unanswered([late, limited])
    listed = await all_letters(store, limit=2)
    assert [entry.operation_id for entry in listed] == [
        number(n) for n in (1, 2, 3, 11, 4, 5, 6, 12)
    ]
    case = LetterCase(
        code=None,
        kind=Kind.INITIATION,
        state=None,
        operation_class=None,
        link_published=False,
        may_be_applied=False,
        is_expired=False,
        names_order=True,
        is_superseded=False,
    )
    assert listed[3] == LetterEntry(
        operation_id=number(11),
        payment_id=limited.payment_id,
        sequence=1,
        failed_at=START + 3 * SECOND,
        origin=limited.origin,
        facts=limited.facts,
        confirmed=True,
        case=case,
    )
    assert listed[-1].case == replace(case, names_order=False)
    (past,) = await store.letters.tallies(
        now=START + SECOND,
        first_seen_before=START,
        wanted=LetterFilter(codes=frozenset({None}), until=START + 9 * SECOND),
    )
    assert past == LetterTally(
        case=replace(case, is_expired=True),
        count=1,
        confirmed=1,
        first=START + 3 * SECOND,
        last=START + 3 * SECOND,
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LetterFilter(codes=frozenset({None})), [11, 12, 13]),
        (LetterFilter(codes=frozenset({None, Code.LINK_LOST})), [2, 11, 12, 13]),
        (LetterFilter(codes=frozenset({Code.LINK_LOST})), [2]),
        (LetterFilter(origin=ORIGIN_WEB), [3, 12]),
        (LetterFilter(company="O'Hara"), [4, 12]),
        (LetterFilter(target=PaymentTarget.PAYBOX), [5, 12]),
        (LetterFilter(payment_id=number(77)), [5, 13]),
        (LetterFilter(operation_id=number(13)), [13]),
        (LetterFilter(since=START + 6 * SECOND, until=START + 12 * SECOND), [6, 11]),
        (LetterFilter(text="NO attempt"), [1, 2, 3, 4, 5, 6]),
        (LetterFilter(text="o'hara"), [4, 12]),
        (LetterFilter(text="Rejected by"), [13]),
        (LetterFilter(text="dcp1"), []),
        (LetterFilter(text="%"), []),
        (LetterFilter(resolved=True), []),
    ],
)
async def test_a_filter_finds_unanswered_letters_by_the_same_rule(
    store: ObservableStore, wanted: LetterFilter, found: list[int]
) -> None:
    await put_assorted_letters(store)
    facts = replace(sample_record().facts, id_societe="O'Hara", payment_target=PaymentTarget.PAYBOX)
    await store.letters.keep_unanswered(
        [
            sample_unanswered(11, failed_at=START + 11 * SECOND),
            replace(
                sample_unanswered(12, failed_at=START + 12 * SECOND),
                origin=ORIGIN_WEB,
                facts=facts,
            ),
            replace(
                sample_unanswered(13, failed_at=START + 13 * SECOND),
                kind=Kind.CANCELLATION,
                payment_id=number(77),
                cause="rejected by nobody",
            ),
        ]
    )
    listed: list[LetterEntry] = []
    after = None
    while page := await page_of(store, after=after, limit=2, wanted=wanted):
        listed += page
        after = (page[-1].failed_at, page[-1].operation_id)
    assert [entry.operation_id for entry in listed] == [number(n) for n in found]
    tallies = await store.letters.tallies(now=START, first_seen_before=START, wanted=wanted)
    assert sum(tally.count for tally in tallies) == len(found)


async def test_a_letter_that_is_met_again_keeps_its_place_until_it_is_forgotten(
    store: ObservableStore,
) -> None:
    """Once rotated it no longer says when and why the broker gave it up."""
    first = sample_unanswered(1)
    await store.letters.keep_unanswered(
        [first, replace(first, failed_at=START + SECOND, cause="twice")]
    )
    assert await store.letters.unanswered(number(1)) == first
    again = replace(
        first, failed_at=START + 5 * SECOND, cause=None, facts=Facts(), found_at=START + SECOND
    )
    await store.letters.keep_unanswered([sample_unanswered(2), again, sample_unanswered(3)])
    assert await store.letters.unanswered(number(1)) == replace(first, found_at=START + SECOND)
    assert await store.letters.forget_unfound(found_before=START + SECOND) == 2
    assert await store.letters.forget_unfound(found_before=START + SECOND) == 0
    assert [entry.operation_id for entry in await all_letters(store, limit=9)] == [number(1)]
    await store.letters.keep_unanswered([replace(sample_unanswered(2), cause=None)])
    await store.letters.keep_unanswered([sample_unanswered(2)])
    kept = await store.letters.unanswered(number(2))
    assert kept is not None
    assert kept.cause == "delivery_limit"
    await store.letters.forget_unanswered(number(1))
    await store.letters.forget_unanswered(number(1))
    assert await store.letters.unanswered(number(1)) is None
    assert [entry.operation_id for entry in await all_letters(store, limit=9)] == [number(2)]
    await store.letters.keep_unanswered([])


@pytest.mark.parametrize("state", State)
async def test_an_unanswered_letter_tells_where_its_operation_stands(
    store: ObservableStore, state: State
) -> None:
    await store.letters.keep_unanswered([sample_unanswered(1)])
    await write(store, sample_record(1, state=state), owner=(fingerprint(1), number(1)))
    (entry,) = await all_letters(store, limit=9)
    assert (entry.state, entry.case.is_superseded) == (state, False)
    other = replace(sample_record(2, state=state), fingerprint=fingerprint(1))
    await write(store, other, owner=(fingerprint(1), number(2)))
    (entry,) = await all_letters(store, limit=9)
    assert entry.case.is_superseded is (state not in {State.FAILED, State.CANCELLED})


async def test_a_resolved_letter_is_listed_only_among_the_resolved(store: ObservableStore) -> None:
    """And comes back as it was when it is restored."""
    await put_letter(store, 1)
    await put_letter(store, 2, after=1)
    before = await all_letters(store, limit=9)
    aside = replace(sample_answer(1, letter=sample_letter()), letter_resolved=True)
    await write(store, answers=(aside,))
    assert await all_letters(store, limit=9) == before[1:]
    resolved = LetterFilter(resolved=True)
    assert list(await page_of(store, after=None, limit=9, wanted=resolved)) == before[:1]
    for wanted, count in ((LetterFilter(), 1), (resolved, 1)):
        tallies = await store.letters.tallies(now=START, first_seen_before=START, wanted=wanted)
        assert sum(each.count for each in tallies) == count
    books = await store.payments.books(since=START - SECOND, until=START + SECOND)
    assert sum(books.letters.values()) == 1
    await write(store, answers=(replace(aside, letter_resolved=False),))
    assert await all_letters(store, limit=9) == before


async def test_the_cancellations_of_a_payment_are_found_in_the_order_they_came(
    store: ObservableStore,
) -> None:
    assert await store.payments.cancellations(number(1)) == []
    later, first = (
        replace(
            sample_record(n), kind=Kind.CANCELLATION, payment_id=number(1), first_seen=START + n * s
        )
        for n, s in ((2, SECOND), (3, -SECOND))
    )
    stranger = replace(sample_record(4), kind=Kind.CANCELLATION, payment_id=number(9))
    await write(store, sample_record(1), later, first, stranger)
    assert list(await store.payments.cancellations(number(1))) == [first, later]


@pytest.mark.parametrize("state", State)
async def test_a_letter_whose_content_another_payment_owns_is_superseded(
    store: ObservableStore, state: State
) -> None:
    """While that one is open, in doubt or paid: a replay would not be called."""
    await put_letter(store, 1)
    await write(store, owner=(fingerprint(1), number(1)))
    every = LetterFilter()
    (own,) = await store.letters.tallies(now=START, first_seen_before=START, wanted=every)
    assert not own.case.is_superseded
    other = replace(sample_record(2, state=state), fingerprint=fingerprint(1))
    await write(store, other, owner=(fingerprint(1), number(2)))
    (owned,) = await store.letters.tallies(now=START, first_seen_before=START, wanted=every)
    assert owned.case.is_superseded is (state not in {State.FAILED, State.CANCELLED})
    assert [each.case for each in await all_letters(store, limit=9)] == [owned.case]


async def test_a_letter_whose_email_was_edited_is_told_and_owns_its_old_content_no_more(
    store: ObservableStore,
) -> None:
    """An edit alone writes the row of a failed payment again, and with another fingerprint."""
    await put_letter(store, 1)
    await put_letter(store, 2, after=1)
    await write(store, owner=(fingerprint(1), number(1)))
    twin = replace(decided_record(2, version=3, state=State.FAILED), event_id=event_number(2))
    await write(store, replace(twin, fingerprint=fingerprint(1)))
    assert [each.case.is_edited for each in await all_letters(store, limit=9)] == [False, False]
    edited = replace(
        decided_record(1, version=3, state=State.FAILED),
        event_id=event_number(1),
        fingerprint=fingerprint(9),
        updated_at=START + 9 * SECOND,
    )
    await write(store, edited)
    listed = await all_letters(store, limit=9)
    assert [each.case.is_edited for each in listed] == [True, False]
    await write(store, replace(edited, version=4, state=State.IN_DOUBT))
    assert [each.case.is_superseded for each in await all_letters(store, limit=9)] == [False, False]
    tallies = await store.letters.tallies(now=START, first_seen_before=START, wanted=LetterFilter())
    assert {(each.case.is_edited, each.case.is_superseded) for each in tallies} == {
        (True, False),
        (False, False),
    }


async def test_letters_past_their_time_are_counted_apart(store: ObservableStore) -> None:
    """By their age, or by the limit their producer gave them; the limit itself is not past it."""
    await put_letter(store, 1)
    limited = replace(decided_record(2, state=State.FAILED), not_after=START)
    await write(store, sample_record(2))
    await write(store, limited, answers=(sample_answer(2, letter=sample_letter()),))
    for now, before, expired in (
        (START, START, 0),
        (START + SECOND, START, 1),
        (START, START + SECOND, 2),
    ):
        tallies = await store.letters.tallies(
            now=now, first_seen_before=before, wanted=LetterFilter()
        )
        assert sum(each.count for each in tallies if each.case.is_expired) == expired
        assert sum(each.count for each in tallies) == 2
        listed = await store.letters.page(after=None, limit=9, now=now, first_seen_before=before)
        assert [each.case.is_expired for each in listed].count(True) == expired


async def test_a_letter_shows_its_operations_own_sequence(store: ObservableStore) -> None:
    """It is what a replay opens; the event of a cancellation tells its payment's."""
    doubtful = replace(
        decided_record(1, version=1, state=State.IN_DOUBT),
        kind=Kind.CANCELLATION,
        payment_id=number(2),
        sequence=3,
        event_id=event_number(1),
    )
    await write(store, doubtful, answers=(sample_answer(1, letter=sample_letter()),))
    (entry,) = await all_letters(store, limit=9)
    assert (entry.kind, entry.sequence) == (Kind.CANCELLATION, 3)


async def test_the_history_of_one_operation_is_read_in_one_look(store: ObservableStore) -> None:
    """Its own alone, in the order it was written; an answer of another only if asked for."""
    assert await store.history(number(1), events=[event_number(1)]) is None
    record, stranger = decided_record(1, version=3, state=State.FAILED), sample_record(2)
    answers = (
        sample_answer(1, letter=sample_letter()),
        sample_answer(1, sequence=2, letter=sample_letter()),
    )
    attempts = tuple(
        AttemptEntry(
            operation_id=number(n),
            token=number(n),
            number=place,
            reference=None,
            tries=(),
            ended_at=START,
        )
        for n, place in ((1, 2), (2, 1), (1, 1))
    )
    audit = tuple(
        AuditEntry(at=START, actor="o.perator", action="reopen", operation_id=each, detail=detail)
        for each, detail in ((number(1), "first"), (number(2), "other"), (number(1), "second"))
    )
    await write(store, sample_record(1), stranger)
    await write(
        store,
        replace(record, version=2),
        answers=(*reversed(answers), sample_answer(2)),
        attempts=attempts,
        audit=audit,
    )
    asked = [event_number(1, 2), event_number(1), event_number(1, 3)]
    assert await store.history(number(1), events=asked) == History(
        record=replace(record, version=2),
        answers=answers,
        attempts=(attempts[0], attempts[2]),
        audit=(audit[0], audit[2]),
    )
    bare = await store.history(number(1), events=[])
    assert bare is not None
    assert bare.answers == ()


# --- being there -------------------------------------------------------------------------------


async def test_a_healthy_store_has_room_and_answers_a_ping(store: ObservableStore) -> None:
    assert await store.has_room()
    await store.ping()


async def test_a_closed_store_refuses_everything(store: ObservableStore) -> None:
    await write(store, sample_record())
    await store.close()
    await store.close()
    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: write(store, sample_record(2)),
        lambda: store.find(number(1)),
        lambda: store.take_unpublished(untouched_since=START, now=START, limit=1),
        lambda: store.expired_claims(expired_before=START, limit=1),
        lambda: page_of(store, after=None, limit=1),
        lambda: store.letters.unanswered(number(1)),
        lambda: store.letters.keep_unanswered([sample_unanswered()]),
        lambda: store.letters.forget_unanswered(number(1)),
        lambda: store.letters.forget_unfound(found_before=START),
        lambda: store.payments.cancellations(number(1)),
        lambda: store.history(number(1), events=[]),
        lambda: store.letters.tallies(now=START, first_seen_before=START, wanted=LetterFilter()),
        lambda: store.payments.open_operations(untouched_since=START, after=None, limit=1),
        lambda: store.payments.unpublished(decided_before=START, after=None, limit=1),
        lambda: store.payments.operation_of(number(1)),
        lambda: store.payments.decided_operations(
            origin=some.DCP, since=START, until=START, after=None, limit=1
        ),
        lambda: store.payments.books(since=START, until=START),
        lambda: store.locks.take(walk_lock(), now=START),
        lambda: store.locks.give_back("dead-letters", number(1)),
        store.restoration,
        lambda: store.attempts(number(1)),
        lambda: store.audit(None),
        lambda: store.acts.page(after=0, limit=1),
        store.accounts.switches,
        lambda: store.accounts.report([]),
        lambda: store.accounts.forget_reports(worker=number(1), before=START),
        lambda: store.accounts.reports(seen_since=START),
        lambda: store.acts.approvals(plan_sha256="9f2c"),
        lambda: store.acts.rows(since=None, until=None),
        store.has_room,
        store.ping,
    ]
    for question in questions:
        with pytest.raises(StoreUnavailableError):
            await question()
    with pytest.raises(StoreUnavailableError):
        store.mark_confirmed(number(1), event=True, letter=False)


async def test_what_was_queued_before_closing_is_written(ledger: LedgerOnTrial) -> None:
    store = await ledger.open()
    tasks = [asyncio.ensure_future(write(store, sample_record(n))) for n in range(20)]
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
    await store.close()
    await asyncio.gather(*tasks)
    again = await ledger.open()
    for n in range(20):
        assert await again.find(number(n)) == (sample_record(n), None)


@pytest.mark.parametrize("make", LEDGERS, ids=NAMES)
@settings(max_examples=25, deadline=None)  # a ledger is created for each; a slow disk is no fault
@given(
    records=st.lists(some.records, max_size=3, unique_by=lambda record: record.operation_id),
    answers=st.lists(some.answers, max_size=3, unique_by=lambda answer: answer.event.event_id),
    attempts=st.lists(some.attempts, max_size=3, unique_by=lambda attempt: attempt.operation_id),
    audit=st.lists(some.audit_entries, max_size=2, unique_by=lambda entry: entry.operation_id),
    tombstone=some.tombstones,
)
def test_every_field_survives_closing_and_opening(
    request: pytest.FixtureRequest,
    make: MakeLedger,
    *,
    records: list[Record],
    answers: list[Answer],
    attempts: list[AttemptEntry],
    audit: list[AuditEntry],
    tombstone: Tombstone,
) -> None:
    """Each answer is found through a record that names it, each tombstone before its end.

    The attempts drawn are given to the records, in turn: without one they would be refused.
    """
    named = [
        replace(record, event_id=answer.event.event_id)
        for record, answer in zip(records, answers, strict=False)
    ]
    records = [*named, *records[len(named) :]]
    attempts = [
        replace(attempt, operation_id=record.operation_id)
        for record, attempt in zip(cycle(records), attempts, strict=False)
    ]

    async def scenario(ledger: LedgerOnTrial) -> None:
        store = await ledger.open()
        await write(
            store,
            *records,
            answers=tuple(answers),
            attempts=tuple(attempts),
            audit=tuple(audit),
            tombstones=(tombstone,),
        )
        await store.close()
        store = await ledger.open()
        by_event = {answer.event.event_id: answer for answer in answers}
        for record in records:
            answer = by_event.get(record.event_id) if record.event_id is not None else None
            assert await store.find(record.operation_id) == (record, answer)
            own = [each for each in attempts if each.operation_id == record.operation_id]
            assert await store.attempts(record.operation_id) == own
        for entry in audit:
            assert await store.audit(entry.operation_id) == [entry]
        key = tombstone.payment_id
        seen = await look(store, Needs((key,)), lambda view: view.tombstone(key))
        assert seen == (tombstone if tombstone.until > store.clock.now() else None)
        await ledger.close()

    with make(request) as ledger:
        asyncio.run(scenario(ledger))


# --- the whole ---------------------------------------------------------------------------------


async def test_the_standing_counts_doubts_by_account_and_dates_the_oldest(
    store: ObservableStore,
) -> None:
    """Decided and open operations do not count, a confirmed event is not owed."""
    assert await store.standing() == Standing(
        doubts={}, oldest_doubt=None, oldest_open=None, oldest_unpublished=None
    )
    await write(store, sample_record(9))
    for n, state in enumerate((State.IN_DOUBT, State.IN_DOUBT, State.SUCCEEDED), 1):
        await put_letter(store, n, state=state)
    assert await store.standing() == Standing(
        doubts={"safedebit": 2},
        oldest_doubt=START + SECOND,
        oldest_open=START,
        oldest_unpublished=START + SECOND,
    )
    for n in (1, 2, 3):
        store.mark_confirmed(event_number(n), event=True, letter=False)
    await write(store, sample_record(10))
    standing = await store.standing()
    assert standing.oldest_unpublished is None
    assert standing.doubts == {"safedebit": 2}


async def test_the_oldest_open_operation_is_dated_by_its_first_receipt(
    store: ObservableStore,
) -> None:
    """Called or waiting on the ladder; one that is decided or in doubt has its answer."""
    for n, state, age in (
        (1, State.CALLING, 3),
        (2, State.RETRY_WAIT, 5),
        (3, State.RETRY_WAIT, 4),
        (4, State.IN_DOUBT, 9),
        (5, State.SUCCEEDED, 8),
    ):
        seen = START - age * SECOND
        due = START if state is State.RETRY_WAIT else None
        record = replace(sample_record(n, state=state), first_seen=seen, next_attempt_at=due)
        await write(store, record)
    assert (await store.standing()).oldest_open == START - 5 * SECOND
    await write(store, replace(decided_record(2, version=2), first_seen=START - 5 * SECOND))
    assert (await store.standing()).oldest_open == START - 4 * SECOND


async def test_overdue_waits_are_those_due_before_oldest_first(store: ObservableStore) -> None:
    """Neither open calls nor decided operations wait."""
    for n, due in enumerate((3, 1, 2), 1):
        waiting = sample_record(n, state=State.RETRY_WAIT)
        await write(store, replace(waiting, lease_until=None, next_attempt_at=START + due * SECOND))
    await write(store, sample_record(4))
    due_before = START + 3 * SECOND
    assert list(await store.overdue_waits(due_before=due_before, limit=9)) == [number(2), number(3)]
    assert list(await store.overdue_waits(due_before=due_before, limit=1)) == [number(2)]


# --- what an operator asks ---------------------------------------------------------------------


async def test_open_operations_are_listed_by_id_in_pages(store: ObservableStore) -> None:
    """Decided ones are not listed, nor what was written since."""
    for n, state in enumerate(State, 1):
        await write(store, sample_record(n, state=state))
    await write(store, replace(sample_record(9), updated_at=START + 2 * SECOND))
    after = START + SECOND

    async def listed(*, after_id: UUID | None = None, limit: int = 9) -> list[UUID]:
        page = await store.payments.open_operations(
            untouched_since=after, after=after_id, limit=limit
        )
        return [record.operation_id for record in page]

    opened = [number(n) for n, state in enumerate(State, 1) if state.is_open]
    assert await listed() == opened
    assert await listed(limit=1) == opened[:1]
    assert await listed(after_id=opened[0]) == opened[1:]
    assert await store.payments.open_operations(untouched_since=START, after=None, limit=9) == []
    (first, *_) = await store.payments.open_operations(untouched_since=after, after=None, limit=9)
    assert first == sample_record(1, state=first.state)


async def test_unpublished_answers_are_listed_in_pages_and_stay(store: ObservableStore) -> None:
    for n in (3, 1, 2):
        await write(store, answers=(sample_answer(n, occurred_at=START + SECOND),))
    await write(store, answers=(sample_answer(4, occurred_at=START + 5 * SECOND),))
    await write(store, answers=(replace(sample_answer(5), event_confirmed=True),))
    place: tuple[datetime, UUID] | None = None
    listed: list[UUID] = []
    while page := await store.payments.unpublished(
        decided_before=START + 5 * SECOND, after=place, limit=2
    ):
        listed += [answer.operation_id for answer in page]
        place = page[-1].event.occurred_at, page[-1].event.event_id
    assert sorted(listed) == [number(1), number(2), number(3)]
    now = START + timedelta(minutes=10)
    assert len(await store.take_unpublished(untouched_since=now, now=now, limit=9)) == 4


async def test_an_event_leads_to_its_operation(store: ObservableStore) -> None:
    await write(store, sample_record())
    await write(store, decided_record(), answers=(sample_answer(),))
    assert await store.payments.operation_of(event_number(1)) == number(1)
    assert await store.payments.operation_of(number(1)) is None


async def test_what_an_origin_was_answered_within_a_period_is_found_in_pages(
    store: ObservableStore,
) -> None:
    """A page ends after so many rows looked at, whatever it found among them."""
    decided = {
        2: START,
        3: START + SECOND,
        5: START + 2 * SECOND,
        6: START + 3 * SECOND,  # the period's end is not within it
        8: START - SECOND,
    }
    for n, moment in decided.items():
        await write(store, sample_record(n))
        state = State.CANCELLED if n == 5 else State.FAILED
        await write(store, replace(decided_record(n, state=state), decided_at=moment))
    await write(store, sample_record(1))
    await write(store, replace(sample_record(4), origin=Origin("web")))
    elsewhere = replace(decided_record(4), origin=Origin("web"), decided_at=START)
    await write(store, elsewhere)
    # Reopened, it keeps nothing of its decision.
    await write(store, replace(sample_record(7), decided_at=START))

    async def page(after: UUID | None, limit: int) -> DecidedPage:
        return await store.payments.decided_operations(
            origin=some.DCP, since=START, until=START + 3 * SECOND, after=after, limit=limit
        )

    found = (number(2), number(3), number(5))
    assert await page(None, 99) == DecidedPage(found, None)
    place: UUID | None = None
    pages = []
    while True:
        each = await page(place, 3)
        pages.append(each.operations)
        if each.after is None:
            break
        place = each.after
    assert pages == [(number(2), number(3)), (number(5),), ()]
    assert await page(number(5), 1) == DecidedPage((), number(6))


async def test_the_books_group_what_was_first_seen_within_their_period(
    store: ObservableStore,
) -> None:
    """From the first moment on, and before the last; open ones and refusals count too."""
    empty = Books(received=0, lines=(), letters={})
    assert await store.payments.books(since=START, until=START + SECOND) == empty
    await put_letter(store, 1)
    await put_letter(store, 2, state=State.IN_DOUBT)
    await write(store, sample_record(3), sample_record(4))
    refusal = replace(
        sample_record(5, state=State.FAILED),
        kind=Kind.REFUSAL,
        account=None,
        facts=Facts(),
        event_id=event_number(5),
    )
    await write(store, refusal, answers=(sample_answer(5, letter=sample_letter()),))
    await write(store, replace(sample_record(6), first_seen=START + SECOND))
    await write(store, replace(sample_record(7), first_seen=START - SECOND))
    books = await store.payments.books(since=START, until=START + SECOND)
    assert books.received == 5
    assert [(line.kind, line.state, line.count, line.cents) for line in books.lines] == [
        (Kind.INITIATION, State.CALLING, 2, 2500),
        (Kind.INITIATION, State.FAILED, 1, 1250),
        (Kind.INITIATION, State.IN_DOUBT, 1, 1250),
        (Kind.REFUSAL, State.FAILED, 1, 0),
    ]
    assert [(line.account, line.mode) for line in books.lines[2:]] == [
        ("safedebit", RunMode.TEST),
        (None, None),
    ]
    assert books.letters == {sample_letter().code: 3}


async def test_money_is_kept_apart_by_account_and_run_mode(store: ObservableStore) -> None:
    record = sample_record()
    live = replace(record.facts, payment_run_mode=RunMode.LIVE)
    await write(
        store,
        record,
        replace(sample_record(2), account="combo"),
        replace(sample_record(3), facts=live),
        replace(sample_record(4), account=None),
        replace(sample_record(5), facts=live),
    )
    books = await store.payments.books(since=START, until=START + SECOND)
    assert [(line.account, line.mode, line.cents) for line in books.lines] == [
        (None, RunMode.TEST, 1250),
        ("combo", RunMode.TEST, 1250),
        ("safedebit", RunMode.LIVE, 2500),
        ("safedebit", RunMode.TEST, 1250),
    ]


async def test_the_books_tell_origins_and_days_apart(store: ObservableStore) -> None:
    """A day is one of UTC; the last of its microseconds still counts for it."""
    midnight = START.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    tick = timedelta(microseconds=1)
    await write(
        store,
        replace(sample_record(1), first_seen=midnight - tick),
        replace(sample_record(2), first_seen=midnight),
        replace(sample_record(3), first_seen=midnight, origin=Origin("web")),
    )
    books = await store.payments.books(since=START, until=midnight + SECOND)
    assert [(line.origin, line.day, line.count) for line in books.lines] == [
        ("dcp", START.date(), 1),
        ("dcp", midnight.date(), 1),
        ("web", midnight.date(), 1),
    ]


async def test_a_restoration_is_remembered_and_the_latest_counts(ledger: LedgerOnTrial) -> None:
    store = await ledger.open()
    assert await store.restoration() is None
    first = Restoration(known_until=START, restored_at=START + SECOND, actor="o.perator")
    later = replace(first, restored_at=START + 2 * SECOND)
    for restoration in (first, later):
        await write(store, restoration=restoration)
    await store.close()
    assert await (await ledger.open()).restoration() == later


# --- one walk at a time ------------------------------------------------------------------------


def walk_lock(
    token: int = 1, *, actor: str = "anna", seconds: int = 30, queue: str = "dead-letters"
) -> QueueLock:
    return QueueLock(
        queue=queue,
        token=number(token),
        actor=actor,
        purpose="replay R-1",
        since=START,
        until=START + seconds * SECOND,
    )


async def test_a_queue_has_one_walk_at_a_time(ledger: LedgerOnTrial) -> None:
    first, second = await ledger.open(), await ledger.open()
    assert await first.locks.take(walk_lock(1), now=START) is None
    assert await second.locks.take(walk_lock(2, actor="bert"), now=START) == walk_lock(1)
    assert await second.locks.take(walk_lock(2, queue="unclaimed"), now=START) is None


async def test_only_its_holder_renews_or_gives_back_a_queue(store: ObservableStore) -> None:
    await store.locks.take(walk_lock(1), now=START)
    renewed = replace(walk_lock(1), until=START + 40 * SECOND)
    assert await store.locks.take(renewed, now=START + 10 * SECOND) is None
    await store.locks.give_back("dead-letters", number(2))
    late = START + 35 * SECOND
    assert await store.locks.take(walk_lock(2, seconds=65), now=late) == renewed
    await store.locks.give_back("dead-letters", number(1))
    assert await store.locks.take(walk_lock(2, seconds=65), now=late) is None


async def test_a_queue_is_free_again_when_its_lease_is_over(store: ObservableStore) -> None:
    await store.locks.take(walk_lock(1, seconds=30), now=START)
    other = walk_lock(2, actor="bert", seconds=60)
    assert await store.locks.take(other, now=START + 29 * SECOND) == walk_lock(1)
    assert await store.locks.take(other, now=START + 30 * SECOND) is None
    assert await store.locks.take(walk_lock(1, seconds=70), now=START + 31 * SECOND) == other


async def test_of_many_who_want_a_queue_at_once_one_gets_it(ledger: LedgerOnTrial) -> None:
    stores = [await ledger.open() for _ in range(4)]
    held = await asyncio.gather(
        *(store.locks.take(walk_lock(n), now=START) for n, store in enumerate(stores, 1))
    )
    winners = [n for n, holder in enumerate(held, 1) if holder is None]
    assert len(winners) == 1
    assert {holder for holder in held if holder is not None} == {walk_lock(winners[0])}
