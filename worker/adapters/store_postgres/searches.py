"""Looking for payments in the ledger's tables; each function is one question."""

from collections.abc import Sequence
from uuid import UUID

from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_rows.searches import ADOPTED_DOUBTS, read_found, search_statement
from worker.adapters.store_rows.values import Scalar
from worker.searches import FoundPayment, PaymentFilter, Place

_ADOPTED_DOUBTS = ADOPTED_DOUBTS.format("$1")


async def search(
    reader: Reader,
    wanted: PaymentFilter,
    *,
    after: Place | None,
    limit: int,
    newest_first: bool,
) -> Sequence[FoundPayment]:
    """See ``ports.Store.search``."""
    statement, values = statement_of(wanted, after=after, limit=limit, newest_first=newest_first)
    return [read_found(row) for row in await reader.rows(statement, *values)]


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


async def adopted_doubts(reader: Reader, *, limit: int) -> Sequence[UUID]:
    """See ``ports.Store.adopted_doubts``."""
    return [UUID(bytes=raw) for (raw,) in await reader.rows(_ADOPTED_DOUBTS, limit)]
