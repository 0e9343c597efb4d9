"""The ledger's schema under a checked version: numbered SQL files, one transaction each."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from worker.adapters.encryption import Vault
from worker.adapters.store_errors import (
    LedgerKeyMissingError,
    LedgerOutdatedError,
    LedgerReadOnlyError,
    LedgerTooNewError,
    LedgerUnrecognisedError,
    LedgerUnsafeError,
)
from worker.adapters.store_migrations import Initialisation, Migration, migrations_of
from worker.adapters.store_sqlite.files import (
    PRIVATE,
    check_files,
    connect,
    primary_code,
    translated,
)

APPLICATION_ID = 0x50415957  # "PAYW": tells our files from other SQLite databases
_SYNCHRONOUS_FULL = 2


def migrations() -> tuple[Migration, ...]:
    """All steps of a SQLite ledger, in order."""
    return migrations_of("worker.adapters.store_sqlite")


def initialise(path: Path, *, busy_seconds: float = 5.0) -> Initialisation:
    """Create the ledger (mode 0600, in an existing directory) or upgrade an older one.

    Does nothing to a current one. Raises ``LedgerError``.
    """
    created = _create(path)
    check_files(path)
    with translated(path), closing(connect(path, busy_seconds=busy_seconds)) as connection:
        before = _version(path, connection, fresh_allowed=True)
        make_durable(path, connection)
        for migration in migrations():
            _apply(connection, migration)
        after = _version(path, connection)
    return Initialisation(before=None if created or before == 0 else before, after=after)


def prepare(path: Path, connection: sqlite3.Connection, vault: Vault) -> None:
    """Check a connection's ledger before first use, and prove that it can be written.

    Raises ``LedgerError``: not ours, another schema version, no write-ahead log, locked, or
    sealed under a key that is not in the vault.
    """
    with translated(path):
        newest = migrations()[-1].version
        found = _version(path, connection)
        if found < newest:
            raise LedgerOutdatedError(path, found=found, needed=newest)
        make_durable(path, connection)
        connection.execute("BEGIN IMMEDIATE")
        named = connection.execute("SELECT key_id FROM encryption_keys ORDER BY key_id")
        missing = tuple(key_id for (key_id,) in named if key_id not in vault.key_ids)
        connection.execute("ROLLBACK")
    if missing:
        raise LedgerKeyMissingError(path, missing)


def _create(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
    except FileExistsError:
        return False
    except OSError as error:  # no such directory, not writable, read-only file system
        raise LedgerReadOnlyError(path.parent) from error
    return True


def _version(path: Path, connection: sqlite3.Connection, *, fresh_allowed: bool = False) -> int:
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    version = _number(connection, "PRAGMA user_version")
    application = _number(connection, "PRAGMA application_id")
    if tables == version == application == 0:
        if fresh_allowed:
            return 0
        raise LedgerUnrecognisedError(path, "it is empty")
    if application != APPLICATION_ID:
        raise LedgerUnrecognisedError(path, "it is another program's database")
    newest = migrations()[-1].version
    if version > newest:
        raise LedgerTooNewError(path, found=version, needed=newest)
    return version


def make_durable(path: Path, connection: sqlite3.Connection) -> None:
    """Write-ahead log with an fsync per commit, read back because SQLite may decline quietly.

    Switched on at every opening, since a restored copy may have lost it.
    """
    try:
        mode = _journal_mode(connection)
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
        # Of two programs that switch it on together SQLite refuses one at once, whatever its busy
        # time-out, because each would wait for the other. A write lock waits as it should.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        mode = _journal_mode(connection)
    if mode != "wal":
        raise LedgerUnsafeError(path, f"its journal mode is {mode}")
    connection.execute("PRAGMA synchronous = FULL")
    if _number(connection, "PRAGMA synchronous") != _SYNCHRONOUS_FULL:
        raise LedgerUnsafeError(path, "synchronous is not FULL")
    # What is erased leaves no bytes behind; some builds do so anyway, others have to be told.
    connection.execute("PRAGMA secure_delete = ON")


def _journal_mode(connection: sqlite3.Connection) -> str:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    return str(mode)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: two commands may have been started together.
        if _number(connection, "PRAGMA user_version") < migration.version:
            for statement in _statements(migration.script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {migration.version}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _number(connection: sqlite3.Connection, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    return int(number)
