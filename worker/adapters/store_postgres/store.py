"""The PostgreSQL ledger: implements ``ports.Store`` for the workers of many hosts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self, TypeVar
from uuid import UUID

from worker.acts import KeptAct
from worker.adapters.clock import SharedClock
from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerUnreachableError
from worker.adapters.store_postgres import (
    audit,
    inspection,
    letters,
    locks,
    look_ups,
    searches,
    switches,
)
from worker.adapters.store_postgres.committer import Committer
from worker.adapters.store_postgres.faults import translated
from worker.adapters.store_postgres.jobs import ChangeJob, TakeJob
from worker.adapters.store_postgres.journal import PostgresJournal
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.retention import PostgresRetention
from worker.adapters.store_postgres.schema import check
from worker.adapters.store_postgres.seals import PostgresSeals
from worker.adapters.store_postgres.sessions import BY_KEY, Connection, Session, connect, place_of
from worker.adapters.store_postgres.writer import Writer
from worker.adapters.store_rows.values import to_micros
from worker.inventory import Books, DecidedPage, QueueLock, Standing
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter
from worker.look_ups import Doubt, LookUpPlan
from worker.model import EmailMark, Origin, Secret
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
)
from worker.rules import PostgresAddress
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")

LOOK_AGAIN = 10.0
"""Seconds for which one look at the server's state counts."""


