"""What operators' commands read of all operations: searches, the books and what stands out.

The books look at every row: a report is asked for once a day, and an index for it would be paid
for with every payment.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import BEFORE_ALL, Reader
from worker.adapters.store_postgres.searches import statement_of
from worker.adapters.store_postgres.sessions import Connection
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.books import read_book_line, read_decided_page
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_rows.searches import read_found
from worker.adapters.store_rows.values import to_micros
from worker.codes import Code
from worker.inventory import Books, DecidedPage
from worker.model import Origin
from worker.records import Answer, Record
from worker.searches import FoundPayment, PaymentFilter, Place

# Put together from our own column names only; values are always bound. Each half of the union
# stays within the small index of its own state.
_OPEN_COLUMNS = sql.columns(RECORD_COLUMNS)
_OPEN = (
    f"SELECT {_OPEN_COLUMNS} FROM operations"  # noqa: S608
    " WHERE state = 'calling' AND updated_at < $1 AND operation_id > $2"
    f" UNION ALL SELECT {_OPEN_COLUMNS} FROM operations"
    " WHERE state = 'retry_wait' AND updated_at < $1 AND operation_id > $2"
    " ORDER BY operation_id LIMIT $3"
)
_UNPUBLISHED = (
    f"SELECT {sql.columns(ANSWER_COLUMNS)} FROM answers"  # noqa: S608
    " WHERE event_confirmed = 0 AND occurred_at < $1 AND (occurred_at, event_id) > ($2, $3)"
    " ORDER BY occurred_at, event_id LIMIT $4"
)
_CANCELLATIONS = (
    f"SELECT {_OPEN_COLUMNS} FROM operations"  # noqa: S608
    " WHERE kind = 'cancellation' AND payment_id = $1 ORDER BY first_seen, operation_id"
)
_OPERATION_OF = "SELECT operation_id FROM answers WHERE event_id = $1"
# The last column is what is looked for; the others are read only to get on from page to page.
_DECIDED = (
    "SELECT operation_id, coalesce(origin = $1 AND decided_at >= $2 AND decided_at < $3"
    " AND state NOT IN ('calling', 'retry_wait'), false)"
    " FROM operations WHERE operation_id > $4 ORDER BY operation_id LIMIT $5"
)
_RECEIVED = "SELECT count(*) FROM operations WHERE first_seen >= $1 AND first_seen < $2"
# Absent comes first and the order is that of the bytes, as in every other store.
_LINES = (
    "SELECT kind, state, account, payment_run_mode, origin, first_seen / 86400000000, count(*),"
    " coalesce(sum(amount), 0)"
    " FROM operations WHERE first_seen >= $1 AND first_seen < $2"
    " GROUP BY 1, 2, 3, 4, 5, 6"
    ' ORDER BY kind COLLATE "C", state COLLATE "C", account COLLATE "C" NULLS FIRST,'
    ' payment_run_mode COLLATE "C" NULLS FIRST, origin COLLATE "C", 6'
)
_LETTERS = (
    "SELECT answers.letter_code, count(*) FROM answers"
    " JOIN operations ON operations.operation_id = answers.operation_id"
    " AND operations.event_id = answers.event_id"
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    " AND answers.letter_resolved = 0"
    " AND operations.first_seen >= $1 AND operations.first_seen < $2"
    ' GROUP BY answers.letter_code ORDER BY answers.letter_code COLLATE "C"'
)
_LATE_SUCCESSES = (
    "SELECT late.operation_id FROM ("
    "SELECT operation_id FROM attempts"
    " WHERE note = 'too late, kept as evidence' AND operation_id > $1"
    " UNION SELECT operation_id FROM look_ups"
    " WHERE finding IN ('found', 'found_without_link', 'other_amount') AND operation_id > $1"
    ") AS late JOIN operations ON operations.operation_id = late.operation_id"
    " AND operations.state IN ('failed', 'cancelled')"
    " ORDER BY late.operation_id LIMIT $2"
)


class PostgresPayments:
    """Implements ``operator_ports.PaymentIndex`` on the store's reading session."""

    def __init__(self, reader: Reader, vault: Vault) -> None:
        self._reader = reader
        self._vault = vault

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        start = b"" if after is None else after.bytes
        rows = await self._reader.rows(_OPEN, to_micros(untouched_since), start, limit)
        return [read_record(row, self._vault) for row in rows]

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        start = BEFORE_ALL if after is None else (to_micros(after[0]), after[1].bytes)
        rows = await self._reader.rows(_UNPUBLISHED, to_micros(decided_before), *start, limit)
        return [read_answer(row, self._vault) for row in rows]

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        rows = await self._reader.rows(_CANCELLATIONS, payment_id.bytes)
        return [read_record(row, self._vault) for row in rows]

    async def operation_of(self, event_id: UUID) -> UUID | None:
        rows = await self._reader.rows(_OPERATION_OF, event_id.bytes)
        return UUID(bytes=rows[0][0]) if rows else None

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        start = b"" if after is None else after.bytes
        values = (origin, to_micros(since), to_micros(until), start, limit)
        return read_decided_page(await self._reader.rows(_DECIDED, *values), limit=limit)

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        statement, values = statement_of(
            wanted, after=after, limit=limit, newest_first=newest_first
        )
        return [read_found(row) for row in await self._reader.rows(statement, *values)]

    async def late_successes(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        start = b"" if after is None else after.bytes
        return [
            UUID(bytes=row[0]) for row in await self._reader.rows(_LATE_SUCCESSES, start, limit)
        ]

    async def books(self, *, since: datetime, until: datetime) -> Books:
        period = (to_micros(since), to_micros(until))

        async def look(connection: Connection) -> Books:
            return Books(
                received=await connection.fetchval(_RECEIVED, *period),
                lines=tuple(
                    read_book_line(tuple(row)) for row in await connection.fetch(_LINES, *period)
                ),
                letters={
                    Code(code): count for code, count in await connection.fetch(_LETTERS, *period)
                },
            )

        return await self._reader.read(look)
