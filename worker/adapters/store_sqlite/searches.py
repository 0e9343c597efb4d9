"""Looking for payments in the ledger's file; each function reads within one read transaction."""

import sqlite3
from collections.abc import Sequence
from uuid import UUID

from worker.adapters.store_rows.searches import ADOPTED_DOUBTS, read_found, search_statement
from worker.adapters.store_rows.values import Scalar
from worker.records import State
from worker.searches import FoundPayment, PaymentFilter, Place

_SMALL = {
    State.CALLING: "operations INDEXED BY operations_leases",
    State.RETRY_WAIT: "operations INDEXED BY operations_waits",
    State.IN_DOUBT: "operations INDEXED BY operations_doubts",
}
"""States that few rows are in: without statistics the planner would read all in their order."""

_PERSONAL = "operations INDEXED BY operations_personal"
"""Read from end to end: the mark stands in the index, so few rows are read for it."""

_ADOPTED_DOUBTS = ADOPTED_DOUBTS.format("?").replace(
    "FROM operations JOIN", "FROM operations INDEXED BY operations_duplicates CROSS JOIN"
)


def search(
    connection: sqlite3.Connection,
    wanted: PaymentFilter,
    *,
    after: Place | None,
    limit: int,
    newest_first: bool,
) -> Sequence[FoundPayment]:
    """See ``ports.Store.search``."""
    statement, values = statement_of(wanted, after=after, limit=limit, newest_first=newest_first)
    return [read_found(row) for row in connection.execute(statement, values).fetchall()]


def statement_of(
    wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
) -> tuple[str, list[Scalar]]:
    """The SQL of a search and its values."""
    return search_statement(
        wanted,
        after=after,
        limit=limit,
        newest_first=newest_first,
        place=lambda number: f"?{number}",
        table=_table(wanted),
        personal=_PERSONAL,
    )


def adopted_doubts(connection: sqlite3.Connection, *, limit: int) -> Sequence[UUID]:
    """See ``ports.Store.adopted_doubts``."""
    rows = connection.execute(_ADOPTED_DOUBTS, (limit,)).fetchall()
    return [UUID(bytes=raw) for (raw,) in rows]


def _table(wanted: PaymentFilter) -> str:
    if wanted.email_marks is not None:
        return "operations"
    named = (wanted.order, wanted.client, wanted.message_id, wanted.reference, wanted.payment_id)
    if wanted.states is None or len(wanted.states) != 1 or any(each is not None for each in named):
        return "operations"
    (state,) = wanted.states
    return _SMALL.get(state, "operations")
