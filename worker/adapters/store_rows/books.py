"""What is read of the ledger as a whole: one line of the books, one page of a look."""

from collections.abc import Sequence
from uuid import UUID

from worker.adapters.store_rows.values import Row
from worker.model import RunMode
from worker.records import BookLine, DecidedPage, Kind, State


def read_book_line(row: Row) -> BookLine:
    """A group of operations; columns: kind, state, account, run mode, count, cents."""
    kind, state, account, mode, count, cents = row
    return BookLine(
        kind=Kind(kind),
        state=State(state),
        account=account,
        mode=None if mode is None else RunMode(mode),
        count=int(count),
        cents=int(cents),
    )


def read_decided_page(rows: Sequence[Row], *, limit: int) -> DecidedPage:
    """Rows in the order of their ids; columns: id, whether it is looked for."""
    return DecidedPage(
        tuple(UUID(bytes=raw) for raw, is_wanted in rows if is_wanted),
        UUID(bytes=rows[-1][0]) if len(rows) == limit else None,
    )
