"""How a search for payments is put to the server."""

from worker.adapters.store_rows.searches import search_statement
from worker.adapters.store_rows.values import Scalar
from worker.searches import PaymentFilter, Place


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
    )
