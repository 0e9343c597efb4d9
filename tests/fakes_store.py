"""A store in memory that behaves as the durable one: both pass ``contract/test_store.py``."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from tests.fakes_journal import MemoryJournal, MemoryRuns
from tests.fakes_retention import MemoryRetention
from worker.acts import BEGINNING, KeptAct, next_place
from worker.adapters.store_errors import ConcurrentUpdateError, UndeclaredReadError
from worker.adapters.store_rows.answers import in_order
from worker.inventory import BookLine, Books, DecidedPage, QueueLock, Standing
from worker.letters import (
    EVERY_LETTER,
    LetterCase,
    LetterEntry,
    LetterFilter,
    LetterTally,
    UnansweredLetter,
    folded,
)
from worker.lifecycle.duplicates import NO_ORDER
from worker.look_ups import Doubt, LookUp, LookUpPlan, PlanState
from worker.model import EmailMark, Facts, Fingerprint, Origin, RunMode, Secret
from worker.ports import Clock, StoreUnavailableError, View
from worker.records import (
    Answer,
    AttemptEntry,
    AuditEntry,
    Change,
    History,
    Kind,
    Letter,
    Needs,
    Record,
    Restoration,
    State,
    Tombstone,
)
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")
_UNAVAILABLE = "the ledger is unavailable"
_CLOSED = "the ledger is closed"


@dataclass
class MemoryTables:
    """The rows; two stores on the same tables are two workers on one ledger."""

    records: dict[UUID, Record] = field(default_factory=dict)
    answers: dict[UUID, Answer] = field(default_factory=dict)
    taken: dict[UUID, datetime] = field(default_factory=dict)
    owners: dict[Fingerprint, UUID] = field(default_factory=dict)
    tombstones: dict[UUID, Tombstone] = field(default_factory=dict)
    attempts: list[AttemptEntry] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    restorations: list[Restoration] = field(default_factory=list)
    queue_locks: dict[str, QueueLock] = field(default_factory=dict)
    switches: dict[str, Switch] = field(default_factory=dict)
    reports: dict[tuple[str, UUID], AccountReport] = field(default_factory=dict)
    approvals: dict[tuple[str, str], Approval] = field(default_factory=dict)
    unanswered: dict[UUID, UnansweredLetter] = field(default_factory=dict)
    look_up_plans: dict[UUID, LookUpPlan] = field(default_factory=dict)
    look_ups: list[LookUp] = field(default_factory=list)
    replays: MemoryRuns = field(default_factory=MemoryRuns)

    @property
    def letters_found(self) -> set[UUID]:
        """Whose letters the last walk round their queue has met unanswered."""
        return set(self.unanswered)

    def answer_of(self, record: Record | None) -> Answer | None:
        """The answer that a record names."""
        if record is None or record.event_id is None:
            return None
        return self.answers.get(record.event_id)


class MemoryStore:
    """Implements ``ports.Store``: a batch is what gathered within one turn of the event loop.

    ``room`` is what ``has_room`` says. While ``unavailable`` everything is refused and nothing
    is written. The next ``lost_answers`` transactions are written and then reported as failed,
    as by a commit whose answer was lost.
    """

    def __init__(self, clock: Clock, tables: MemoryTables | None = None) -> None:
        self.tables = MemoryTables() if tables is None else tables
        self.journal = MemoryJournal(
            lambda: self.tables.replays,
            lambda: self.tables.records,
            write=self._submit,
            read=self._read,
        )
        self.retention = MemoryRetention(lambda: self.tables, self._submit)
        self.failed = asyncio.Event()
        self.commits = 0
        self.room = True
        self.unavailable = False
        self.lost_answers = 0
        self._clock = clock
        self._jobs: list[Callable[[], Callable[[], None]]] = []
        self._marks: list[tuple[UUID, bool, bool, int]] = []
        self._is_scheduled = False
        self._is_closed = False

    @property
    def clock(self) -> Clock:
        """The clock of everybody who uses these rows."""
        return self._clock

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        return (EmailMark(sha256(email.reveal().strip().lower().encode()).digest()[:20]),)

    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        def work() -> Result:
            change = apply(_MemoryView(self.tables, needs, self._clock.now()))
            _write(self.tables, change, self._clock.now())
            return change.result

        return await self._submit(work)

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._check()
        self._marks.append((event_id, event, letter, resends))
        self._schedule()

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        await self._read()
        record = self.tables.records.get(operation_id)
        return None if record is None else (record, self.tables.answer_of(record))

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        await self._read()
        record = self.tables.records.get(operation_id)
        if record is None:
            return None
        answers = [self.tables.answers[each] for each in events if each in self.tables.answers]
        return History(
            record=record,
            answers=tuple(sorted(answers, key=in_order)),
            attempts=tuple(e for e in self.tables.attempts if e.operation_id == operation_id),
            audit=tuple(e for e in self.tables.audit if e.operation_id == operation_id),
            look_ups=tuple(e for e in self.tables.look_ups if e.operation_id == operation_id),
            look_up_plan=self.tables.look_up_plans.get(operation_id),
        )

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        def work() -> Sequence[Answer]:
            waiting = [
                answer
                for event_id, answer in self.tables.answers.items()
                if not answer.event_confirmed
                and answer.event.occurred_at < untouched_since
                and (event_id not in self.tables.taken)
                | (self.tables.taken.get(event_id, now) < untouched_since)
            ]
            page = sorted(waiting, key=self._untouched_for_longest)[:limit]
            for answer in page:
                self.tables.taken[answer.event.event_id] = now
            return sorted(page, key=lambda each: (each.event.occurred_at, each.event.event_id))

        return await self._submit(work)

    def _untouched_for_longest(self, answer: Answer) -> tuple[datetime, datetime, UUID]:
        event = answer.event
        touched = self.tables.taken.get(event.event_id, event.occurred_at)
        return touched, event.occurred_at, event.event_id

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        await self._read()
        expired = sorted(
            (record.lease_until, record.operation_id)
            for record in self.tables.records.values()
            if record.state is State.CALLING
            and record.lease_until is not None
            and record.lease_until < expired_before
        )
        return [operation_id for _lease_until, operation_id in expired[:limit]]

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        await self._read()
        overdue = sorted(
            (record.next_attempt_at, record.operation_id)
            for record in self.tables.records.values()
            if record.state is State.RETRY_WAIT
            and record.next_attempt_at is not None
            and record.next_attempt_at < due_before
        )
        return [operation_id for _due, operation_id in overdue[:limit]]

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        await self._read()
        found = sorted(
            (
                record
                for record in self.tables.records.values()
                if record.state.is_open and record.updated_at < untouched_since
            ),
            key=lambda record: record.operation_id,
        )
        return [each for each in found if after is None or each.operation_id > after][:limit]

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        await self._read()
        waiting = sorted(
            (
                ((answer.event.occurred_at, answer.event.event_id), answer)
                for answer in self.tables.answers.values()
                if not answer.event_confirmed and answer.event.occurred_at < decided_before
            ),
            key=lambda each: each[0],
        )
        return [answer for place, answer in waiting if after is None or place > after][:limit]

    async def operation_of(self, event_id: UUID) -> UUID | None:
        await self._read()
        answer = self.tables.answers.get(event_id)
        return None if answer is None else answer.operation_id

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        await self._read()
        behind = sorted(each for each in self.tables.records if after is None or each > after)
        looked_at = [self.tables.records[each] for each in behind[:limit]]
        return DecidedPage(
            tuple(
                record.operation_id
                for record in looked_at
                if record.origin == origin
                and not record.state.is_open
                and record.decided_at is not None
                and since <= record.decided_at < until
            ),
            looked_at[-1].operation_id if len(looked_at) == limit else None,
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        await self._read()
        found = sorted(
            (
                found_of(record)
                for record in self.tables.records.values()
                if _is_searched(self.tables, record, wanted)
            ),
            key=lambda each: each.place,
            reverse=newest_first,
        )
        behind = [
            each
            for each in found
            if after is None or (each.place < after if newest_first else each.place > after)
        ]
        return behind[:limit]

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        await self._read()
        return sorted(
            record.operation_id
            for record in self.tables.records.values()
            if record.state is State.IN_DOUBT
            and record.duplicate_of is not None
            and (owner := self.tables.records.get(record.duplicate_of)) is not None
            and owner.state in {State.SUCCEEDED, State.FAILED, State.CANCELLED}
        )[:limit]

    async def books(self, *, since: datetime, until: datetime) -> Books:
        await self._read()
        inside = [
            record for record in self.tables.records.values() if since <= record.first_seen < until
        ]
        counts: Counter[_Line] = Counter(_line_of(record) for record in inside)
        cents: Counter[_Line] = Counter()
        for record in inside:
            cents[_line_of(record)] += record.facts.amount or 0
        undone = (
            _undone_letter(self.tables, answer)
            for record in inside
            if (answer := self.tables.answer_of(record)) is not None
            and answer.operation_id == record.operation_id
        )
        return Books(
            received=len(inside),
            lines=tuple(
                BookLine(
                    kind=kind,
                    state=state,
                    account=account,
                    mode=mode,
                    origin=origin,
                    day=day,
                    count=counts[kind, state, account, mode, origin, day],
                    cents=cents[kind, state, account, mode, origin, day],
                )
                for kind, state, account, mode, origin, day in sorted(counts, key=_line_order)
            ),
            letters=dict(
                Counter(
                    found[2].code
                    for found in undone
                    if found is not None and not found[1].letter_resolved
                )
            ),
        )

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        def work() -> QueueLock | None:
            held = self.tables.queue_locks.get(lock.queue)
            if held is not None and held.token != lock.token and held.until > now:
                return held
            self.tables.queue_locks[lock.queue] = lock
            return None

        return await self._submit(work)

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        def work() -> None:
            held = self.tables.queue_locks.get(queue)
            if held is not None and held.token == token:
                del self.tables.queue_locks[queue]

        await self._submit(work)

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        await self._read()
        doubts = [
            (record.decided_at, record.operation_id, record.sequence)
            for record in self.tables.records.values()
            if record.state is State.IN_DOUBT
            and record.account == account
            and record.kind is Kind.INITIATION
            and record.duplicate_of is None
            and record.reference is not None
            and record.decided_at is not None
            and not self._is_planned(record)
        ]
        return [
            Doubt(operation_id=operation_id, sequence=sequence, decided_at=decided_at)
            for decided_at, operation_id, sequence in sorted(doubts)[:limit]
        ]

    def _is_planned(self, record: Record) -> bool:
        plan = self.tables.look_up_plans.get(record.operation_id)
        return plan is not None and plan.sequence >= record.sequence

    async def plan_look_ups(self, plans: Sequence[LookUpPlan]) -> None:
        def work() -> None:
            for plan in plans:
                known = self.tables.look_up_plans.get(plan.operation_id)
                if known is None or known.sequence < plan.sequence:
                    self.tables.look_up_plans[plan.operation_id] = plan

        await self._submit(work)

    async def take_look_up(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        def work() -> LookUpPlan | None:
            due = [
                (plan.due_at, plan.operation_id)
                for plan in self.tables.look_up_plans.values()
                if plan.account == account
                and plan.due_at is not None
                and plan.due_at <= now
                and (plan.lease_until is None or plan.lease_until <= now)
            ]
            if not due:
                return None
            _due_at, operation_id = min(due)
            taken = replace(
                self.tables.look_up_plans[operation_id], token=token, lease_until=lease_until
            )
            self.tables.look_up_plans[operation_id] = taken
            return taken

        return await self._submit(work)

    async def give_look_up_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        def work() -> None:
            plan = self.tables.look_up_plans.get(operation_id)
            if plan is not None and plan.token == token:
                self.tables.look_up_plans[operation_id] = replace(
                    plan, token=None, lease_until=None, due_at=due_at or plan.due_at
                )

        await self._submit(work)

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        await self._read()
        plans = self.tables.look_up_plans
        return [plans[each] for each in operations if each in plans]

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        await self._read()
        found = sorted(self._breaks(), key=lambda plan: plan.operation_id)
        return [each for each in found if after is None or each.operation_id > after][:limit]

    def _breaks(self) -> list[LookUpPlan]:
        return [
            plan
            for plan in self.tables.look_up_plans.values()
            if plan.state is PlanState.BREAK
            and (record := self.tables.records.get(plan.operation_id)) is not None
            and record.state is State.IN_DOUBT
            and record.sequence == plan.sequence
        ]

    async def restoration(self) -> Restoration | None:
        await self._read()
        return self.tables.restorations[-1] if self.tables.restorations else None

    async def standing(self) -> Standing:
        await self._read()
        doubtful = [each for each in self.tables.records.values() if each.state is State.IN_DOUBT]
        waiting = [each for each in self.tables.records.values() if each.state.is_open]
        unsent = [
            each.event.occurred_at
            for each in self.tables.answers.values()
            if not each.event_confirmed
        ]
        return Standing(
            doubts=Counter(each.account or "none" for each in doubtful),
            oldest_doubt=min(
                (each.decided_at or each.updated_at for each in doubtful), default=None
            ),
            oldest_open=min((each.first_seen for each in waiting), default=None),
            oldest_unpublished=min(unsent, default=None),
            breaks=Counter(each.account for each in self._breaks()),
        )

    async def letters(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        await self._read()
        entries = sorted(self._entries(wanted, now, first_seen_before), key=_place)
        return [entry for entry in entries if after is None or _place(entry) > after][:limit]

    async def letter_tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        await self._read()
        by_case: dict[LetterCase, list[LetterEntry]] = {}
        for entry in self._entries(wanted, now, first_seen_before):
            by_case.setdefault(entry.case, []).append(entry)
        return [
            LetterTally(
                case=case,
                count=len(entries),
                confirmed=sum(entry.confirmed for entry in entries),
                first=min(entry.failed_at for entry in entries),
                last=max(entry.failed_at for entry in entries),
            )
            for case, entries in by_case.items()
        ]

    def _entries(
        self, wanted: LetterFilter, now: datetime, first_seen_before: datetime
    ) -> list[LetterEntry]:
        decided = (
            _letter_entry(self.tables, *found, now, first_seen_before)
            for answer in self.tables.answers.values()
            if (found := _undone_letter(self.tables, answer)) is not None
            and answer.letter_resolved == wanted.resolved
            and _mentions(wanted.text, found[2].detail, found[0].origin, found[0].facts)
        )
        unanswered = (
            _unanswered_entry(self.tables, letter, now, first_seen_before)
            for letter in self.tables.unanswered.values()
            if not wanted.resolved
            and _mentions(wanted.text, letter.cause, letter.origin, letter.facts)
        )
        return [entry for entry in (*decided, *unanswered) if _is_wanted(entry, wanted)]

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        await self._read()
        return self.tables.unanswered.get(operation_id)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        def work() -> None:
            for letter in found:
                first = self.tables.unanswered.setdefault(letter.operation_id, letter)
                self.tables.unanswered[letter.operation_id] = replace(
                    first, found_at=letter.found_at, cause=first.cause or letter.cause
                )

        await self._submit(work)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._submit(lambda: self.tables.unanswered.pop(operation_id, None))

    async def forget_unfound(self, *, found_before: datetime) -> int:
        def work() -> int:
            gone = [
                each.operation_id
                for each in self.tables.unanswered.values()
                if each.found_at < found_before
            ]
            for operation_id in gone:
                del self.tables.unanswered[operation_id]
            return len(gone)

        return await self._submit(work)

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        await self._read()
        found = [
            record
            for record in self.tables.records.values()
            if record.kind is Kind.CANCELLATION and record.payment_id == payment_id
        ]
        return sorted(found, key=lambda record: (record.first_seen, record.operation_id))

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        await self._read()
        return [entry for entry in self.tables.attempts if entry.operation_id == operation_id]

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        await self._read()
        return [entry for entry in self.tables.audit if entry.operation_id == operation_id]

    async def acts(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        await self._read()
        place, kept = BEGINNING, []
        for row, entry in enumerate(self.tables.audit, 1):
            place = next_place(place, entry)
            kept.append(KeptAct(row=row, entry=entry, place=place))
        return kept[after : after + limit]

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        await self._read()
        rows = [
            row
            for row, entry in enumerate(self.tables.audit, 1)
            if (since is None or entry.at >= since) and (until is None or entry.at < until)
        ]
        return (rows[0], rows[-1]) if rows else None

    async def switches(self) -> Sequence[Switch]:
        await self._read()
        return [switch for _, switch in sorted(self.tables.switches.items())]

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        await self._submit(
            lambda: self.tables.reports.update(
                {(report.account, report.worker): report for report in reports}
            )
        )

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        def forget() -> None:
            for key, report in list(self.tables.reports.items()):
                if report.worker == worker or report.seen_at < before:
                    del self.tables.reports[key]

        await self._submit(forget)

    async def account_reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        await self._read()
        reports = sorted(self.tables.reports.items())
        return [report for _, report in reports if report.seen_at >= seen_since]

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        await self._read()
        found = [each for each in self.tables.approvals.values() if each.plan_sha256 == plan_sha256]
        return sorted(found, key=lambda approval: (approval.at, approval.actor))

    async def has_room(self) -> bool:
        self._check()
        return self.room

    async def ping(self) -> None:
        await self._submit(lambda: None)

    async def close(self) -> None:
        self._commit()
        self._is_closed = True

    # --- batches -------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._is_closed:
            raise StoreUnavailableError(_CLOSED)
        if self.unavailable:
            raise StoreUnavailableError(_UNAVAILABLE)

    async def _read(self) -> None:
        """A read sees only what is committed, and takes a turn like a real one."""
        self._check()
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(_resolve, turn, None)
        await turn

    async def _submit(self, work: Callable[[], Result]) -> Result:
        self._check()
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.append(partial(self._run, work, future))
        self._schedule()
        return await future

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._is_scheduled = False
        if not (self._jobs or self._marks):
            return
        for event_id, event, letter, resends in self._marks:
            if (answer := self.tables.answers.get(event_id)) is not None:
                self.tables.answers[event_id] = replace(
                    answer,
                    event_confirmed=answer.event_confirmed or (event and answer.resends == resends),
                    letter_confirmed=answer.letter_confirmed or letter,
                )
        jobs, self._jobs, self._marks = self._jobs, [], []
        settled = [job() for job in jobs]
        self.commits += 1
        for settle in settled:
            settle()

    def _run(
        self, work: Callable[[], Result], future: asyncio.Future[Result]
    ) -> Callable[[], None]:
        if self.unavailable:
            return partial(_reject, future, StoreUnavailableError(_UNAVAILABLE))
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (it reaches its own caller, as the port says)
            return partial(_reject, future, error)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            return partial(_reject, future, StoreUnavailableError(_UNAVAILABLE))
        return partial(_resolve, future, result)


class _MemoryView:
    def __init__(self, tables: MemoryTables, needs: Needs, now: datetime) -> None:
        self._tables = tables
        self._needs = needs
        self._now = now
        self._owner_id: UUID | None = None

    def record(self, operation_id: UUID) -> Record | None:
        self._check(operation_id)
        return self._tables.records.get(operation_id)

    def answer(self, operation_id: UUID) -> Answer | None:
        self._check(operation_id)
        return self._tables.answer_of(self._tables.records.get(operation_id))

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        if fingerprint != self._needs.fingerprint:
            raise UndeclaredReadError(None)
        self._owner_id = self._tables.owners.get(fingerprint)
        return None if self._owner_id is None else self._tables.records.get(self._owner_id)

    def tombstone(self, payment_id: UUID) -> Tombstone | None:
        self._check(payment_id)
        found = self._tables.tombstones.get(payment_id)
        return found if found is not None and found.until > self._now else None

    def switch(self, account: str) -> Switch | None:
        if account not in self._needs.accounts:
            raise UndeclaredReadError(None)
        return self._tables.switches.get(account)

    def _check(self, operation_id: UUID) -> None:
        if operation_id not in self._needs.operations and operation_id != self._owner_id:
            raise UndeclaredReadError(operation_id)


def _write(tables: MemoryTables, change: Change[Result], now: datetime) -> None:
    """All or nothing: every record is checked before the first row is touched."""
    records = dict(tables.records)
    for record in change.records:
        known = records.get(record.operation_id)
        if (0 if known is None else known.version) != record.version - 1:
            raise ConcurrentUpdateError(record.operation_id, record.version)
        records[record.operation_id] = record
    tables.records.update({record.operation_id: record for record in change.records})
    for answer in change.answers:
        before = tables.answers.get(answer.event.event_id)
        tables.answers[answer.event.event_id] = (
            answer if before is None else _merged(before, answer)
        )
    tables.attempts.extend(change.attempts)
    if change.disowned is not None:
        fingerprint, operation_id = change.disowned
        if tables.owners.get(fingerprint) == operation_id:
            del tables.owners[fingerprint]
    if change.owner is not None:
        fingerprint, operation_id = change.owner
        tables.owners[fingerprint] = operation_id
    if change.tombstones:
        tables.tombstones = {k: t for k, t in tables.tombstones.items() if t.until > now}
        tables.tombstones |= {t.payment_id: t for t in change.tombstones}
    tables.audit.extend(change.audit)
    tables.switches |= {switch.account: switch for switch in change.switches}
    for approval in change.approvals:
        tables.approvals.setdefault((approval.plan_sha256, approval.actor), approval)
    if change.restoration is not None:
        tables.restorations.append(change.restoration)
    tables.look_ups.extend(change.look_ups)
    if (plan := change.look_up_plan) is not None:
        held = tables.look_up_plans.get(plan.operation_id)
        if held is not None and held.token is not None and held.token == plan.token:
            tables.look_up_plans[plan.operation_id] = replace(
                plan, account=held.account, token=None, lease_until=None
            )


def _merged(before: Answer, after: Answer) -> Answer:
    """What the broker confirmed once stays confirmed, until it is to be sent again."""
    is_resent = after.resends > before.resends
    return replace(
        after,
        event_confirmed=after.event_confirmed or (before.event_confirmed and not is_resent),
        letter_confirmed=before.letter_confirmed or after.letter_confirmed,
        resends=max(before.resends, after.resends),
    )


def _undone_letter(tables: MemoryTables, answer: Answer) -> tuple[Record, Answer, Letter] | None:
    record = tables.records.get(answer.operation_id)
    if (
        record is None
        or answer.letter is None
        or record.event_id != answer.event.event_id
        or record.state not in {State.FAILED, State.IN_DOUBT}
    ):
        return None
    return record, answer, answer.letter


def _letter_entry(
    tables: MemoryTables,
    record: Record,
    answer: Answer,
    letter: Letter,
    now: datetime,
    first_seen_before: datetime,
) -> LetterEntry:
    too_late = record.not_after is not None and record.not_after < now
    return LetterEntry(
        operation_id=record.operation_id,
        payment_id=record.payment_id,
        sequence=record.sequence,
        failed_at=letter.failed_at,
        origin=record.origin,
        facts=record.facts,
        confirmed=answer.letter_confirmed,
        case=LetterCase(
            code=letter.code,
            kind=record.kind,
            state=record.state,
            operation_class=record.operation_class,
            link_published=record.link_published,
            may_be_applied=record.unknown_attempts > record.cleared_attempts,
            is_expired=too_late or record.first_seen < first_seen_before,
            names_order=record.facts.id_commande not in {None, NO_ORDER},
            is_superseded=_is_superseded(tables, record.operation_id, record.fingerprint),
            is_edited=record.decided_at is not None and record.updated_at > record.decided_at,
        ),
    )


def _unanswered_entry(
    tables: MemoryTables, letter: UnansweredLetter, now: datetime, first_seen_before: datetime
) -> LetterEntry:
    row = tables.records.get(letter.operation_id)
    too_late = letter.not_after is not None and letter.not_after < now
    return LetterEntry(
        operation_id=letter.operation_id,
        payment_id=letter.payment_id,
        sequence=letter.sequence,
        failed_at=letter.failed_at,
        origin=letter.origin,
        facts=letter.facts,
        confirmed=True,
        case=LetterCase(
            code=None,
            kind=letter.kind,
            state=None if row is None else row.state,
            operation_class=None if row is None else row.operation_class,
            link_published=False,
            may_be_applied=False,
            is_expired=too_late or letter.first_seen < first_seen_before,
            names_order=letter.facts.id_commande not in {None, NO_ORDER},
            is_superseded=_is_superseded(tables, letter.operation_id, letter.fingerprint),
        ),
    )


def _mentions(text: str | None, detail: str | None, origin: Origin, facts: Facts) -> bool:
    parts = (detail, origin, facts.id_origin, facts.id_societe, facts.id_client, facts.id_commande)
    return text is None or any(folded(text) in folded(part or "") for part in parts)


def _is_superseded(
    tables: MemoryTables, operation_id: UUID, fingerprint: Fingerprint | None
) -> bool:
    if fingerprint is None:
        return False
    owner = tables.records.get(tables.owners.get(fingerprint, operation_id))
    if owner is None or owner.operation_id == operation_id:
        return False
    if owner.fingerprint != fingerprint:
        return False
    return owner.state.is_open or owner.state in {State.IN_DOUBT, State.SUCCEEDED}


def _is_wanted(entry: LetterEntry, wanted: LetterFilter) -> bool:
    return (
        (wanted.codes is None or entry.code in wanted.codes)
        and wanted.origin in {None, entry.origin}
        and wanted.company in {None, entry.facts.id_societe}
        and wanted.target in {None, entry.facts.payment_target}
        and wanted.payment_id in {None, entry.payment_id}
        and wanted.operation_id in {None, entry.operation_id}
        and (wanted.since is None or wanted.since <= entry.failed_at)
        and (wanted.until is None or entry.failed_at < wanted.until)
    )


_Line = tuple[Kind, State, str | None, RunMode | None, Origin, date]


def _line_of(record: Record) -> _Line:
    mode, day = record.facts.payment_run_mode, record.first_seen.date()
    return record.kind, record.state, record.account, mode, record.origin, day


def _line_order(line: _Line) -> tuple[str, str, str, str, str, date]:
    """Absent comes first, as in a database."""
    kind, state, account, mode, origin, day = line
    return kind, state, account or "", mode or "", origin, day


def _place(entry: LetterEntry) -> tuple[datetime, UUID]:
    return entry.failed_at, entry.operation_id


def _resolve(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)


def _reject(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        # A future refuses StopIteration, and the rest of the batch would wait for ever.
        future.set_exception(RuntimeError() if isinstance(error, StopIteration) else error)


def found_of(record: Record) -> FoundPayment:
    """What a search tells of a record."""
    return FoundPayment(
        operation_id=record.operation_id,
        kind=record.kind,
        payment_id=record.payment_id,
        state=record.state,
        code=record.code,
        sequence=record.sequence,
        attempts=record.attempts,
        first_seen=record.first_seen,
        decided_at=record.decided_at,
        origin=record.origin,
        facts=record.facts,
        account=record.account,
        reference=record.reference,
        duplicate_of=record.duplicate_of,
    )


def _is_searched(tables: MemoryTables, record: Record, wanted: PaymentFilter) -> bool:
    facts = record.facts
    asked: list[tuple[object, object]] = [
        (wanted.order, facts.id_commande),
        (wanted.client, facts.id_client),
        (wanted.company, facts.id_societe),
        (wanted.origin, record.origin),
        (wanted.message_id, record.message_id),
        (wanted.account, record.account),
    ]
    if any(given is not None and given != there for given, there in asked):
        return False
    if wanted.email_marks is not None and record.email_mark not in wanted.email_marks:
        return False
    if wanted.payment_id is not None and wanted.payment_id not in {
        record.operation_id,
        record.payment_id if record.kind is Kind.CANCELLATION else None,
        record.duplicate_of,
    }:
        return False
    if wanted.reference is not None:
        sent = {e.reference for e in tables.attempts if e.operation_id == record.operation_id}
        if record.state is State.CALLING:
            sent.add(record.reference)
        if wanted.reference not in sent:
            return False
    if wanted.states is not None and record.state not in wanted.states:
        return False
    is_begun = wanted.since is None or record.first_seen >= wanted.since
    return is_begun and (wanted.until is None or record.first_seen < wanted.until)
