"""How accounts are switched and how workers stand to them, on the server."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_rows.switches import (
    REPORT_COLUMNS,
    SWITCH_COLUMNS,
    read_report,
    read_switch,
    report_row,
)
from worker.adapters.store_rows.values import to_micros
from worker.switches import AccountReport, Switch


def _upsert(table: str, columns: tuple[str, ...], keys: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    conflict = ", ".join(columns[:keys])
    return f"{sql.insertion(table, columns)} ON CONFLICT ({conflict}) DO UPDATE SET {changed}"


# Put together from our own column names only; values are always bound.
UPSERT_SWITCHES = _upsert("account_switches", SWITCH_COLUMNS, 1)
_SWITCHES = f"SELECT {sql.columns(SWITCH_COLUMNS)} FROM account_switches"  # noqa: S608
SWITCHES_OF = f"{_SWITCHES} WHERE account = ANY($1::text[])"
_REPORT = _upsert("account_reports", REPORT_COLUMNS, 2)
_FORGET_REPORTS = "DELETE FROM account_reports WHERE worker = $1 OR seen_at < $2"
_REPORTS = (
    f"SELECT {sql.columns(REPORT_COLUMNS)} FROM account_reports"  # noqa: S608
    ' WHERE seen_at >= $1 ORDER BY account COLLATE "C", worker'
)


class PostgresAccounts:
    """Implements ``operator_ports.AccountBoard`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def switches(self) -> Sequence[Switch]:
        rows = await self._reader.rows(f'{_SWITCHES} ORDER BY account COLLATE "C"')
        return [read_switch(row) for row in rows]

    async def report(self, reports: Sequence[AccountReport]) -> None:
        await self._reader.put(_REPORT, [report_row(report) for report in reports])

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        await self._reader.rows(_FORGET_REPORTS, worker.bytes, to_micros(before))

    async def reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        rows = await self._reader.rows(_REPORTS, to_micros(seen_since))
        return [read_report(row) for row in rows]
