"""The SQLite ledger: implements ``ports.Store`` for the processes of one OS user on one host."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from worker.acts import KeptAct
from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.values import to_micros
from worker.adapters.store_sqlite import (
    audit,
    inspection,
    letters,
    locks,
    look_ups,
    searches,
    switches,
)
from worker.adapters.store_sqlite.files import check_files, connect, translated
from worker.adapters.store_sqlite.journal import SqliteJournal
from worker.adapters.store_sqlite.reader import Reader
from worker.adapters.store_sqlite.retention import SqliteRetention
from worker.adapters.store_sqlite.room import LEAST_FREE, LOOK_AGAIN, Room
from worker.adapters.store_sqlite.schema import prepare
from worker.adapters.store_sqlite.seals import SqliteSeals
from worker.adapters.store_sqlite.view import run_change
from worker.adapters.store_sqlite.writer import Writer
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
from worker.rules import LOCK_SECONDS
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")
Connect = Callable[[Path, float], sqlite3.Connection]

_NO_DISK = "the ledger's disk cannot be seen"
_NOT_THE_FILE = "the ledger's file was deleted or replaced"
_TAKE = (
    "UPDATE answers SET taken_at = ? WHERE event_id IN ("  # noqa: S608 (own column names)
    "SELECT event_id FROM answers WHERE event_confirmed = 0 AND occurred_at < ?"
    " AND (taken_at IS NULL OR taken_at < ?)"
    " ORDER BY coalesce(taken_at, occurred_at), occurred_at, event_id LIMIT ?)"
    f" RETURNING {', '.join(ANSWER_COLUMNS)}"
)


def connect_writer(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """The writer's connection; a test passes one that it can also reach itself."""
    return connect(path, busy_seconds=busy_seconds)


