"""One line of the books as a row."""

from worker.adapters.store_rows.values import Row
from worker.model import RunMode
from worker.records import BookLine, Kind, State


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
