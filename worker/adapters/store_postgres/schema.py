"""The ledger's schema under a checked version: numbered SQL files, one transaction each."""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from worker.adapters.encryption import Vault
from worker.adapters.store_errors import (
    LedgerKeyMissingError,
    LedgerMissingError,
    LedgerOutdatedError,
    LedgerReadOnlyError,
    LedgerTooNewError,
    LedgerUnrecognisedError,
    LedgerUnsafeError,
)
from worker.adapters.store_migrations import Initialisation, Migration, migrations_of
from worker.adapters.store_postgres.faults import translated
from worker.adapters.store_postgres.sessions import SCHEMA, Connection, connect, place_of
from worker.rules import PostgresAddress

APPLICATION = "payment-worker"
_INITIALISING = 0x50415957  # "PAYW": the advisory lock of those who make or renew a schema
_OBJECTS = (
    "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE nspname = $1"
)
_IS_MARKED = (
    "SELECT count(*) = 3 FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1"
    " AND relname = 'ledger' AND attname IN ('application', 'version', 'ledger_id')"
)
_MARK = f"SELECT application, version, ledger_id FROM {SCHEMA}.ledger"  # noqa: S608 (our own)
_DURABLE = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
}


@dataclass(frozen=True, slots=True)
class _Mark:
    version: int
    ledger_id: UUID | None


def migrations() -> tuple[Migration, ...]:
    """All steps of a PostgreSQL ledger, in order."""
    return migrations_of("worker.adapters.store_postgres")


async def initialise(address: PostgresAddress) -> Initialisation:
    """Create the ledger in an existing database, or upgrade an older one.

    Does nothing to a current one, and any number of commands may do it at once. The role must be
    allowed to create a schema, or own an empty one of the name. Raises ``LedgerError``.
    """
    place = place_of(address)
    connection = await connect(address)
    try:
        with translated(place):
            await _check_server(place, connection)
            before = None
            for migration in migrations():
                found = await _apply(place, connection, migration)
                before = found if before is None else before
            after = (await _read_mark(place, connection)).version
    finally:
        connection.terminate()
    return Initialisation(before=before or None, after=after)


async def check(
    address: PostgresAddress, connection: Connection, vault: Vault, *, known: UUID | None
) -> UUID:
    """Check the ledger behind a new connection before it is used, and return its id.

    ``known`` is the id it had before, if there was a before. Raises ``LedgerError``: not ours,
    another schema version, a copy, not durable, or sealed under a key that is not in the vault.
    """
    place = place_of(address)
    with translated(place):
        await _check_server(place, connection)
        mark = await _read_mark(place, connection)
        newest = migrations()[-1].version
        if mark.ledger_id is None:
            raise LedgerMissingError(place)
        if mark.version < newest:
            raise LedgerOutdatedError(place, found=mark.version, needed=newest)
        if known is not None and mark.ledger_id != known:
            raise LedgerUnrecognisedError(place, "it was replaced by another one")
        named = await connection.fetch("SELECT key_id FROM encryption_keys ORDER BY key_id")
        missing = tuple(key_id for (key_id,) in named if key_id not in vault.key_ids)
    if missing:
        raise LedgerKeyMissingError(place, missing)
    return mark.ledger_id


async def _check_server(place: str, connection: Connection) -> None:
    """The setting of our session is read back, since a pool between us may have dropped it."""
    if await connection.fetchval("SELECT current_setting('transaction_read_only')") != "off":
        raise LedgerReadOnlyError(place)
    for setting, safe in _DURABLE.items():
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value not in safe:
            raise LedgerUnsafeError(place, f"{setting} is {value}")


async def _read_mark(place: str, connection: Connection) -> _Mark:
    """Version 0 and no id where there is no ledger yet."""
    if not await connection.fetchval(_OBJECTS, SCHEMA):
        return _Mark(0, None)
    if not await connection.fetchval(_IS_MARKED, SCHEMA):
        raise LedgerUnrecognisedError(place, f'its schema "{SCHEMA}" is another program\'s')
    row: asyncpg.Record | None = await connection.fetchrow(_MARK)
    if row is None or row["application"] != APPLICATION:
        raise LedgerUnrecognisedError(place, f'its schema "{SCHEMA}" is another program\'s')
    newest = migrations()[-1].version
    if row["version"] > newest:
        raise LedgerTooNewError(place, found=row["version"], needed=newest)
    return _Mark(row["version"], row["ledger_id"])


async def _apply(place: str, connection: Connection, migration: Migration) -> int:
    """Take one step where it is still to be taken, and return the version found before it."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _INITIALISING)
        # Read under the lock: two commands may have been started together.
        mark = await _read_mark(place, connection)
        if mark.version < migration.version:
            if not await connection.fetchval(
                "SELECT count(*) FROM pg_namespace WHERE nspname = $1", SCHEMA
            ):
                await connection.execute(f"CREATE SCHEMA {SCHEMA}")
            await connection.execute(migration.script)
            if mark.ledger_id is None:
                await connection.execute(
                    "INSERT INTO ledger (application, version) VALUES ($1, $2)",
                    APPLICATION,
                    migration.version,
                )
            else:
                await connection.execute("UPDATE ledger SET version = $1", migration.version)
    return mark.version
