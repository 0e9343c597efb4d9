"""What operators' commands read of all operations: searches, the books and what stands out.

The books look at every row of the file: a report is asked for once a day, and an index for it
would be paid for with every payment.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.books import read_book_line, read_decided_page
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_rows.searches import read_found
from worker.adapters.store_rows.values import to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.searches import statement_of
from worker.codes import Code
from worker.inventory import Books, DecidedPage
from worker.model import Origin
from worker.records import Answer, Record
from worker.searches import FoundPayment, PaymentFilter, Place

_BEFORE_ALL = (-(2**63), b"")
# Put together from our own column names only; values are always bound. Each half of the union
# stays within the small index of its own state.
_OPEN_COLUMNS = ", ".join(RECORD_COLUMNS)
_OPEN = (
    f"SELECT {_OPEN_COLUMNS} FROM operations"  # noqa: S608
    " WHERE state = 'calling' AND updated_at < :since AND operation_id > :after"
    f" UNION ALL SELECT {_OPEN_COLUMNS} FROM operations"
    " WHERE state = 'retry_wait' AND updated_at < :since AND operation_id > :after"
    " ORDER BY operation_id LIMIT :limit"
)
_UNPUBLISHED = (
    f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers"  # noqa: S608
    " WHERE event_confirmed = 0 AND occurred_at < ? AND (occurred_at, event_id) > (?, ?)"
    " ORDER BY occurred_at, event_id LIMIT ?"
)
_CANCELLATIONS = (
    f"SELECT {_OPEN_COLUMNS} FROM operations"  # noqa: S608
    " WHERE kind = 'cancellation' AND payment_id = ? ORDER BY first_seen, operation_id"
)
_OPERATION_OF = "SELECT operation_id FROM answers WHERE event_id = ?"
# The last column is what is looked for; the others are read only to get on from page to page.
_DECIDED = (
    "SELECT operation_id, coalesce(origin = ? AND decided_at >= ? AND decided_at < ?"
    " AND state NOT IN ('calling', 'retry_wait'), 0)"
    " FROM operations WHERE operation_id > ? ORDER BY operation_id LIMIT ?"
)
_RECEIVED = "SELECT count(*) FROM operations WHERE first_seen >= ? AND first_seen < ?"
_LINES = (
    "SELECT kind, state, account, payment_run_mode, origin, first_seen / 86400000000, count(*),"
    " coalesce(sum(amount), 0)"
    " FROM operations WHERE first_seen >= ? AND first_seen < ?"
    " GROUP BY 1, 2, 3, 4, 5, 6"
    " ORDER BY 1, 2, 3, 4, 5, 6"
)
_LETTERS = (
    "SELECT answers.letter_code, count(*) FROM answers"
    " JOIN operations ON operations.operation_id = answers.operation_id"
    " AND operations.event_id = answers.event_id"
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    " AND answers.letter_resolved = 0"
    " AND operations.first_seen >= ? AND operations.first_seen < ?"
    " GROUP BY answers.letter_code ORDER BY answers.letter_code"
)
# From the few late ones on: without statistics the planner would read all that ever failed.
_LATE_SUCCESSES = (
    "SELECT late.operation_id FROM ("
    "SELECT operation_id FROM attempts INDEXED BY attempts_too_late"
    " WHERE note = 'too late, kept as evidence' AND operation_id > :after"
    " UNION SELECT operation_id FROM look_ups INDEXED BY look_ups_found"
    " WHERE finding IN ('found', 'found_without_link', 'other_amount') AND operation_id > :after"
    ") AS late CROSS JOIN operations ON operations.operation_id = late.operation_id"
    " AND operations.state IN ('failed', 'cancelled')"
    " ORDER BY late.operation_id LIMIT :limit"
)


class SqlitePayments:
    """Implements ``operator_ports.PaymentIndex`` on the store's own reading thread."""

    def __init__(self, reading: ReadingThread, vault: Vault) -> None:
        self._reading = reading
        self._vault = vault

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        values = {
            "since": to_micros(untouched_since),
            "after": b"" if after is None else after.bytes,
            "limit": limit,
        }

        def look(connection: sqlite3.Connection) -> Sequence[Record]:
            rows = connection.execute(_OPEN, values).fetchall()
            return [read_record(row, self._vault) for row in rows]

        return await self._reading.read(look)

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        start = _BEFORE_ALL if after is None else (to_micros(after[0]), after[1].bytes)
        values = (to_micros(decided_before), *start, limit)

        def look(connection: sqlite3.Connection) -> Sequence[Answer]:
            rows = connection.execute(_UNPUBLISHED, values).fetchall()
            return [read_answer(row, self._vault) for row in rows]

        return await self._reading.read(look)

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        def look(connection: sqlite3.Connection) -> Sequence[Record]:
            rows = connection.execute(_CANCELLATIONS, (payment_id.bytes,)).fetchall()
            return [read_record(row, self._vault) for row in rows]

        return await self._reading.read(look)

    async def operation_of(self, event_id: UUID) -> UUID | None:
        def look(connection: sqlite3.Connection) -> UUID | None:
            row = connection.execute(_OPERATION_OF, (event_id.bytes,)).fetchone()
            return None if row is None else UUID(bytes=row[0])

        return await self._reading.read(look)

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        start = b"" if after is None else after.bytes
        values = (origin, to_micros(since), to_micros(until), start, limit)

        def look(connection: sqlite3.Connection) -> DecidedPage:
            return read_decided_page(connection.execute(_DECIDED, values).fetchall(), limit=limit)

        return await self._reading.read(look)

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        statement, values = statement_of(
            wanted, after=after, limit=limit, newest_first=newest_first
        )

        def look(connection: sqlite3.Connection) -> Sequence[FoundPayment]:
            return [read_found(row) for row in connection.execute(statement, values).fetchall()]

        return await self._reading.read(look)

    async def late_successes(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        values = {"after": b"" if after is None else after.bytes, "limit": limit}

        def look(connection: sqlite3.Connection) -> Sequence[UUID]:
            return [UUID(bytes=raw) for (raw,) in connection.execute(_LATE_SUCCESSES, values)]

        return await self._reading.read(look)

    async def books(self, *, since: datetime, until: datetime) -> Books:
        period = (to_micros(since), to_micros(until))

        def look(connection: sqlite3.Connection) -> Books:
            (received,) = connection.execute(_RECEIVED, period).fetchone()
            return Books(
                received=received,
                lines=tuple(read_book_line(row) for row in connection.execute(_LINES, period)),
                letters={Code(code): count for code, count in connection.execute(_LETTERS, period)},
            )

        return await self._reading.read(look)
