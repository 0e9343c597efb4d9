"""What an operator's commands read of the ledger as a whole: its books and what stands out.

Each function reads within the reader's transaction. The books look at every row of the file: a
report is asked for once a day, and an index for it would be paid for with every payment.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, read_answer
from worker.adapters.store_rows.books import read_book_line, read_decided_page
from worker.adapters.store_rows.history import RESTORATION_COLUMNS, read_restoration
from worker.adapters.store_rows.records import RECORD_COLUMNS, read_record
from worker.adapters.store_rows.values import to_micros
from worker.codes import Code
from worker.inventory import Books, DecidedPage
from worker.model import Origin
from worker.records import Answer, Record, Restoration

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
_RESTORATION = (
    f"SELECT {', '.join(RESTORATION_COLUMNS)} FROM restorations"  # noqa: S608
    " ORDER BY entry DESC LIMIT 1"
)


def open_operations(
    connection: sqlite3.Connection,
    vault: Vault,
    *,
    untouched_since: datetime,
    after: UUID | None,
    limit: int,
) -> Sequence[Record]:
    """See ``ports.Store.open_operations``."""
    values = {
        "since": to_micros(untouched_since),
        "after": b"" if after is None else after.bytes,
        "limit": limit,
    }
    return [read_record(row, vault) for row in connection.execute(_OPEN, values).fetchall()]


def unpublished(
    connection: sqlite3.Connection,
    vault: Vault,
    *,
    decided_before: datetime,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Answer]:
    """See ``ports.Store.unpublished``."""
    start = _BEFORE_ALL if after is None else (to_micros(after[0]), after[1].bytes)
    values = (to_micros(decided_before), *start, limit)
    return [read_answer(row, vault) for row in connection.execute(_UNPUBLISHED, values).fetchall()]


def cancellations(
    connection: sqlite3.Connection, vault: Vault, payment_id: UUID
) -> Sequence[Record]:
    """See ``ports.Store.cancellations``."""
    rows = connection.execute(_CANCELLATIONS, (payment_id.bytes,)).fetchall()
    return [read_record(row, vault) for row in rows]


def operation_of(connection: sqlite3.Connection, event_id: UUID) -> UUID | None:
    """See ``ports.Store.operation_of``."""
    row = connection.execute(_OPERATION_OF, (event_id.bytes,)).fetchone()
    return None if row is None else UUID(bytes=row[0])


def decided_operations(
    connection: sqlite3.Connection,
    *,
    origin: Origin,
    since: datetime,
    until: datetime,
    after: UUID | None,
    limit: int,
) -> DecidedPage:
    """See ``ports.Store.decided_operations``."""
    start = b"" if after is None else after.bytes
    values = (origin, to_micros(since), to_micros(until), start, limit)
    return read_decided_page(connection.execute(_DECIDED, values).fetchall(), limit=limit)


def books(connection: sqlite3.Connection, *, since: datetime, until: datetime) -> Books:
    """See ``ports.Store.books``."""
    period = (to_micros(since), to_micros(until))
    (received,) = connection.execute(_RECEIVED, period).fetchone()
    return Books(
        received=received,
        lines=tuple(read_book_line(row) for row in connection.execute(_LINES, period)),
        letters={Code(code): count for code, count in connection.execute(_LETTERS, period)},
    )


def restoration(connection: sqlite3.Connection) -> Restoration | None:
    """See ``ports.Store.restoration``."""
    row = connection.execute(_RESTORATION).fetchone()
    return None if row is None else read_restoration(row)
