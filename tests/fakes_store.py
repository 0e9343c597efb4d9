"""A store in memory that behaves as the durable one: both pass ``contract/test_store.py``."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from tests.fakes_journal import MemoryJournal
from tests.fakes_letter_index import MemoryLetters
from tests.fakes_look_ups import MemoryLookUps
from tests.fakes_operators import MemoryAccounts, MemoryActs, MemoryLocks
from tests.fakes_payment_index import MemoryPayments
from tests.fakes_retention import MemoryRetention
from tests.fakes_tables import MemoryAccess, MemoryTables
from worker.adapters.store_errors import (
    ConcurrentUpdateError,
    MissingOperationError,
    UndeclaredReadError,
)
from worker.adapters.store_rows.answers import in_order
from worker.inventory import Standing
from worker.model import EmailMark, Fingerprint, Secret
from worker.ports import Clock, StoreUnavailableError, View
from worker.records import (
    Answer,
    AttemptEntry,
    AuditEntry,
    Change,
    History,
    Needs,
    Record,
    Restoration,
    State,
    Tombstone,
)
from worker.switches import Switch

Result = TypeVar("Result")
_UNAVAILABLE = "the ledger is unavailable"
_CLOSED = "the ledger is closed"


class MemoryStore:
    """Implements ``ports.Store``: a batch is what gathered within one turn of the event loop.

    ``room`` is what ``has_room`` says. While ``unavailable`` everything is refused and nothing
    is written. The next ``lost_answers`` transactions are written and then reported as failed,
    as by a commit whose answer was lost.
    """

    def __init__(self, clock: Clock, tables: MemoryTables | None = None) -> None:
        self.tables = MemoryTables() if tables is None else tables
        access = MemoryAccess(tables=lambda: self.tables, read=self._read, submit=self._submit)
        self.letters = MemoryLetters(access)
        self.payments = MemoryPayments(access)
        self.acts = MemoryActs(access)
        self.accounts = MemoryAccounts(access)
        self.look_ups = MemoryLookUps(access)
        self.locks = MemoryLocks(access)
        self.journal = MemoryJournal(
            lambda: self.tables.replays,
            lambda: self.tables.records,
            write=self._submit,
            read=self._read,
        )
        self.retention = MemoryRetention(access)
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
            breaks=Counter(each.account for each in self.tables.breaks()),
        )

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        await self._read()
        return [entry for entry in self.tables.attempts if entry.operation_id == operation_id]

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        await self._read()
        return [entry for entry in self.tables.audit if entry.operation_id == operation_id]

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


def _check(tables: MemoryTables, change: Change[Result]) -> None:
    records = dict(tables.records)
    for record in change.records:
        known = records.get(record.operation_id)
        if (0 if known is None else known.version) != record.version - 1:
            raise ConcurrentUpdateError(record.operation_id, record.version)
        records[record.operation_id] = record
    for attempt in change.attempts:
        if attempt.operation_id not in records:
            raise MissingOperationError(attempt.operation_id)


def _write(tables: MemoryTables, change: Change[Result], now: datetime) -> None:
    """All or nothing: every record is checked before the first row is touched."""
    _check(tables, change)
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


def _resolve(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)


def _reject(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        # A future refuses StopIteration, and the rest of the batch would wait for ever.
        future.set_exception(RuntimeError() if isinstance(error, StopIteration) else error)
