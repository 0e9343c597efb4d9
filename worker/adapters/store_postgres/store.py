"""The PostgreSQL ledger: implements ``ports.Store`` for the workers of many hosts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self, TypeVar
from uuid import UUID

from worker.adapters.clock import SharedClock
from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerUnreachableError
from worker.adapters.store_postgres.audit import PostgresActs
from worker.adapters.store_postgres.committer import Committer
from worker.adapters.store_postgres.faults import translated
from worker.adapters.store_postgres.jobs import ChangeJob, TakeJob
from worker.adapters.store_postgres.journal import PostgresJournal
from worker.adapters.store_postgres.letters import PostgresLetters
from worker.adapters.store_postgres.locks import PostgresLocks
from worker.adapters.store_postgres.look_ups import PostgresLookUps
from worker.adapters.store_postgres.payments import PostgresPayments
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.retention import PostgresRetention
from worker.adapters.store_postgres.schema import check
from worker.adapters.store_postgres.seals import PostgresSeals
from worker.adapters.store_postgres.sessions import BY_KEY, Connection, Session, connect, place_of
from worker.adapters.store_postgres.switches import PostgresAccounts
from worker.adapters.store_postgres.writer import Writer
from worker.adapters.store_rows.values import to_micros
from worker.inventory import Standing
from worker.model import EmailMark, Secret
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
        self.letters = PostgresLetters(reader)
        self.payments = PostgresPayments(reader, vault)
        self.acts = PostgresActs(reader)
        self.accounts = PostgresAccounts(reader)
        self.look_ups = PostgresLookUps(reader)
        self.locks = PostgresLocks(reader)
        self.journal = PostgresJournal(reader)
        self.retention = PostgresRetention(reader)
        self.seals = PostgresSeals(reader, vault)
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
        reader = Reader(reading, vault, check=writer.check)
        store = cls(writer=writer, reader=reader, vault=vault, clock=clock)
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
        return await self._reader.find(operation_id)

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        return await self._reader.history(operation_id, events=events)

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._reader.expired_claims(expired_before=expired_before, limit=limit)

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._reader.overdue_waits(due_before=due_before, limit=limit)

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._reader.adopted_doubts(limit=limit)

    async def restoration(self) -> Restoration | None:
        return await self._reader.restoration()

    async def standing(self) -> Standing:
        return await self._reader.standing()

    async def attempts(self, operation_id: UUID) -> Sequence[AttemptEntry]:
        """The attempts of one operation in the order they ended."""
        return await self._reader.attempts(operation_id)

    async def audit(self, operation_id: UUID | None) -> Sequence[AuditEntry]:
        """The audited acts on one operation, or those on none, oldest first."""
        return await self._reader.audit(operation_id)

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

    async def _look(self) -> bool:
        """Whether the server takes writes; and note its time."""
        asked = self._clock.now()
        is_writable, there = await self._reader.state()
        self.clock.measured(there, asked=asked, answered=self._clock.now())
        return is_writable

    async def _close(self) -> None:
        self._writer.refuse()
        await self._reader.close()
        await self._writer.close()
