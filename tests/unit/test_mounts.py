"""Which file system a ledger lies on: a table of the kernel, read as a text."""

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from worker.adapters.store_errors import LedgerUnsafeError
from worker.adapters.store_sqlite import initialise
from worker.adapters.store_sqlite.files import check_files
from worker.adapters.store_sqlite.mounts import file_system_of, networked

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /srv rw,relatime - nfs4 nas:/srv rw,vers=4.2
41 40 0:41 / /srv/local rw,relatime shared:7 master:3 - xfs /dev/vdb rw
42 27 0:42 / /media/net\040work rw - cifs //nas/share rw
43 27 0:43 / /twice rw - ext4 /dev/vdc rw
44 43 0:44 / /twice rw - nfs nas:/twice rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/payment-worker", "ext4"),
        ("/srv/ledger", "nfs4"),
        ("/srvother", "ext4"),
        ("/srv/local/deep", "xfs"),
        ("/media/net work", "cifs"),
        ("/twice", "nfs"),
    ],
)
def test_the_deepest_and_last_mount_decides(path: str, kind: str) -> None:
    assert file_system_of(TABLE, PurePosixPath(path)) == kind


def test_an_empty_table_tells_nothing() -> None:
    assert file_system_of("", PurePosixPath("/srv")) is None


@pytest.mark.parametrize(
    ("kind", "expected"), [("nfs4", "nfs4"), ("cifs", "cifs"), ("ext4", None), ("overlay", None)]
)
def test_only_a_file_system_of_several_hosts_is_named(
    tmp_path: Path, kind: str, expected: str | None
) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"27 1 0:1 / / rw - {kind} somewhere rw\n", encoding="utf-8")
    assert networked(tmp_path, table) == expected
    assert networked(tmp_path, tmp_path / "none") is None


def test_a_ledger_on_a_network_file_system_is_refused_with_its_fix(tmp_path: Path) -> None:
    """Two hosts would each see a write-ahead log of their own, and claim a payment twice."""
    ledger = tmp_path / "ledger.sqlite3"
    initialise(ledger)
    table = tmp_path / "mounts"
    table.write_text("27 1 0:1 / / rw - nfs4 nas:/ rw\n", encoding="utf-8")
    with pytest.raises(LedgerUnsafeError, match=r"network file system \(nfs4\)") as refused:
        check_files(ledger, mounts=table)
    assert "local file system" in refused.value.fix
    check_files(ledger)
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
