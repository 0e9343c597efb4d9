"""The audit's chain in the ledger's file: linked under the write lock, read page by page."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime

from worker.acts import BEGINNING, KeptAct, next_place
from worker.adapters.store_rows.history import (
    AUDIT_COLUMNS,
    KEPT_COLUMNS,
    PLACE_COLUMNS,
    audit_row,
    place_row,
    read_kept_act,
)
from worker.adapters.store_rows.values import Scalar, to_micros
from worker.records import AuditEntry

# Put together from our own column names only; values are always bound.
_INSERTED = (*AUDIT_COLUMNS, *PLACE_COLUMNS)
_INSERT = (
    f"INSERT INTO audit ({', '.join(_INSERTED)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(_INSERTED))})"
)
_PLACE = "UPDATE audit SET position = ?, hash = ? WHERE entry = ?"
_KEPT = f"SELECT {', '.join(KEPT_COLUMNS)} FROM audit"  # noqa: S608
_LAST = f"{_KEPT} ORDER BY entry DESC LIMIT 1"
_LAST_PLACED = f"{_KEPT} WHERE hash IS NOT NULL ORDER BY entry DESC LIMIT 1"
_BEHIND = f"{_KEPT} WHERE entry > ? ORDER BY entry"
_PAGE = f"{_BEHIND} LIMIT ?"
_ROWS = "SELECT min(entry), max(entry) FROM audit WHERE at >= ? AND at < ?"
_ALWAYS = 2**62


def linked(
    connection: sqlite3.Connection, entries: Sequence[AuditEntry]
) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    """The statements that write these acts behind the last one; acts without a place get theirs.

    To be run within the transaction that reads them, which holds the file's write lock.
    """
    if not entries:
        return
    last = connection.execute(_LAST).fetchone()
    head, strays = BEGINNING, []
    if last is not None:
        newest = read_kept_act(last)
        if newest.place is not None:
            head = newest.place
        else:
            placed = connection.execute(_LAST_PLACED).fetchone()
            start = None if placed is None else read_kept_act(placed)
            head = head if start is None or start.place is None else start.place
            behind = 0 if start is None else start.row
            strays = [read_kept_act(row) for row in connection.execute(_BEHIND, (behind,))]
    for stray in strays:
        head = next_place(head, stray.entry)
        yield _PLACE, (*place_row(head), stray.row)
    for entry in entries:
        head = next_place(head, entry)
        yield _INSERT, (*audit_row(entry), *place_row(head))


def acts(connection: sqlite3.Connection, *, after: int, limit: int) -> Sequence[KeptAct]:
    """See ``ports.Store.acts``."""
    return [read_kept_act(row) for row in connection.execute(_PAGE, (after, limit))]


def act_rows(
    connection: sqlite3.Connection, *, since: datetime | None, until: datetime | None
) -> tuple[int, int] | None:
    """See ``ports.Store.act_rows``."""
    period = (
        -_ALWAYS if since is None else to_micros(since),
        _ALWAYS if until is None else to_micros(until),
    )
    first, last = connection.execute(_ROWS, period).fetchone()
    return None if first is None else (first, last)
