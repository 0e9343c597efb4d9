"""Retention in the ledger's file: each stretch is one work of the writer, beside the payments'.

The file does not shrink: its freed pages are written again by what comes next. What is erased is
overwritten with zeros at once (``secure_delete``); the write-ahead log holds the old pages until
others are written over them (see ``checkpoints``).
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.history import ENTRY_OF
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
from worker.adapters.store_sqlite.writer import Writer
from worker.inventory import Erased, Stretch
from worker.ports import Clock

Erase = Callable[[sqlite3.Connection, Sequence[Aged]], None]

_COLUMNS = ", ".join(f"operations.{name}" for name in AGED_COLUMNS)


def _stretch(chosen: str, may_go: str) -> str:
    """Rows by the time they were made, up to the one that ends the stretch and all of its time."""
    within = f"{chosen} AND created_at < :before AND created_at > :after"
    return (
        f"SELECT {_COLUMNS}, {may_go.format(before=':before')}, operations.created_at"  # noqa: S608
        f" FROM operations WHERE {within} AND created_at <= coalesce("
        f"(SELECT created_at FROM operations WHERE {within}"
        " ORDER BY created_at LIMIT 1 OFFSET :last), :before) ORDER BY created_at"
    )


# Put together from our own conditions only; values are always bound.
_EMAILS = _stretch(PERSONAL, FORGETTABLE)
_LINKS = _stretch(LINKED, SENT)
_STILL_LINKED = _stretch(STILL_LINKED, SENT)
_ROWS = _stretch(BARE, REMOVABLE)
_STILL_PERSONAL = _stretch(PERSONAL, REMOVABLE)
_NAMED = (
    f"SELECT {_COLUMNS} FROM operations"  # noqa: S608 (own conditions)
    f" WHERE operation_id = :own AND {REMOVABLE.format(before=':before')}"
)
_FORGET = (
    "UPDATE operations SET email = NULL, email_mark = NULL, fingerprint = NULL,"
    " identity = coalesce(replace(identity, fingerprint, ?), identity), version = version + 1"
    " WHERE operation_id = ?"
)
_FORGET_EMAIL = (
    "UPDATE operations SET email = NULL, email_mark = NULL, version = version + 1"
    " WHERE operation_id = ?"
)
_DISOWN = "DELETE FROM fingerprints WHERE fingerprint = ? AND operation_id = ?"
_CUT_ATTEMPTS = (
    f"UPDATE attempts SET links = NULL WHERE entry = {ENTRY_OF.format('?')}"  # noqa: S608
    " AND links IS NOT NULL"
)
_CUT_ANSWER = (
    "UPDATE answers SET link = NULL WHERE event_id = ? AND operation_id = ? AND link IS NOT NULL"
)
_CUT = "UPDATE operations SET link = NULL, version = version + 1 WHERE operation_id = ?"
_REMOVE_ANSWER = "DELETE FROM answers WHERE event_id = ? AND operation_id = ?"
_REMOVE_BESIDE = (
    f"DELETE FROM attempts WHERE entry = {ENTRY_OF.format('?')}",  # noqa: S608 (own name)
    *(f"DELETE FROM {table} WHERE operation_id = ?" for table in BESIDE),  # noqa: S608 (own names)
)
_REMOVE = "DELETE FROM operations WHERE operation_id = ?"
_RUNS = (
    "SELECT run, ended_at FROM replay_runs WHERE ended_at < ? AND ended_at > ?"
    " ORDER BY ended_at, run LIMIT ?"
)
_TOMBSTONES = "SELECT count(*) FROM tombstones WHERE until <= ?"
_REMOVE_TOMBSTONES = "DELETE FROM tombstones WHERE until <= ?"


class SqliteRetention:
    """Implements ``operator_ports.Retention`` on the store's own writer."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

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

        def work(connection: sqlite3.Connection) -> Collection[UUID]:
            asked = ({"own": each.bytes, "before": EVER} for each in operations)
            rows = [connection.execute(_NAMED, values).fetchone() for values in asked]
            aged = [Aged(*row) for row in rows if row is not None]
            _forget(connection, [row for row in aged if row.is_decided_before(old)])
            _forget_emails(connection, [row for row in aged if not row.is_decided_before(old)])
            _cut_links(connection, aged)
            return [UUID(bytes=row.operation_id) for row in aged]

        return await self._writer.submit(work)

    async def remove_runs(self, stretch: Stretch) -> Erased:
        def work(connection: sqlite3.Connection) -> Erased:
            values = (to_micros(stretch.before), start_of(stretch), stretch.limit)
            rows = connection.execute(_RUNS, values).fetchall()
            if not stretch.is_dry:
                runs = [(run,) for run, _ in rows]
                connection.executemany("DELETE FROM replay_steps WHERE run = ?", runs)
                connection.executemany("DELETE FROM replay_runs WHERE run = ?", runs)
            return erased_of(rows, len(rows), limit=stretch.limit)

        return await self._writer.submit(work)

    async def remove_tombstones(self, *, until: datetime, is_dry: bool) -> int:
        def work(connection: sqlite3.Connection) -> int:
            key = (to_micros(until),)
            (count,) = connection.execute(_TOMBSTONES, key).fetchone()
            if count and not is_dry:
                connection.execute(_REMOVE_TOMBSTONES, key)
            return int(count)

        return await self._writer.submit(work)

    async def _take(self, statement: str, stretch: Stretch, erase: Erase) -> Erased:
        def work(connection: sqlite3.Connection) -> Erased:
            begun = self._clock.monotonic()
            values = {
                "before": to_micros(stretch.before),
                "after": start_of(stretch),
                "last": stretch.limit - 1,
            }
            rows = connection.execute(statement, values).fetchall()
            aged = [Aged(*row[:-2]) for row in rows if row[-2]]
            if not stretch.is_dry:
                erase(connection, aged)
            erased = erased_of(rows, len(aged), limit=stretch.limit)
            return replace(erased, held_seconds=self._clock.monotonic() - begun)

        return await self._writer.submit(work)


def _forget(connection: sqlite3.Connection, aged: Iterable[Aged]) -> None:
    """Erase the e-mails of these rows, and what contains them."""
    rows = list(aged)
    ids = [(row.operation_id,) for row in rows]
    connection.executemany(_FORGET, [(ERASED, row.operation_id) for row in rows])
    connection.executemany(_DISOWN, [(row.fingerprint, row.operation_id) for row in rows])
    connection.executemany(_CUT_ATTEMPTS, ids)
    connection.executemany(
        _CUT_ANSWER, [(e, r.operation_id) for r in rows for e in r.replaced_events]
    )


def _forget_emails(connection: sqlite3.Connection, aged: Sequence[Aged]) -> None:
    """Erase the e-mails alone: a second request for the same is still known by the rest."""
    ids = [(row.operation_id,) for row in aged]
    connection.executemany(_FORGET_EMAIL, ids)
    connection.executemany(_CUT_ATTEMPTS, ids)


def _cut_links(connection: sqlite3.Connection, aged: Sequence[Aged]) -> None:
    connection.executemany(_CUT, [(row.operation_id,) for row in aged])
    connection.executemany(_CUT_ANSWER, [(e, r.operation_id) for r in aged for e in r.events])


def _remove(connection: sqlite3.Connection, aged: Sequence[Aged]) -> None:
    ids = [(row.operation_id,) for row in aged]
    connection.executemany(_REMOVE_ANSWER, [(e, r.operation_id) for r in aged for e in r.events])
    for statement in _REMOVE_BESIDE:
        connection.executemany(statement, ids)
    connection.executemany(_REMOVE, ids)
