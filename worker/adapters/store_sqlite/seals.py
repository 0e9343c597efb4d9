"""Everything sealed in the ledger's file, walked table by table in the writer's transactions."""

import sqlite3
from collections.abc import Collection

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.seals import EMAIL, MARK, SealedTable, Walked, place_after
from worker.adapters.store_sqlite.writer import Writer
from worker.inventory import SealedPage, SealPlace

_TABLES = (
    SealedTable("operations", ("entry",), ("link", EMAIL, MARK)),
    SealedTable("answers", ("rowid",), ("link",)),
    SealedTable("attempts", ("entry", "position"), ("links",)),
)
_BEGINNING: tuple[tuple[int | bytes, ...], ...] = ((0,), (0,), (0, 0))


def _page(table: SealedTable) -> str:
    key = ", ".join(table.key)
    return (
        f"SELECT {key}, {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 (own names)
        f" WHERE ({key}) > ({', '.join('?' * len(table.key))}) ORDER BY {key} LIMIT ?"
    )


def _change(table: SealedTable) -> str:
    """Only where nobody has written the row since."""
    changed = ", ".join(f"{name} = ?" for name in table.columns)
    found = " AND ".join(
        [*(f"{name} = ?" for name in table.key), *(f"{name} IS ?" for name in table.columns)]
    )
    return f"UPDATE {table.name} SET {changed} WHERE {found}"  # noqa: S608 (own names)


# Put together from our own table and column names only; values are always bound.
_PAGES = tuple(map(_page, _TABLES))
_CHANGES = tuple(map(_change, _TABLES))


class SqliteSeals:
    """Implements ``operator_ports.Seals`` on the store's own writer."""

    def __init__(self, writer: Writer, vault: Vault) -> None:
        self._writer = writer
        self._vault = vault

    async def walk(self, after: SealPlace | None, *, limit: int, is_dry: bool) -> SealedPage:
        place = SealPlace(0, _BEGINNING[0]) if after is None else after
        table, width = _TABLES[place.table], len(_TABLES[place.table].key)

        def work(connection: sqlite3.Connection) -> SealedPage:
            rows = connection.execute(_PAGES[place.table], (*place.row, limit)).fetchall()
            walked = Walked(self._vault, table.columns)
            walked.look(((row[:width], row[width:]) for row in rows), is_dry=is_dry)
            connection.executemany(
                _CHANGES[place.table], [(*new, *key, *old) for key, new, old in walked.changes]
            )
            return walked.page(place_after(place, rows, _BEGINNING, limit=limit))

        return await self._writer.submit(work)

    async def forget_keys(self, unused: Collection[str]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            keys = [(key_id,) for key_id in unused]
            connection.executemany("DELETE FROM encryption_keys WHERE key_id = ?", keys)

        await self._writer.submit(work)
