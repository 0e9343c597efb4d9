"""One transaction for many works: lock, load, let each decide, write, commit.

**Serialisable across workers.** Rows that do not exist yet cannot be locked, and "no such row"
means "call the provider". So every id and fingerprint is locked by an advisory lock of the
transaction before its row is read, and until the end (strict two-phase locking): whatever two
workers do together, they could have done one after the other. What was declared is locked in
ascending order, so that no two wait for each other in a circle. An id that turns up later, as that
of a fingerprint's owner, is locked only if it is free; else the batch is run anew and locks it in
its place. Beside that, each record is written only at the version it was read at: a late worker
that got round the locks somehow still overwrites nothing.

**A lost answer of a commit.** Each store has a row of its own in ``writers`` that holds the number
of its last committed batch. It is updated by every batch before its commit is sent, so a batch
that is run again first waits for its former self to end, and then reads whether that committed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.audit import INSERT_APPROVALS, write_linked
from worker.adapters.store_postgres.faults import OutpacedError
from worker.adapters.store_postgres.jobs import Job, Settle, TakeJob, Waiting
from worker.adapters.store_postgres.overlay import Overlay, Values, Writes
from worker.adapters.store_postgres.sessions import Connection
from worker.adapters.store_postgres.switches import SWITCHES_OF, UPSERT_SWITCHES
from worker.adapters.store_rows.answers import read_answer
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.values import Row, Scalar
from worker.records import Answer

_ENTERED = "UPDATE 1"

Mark = tuple[bytes, int, int, int]
"""Event id, whether it is confirmed, whether its letter is, and of which sending."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """Works that are committed together; ``settled`` is set when the commit is about to be sent.

    ``marks`` are written first, so that the works see them. ``surprises`` are ids that a run met
    and that nobody had declared: the next run locks them in order with the others.
    """

    number: int
    jobs: Sequence[Job]
    marks: Sequence[Mark]
    now: int
    settled: Sequence[Settle] | None = None
    surprises: set[UUID] = field(default_factory=set)

    @property
    def changes(self) -> list[Waiting]:
        """The works that decide over rows."""
        return [job for job in self.jobs if not isinstance(job, TakeJob)]

    @property
    def ids(self) -> set[UUID]:
        """Every operation that is known to be looked at."""
        return {each for job in self.changes for each in job.needs.operations} | self.surprises

    @property
    def accounts(self) -> set[str]:
        """Every account whose switch is looked at."""
        return {each for job in self.changes for each in job.needs.accounts}

    @property
    def fingerprints(self) -> set[str]:
        """Every fingerprint that is looked at."""
        return {job.needs.fingerprint for job in self.changes if job.needs.fingerprint is not None}


class WriterForgottenError(Exception):
    """The store's own row is gone, so the batch did not commit; the store must register anew."""


class StrangeCommitError(Exception):
    """A batch is said to be committed that was never run: a defect, or a tampered row."""


