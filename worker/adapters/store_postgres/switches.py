"""Switches, reports and approvals on the server."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
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
    conflict = ", ".join(columns[:keys])
    return f"{sql.insertion(table, columns)} ON CONFLICT ({conflict}) DO UPDATE SET {changed}"


# Put together from our own column names only; values are always bound.
UPSERT_SWITCHES = _upsert("account_switches", SWITCH_COLUMNS, 1)
INSERT_APPROVALS = (
    sql.insertion("plan_approvals", APPROVAL_COLUMNS)
    + " ON CONFLICT (plan_sha256, actor) DO NOTHING"
)
_SWITCHES = f"SELECT {sql.columns(SWITCH_COLUMNS)} FROM account_switches"  # noqa: S608
SWITCHES_OF = f"{_SWITCHES} WHERE account = ANY($1::text[])"
_REPORT = _upsert("account_reports", REPORT_COLUMNS, 2)
_FORGET_REPORTS = "DELETE FROM account_reports WHERE worker = $1 OR seen_at < $2"
_REPORTS = (
    f"SELECT {sql.columns(REPORT_COLUMNS)} FROM account_reports"  # noqa: S608
    ' WHERE seen_at >= $1 ORDER BY account COLLATE "C", worker'
)
_APPROVALS = (
    f"SELECT {sql.columns(APPROVAL_COLUMNS)} FROM plan_approvals"  # noqa: S608
    ' WHERE plan_sha256 = $1 ORDER BY at, actor COLLATE "C"'
)


async def switches(reader: Reader) -> Sequence[Switch]:
    """See ``ports.Store.switches``."""
    rows = await reader.rows(f'{_SWITCHES} ORDER BY account COLLATE "C"')
    return [read_switch(row) for row in rows]


async def report_accounts(reader: Reader, reports: Sequence[AccountReport]) -> None:
    """See ``ports.Store.report_accounts``."""
    rows = [report_row(report) for report in reports]
    if rows:
        await reader.rows(_REPORT, *map(list, zip(*rows, strict=True)))


async def forget_reports(reader: Reader, *, worker: UUID, before: datetime) -> None:
    """See ``ports.Store.forget_reports``."""
    await reader.rows(_FORGET_REPORTS, worker.bytes, to_micros(before))


async def account_reports(reader: Reader, *, seen_since: datetime) -> Sequence[AccountReport]:
    """See ``ports.Store.account_reports``."""
    return [read_report(row) for row in await reader.rows(_REPORTS, to_micros(seen_since))]


async def approvals(reader: Reader, plan_sha256: str) -> Sequence[Approval]:
    """See ``ports.Store.approvals``."""
    return [read_approval(row) for row in await reader.rows(_APPROVALS, plan_sha256)]
