"""How a search for payments is put to the server."""

from collections.abc import Sequence

from worker.adapters.store_rows.searches import search_statement, segment_of
from worker.adapters.store_rows.values import Scalar
from worker.searches import PaymentFilter, Place

_SEGMENTS = (
    f"(SELECT generate_series((SELECT {segment_of('min(entry)')} FROM operations),"  # noqa: S608
    f" (SELECT {segment_of('max(entry)')} FROM operations)) AS segment) AS segments"
)


def statement_of(
    wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
) -> tuple[str, list[Scalar]]:
    """The SQL of a search and its values."""
    return search_statement(
        wanted,
        after=after,
        limit=limit,
        newest_first=newest_first,
        place=lambda number: f"${number}",
        in_segments=_in_segments,
    )


def _in_segments(table: str, conditions: Sequence[str], *, page: str = "") -> str:
    """The offset keeps the planner from other joins: it expects a thousand segments."""
    within = " AND ".join([f"{segment_of('entry')} = segment", *conditions])
    return (
        f"SELECT operation_id FROM {_SEGMENTS} CROSS JOIN LATERAL"  # noqa: S608 (own names)
        f" (SELECT * FROM {table} WHERE {within} OFFSET 0) AS found{page}"
    )
