"""Everything sealed in the ledger's database, walked table by table, a page in a transaction."""

from collections.abc import Collection

from worker.adapters.encryption import Vault
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection
from worker.adapters.store_rows.seals import EMAIL, MARK, SealedTable, Walked, place_after
from worker.inventory import SealedPage, SealPlace

_TABLES = (
    SealedTable("operations", ("operation_id",), ("link", EMAIL, MARK)),
    SealedTable("answers", ("event_id",), ("link",)),
    SealedTable("attempts", ("entry", "position"), ("links",)),
)
_BEGINNING: tuple[tuple[int | bytes, ...], ...] = ((b"",), (b"",), (0, 0))


def _page(table: SealedTable) -> str:
    key, width = ", ".join(table.key), len(table.key)
    places = ", ".join(f"${place}" for place in range(1, width + 1))
    return (
        f"SELECT {key}, {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 (own names)
        f" WHERE ({key}) > ({places}) ORDER BY {key} LIMIT ${width + 1}"
    )


def _change(table: SealedTable) -> str:
    """Only where nobody has written the row since."""
    names = (*table.columns, *table.key, *table.columns)
    places = [f"${place}" for place in range(1, len(names) + 1)]
    columns, key = len(table.columns), len(table.key)
    changed = zip(table.columns, places[:columns], strict=True)
    found = zip(table.key, places[columns : columns + key], strict=True)
    before = zip(table.columns, places[columns + key :], strict=True)
    conditions = [
        *(f"{name} = {place}" for name, place in found),
        *(f"{name} IS NOT DISTINCT FROM {place}" for name, place in before),
    ]
    return (
        f"UPDATE {table.name} SET {', '.join(f'{name} = {place}' for name, place in changed)}"  # noqa: S608
        f" WHERE {' AND '.join(conditions)}"
    )


# Put together from our own table and column names only; values are always bound.
_PAGES = tuple(map(_page, _TABLES))
_CHANGES = tuple(map(_change, _TABLES))


class PostgresSeals:
    """Implements ``operator_ports.Seals`` on the store's reading session."""

    def __init__(self, reader: Reader, vault: Vault) -> None:
        self._reader = reader
        self._vault = vault

    async def walk(self, after: SealPlace | None, *, limit: int, is_dry: bool) -> SealedPage:
        place = SealPlace(0, _BEGINNING[0]) if after is None else after
        table, width = _TABLES[place.table], len(_TABLES[place.table].key)

        async def work(connection: Connection) -> SealedPage:
            found = await connection.fetch(_PAGES[place.table], *place.row, limit)
            rows = [tuple(row) for row in found]
            walked = Walked(self._vault, table.columns)
            walked.look(((row[:width], row[width:]) for row in rows), is_dry=is_dry)
            if walked.changes:
                await connection.executemany(
                    _CHANGES[place.table], [(*new, *key, *old) for key, new, old in walked.changes]
                )
            return walked.page(place_after(place, rows, _BEGINNING, limit=limit))

        return await self._reader.change(work)

    async def forget_keys(self, unused: Collection[str]) -> None:
        await self._reader.rows(
            "DELETE FROM encryption_keys WHERE key_id = ANY($1::text[])", sorted(unused)
        )