class SqliteStore:
    """Group commit, reads in a thread beside it; see ``writer`` for what a failure means.

    ``failed`` is set when the store refuses everything from now on: the process must end, its
    unacknowledged deliveries come back to another one. ``commits`` counts commits.
    """

    def __init__(
        self, *, writer: Writer, reader: Reader, room: Room, vault: Vault, clock: Clock
    ) -> None:
        """Use ``open``."""
        self._writer = writer
        self._reader = reader
        self._room = room
        self._vault = vault
        self._known = KnownRecords(vault)  # of the writer alone
        self._clock = clock
        self.journal = SqliteJournal(writer, reader)
        self.retention = SqliteRetention(writer)
        self.seals = SqliteSeals(writer, vault)
        self._closing: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._has_room = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        vault: Vault,
        clock: Clock,
        least_free: int = LEAST_FREE,
        flush_seconds: float = 1.0,
        busy_seconds: float = LOCK_SECONDS,
        busy_tries: int = 6,
        connect: Connect = connect_writer,
    ) -> Self:
        """Open an initialised ledger in the running loop; raises ``LedgerError``.

        ``least_free`` in bytes. SQLite waits ``busy_seconds`` for a lock, ``busy_tries`` times:
        30 s in all before "locked" is an error.
        """
        opened = partial(_open, path, vault, busy_seconds=busy_seconds, connect=connect)
        writing, reading, room = await asyncio.to_thread(opened, least_free=least_free)
        return cls(
            writer=Writer(writing, flush_seconds=flush_seconds, busy_tries=busy_tries),
            reader=Reader(reading, vault),
            room=room,
            vault=vault,
            clock=clock,
        )

    @property
    def failed(self) -> asyncio.Event:
        """Set for good by an I/O error: whether the last writes are durable is not known."""
        return self._writer.failed

    @property
    def clock(self) -> Clock:
        """The machine's own: nobody elsewhere can use the file."""
        return self._clock

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
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Result:
            return run_change(
                connection, self._vault, self._known, needs=needs, apply=apply, now=now
            )

        return self._writer.submit(work, is_brief=True)

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._writer.mark(event_id, event=event, letter=letter, resends=resends)

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        self._writer.check()
        return await self._reader.find(operation_id)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        self._writer.check()
        return await self._reader.history(operation_id, events=events)

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        since = to_micros(untouched_since)
        values = (to_micros(now), since, since, limit)

        def work(connection: sqlite3.Connection) -> Sequence[Answer]:
            rows = connection.execute(_TAKE, values).fetchall()
            answers = [read_answer(row, self._vault) for row in rows]
            # RETURNING promises no order
            return sorted(answers, key=lambda a: (a.event.occurred_at, a.event.event_id))

        return await self._writer.submit(work)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        self._writer.check()
        return await self._reader.expired_claims(expired_before=expired_before, limit=limit)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        self._writer.check()
        return await self._reader.overdue_waits(due_before=due_before, limit=limit)

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        return await self._inspect(
            lambda connection: inspection.open_operations(
                connection, self._vault, untouched_since=untouched_since, after=after, limit=limit
            )
        )

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        return await self._inspect(
            lambda connection: inspection.unpublished(
                connection, self._vault, decided_before=decided_before, after=after, limit=limit
            )
        )

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        return await self._inspect(
            partial(inspection.cancellations, vault=self._vault, payment_id=payment_id)
        )

    async def operation_of(self, event_id: UUID) -> UUID | None:
        return await self._inspect(partial(inspection.operation_of, event_id=event_id))

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        return await self._inspect(
            partial(
                inspection.decided_operations,
                origin=origin,
                since=since,
                until=until,
                after=after,
                limit=limit,
            )
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        return await self._inspect(
            partial(
                searches.search, wanted=wanted, after=after, limit=limit, newest_first=newest_first
            )
        )

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._inspect(partial(searches.adopted_doubts, limit=limit))

    async def books(self, *, since: datetime, until: datetime) -> Books:
        return await self._inspect(partial(inspection.books, since=since, until=until))

    async def acts(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        return await self._inspect(partial(audit.acts, after=after, limit=limit))

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        return await self._inspect(partial(audit.act_rows, since=since, until=until))

    async def switches(self) -> Sequence[Switch]:
        return await self._inspect(switches.switches)

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        await self._writer.submit(partial(switches.report_accounts, reports=reports))

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        await self._writer.submit(partial(switches.forget_reports, worker=worker, before=before))

    async def account_reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        return await self._inspect(partial(switches.account_reports, seen_since=seen_since))

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        return await self._inspect(partial(switches.approvals, plan_sha256=plan_sha256))

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        return await self._writer.submit(partial(locks.lock_queue, lock=lock, now=now))

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        await self._writer.submit(partial(locks.unlock_queue, queue=queue, token=token))

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        return await self._inspect(
            partial(
                look_ups.doubts_without_plan,
                account=account,
                limit=limit,
            )
        )

    async def plan_look_ups(self, plans: Sequence[LookUpPlan]) -> None:
        await self._writer.submit(partial(look_ups.plan_look_ups, plans=plans))

    async def take_look_up(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        return await self._writer.submit(
            partial(
                look_ups.take_look_up,
                account=account,
                token=token,
                now=now,
                lease_until=lease_until,
            )
        )

    async def give_look_up_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        await self._writer.submit(
            partial(
                look_ups.give_look_up_back, operation_id=operation_id, token=token, due_at=due_at
            )
        )

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        return await self._inspect(partial(look_ups.look_up_plans, operations=operations))

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        return await self._inspect(partial(look_ups.breaks, after=after, limit=limit))

    async def restoration(self) -> Restoration | None:
        return await self._inspect(inspection.restoration)

    async def standing(self) -> Standing:
        self._writer.check()
        return await self._reader.standing()

    async def letters(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        return await self._inspect(
            partial(
                letters.letters,
                after=after,
                limit=limit,
                now=now,
                first_seen_before=first_seen_before,
                wanted=wanted,
            )
        )

    async def letter_tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        return await self._inspect(
            partial(
                letters.letter_tallies, now=now, first_seen_before=first_seen_before, wanted=wanted
            )
        )

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        return await self._inspect(partial(letters.unanswered, operation_id=operation_id))

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        await self._writer.submit(partial(letters.keep_unanswered, letters=found))

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._writer.submit(partial(letters.forget_unanswered, operation_id=operation_id))

    async def forget_unfound(self, *, found_before: datetime) -> int:
        return await self._writer.submit(partial(letters.forget_unfound, found_before=found_before))

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        self._writer.check()
        return await self._reader.attempts(operation_id)

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        self._writer.check()
        return await self._reader.audit(operation_id)

    async def has_room(self) -> bool:
        """See ``ports.Store``; looks at the disk at most every ten seconds."""
        self._writer.check()
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_AGAIN:
            try:
                self._has_room = await self._reader.run(self._room.is_enough)
            except OSError as error:
                raise StoreUnavailableError(_NO_DISK) from error
            self._looked_at = now
        return self._has_room

    async def ping(self) -> None:
        """See ``ports.Store``: takes the write lock of the file that the path leads to."""
        await self._writer.submit(lambda _connection: None)
        self._writer.check()
        if not await self._reader.run(self._room.is_same_file):
            raise StoreUnavailableError(_NOT_THE_FILE)

    async def close(self) -> None:
        """Write what is queued and release the files; safe to call again."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _inspect(self, look: Callable[[sqlite3.Connection], Result]) -> Result:
        self._writer.check()
        return await self._reader.read(look)

    async def _close(self) -> None:
        # The writer last: the last connection folds the log back, and a reader may not write.
        self._writer.refuse()
        await self._reader.close()
        await self._writer.close()


def _open(
    path: Path, vault: Vault, *, busy_seconds: float, connect: Connect, least_free: int
) -> tuple[sqlite3.Connection, sqlite3.Connection, Room]:
    check_files(path)
    with ExitStack() as undo, translated(path):
        writing = connect(path, busy_seconds)
        undo.callback(writing.close)
        prepare(path, writing, vault)
        reading = connect_reader(path, busy_seconds)
        undo.callback(reading.close)
        room = Room(path, least_free=least_free)
        undo.pop_all()
    return writing, reading, room


def connect_reader(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """The readers' connection: it cannot write, whatever it is told."""
    return connect(path, busy_seconds=busy_seconds, read_only=True)
