"""Many payments into a ledger at once, past the store but into its own tables and indexes."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import assert_never

import asyncpg

from tests.bench.ledger_growth.stories import (
    ATTEMPTS,
    COLUMNS,
    OPERATIONS,
    OWNERS,
    SPAN,
    Library,
    Rows,
)
from worker.adapters.ledgers import LedgerPlace
from worker.adapters.store_postgres.sessions import SCHEMA
from worker.rules import PostgresAddress

_BATCH = 20_000
_CACHE_KIBIBYTES = 4 * 2**20
_INDEXES_OF_FILE = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
_INDEXES_OF_DATABASE = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1"
    " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
)
"""All but those of keys: they are made anew when the rows are there."""

_KEYED = (OWNERS,)
"""Clustered by ids in SQLite: a batch that is sorted touches each page once."""

_ENTERED = (OPERATIONS, ATTEMPTS)
"""What has its payment's number in the order of entering, each payment one row of operations."""

_LAST_ENTRY = "SELECT coalesce(max(entry), 0) FROM operations"
_CONTINUE = "SELECT setval(pg_get_serial_sequence('operations', 'entry'), $1)"
"""The server's own numbers go on behind those."""


async def fill(place: LedgerPlace, library: Library, numbers: range, *, until: datetime) -> None:
    """Add the payments with these numbers, spread over the 13 months before that time.

    Nothing of it is durable until it is all there. The ledger must be initialised and unused.
    """
    batches = _batches(library, numbers, until)
    match place:
        case Path():
            await asyncio.to_thread(_fill_file, place, batches)
        case PostgresAddress():
            await _fill_database(place, batches)
        case other:
            assert_never(other)


def moment_of(position: int, count: int, until: datetime) -> datetime:
    """When the payment in this place among so many was received, the last one just before then."""
    # The part first: 400 days, ten million times over, are more than a timedelta holds.
    return until - SPAN * (1 - position / count)


def _batches(library: Library, numbers: range, until: datetime) -> Iterator[Rows]:
    count = len(numbers)
    for first in range(0, count, _BATCH):
        batch = numbers[first : first + _BATCH]
        yield library.rows(
            batch,
            since=moment_of(first, count, until),
            until=moment_of(first + len(batch), count, until),
            now=until,
        )


def _fill_file(path: Path, batches: Iterator[Rows]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")  # the store switches its log on again
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        (last,) = connection.execute(_LAST_ENTRY).fetchone()
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in _numbered(batch, after=last).items():
                connection.executemany(_insertion(table), sorted(rows) if table in _KEYED else rows)
            connection.execute("COMMIT")
            last += len(batch[OPERATIONS])


def _numbered(batch: Rows, *, after: int) -> Rows:
    """With the entries of their payments behind them, the first one after that."""
    entries = {row[0]: entry for entry, row in enumerate(batch[OPERATIONS], start=after + 1)}
    return {
        table: [(*row, entries[row[0]]) for row in rows] if table in _ENTERED else rows
        for table, rows in batch.items()
    }


def _columns(table: str) -> tuple[str, ...]:
    return (*COLUMNS[table], "entry") if table in _ENTERED else COLUMNS[table]


def _insertion(table: str) -> str:
    columns = _columns(table)
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 (own names)


async def _fill_database(address: PostgresAddress, batches: Iterator[Rows]) -> None:
    connection = await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        database=address.database,
        password=None if address.password is None else address.password.reveal(),
    )
    try:
        indexes = await connection.fetch(_INDEXES_OF_DATABASE, SCHEMA)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {SCHEMA}.{name}")
        await connection.execute(f"SET search_path = {SCHEMA}")
        last = await connection.fetchval(_LAST_ENTRY)
        for batch in batches:
            for table, rows in _numbered(batch, after=last).items():
                # The server numbers the attempts of an entry itself.
                columns = [name for name in _columns(table) if name != "position"]
                places = [_columns(table).index(name) for name in columns]
                await connection.copy_records_to_table(
                    table,
                    schema_name=SCHEMA,
                    columns=columns,
                    records=map(itemgetter(*places), rows),
                )
            last += len(batch[OPERATIONS])
        if last:
            await connection.execute(_CONTINUE, last)
        for _, definition in indexes:
            await connection.execute(definition)
    finally:
        await connection.close()
