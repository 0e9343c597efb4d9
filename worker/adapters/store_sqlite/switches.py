"""Switches, reports and approvals in the ledger's file."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.switches import (
    APPROVAL_COLUMNS,
    REPORT_COLUMNS,
    SWITCH_COLUMNS,
    read_approval,
    read_report,
    read_switch,
    report_row,
)
from worker.adapters.store_rows.values import to_micros
from worker.switches import AccountReport, Approval, Switch


def _upsert(table: str, columns: tuple[str, ...], keys: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 (own names)
        f" VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changed}"
    )


# Put together from our own column names only; values are always bound.
UPSERT_SWITCH = _upsert("account_switches", SWITCH_COLUMNS, 1)
INSERT_APPROVAL = (
    f"INSERT INTO plan_approvals ({', '.join(APPROVAL_COLUMNS)}) VALUES (?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (plan_sha256, actor) DO NOTHING"
)
_SWITCHES = f"SELECT {', '.join(SWITCH_COLUMNS)} FROM account_switches"  # noqa: S608
_REPORT = _upsert("account_reports", REPORT_COLUMNS, 2)
_FORGET_REPORTS = "DELETE FROM account_reports WHERE worker = ? OR seen_at < ?"
_REPORTS = (
    f"SELECT {', '.join(REPORT_COLUMNS)} FROM account_reports"  # noqa: S608
    " WHERE seen_at >= ? ORDER BY account, worker"
)
_APPROVALS = (
    f"SELECT {', '.join(APPROVAL_COLUMNS)} FROM plan_approvals"  # noqa: S608
    " WHERE plan_sha256 = ? ORDER BY at, actor"
)


def find_switch(connection: sqlite3.Connection, account: str) -> Switch | None:
    """The switch of one account."""
    row = connection.execute(f"{_SWITCHES} WHERE account = ?", (account,)).fetchone()
    return None if row is None else read_switch(row)


def switches(connection: sqlite3.Connection) -> Sequence[Switch]:
    """See ``ports.Store.switches``."""
    return [read_switch(row) for row in connection.execute(f"{_SWITCHES} ORDER BY account")]


def report_accounts(connection: sqlite3.Connection, *, reports: Sequence[AccountReport]) -> None:
    """See ``ports.Store.report_accounts``."""
    connection.executemany(_REPORT, [report_row(report) for report in reports])


def forget_reports(connection: sqlite3.Connection, *, worker: UUID, before: datetime) -> None:
    """See ``ports.Store.forget_reports``."""
    connection.execute(_FORGET_REPORTS, (worker.bytes, to_micros(before)))


def account_reports(
    connection: sqlite3.Connection, *, seen_since: datetime
) -> Sequence[AccountReport]:
    """See ``ports.Store.account_reports``."""
    return [read_report(row) for row in connection.execute(_REPORTS, (to_micros(seen_since),))]


def approvals(connection: sqlite3.Connection, *, plan_sha256: str) -> Sequence[Approval]:
    """See ``ports.Store.approvals``."""
    return [read_approval(row) for row in connection.execute(_APPROVALS, (plan_sha256,))]
