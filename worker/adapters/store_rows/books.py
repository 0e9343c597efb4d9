"""What is read of the ledger as a whole: one line of the books, one page of a look."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from worker.adapters.store_rows.values import Row
from worker.inventory import BookLine, DecidedPage
from worker.model import Origin, RunMode
from worker.records import Kind, State

_FIRST_DAY = date(1970, 1, 1)


def read_book_line(row: Row) -> BookLine:
    """A group of operations.

    Columns: kind, state, account, run mode, origin, days since 1970 UTC, count, cents.
    """
    kind, state, account, mode, origin, day, count, cents = row
    return BookLine(
        kind=Kind(kind),
        state=State(state),
        account=account,
        mode=None if mode is None else RunMode(mode),
        origin=Origin(origin),
        day=_FIRST_DAY + timedelta(days=int(day)),
        count=int(count),
        cents=int(cents),
    )


def read_decided_page(rows: Sequence[Row], *, limit: int) -> DecidedPage:
    """Rows in the order of their ids; columns: id, whether it is looked for."""
    return DecidedPage(
        tuple(UUID(bytes=raw) for raw, is_wanted in rows if is_wanted),
        UUID(bytes=rows[-1][0]) if len(rows) == limit else None,
    )
