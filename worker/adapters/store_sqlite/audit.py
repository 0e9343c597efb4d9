"""What people did, in the ledger's file: the audit's chain, and the approvals of plans.

The chain is linked under the write lock and read page by page.
"""

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
from worker.adapters.store_rows.switches import APPROVAL_COLUMNS, read_approval
from worker.adapters.store_rows.values import Scalar, to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.records import AuditEntry
from worker.switches import Approval

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
INSERT_APPROVAL = (
    f"INSERT INTO plan_approvals ({', '.join(APPROVAL_COLUMNS)}) VALUES (?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (plan_sha256, actor) DO NOTHING"
)
_APPROVALS = (
    f"SELECT {', '.join(APPROVAL_COLUMNS)} FROM plan_approvals"  # noqa: S608
    " WHERE plan_sha256 = ? ORDER BY at, actor"
)


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


class SqliteActs:
    """Implements ``operator_ports.ActLog`` on the store's own reading thread."""

    def __init__(self, reading: ReadingThread) -> None:
        self._reading = reading

    async def page(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        def look(connection: sqlite3.Connection) -> Sequence[KeptAct]:
            return [read_kept_act(row) for row in connection.execute(_PAGE, (after, limit))]

        return await self._reading.read(look)

    async def rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        period = (
            -_ALWAYS if since is None else to_micros(since),
            _ALWAYS if until is None else to_micros(until),
        )

        def look(connection: sqlite3.Connection) -> tuple[int, int] | None:
            first, last = connection.execute(_ROWS, period).fetchone()
            return None if first is None else (first, last)

        return await self._reading.read(look)

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        def look(connection: sqlite3.Connection) -> Sequence[Approval]:
            return [read_approval(row) for row in connection.execute(_APPROVALS, (plan_sha256,))]

        return await self._reading.read(look)
