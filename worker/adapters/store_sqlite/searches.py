"""How a search for payments is put to the ledger's file."""

from collections.abc import Sequence

from worker.adapters.store_rows.searches import search_statement, segment_of
from worker.adapters.store_rows.values import Scalar
from worker.records import State
from worker.searches import PaymentFilter, Place

_SMALL = {
    State.CALLING: "operations INDEXED BY operations_leases",
    State.RETRY_WAIT: "operations INDEXED BY operations_waits",
    State.IN_DOUBT: "operations INDEXED BY operations_doubts",
}
"""States that few rows are in: without statistics the planner would read all in their order."""

_SEGMENTS = (
    "(WITH RECURSIVE counted (segment) AS ("  # noqa: S608 (own names)
    f"SELECT {segment_of('min(entry)')} FROM operations UNION ALL SELECT segment + 1 FROM counted"
    f" WHERE segment < (SELECT {segment_of('max(entry)')} FROM operations))"
    " SELECT segment FROM counted)"
)

_PERSONAL = "operations INDEXED BY operations_personal"
"""Read from end to end: the mark stands in the index, so few rows are read for it."""


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
        in_segments=_in_segments,
        table=_table(wanted),
        personal=_PERSONAL,
    )


def _table(wanted: PaymentFilter) -> str:
    if wanted.email_marks is not None:
        return "operations"
    named = (wanted.order, wanted.client, wanted.message_id, wanted.reference, wanted.payment_id)
    if wanted.states is None or len(wanted.states) != 1 or any(each is not None for each in named):
        return "operations"
    (state,) = wanted.states
    return _SMALL.get(state, "operations")


def _in_segments(table: str, conditions: Sequence[str], *, page: str = "") -> str:
    """A cross join keeps its order: segments first, whatever the planner makes of the rest."""
    within = " AND ".join([f"{segment_of('entry')} = segment", *conditions])
    return f"SELECT operation_id FROM {_SEGMENTS} CROSS JOIN {table} WHERE {within}{page}"  # noqa: S608
