"""Many payments into a ledger at once, past the store but into its own tables and indexes."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import assert_never

import asyncpg

from tests.bench.ledger_growth.stories import (
    ATTEMPTS,
    COLUMNS,
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
"""All but those of the primary keys: they are made anew when the rows are there."""

_KEYED = (ATTEMPTS, OWNERS)
"""Clustered by their keys in SQLite: a batch that is sorted touches each page once."""


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
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in batch.items():
                connection.executemany(_insertion(table), sorted(rows) if table in _KEYED else rows)
            connection.execute("COMMIT")


def _insertion(table: str) -> str:
    columns = COLUMNS[table]
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
        for batch in batches:
            for table, rows in batch.items():
                # The server numbers attempts itself.
                columns = tuple(name for name in COLUMNS[table] if name != "position")
                await connection.copy_records_to_table(
                    table,
                    schema_name=SCHEMA,
                    columns=columns,
                    records=[row[: len(columns)] for row in rows],
                )
        for _, definition in indexes:
            await connection.execute(definition)
    finally:
        await connection.close()
