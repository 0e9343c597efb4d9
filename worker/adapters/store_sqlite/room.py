"""Whether the ledger may grow, and whether it is still the file we opened."""

import os
from pathlib import Path

LEAST_FREE = 200 * 1024 * 1024
"""Bytes: below this no new claim is written, so that what is under way can still be settled."""

LOOK_AGAIN = 10.0
"""Seconds for which one look at the disk counts."""


class Room:
    """Free space on the ledger's file system, for those who are not root.

    Remembers the file itself, because one that was deleted or replaced still takes writes that
    nobody will ever find again.
    """

    def __init__(self, path: Path, *, least_free: int) -> None:
        self._path = path
        self._least_free = least_free
        self._identity = _identity(path)

    def is_enough(self) -> bool:
        """Look at the disk; raises ``OSError`` when it cannot be seen."""
        space = os.statvfs(self._path.parent)
        return space.f_bavail * space.f_frsize >= self._least_free

    def is_same_file(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return _identity(self._path) == self._identity
        except FileNotFoundError:
            return False


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
