"""Retention in the ledger's database: each stretch is one short transaction of its own.

It takes no row that somebody else is writing, and what it wrote is one version further: a worker
that had read it before writes nothing over it. The space is the server's own vacuum's to reuse.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection
from worker.adapters.store_rows.retention import (
    AGED_COLUMNS,
    BARE,
    BESIDE,
    ERASED,
    EVER,
    FORGETTABLE,
    LINKED,
    PERSONAL,
    REMOVABLE,
    SENT,
    STILL_LINKED,
    Aged,
    erased_of,
    start_of,
)
from worker.adapters.store_rows.values import to_micros
from worker.inventory import Erased, Stretch

Result = TypeVar("Result")
Erase = Callable[[Connection, Sequence[Aged]], Awaitable[None]]

_COLUMNS = ", ".join(f"operations.{name}" for name in AGED_COLUMNS)


def _stretch(chosen: str) -> str:
    """Rows by the time they were made, up to the one that ends the stretch and all of its time."""
    within = f"{chosen} AND created_at < $1 AND created_at > $2"
    return (
        "SELECT operations.operation_id, operations.created_at"  # noqa: S608 (our own conditions)
        f" FROM operations WHERE {within} AND created_at <= coalesce("
        f"(SELECT created_at FROM operations WHERE {within}"
        " ORDER BY created_at LIMIT 1 OFFSET $3), $1) ORDER BY created_at"
    )


def _due(may_go: str) -> str:
    return (
        f"SELECT {_COLUMNS} FROM operations"  # noqa: S608 (our own conditions)
        f" WHERE operation_id = ANY($2::bytea[]) AND {may_go.format(before='$1')}"
    )


# Put together from our own conditions only; values are always bound.
_EMAILS = (_stretch(PERSONAL), _due(FORGETTABLE))
_LINKS = (_stretch(LINKED), _due(SENT))
_STILL_LINKED = (_stretch(STILL_LINKED), _due(SENT))
_ROWS = (_stretch(BARE), _due(REMOVABLE))
_STILL_PERSONAL = (_stretch(PERSONAL), _due(REMOVABLE))
_NAMED = f"{_due(REMOVABLE)} FOR UPDATE SKIP LOCKED"
_FORGET = (
    "UPDATE operations SET email = NULL, email_mark = NULL, fingerprint = NULL,"
    " identity = coalesce(replace(identity, fingerprint, $2), identity), version = version + 1"
    " WHERE operation_id = ANY($1::bytea[])"
)
_FORGET_EMAIL = (
    "UPDATE operations SET email = NULL, email_mark = NULL, version = version + 1"
    " WHERE operation_id = ANY($1::bytea[])"
)
_DISOWN = (
    "DELETE FROM fingerprints USING unnest($1::text[], $2::bytea[]) AS given (mark, owner)"
    " WHERE fingerprint = given.mark AND operation_id = given.owner"
)
_ATTEMPTS_OF = (
    "entry = ANY(ARRAY(SELECT entry FROM operations WHERE operation_id = ANY($1::bytea[])))"
)
_CUT_ATTEMPTS = f"UPDATE attempts SET links = NULL WHERE {_ATTEMPTS_OF} AND links IS NOT NULL"  # noqa: S608
_CUT_ANSWERS = (
    "UPDATE answers SET link = NULL WHERE event_id = ANY($1::bytea[])"
    " AND operation_id = ANY($2::bytea[]) AND link IS NOT NULL"
)
_CUT = (
    "UPDATE operations SET link = NULL, version = version + 1 WHERE operation_id = ANY($1::bytea[])"
)
_REMOVE_ANSWERS = (
    "DELETE FROM answers WHERE event_id = ANY($1::bytea[]) AND operation_id = ANY($2::bytea[])"
)
_REMOVE_BESIDE = (
    f"DELETE FROM attempts WHERE {_ATTEMPTS_OF}",  # noqa: S608 (own condition)
    *(
        f"DELETE FROM {table} WHERE operation_id = ANY($1::bytea[])"  # noqa: S608 (own names)
        for table in BESIDE
    ),
)
_REMOVE = "DELETE FROM operations WHERE operation_id = ANY($1::bytea[])"
_RUNS = (
    "SELECT run, ended_at FROM replay_runs WHERE ended_at < $1 AND ended_at > $2"
    " ORDER BY ended_at, run LIMIT $3"
)
_REMOVE_RUNS = (
    "DELETE FROM replay_steps WHERE run = ANY($1::text[])",
    "DELETE FROM replay_runs WHERE run = ANY($1::text[])",
)
_TOMBSTONES = "SELECT count(*) FROM tombstones WHERE until <= $1"
_REMOVE_TOMBSTONES = (
    "DELETE FROM tombstones WHERE payment_id IN ("
    "SELECT payment_id FROM tombstones WHERE until <= $1 FOR UPDATE SKIP LOCKED)"
)


class PostgresRetention:
    """Implements ``operator_ports.Retention`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def erase_emails(self, stretch: Stretch) -> Erased:
        return await self._take(_EMAILS, stretch, _forget)

    async def erase_links(self, stretch: Stretch) -> Erased:
        found = _STILL_LINKED if stretch.is_unerased else _LINKS
        return await self._take(found, stretch, _cut_links)

    async def remove_operations(self, stretch: Stretch) -> Erased:
        found = _STILL_PERSONAL if stretch.is_unerased else _ROWS
        return await self._take(found, stretch, _remove)

    async def erase_people(
        self, operations: Collection[UUID], *, decided_before: datetime
    ) -> Collection[UUID]:
        old = to_micros(decided_before)

        async def work(connection: Connection) -> Collection[UUID]:
            found = await connection.fetch(_NAMED, EVER, [each.bytes for each in operations])
            aged = [Aged(*row) for row in found]
            if aged:
                await _forget(connection, [row for row in aged if row.is_decided_before(old)])
                young = [row for row in aged if not row.is_decided_before(old)]
                await _forget_emails(connection, young)
                await _cut_links(connection, aged)
            return [UUID(bytes=row.operation_id) for row in aged]

        return await self._change(work)

    async def remove_runs(self, stretch: Stretch) -> Erased:
        async def work(connection: Connection) -> Erased:
            values = (to_micros(stretch.before), start_of(stretch), stretch.limit)
            rows = [tuple(row) for row in await connection.fetch(_RUNS, *values)]
            if not stretch.is_dry:
                for statement in _REMOVE_RUNS:
                    await connection.execute(statement, [run for run, _ in rows])
            return erased_of(rows, len(rows), limit=stretch.limit)

        return await self._change(work)

    async def remove_tombstones(self, *, until: datetime, is_dry: bool) -> int:
        async def work(connection: Connection) -> int:
            count: int = await connection.fetchval(_TOMBSTONES, to_micros(until))
            if count and not is_dry:
                await connection.execute(_REMOVE_TOMBSTONES, to_micros(until))
            return count

        return await self._change(work)

    async def _take(self, statements: tuple[str, str], stretch: Stretch, erase: Erase) -> Erased:
        async def work(connection: Connection) -> Erased:
            before, page = to_micros(stretch.before), statements[0]
            rows = await connection.fetch(page, before, start_of(stretch), stretch.limit - 1)
            due = statements[1] if stretch.is_dry else f"{statements[1]} FOR UPDATE SKIP LOCKED"
            found = await connection.fetch(due, before, [row[0] for row in rows])
            aged = [Aged(*row) for row in found]
            if aged and not stretch.is_dry:
                await erase(connection, aged)
            return erased_of([tuple(row) for row in rows], len(aged), limit=stretch.limit)

        return await self._change(work)

    async def _change(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        return await self._reader.change(work)


async def _forget(connection: Connection, aged: Sequence[Aged]) -> None:
    """Erase the e-mails of these rows, and what contains them."""
    ids = [row.operation_id for row in aged]
    await connection.execute(_FORGET, ids, ERASED)
    await connection.execute(_DISOWN, [row.fingerprint for row in aged], ids)
    await connection.execute(_CUT_ATTEMPTS, ids)
    if replaced := [event for row in aged for event in row.replaced_events]:
        await connection.execute(_CUT_ANSWERS, replaced, ids)


async def _forget_emails(connection: Connection, aged: Sequence[Aged]) -> None:
    """Erase the e-mails alone: a second request for the same is still known by the rest."""
    ids = [row.operation_id for row in aged]
    await connection.execute(_FORGET_EMAIL, ids)
    await connection.execute(_CUT_ATTEMPTS, ids)


async def _cut_links(connection: Connection, aged: Sequence[Aged]) -> None:
    ids = [row.operation_id for row in aged]
    await connection.execute(_CUT, ids)
    await connection.execute(_CUT_ANSWERS, [event for row in aged for event in row.events], ids)


async def _remove(connection: Connection, aged: Sequence[Aged]) -> None:
    ids = [row.operation_id for row in aged]
    await connection.execute(_REMOVE_ANSWERS, [event for row in aged for event in row.events], ids)
    for statement in _REMOVE_BESIDE:
        await connection.execute(statement, ids)
    await connection.execute(_REMOVE, ids)
