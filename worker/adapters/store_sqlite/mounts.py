"""On which kind of file system a path lies, as Linux tells it.

A write-ahead log is shared memory: processes on two hosts that open one file over a network each
see a log of their own, and a payment claimed on one host is claimed again on the other
(sqlite.org/wal.html, "does not work over a network filesystem").
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
_NETWORKED = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ncpfs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs"),
    }
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNT_POINT = 4


def networked(directory: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network file system a directory lies on; ``None``: on none that is known.

    ``None`` as well where the kernel does not tell: not every system has this file.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    kind = file_system_of(table, PurePosixPath(directory.resolve()))
    return kind if kind in _NETWORKED else None


def file_system_of(table: str, path: PurePosixPath) -> str | None:
    """The type of the file system a path lies on, by a table of mounts (proc(5)): pure.

    The deepest mount point counts, and of several in one place the last, which hides the others.
    """
    found: tuple[int, str] | None = None
    for point, kind in _mounts_in(table):
        depth = len(point.parts)
        if path.is_relative_to(point) and (found is None or depth >= found[0]):
            found = depth, kind
    return None if found is None else found[1]


def _mounts_in(table: str) -> Iterator[tuple[PurePosixPath, str]]:
    for line in table.splitlines():
        place, separator, source = line.partition(" - ")
        words, kinds = place.split(" "), source.split(" ")
        if separator and len(words) > _MOUNT_POINT:
            point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[_MOUNT_POINT])
            yield PurePosixPath(point), kinds[0]
