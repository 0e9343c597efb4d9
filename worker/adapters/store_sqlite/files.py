"""The ledger's files: whose they are, who may read them, and connections to them."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.adapters.store_errors import (
    LedgerLockedError,
    LedgerMissingError,
    LedgerOwnerError,
    LedgerReadOnlyError,
    LedgerUnrecognisedError,
    LedgerUnsafeError,
    LedgerUnusableError,
    SqliteTooOldError,
)
from worker.adapters.store_sqlite.mounts import MOUNTS, networked

PRIVATE = 0o600
LARGEST_LOG = 32 * 2**20
"""Bytes of the log's file that are kept when it is begun anew: half as much again as is usual."""
_SIDE_FILES = ("", "-wal", "-shm")
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables; RETURNING came with 3.35


def check_files(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Refuse a file we must not use and make a usable one private.

    ``mounts`` is the kernel's table of what is mounted where. Raises ``LedgerError``.
    Permissions are tightened rather than refused, because a volume mounted for a group
    (Kubernetes ``fsGroup``) opens them again at each start.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        needed = ".".join(map(str, _OLDEST_SQLITE))
        raise SqliteTooOldError(found=sqlite3.sqlite_version, needed=needed)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise LedgerMissingError(path) from None
    except PermissionError:
        raise LedgerReadOnlyError(path) from None
    if not stat.S_ISREG(found.st_mode):
        raise LedgerUnrecognisedError(path, "it is not a regular file")
    if found.st_uid != os.geteuid():
        raise LedgerOwnerError(path, owner=found.st_uid, user=os.geteuid())
    for place in (path, path.parent):
        if not os.access(place, os.W_OK, effective_ids=True):
            raise LedgerReadOnlyError(place)
    if kind := networked(path.parent, mounts):
        raise LedgerUnsafeError(path, f"it lies on a network file system ({kind})")
    _make_private(path)


def connect(path: Path, *, busy_seconds: float, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing file without implicit transactions; never creates one."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,  # opened by one thread, then used by one other
    )
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # see ``checkpoints``
        connection.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
    return connection


def size_of_log(path: Path) -> int:
    """Bytes of the log's file beside the ledger, older pages included; 0 where nobody can look."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        return 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says about a file it cannot use into a ``LedgerError``."""
    try:
        yield
    except sqlite3.Error as error:
        match primary_code(error):
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                raise LedgerUnrecognisedError(path, str(error)) from error
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise LedgerLockedError(path) from error
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                raise LedgerReadOnlyError(path) from error
            case _:
                raise LedgerUnusableError(path, str(error)) from error


def primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code, or ``None`` where the driver raised by itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the upper bits say more about the same fault


def _make_private(path: Path) -> None:
    for suffix in _SIDE_FILES:
        file = path.with_name(path.name + suffix)
        try:
            if stat.S_IMODE(file.stat().st_mode) & ~PRIVATE:
                file.chmod(PRIVATE)
        except FileNotFoundError:  # side files come and go with their last user
            continue