class Transaction:
    """Runs a batch once on one connection."""

    def __init__(
        self,
        connection: Connection,
        batch: Batch,
        vault: Vault,
        known: KnownRecords,
        *,
        writer: int,
        noted: bool,
    ) -> None:
        """``noted``: the first encryption key is known to be in the ledger's list."""
        self._connection = connection
        self._batch = batch
        self._vault = vault
        self._writer = writer
        self._noted = noted
        self._overlay = Overlay(vault, known)
        self._locked: set[int] = set()

    async def run(self) -> bool:
        """Commit the batch, or find that it was; returns whether its key is noted.

        Raises what the driver raises, ``OutpacedError`` and ``WriterForgottenError``; the
        transaction is then open and nothing is committed, unless the connection was lost.
        """
        if not await self._begin():
            await self._connection.execute("ROLLBACK")
            return self._noted
        if self._batch.marks:
            await self._connection.executemany(sql.MARK, sorted(self._batch.marks))
        await self._load_declared()
        settled = [await self._hear(job) for job in self._batch.changes if not job.is_withdrawn]
        await self._write(self._overlay.writes)
        settled += [await self._take(job) for job in self._batch.jobs if isinstance(job, TakeJob)]
        self._batch.settled = settled
        await self._connection.execute("COMMIT")
        return self._noted or self._overlay.writes.sealed

    # --- locks ---------------------------------------------------------------------------------

    async def _begin(self) -> bool:
        """Lock what is declared and put the batch's number into the store's row.

        ``False`` where that number is committed already.
        """
        batch = self._batch
        self._locked = {_lock_key(b"operation", each.bytes) for each in batch.ids}
        self._locked |= {_lock_key(b"fingerprint", each.encode()) for each in batch.fingerprints}
        self._locked |= {_lock_key(b"account", each.encode()) for each in batch.accounts}
        beginning = sql.beginning(self._locked, writer=self._writer, batch=batch.number)
        if await self._connection.execute(beginning) == _ENTERED:
            return True
        last: int | None = await self._connection.fetchval(sql.LAST_BATCH, self._writer)
        if last is None:
            raise WriterForgottenError
        if batch.settled is None:
            raise StrangeCommitError(batch.number)
        return False

    async def _lock_surprises(self, ids: set[UUID]) -> None:
        """Never wait out of order."""
        self._batch.surprises |= ids
        keys = {_lock_key(b"operation", each.bytes) for each in ids} - self._locked
        if keys and not await self._connection.fetchval(sql.LOCK_IF_FREE, sorted(keys)):
            raise OutpacedError
        self._locked |= keys

    # --- reading -------------------------------------------------------------------------------

    async def _load_declared(self) -> None:
        if fingerprints := self._batch.fingerprints:
            owners = await self._rows(sql.OWNERS, list(fingerprints))
            self._overlay.load_owners(owners)
            await self._lock_surprises({UUID(bytes=operation_id) for _, operation_id in owners})
        await self._load(self._batch.ids)
        if accounts := self._batch.accounts:
            self._overlay.load_switches(await self._rows(SWITCHES_OF, sorted(accounts)))

    async def _load(self, ids: set[UUID]) -> None:
        if not ids:
            return
        keys = [each.bytes for each in ids]
        self._overlay.load_operations(ids, await self._rows(sql.UNDER_IDS, keys))

    async def _rows(self, statement: str, *values: object) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(statement, *values)]

    # --- deciding ------------------------------------------------------------------------------

    async def _hear(self, job: Waiting) -> Settle:
        """Let one work decide; an exception of its own changes nothing for the others."""
        try:
            change, settle = job.decide(self._overlay)
        except Exception as error:  # noqa: BLE001 (it reaches its own caller, as the port says)
            return job.reject(error)
        ids, events = self._overlay.missing(change)
        if ids:
            await self._lock_surprises(ids)
            await self._load(ids)
        if events:
            keys = [each.bytes for each in events]
            self._overlay.load_answers(events, await self._rows(sql.ANSWERS, keys))
        try:
            self._overlay.take(change, job.now)
        except Exception as error:  # noqa: BLE001 (as above)
            return job.reject(error)
        return settle

    # --- writing -------------------------------------------------------------------------------

    async def _write(self, writes: Writes) -> None:
        await self._write_records(writes)
        await self._bulk(sql.UPSERT_ANSWERS, list(writes.answers.values()))
        await self._bulk(sql.INSERT_ATTEMPTS, writes.attempts)
        disowned = [(fingerprint, owner.bytes) for fingerprint, owner in writes.disowned]
        await self._bulk(sql.DELETE_OWNERS, disowned)
        owners = [(fingerprint, owner.bytes) for fingerprint, owner in writes.owners.items()]
        await self._bulk(sql.UPSERT_OWNERS, owners)
        if writes.purge_until is not None:
            await self._connection.execute(sql.PURGE_TOMBSTONES, writes.purge_until)
        await self._bulk(sql.UPSERT_TOMBSTONES, list(writes.tombstones.values()))
        await self._bulk(sql.INSERT_RESTORATIONS, writes.restorations)
        await self._bulk(UPSERT_SWITCHES, list(writes.switches.values()))
        await self._bulk(INSERT_APPROVALS, list(writes.approvals.values()))
        await self._bulk(sql.INSERT_LOOK_UPS, writes.look_ups)
        await self._bulk(sql.CONCLUDE_LOOK_UPS, writes.look_up_plans)
        if writes.sealed and not self._noted:
            await self._bulk(sql.NOTE_KEY, [(self._vault.key_ids[0], self._batch.now)])
        if writes.audit:
            await write_linked(self._connection, writes.audit)

    async def _write_records(self, writes: Writes) -> None:
        fresh = [row for row, base in writes.records.values() if base == 0]
        await self._bulk(sql.INSERT_RECORDS, fresh)
        later = [(*row, base) for row, base in writes.records.values() if base > 0]
        if later:
            hit = await self._connection.fetch(sql.UPDATE_RECORDS, *_by_column(later))
            if len(hit) != len(later):
                raise OutpacedError

    async def _bulk(self, statement: str, rows: Sequence[Values]) -> None:
        if rows:
            await self._connection.execute(statement, *_by_column(rows))

    async def _take(self, job: TakeJob) -> Settle:
        rows = await self._rows(sql.TAKE, job.now, job.untouched_since, job.limit)
        try:
            answers = [read_answer(row, self._vault) for row in rows]
        except Exception as error:  # noqa: BLE001 (a broken seal harms nobody else's work)
            return job.reject(error)
        return job.accept(sorted(answers, key=_age))  # RETURNING promises no order


def _lock_key(kind: bytes, key: bytes) -> int:
    """64 bits: a rare collision costs two payments a moment's wait and nothing else."""
    digest = hashlib.blake2b(key, digest_size=8, person=kind).digest()
    return int.from_bytes(digest, "big", signed=True)


def _by_column(rows: Sequence[Values]) -> list[list[Scalar]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _age(answer: Answer) -> tuple[object, UUID]:
    return answer.event.occurred_at, answer.event.event_id
