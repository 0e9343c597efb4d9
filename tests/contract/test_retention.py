"""What every store must erase, and what it must leave: on the fake, SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.contract.test_store import LEDGERS, NAMES, LedgerOnTrial, MakeLedger, ObservableStore
from tests.fakes_clock import START
from tests.fakes_store import MemoryStore
from tests.store_samples import (
    EMAIL,
    LINK,
    decided_record,
    fingerprint,
    number,
    sample_answer,
    sample_letter,
    sample_record,
    sample_unanswered,
    write,
)
from worker.adapters.store_errors import ConcurrentUpdateError
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_sqlite import SqliteStore
from worker.calls import Succeeded, Try, Unknown
from worker.codes import Code
from worker.identity import event_id_of
from worker.inventory import Erased, Stretch
from worker.journal import ReplayRun, RunOptions, RunState
from worker.model import Fingerprint, Identity
from worker.operator_ports import Retention
from worker.ports import StoreUnavailableError, View
from worker.records import (
    Answer,
    AttemptEntry,
    Change,
    Kind,
    Needs,
    Record,
    State,
    Status,
    Tombstone,
)

DAY = timedelta(days=1)
LATE = START + 60 * DAY
NOTHING = Erased(erased=0, kept=0, after=None)

Erase = Callable[[Retention, Stretch], Awaitable[Erased]]
EMAILS: Erase = lambda retention, stretch: retention.erase_emails(stretch)  # noqa: E731
LINKS: Erase = lambda retention, stretch: retention.erase_links(stretch)  # noqa: E731
ROWS: Erase = lambda retention, stretch: retention.remove_operations(stretch)  # noqa: E731


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def on_trial(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as ledger:
        yield ledger
        await ledger.close()


@pytest_asyncio.fixture
async def store(on_trial: LedgerOnTrial) -> ObservableStore:
    return await on_trial.open()


@pytest.fixture
def retention(store: ObservableStore) -> Retention:
    return store.retention


def paid(n: int = 1, *, state: State = State.SUCCEEDED, made: datetime = START) -> Record:
    """A payment decided a second after it was made, with everything personal it may hold."""
    mark = replace(decided_record(n, version=1, state=state), sequence=1, created_at=made)
    return replace(
        mark,
        decided_at=None if state.is_open else made + timedelta(seconds=1),
        event_id=None if state.is_open else answer_of(n).event.event_id,
        email=EMAIL,
        link=LINK,
        link_published=True,
    )


def answer_of(n: int = 1, *, is_sent: bool = True, with_letter: bool = False) -> Answer:
    letter = sample_letter() if with_letter else None
    answer = sample_answer(n, link=None if with_letter else LINK, letter=letter)
    event_id = event_id_of(number(n), Status.SUCCEEDED, 1)
    return replace(answer, event=replace(answer.event, event_id=event_id), event_confirmed=is_sent)


def evidence(n: int = 1) -> AttemptEntry:
    outcomes = (Unknown(link=LINK), Succeeded(link=LINK, http_status=200))
    return AttemptEntry(
        operation_id=number(n),
        token=number(9),
        number=1,
        reference=None,
        tries=tuple(Try(started_at=START, ended_at=START, outcome=each) for each in outcomes),
        ended_at=START,
    )


async def fill(store: ObservableStore, record: Record, answer: Answer | None = None) -> None:
    mark = store.email_marks(EMAIL)[0]
    await write(
        store,
        replace(record, email_mark=mark),
        answers=() if answer is None else (answer,),
        attempts=(replace(evidence(), operation_id=record.operation_id),),
        owner=None if record.fingerprint is None else (record.fingerprint, record.operation_id),
    )


def until(before: datetime = LATE, *, after: datetime | None = None, limit: int = 9) -> Stretch:
    return Stretch(before=before, after=after, limit=limit)


async def traces_held(store: ObservableStore) -> int:
    """How many sealed values there are, those of nobody included; of the fake, attempts."""
    if isinstance(store, MemoryStore):
        return len(store.tables.attempts)
    assert isinstance(store, SqliteStore | PostgresStore)
    place, count = None, 0
    while True:
        page = await store.seals.walk(place, limit=100, is_dry=True)
        place, count = page.after, count + sum(page.values.values())
        if place is None:
            return count


async def found(store: ObservableStore, n: int = 1) -> tuple[Record, Answer | None]:
    rows = await store.find(number(n))
    assert rows is not None
    return rows


async def test_an_email_goes_with_its_mark_its_fingerprint_and_the_links_of_attempts(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(), answer_of())
    assert await retention.erase_emails(until()) == Erased(erased=1, kept=0, after=None)
    record, answer = await found(store)
    assert record == replace(paid(), email=None, fingerprint=None, version=2)
    assert answer == answer_of()  # its link is still the answer to a repeat
    for entry in await store.attempts(number(1)):
        links = [getattr(call.outcome, "link", None) for call in entry.tries]
        assert links == [None, None]
    assert await retention.erase_emails(until()) == NOTHING


async def test_a_content_that_is_forgotten_belongs_to_nobody(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(), answer_of())
    await retention.erase_emails(until())
    assert await owner_of(store, fingerprint(1)) is None


async def owner_of(store: ObservableStore, content: Fingerprint | None) -> UUID | None:
    assert content is not None

    def apply(view: View) -> Change[UUID | None]:
        owner = view.owner(content)
        return Change(result=None if owner is None else owner.operation_id)

    return await store.transact(Needs((number(1),), content), apply)


async def test_an_identity_made_of_the_content_forgets_it_and_another_stays(
    store: ObservableStore, retention: Retention
) -> None:
    of_content = Identity(f"dcp\x1f{fingerprint(1)}")
    await fill(store, replace(paid(), identity=of_content), answer_of())
    await fill(store, paid(2), answer_of(2))
    await retention.erase_emails(until())
    assert (await found(store))[0].identity == "dcp\x1ferased"
    assert (await found(store, 2))[0].identity == paid(2).identity


@pytest.mark.parametrize("state", [State.CALLING, State.RETRY_WAIT, State.IN_DOUBT])
async def test_what_is_open_or_in_doubt_keeps_everything_however_old(
    store: ObservableStore, retention: Retention, state: State
) -> None:
    await fill(store, paid(state=state), answer_of())
    assert await retention.erase_emails(until()) == Erased(erased=0, kept=1, after=None)
    assert (await found(store))[0].email == EMAIL


@pytest.mark.parametrize("state", [State.RETRY_WAIT, State.IN_DOUBT])
@pytest.mark.parametrize("erase", [EMAILS, LINKS, ROWS], ids=["emails", "links", "rows"])
async def test_what_a_cancellation_still_needs_stays(
    store: ObservableStore, retention: Retention, erase: Erase, state: State
) -> None:
    await fill(store, paid() if erase is EMAILS else bare(), answer_of())
    cancellation = replace(
        sample_record(2, state=state),
        kind=Kind.CANCELLATION,
        payment_id=number(1),
        fingerprint=None,
        created_at=LATE,
    )
    await write(store, cancellation)
    assert await erase(retention, until()) == Erased(erased=0, kept=1, after=None)
    ended = replace(cancellation, state=State.FAILED, version=2)
    await write(store, ended)
    assert (await erase(retention, until())).erased == 1


async def test_only_what_was_decided_before_then_is_taken(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(), answer_of())
    decided = START + timedelta(seconds=1)
    assert (await retention.erase_emails(until(decided))).erased == 0
    assert (await retention.erase_emails(until(decided + timedelta(microseconds=1)))).erased == 1


def bare(n: int = 1, *, made: datetime = START) -> Record:
    """The same once its e-mail was erased."""
    return replace(paid(n, made=made), email=None, fingerprint=None)


async def test_a_link_goes_and_its_repeat_says_so(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, bare(), answer_of())
    assert await retention.erase_links(until()) == Erased(erased=1, kept=0, after=None)
    record, answer = await found(store)
    assert record.link is None
    assert record.link_published
    assert record.updated_at == START
    assert answer is not None
    assert (answer.event.link, answer.event.code) == (None, Code.LINK_ERASED)
    assert await retention.erase_links(until()) == NOTHING


async def test_a_link_nobody_has_been_sent_yet_stays(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, bare(), answer_of(is_sent=False))
    assert await retention.erase_links(until()) == Erased(erased=0, kept=1, after=None)


async def test_a_link_outlives_its_email(store: ObservableStore, retention: Retention) -> None:
    await fill(store, paid(), answer_of())
    assert await retention.erase_links(until()) == NOTHING


async def test_the_link_of_an_answer_that_was_replaced_goes_with_the_email(
    store: ObservableStore, retention: Retention
) -> None:
    """A cancelled payment: its first answer had the link, and is never sent again."""
    cancelled = replace(answer_of().event, event_id=event_id_of(number(1), Status.CANCELLED, 2))
    later = replace(
        answer_of(), event=replace(cancelled, status=Status.CANCELLED, sequence=2, link=None)
    )
    record = replace(
        paid(state=State.CANCELLED), sequence=2, link=None, event_id=later.event.event_id
    )
    await write(store, record, answers=(answer_of(), later))
    assert (await retention.erase_emails(until())).erased == 1
    history = await store.history(
        number(1), events=[answer_of().event.event_id, later.event.event_id]
    )
    assert history is not None
    assert [answer.event.link for answer in history.answers] == [None, None]
    assert history.answers[0].event.code is Code.LINK_ERASED


async def test_an_old_row_goes_with_its_answers_and_attempts(
    store: ObservableStore, retention: Retention
) -> None:
    """Nothing of it is left to be taken for that of a later payment."""
    await fill(store, paid(2), answer_of(2))
    others = await traces_held(store)
    await fill(store, bare(), answer_of())
    assert await traces_held(store) > others
    assert await retention.remove_operations(until()) == Erased(erased=1, kept=0, after=None)
    assert await store.find(number(1)) is None
    assert await store.payments.operation_of(answer_of().event.event_id) is None
    assert await traces_held(store) == others
    assert await store.find(number(2)) is not None
    await write(store, sample_record(3))
    assert await store.attempts(number(3)) == []


async def test_a_row_stays_while_its_letter_waits_or_its_answer_is_unsent(
    store: ObservableStore, retention: Retention
) -> None:
    failed = replace(bare(), state=State.FAILED)
    await fill(store, failed, answer_of(with_letter=True))
    await fill(store, bare(2), answer_of(2, is_sent=False))
    assert await retention.remove_operations(until()) == Erased(erased=0, kept=2, after=None)
    seen_to = replace(answer_of(with_letter=True), letter_resolved=True)
    await write(store, answers=(seen_to,))
    assert await retention.remove_operations(until()) == Erased(erased=1, kept=1, after=None)


async def test_a_row_stays_while_a_letter_of_the_brokers_own_is_listed(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, bare(), answer_of())
    await store.letters.keep_unanswered([sample_unanswered()])
    assert (await retention.remove_operations(until())).kept == 1
    await store.letters.forget_unanswered(number(1))
    assert (await retention.remove_operations(until())).erased == 1


@pytest.mark.parametrize("erase", [EMAILS, LINKS, ROWS], ids=["emails", "links", "rows"])
async def test_stretches_take_everything_once_the_oldest_first(
    store: ObservableStore, retention: Retention, erase: Erase
) -> None:
    """Those made at one moment are never parted: the next stretch begins behind it."""
    moments = [START, START + DAY, START + DAY, START + DAY, START + 2 * DAY]
    for n, made in enumerate(moments, start=1):
        record = paid(n, made=made) if erase is EMAILS else bare(n, made=made)
        await fill(store, record, answer_of(n))
    first = await erase(retention, until(limit=2))
    assert first == Erased(erased=4, kept=0, after=START + DAY)
    rest = await erase(retention, until(after=first.after, limit=2))
    assert rest == Erased(erased=1, kept=0, after=None)


async def test_a_dry_look_counts_and_erases_nothing(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(), answer_of())
    await fill(store, bare(2), answer_of(2))
    dry = replace(until(), is_dry=True)
    unerased = replace(dry, is_unerased=True)
    assert (await retention.erase_emails(dry)).erased == 1
    assert (await retention.erase_links(dry)).erased == 1
    assert (await retention.erase_links(unerased)).erased == 1
    assert (await retention.remove_operations(dry)).erased == 1
    assert (await retention.remove_operations(unerased)).erased == 1
    assert (await found(store))[0].email == EMAIL
    assert (await found(store, 2))[0].link == LINK


async def test_tombstones_and_runs_go_when_they_are_over(
    store: ObservableStore, retention: Retention
) -> None:
    stones = [Tombstone(payment_id=number(n), origin=paid().origin, until=LATE) for n in (1, 2)]
    await write(store, tombstones=tuple(stones))
    run = ReplayRun(
        run="R-1",
        actor="anna",
        reason="mended",
        plan_sha256=None,
        options=RunOptions(canary=2, rate=1, stop_after_failures=4, in_flight=9, wait_seconds=7),
        state=RunState.RUNNING,
        started_at=START,
        wanted=0,
    )
    await store.journal.begin_run(run)
    assert await retention.remove_runs(until()) == NOTHING
    await store.journal.end_run(
        "R-1", state=RunState.FINISHED, stop_reason=None, kept=0, removed=0, at=START
    )
    assert (await retention.remove_runs(replace(until(), is_dry=True))).erased == 1
    assert (await retention.remove_runs(until())).erased == 1
    assert await store.journal.find_run("R-1") is None
    assert await retention.remove_tombstones(until=LATE - DAY, is_dry=False) == 0
    assert await retention.remove_tombstones(until=LATE, is_dry=True) == 2
    assert await retention.remove_tombstones(until=LATE, is_dry=False) == 2
    assert await retention.remove_tombstones(until=LATE, is_dry=False) == 0


async def test_a_payment_that_was_erased_meanwhile_is_not_written_over(
    on_trial: LedgerOnTrial, store: ObservableStore, retention: Retention
) -> None:
    """What another worker decided on an older look at the row is not written."""
    other = await on_trial.open()
    await fill(store, paid(), answer_of())
    await retention.erase_emails(until())
    with pytest.raises(ConcurrentUpdateError):
        await write(other, replace(paid(), version=2))
    assert (await found(other))[0].email is None


async def test_a_closed_store_erases_nothing(store: ObservableStore, retention: Retention) -> None:
    await store.close()
    for erase in (EMAILS, LINKS, ROWS):
        with pytest.raises(StoreUnavailableError):
            await erase(retention, until())
    with pytest.raises(StoreUnavailableError):
        await retention.remove_tombstones(until=LATE, is_dry=False)


async def test_a_person_is_erased_at_once_from_what_is_decided_and_answered(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(), answer_of())
    await fill(store, bare(2), answer_of(2))
    assert set(
        await retention.erase_people([number(1), number(2), number(9)], decided_before=LATE)
    ) == {
        number(1),
        number(2),
    }
    for n in (1, 2):
        record, answer = await found(store, n)
        assert (record.email, record.email_mark, record.fingerprint, record.link) == (None,) * 4
        assert answer is not None
        assert answer.event.code is Code.LINK_ERASED
        assert record.facts == paid(n).facts
    assert set(await retention.erase_people([number(1)], decided_before=LATE)) == {number(1)}


async def test_what_was_just_paid_is_still_known_by_its_content_when_its_person_is_erased(
    store: ObservableStore, retention: Retention
) -> None:
    """Else a second request for the same, under another key, would be paid again."""
    await fill(store, paid(), answer_of())
    before = (await found(store))[0]
    assert before.decided_at is not None
    erased = await retention.erase_people([number(1)], decided_before=before.decided_at)
    assert set(erased) == {number(1)}
    record, answer = await found(store)
    assert (record.email, record.email_mark, record.link) == (None,) * 3
    assert answer is not None
    assert answer.event.link is None
    assert record.fingerprint == before.fingerprint
    assert await owner_of(store, record.fingerprint) == number(1)
    later = before.decided_at + timedelta(microseconds=1)
    assert set(await retention.erase_people([number(1)], decided_before=later)) == {number(1)}
    assert (await found(store))[0].fingerprint is None
    assert await owner_of(store, before.fingerprint) is None


async def test_a_person_stays_where_something_is_still_owed_or_not_known(
    store: ObservableStore, retention: Retention
) -> None:
    await fill(store, paid(state=State.IN_DOUBT), answer_of())
    await fill(store, paid(2), answer_of(2, is_sent=False))
    await fill(store, paid(3, state=State.FAILED), answer_of(3, with_letter=True))
    await fill(store, paid(4, state=State.CALLING), answer_of(4))
    everything = [number(n) for n in range(1, 5)]
    assert not await retention.erase_people(everything, decided_before=LATE)
    for n in range(1, 5):
        assert (await found(store, n))[0].email == EMAIL


async def test_a_content_is_taken_from_its_owner_and_from_nobody_else(
    store: ObservableStore,
) -> None:
    await fill(store, paid(), answer_of())
    await write(store, disowned=(fingerprint(1), number(2)))
    assert await owner_of(store, fingerprint(1)) == number(1)
    await write(store, disowned=(fingerprint(1), number(1)))
    assert await owner_of(store, fingerprint(1)) is None
    await write(store, owner=(fingerprint(1), number(1)), disowned=(fingerprint(1), number(1)))
    assert await owner_of(store, fingerprint(1)) == number(1)
