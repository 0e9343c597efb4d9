"""How accounts are switched and how workers stand to them, in the ledger's file."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.switches import (
    REPORT_COLUMNS,
    SWITCH_COLUMNS,
    read_report,
    read_switch,
    report_row,
)
from worker.adapters.store_rows.values import to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.writer import Writer
from worker.switches import AccountReport, Switch


def _upsert(table: str, columns: tuple[str, ...], keys: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 (own names)
        f" VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changed}"
    )


# Put together from our own column names only; values are always bound.
UPSERT_SWITCH = _upsert("account_switches", SWITCH_COLUMNS, 1)
_SWITCHES = f"SELECT {', '.join(SWITCH_COLUMNS)} FROM account_switches"  # noqa: S608
_REPORT = _upsert("account_reports", REPORT_COLUMNS, 2)
_FORGET_REPORTS = "DELETE FROM account_reports WHERE worker = ? OR seen_at < ?"
_REPORTS = (
    f"SELECT {', '.join(REPORT_COLUMNS)} FROM account_reports"  # noqa: S608
    " WHERE seen_at >= ? ORDER BY account, worker"
)


def find_switch(connection: sqlite3.Connection, account: str) -> Switch | None:
    """The switch of one account."""
    row = connection.execute(f"{_SWITCHES} WHERE account = ?", (account,)).fetchone()
    return None if row is None else read_switch(row)


class SqliteAccounts:
    """Implements ``operator_ports.AccountBoard`` on the store's own writer and reading thread."""

    def __init__(self, writer: Writer, reading: ReadingThread) -> None:
        self._writer = writer
        self._reading = reading

    async def switches(self) -> Sequence[Switch]:
        def look(connection: sqlite3.Connection) -> Sequence[Switch]:
            return [read_switch(row) for row in connection.execute(f"{_SWITCHES} ORDER BY account")]

        return await self._reading.read(look)

    async def report(self, reports: Sequence[AccountReport]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_REPORT, [report_row(report) for report in reports])

        await self._writer.submit(work)

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET_REPORTS, (worker.bytes, to_micros(before)))

        await self._writer.submit(work)

    async def reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        def look(connection: sqlite3.Connection) -> Sequence[AccountReport]:
            rows = connection.execute(_REPORTS, (to_micros(seen_since),))
            return [read_report(row) for row in rows]

        return await self._reading.read(look)
