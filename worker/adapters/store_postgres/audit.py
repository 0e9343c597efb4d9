"""What people did, on the server: the audit's chain, and the approvals of plans.

Who writes acts first takes one advisory lock, the last that its transaction takes, and holds it
until the commit: whoever comes next sees the head that was committed. Nobody who holds it waits for
anything else, so no circle can close; and only transactions with an act wait for it at all.
"""

from collections.abc import Sequence
from datetime import datetime

from worker.acts import BEGINNING, KeptAct, Place, next_place
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection
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
from worker.records import AuditEntry
from worker.switches import Approval

_CHAIN = 0x50415957_41554449  # "PAYWAUDI"
_LOCK = "SELECT pg_advisory_xact_lock($1)"
# Put together from our own column names only; values are always bound.
_INSERT = sql.insertion("audit", (*AUDIT_COLUMNS, *PLACE_COLUMNS))
_PLACE = (
    "UPDATE audit SET position = given.position, hash = given.hash"
    " FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS given (position, hash, entry)"
    " WHERE audit.entry = given.entry"
)
_KEPT = f"SELECT {sql.columns(KEPT_COLUMNS)} FROM audit"  # noqa: S608
_LAST = f"{_KEPT} ORDER BY entry DESC LIMIT 1"
_LAST_PLACED = f"{_KEPT} WHERE hash IS NOT NULL ORDER BY entry DESC LIMIT 1"
_BEHIND = f"{_KEPT} WHERE entry > $1 ORDER BY entry"
_PAGE = f"{_BEHIND} LIMIT $2"
_ROWS = "SELECT min(entry), max(entry) FROM audit WHERE at >= $1 AND at < $2"
_ALWAYS = 2**62
INSERT_APPROVALS = (
    sql.insertion("plan_approvals", APPROVAL_COLUMNS)
    + " ON CONFLICT (plan_sha256, actor) DO NOTHING"
)
_APPROVALS = (
    f"SELECT {sql.columns(APPROVAL_COLUMNS)} FROM plan_approvals"  # noqa: S608
    ' WHERE plan_sha256 = $1 ORDER BY at, actor COLLATE "C"'
)


async def write_linked(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Write acts behind the last one, as the last thing before the commit."""
    await connection.execute(_LOCK, _CHAIN)
    # A statement of its own, after the lock: it sees what was committed while this one waited.
    head, strays = await _head(connection)
    placed: list[tuple[Scalar, ...]] = []
    for stray in strays:
        head = next_place(head, stray.entry)
        placed.append((*place_row(head), stray.row))
    if placed:
        await connection.execute(_PLACE, *_by_column(placed))
    rows: list[tuple[Scalar, ...]] = []
    for entry in entries:
        head = next_place(head, entry)
        rows.append((*audit_row(entry), *place_row(head)))
    await connection.execute(_INSERT, *_by_column(rows))


async def _head(connection: Connection) -> tuple[Place, Sequence[KeptAct]]:
    """The place to follow on, and the acts behind it that have none yet."""
    last = await connection.fetchrow(_LAST)
    if last is None:
        return BEGINNING, ()
    newest = read_kept_act(tuple(last))
    if newest.place is not None:
        return newest.place, ()
    found = await connection.fetchrow(_LAST_PLACED)
    start = None if found is None else read_kept_act(tuple(found))
    head = BEGINNING if start is None or start.place is None else start.place
    behind = await connection.fetch(_BEHIND, 0 if start is None else start.row)
    return head, [read_kept_act(tuple(row)) for row in behind]


class PostgresActs:
    """Implements ``operator_ports.ActLog`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        return [read_kept_act(row) for row in await self._reader.rows(_PAGE, after, limit)]

    async def rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        ((first, last),) = await self._reader.rows(
            _ROWS,
            -_ALWAYS if since is None else to_micros(since),
            _ALWAYS if until is None else to_micros(until),
        )
        return None if first is None else (first, last)

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        return [read_approval(row) for row in await self._reader.rows(_APPROVALS, plan_sha256)]


def _by_column(rows: Sequence[tuple[Scalar, ...]]) -> list[list[Scalar]]:
    return [list(column) for column in zip(*rows, strict=True)]