class PostgresStore:
    """Group commit on one connection, reads on another; each comes back by itself when lost.

    ``clock`` tells the server's wall time, which is the same for the workers of all hosts.
    ``commits`` counts commits. ``failed`` is never set by the server: whether its disk can be
    trusted is its own affair, it ends itself after a failed sync, and what it did is asked anew.
    """

    def __init__(self, *, writer: Writer, reader: Reader, vault: Vault, clock: Clock) -> None:
        """Use ``open``."""
        self.clock = SharedClock(clock)
        self.journal = PostgresJournal(reader, writer)
        self.retention = PostgresRetention(reader, writer)
        self.seals = PostgresSeals(reader, writer, vault)
        self._writer = writer
        self._reader = reader
        self._vault = vault
        self._clock = clock
        self._closing: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._has_room = False

    @classmethod
    async def open(
        cls, address: PostgresAddress, *, vault: Vault, clock: Clock, flush_seconds: float = 1.0
    ) -> Self:
        """Open an initialised ledger in the running loop; raises ``LedgerError``.

        One try only, at most a few seconds; ``LedgerUnreachableError`` may pass by itself.
        """
        known: UUID | None = None

        async def open_connection(settings: Mapping[str, str]) -> Connection:
            nonlocal known
            connection = await connect(address, settings)
            try:
                known = await check(address, connection, vault, known=known)
            except BaseException:
                connection.terminate()
                raise
            return connection

        writing = Session(lambda: open_connection(BY_KEY))
        reading = Session(lambda: open_connection({}))
        committer = Committer(writing, vault, clock)
        try:
            with translated(place_of(address)):
                await committer.register()
        except BaseException:
            writing.drop()
            raise
        writer = Writer(committer, flush_seconds=flush_seconds)
        store = cls(writer=writer, reader=Reader(reading, vault), vault=vault, clock=clock)
        try:
            await store._look()  # before anything rests on its time
        except StoreUnavailableError as error:
            await store.close()
            raise LedgerUnreachableError(place_of(address), str(error)) from error
        return store

    @property
    def failed(self) -> asyncio.Event:
        """Set for good by a defect of this store: the process must end."""
        return self._writer.failed

    @property
    def commits(self) -> int:
        """How many transactions were committed so far."""
        return self._writer.commits

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        return self._vault.email_marks(email)

    def transact(
        self, needs: Needs, apply: Callable[[View], Change[Result]]
    ) -> asyncio.Future[Result]:
        """See ``ports.Store``. A caller that is cancelled takes back what waits for its batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        job = ChangeJob(needs=needs, apply=apply, now=self.clock.now(), future=future)
        self._writer.submit(job)
        return future

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._writer.mark(event_id, event=event, letter=letter, resends=resends)

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        future: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        since = to_micros(untouched_since)
        self._writer.submit(
            TakeJob(untouched_since=since, now=to_micros(now), limit=limit, future=future)
        )
        return await future

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        return await self._open_reader.find(operation_id)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        return await self._open_reader.history(operation_id, events=events)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._open_reader.expired_claims(expired_before=expired_before, limit=limit)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._open_reader.overdue_waits(due_before=due_before, limit=limit)

    async def letters(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        return await letters.letters(
            self._open_reader,
            after=after,
            limit=limit,
            now=now,
            first_seen_before=first_seen_before,
            wanted=wanted,
        )

    async def letter_tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        return await letters.letter_tallies(
            self._open_reader, now=now, first_seen_before=first_seen_before, wanted=wanted
        )

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        return await letters.unanswered(self._open_reader, operation_id)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        await letters.keep_unanswered(self._open_reader, found)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await letters.forget_unanswered(self._open_reader, operation_id)

    async def forget_unfound(self, *, found_before: datetime) -> int:
        return await letters.forget_unfound(self._open_reader, found_before=found_before)

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        return await inspection.open_operations(
            self._open_reader,
            self._vault,
            untouched_since=untouched_since,
            after=after,
            limit=limit,
        )

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        return await inspection.unpublished(
            self._open_reader, self._vault, decided_before=decided_before, after=after, limit=limit
        )

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        return await inspection.cancellations(self._open_reader, self._vault, payment_id)

    async def operation_of(self, event_id: UUID) -> UUID | None:
        return await inspection.operation_of(self._open_reader, event_id)

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        return await inspection.decided_operations(
            self._open_reader,
            origin=origin,
            since=since,
            until=until,
            after=after,
            limit=limit,
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        return await searches.search(
            self._open_reader, wanted, after=after, limit=limit, newest_first=newest_first
        )

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await searches.adopted_doubts(self._open_reader, limit=limit)

    async def books(self, *, since: datetime, until: datetime) -> Books:
        return await inspection.books(self._open_reader, since=since, until=until)

    async def acts(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        return await audit.acts(self._open_reader, after=after, limit=limit)

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        return await audit.act_rows(self._open_reader, since=since, until=until)

    async def switches(self) -> Sequence[Switch]:
        return await switches.switches(self._open_reader)

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        await switches.report_accounts(self._open_reader, reports)

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        await switches.forget_reports(self._open_reader, worker=worker, before=before)

    async def account_reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        return await switches.account_reports(self._open_reader, seen_since=seen_since)

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        return await switches.approvals(self._open_reader, plan_sha256)

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        return await locks.lock_queue(self._open_reader, lock, now=now)

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        await locks.unlock_queue(self._open_reader, queue, token)

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        return await look_ups.doubts_without_plan(
            self._open_reader,
            account=account,
            limit=limit,
        )

    async def plan_look_ups(self, plans: Sequence[LookUpPlan]) -> None:
        await look_ups.plan_look_ups(self._open_reader, plans)

    async def take_look_up(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        return await look_ups.take_look_up(
            self._open_reader, account=account, token=token, now=now, lease_until=lease_until
        )

    async def give_look_up_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        await look_ups.give_look_up_back(self._open_reader, operation_id, token, due_at)

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        return await look_ups.look_up_plans(self._open_reader, operations)

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        return await look_ups.breaks(self._open_reader, after=after, limit=limit)

    async def restoration(self) -> Restoration | None:
        return await inspection.restoration(self._open_reader)

    async def standing(self) -> Standing:
        return await self._open_reader.standing()

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        return await self._open_reader.attempts(operation_id)

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        return await self._open_reader.audit(operation_id)

    async def has_room(self) -> bool:
        """Whether the server takes writes; asked at most every ten seconds, with its time.

        How much room its disk has, no client can see: a full one refuses the batch it meets.
        """
        self._writer.check()
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_AGAIN:
            self._has_room = await self._look()
            self._looked_at = now
        return self._has_room

    async def ping(self) -> None:
        """See ``ports.Store``: commits a transaction that writes the store's own row."""
        await self.transact(Needs(()), lambda _view: Change(result=None))

    async def close(self) -> None:
        """Write what is queued and part from the server; safe to call again."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    @property
    def _open_reader(self) -> Reader:
        self._writer.check()
        return self._reader

    async def _look(self) -> bool:
        """Whether the server takes writes; and note its time."""
        asked = self._clock.now()
        is_writable, there = await self._open_reader.state()
        self.clock.measured(there, asked=asked, answered=self._clock.now())
        return is_writable

    async def _close(self) -> None:
        self._writer.refuse()
        await self._reader.close()
        await self._writer.close()
