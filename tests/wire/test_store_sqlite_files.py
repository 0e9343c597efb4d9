"""Opening a ledger file: what is refused, with which sentence, and what lies on the disk."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fakes_clock import START, FakeClock
from tests.store_child import KEY
from tests.store_samples import (
    EMAIL,
    LINK,
    decided_record,
    number,
    sample_answer,
    sample_record,
    write,
)
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_errors import (
    LedgerError,
    LedgerKeyMissingError,
    LedgerLockedError,
    LedgerMissingError,
    LedgerOutdatedError,
    LedgerOwnerError,
    LedgerReadOnlyError,
    LedgerTooNewError,
    LedgerUnrecognisedError,
)
from worker.adapters.store_sqlite import Initialisation, SqliteStore, initialise
from worker.adapters.store_sqlite.schema import APPLICATION_ID, migrations
from worker.adapters.store_sqlite.store import connect_reader, connect_writer, open_copier
from worker.adapters.store_sqlite.writer import GATHERING_TURNS, Writer
from worker.calls import Succeeded, Try
from worker.model import Secret
from worker.records import AttemptEntry, Tombstone

NEWEST = migrations()[-1].version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a ledger, not created yet."""
    return tmp_path / "ledger.sqlite"


async def open_store(path: Path, *keys: Secret, busy_seconds: float = 5.0) -> SqliteStore:
    vault = Vault(keys or (KEY,))
    return await SqliteStore.open(
        path, vault=vault, clock=FakeClock(), least_free=0, busy_seconds=busy_seconds
    )


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def number_of(path: Path, query: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(query).fetchone()
    return int(found)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- creating and upgrading --------------------------------------------------------------------


async def test_a_new_ledger_is_private_and_usable(path: Path) -> None:
    assert initialise(path) == Initialisation(before=None, after=NEWEST)
    assert mode_of(path) == 0o600
    store = await open_store(path)
    await write(store, sample_record())
    assert await store.find(number(1)) == (sample_record(), None)
    side_files = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    assert [mode_of(file) for file in side_files] == [0o600, 0o600]
    await store.close()
    assert not any(file.exists() for file in side_files), "closing folds the log back"


async def test_a_writer_that_refuses_keeps_the_file_until_it_is_closed(path: Path) -> None:
    """A reader that lets go of the file last cannot fold the log back: a copy would lack it."""
    initialise(path)
    writer = Writer(
        connect_writer(path, 5.0), copier=open_copier(path, 5.0), flush_seconds=60.0, busy_tries=1
    )
    reader = connect_reader(path, 5.0)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO tombstones VALUES (x'01', 'dcp', 1)")

    await writer.submit(work)
    writer.refuse()
    for _ in range(2 * GATHERING_TURNS):
        await SystemClock().sleep(0)
    rows = await asyncio.to_thread(lambda: reader.execute("SELECT * FROM tombstones").fetchall())
    reader.close()
    await writer.close()
    assert len(rows) == 1
    assert not path.with_name(path.name + "-wal").exists()


async def test_initialising_a_current_ledger_changes_nothing(path: Path) -> None:
    initialise(path)
    store = await open_store(path)
    await write(store, sample_record())
    assert initialise(path) == Initialisation(before=NEWEST, after=NEWEST)
    assert await store.find(number(1)) == (sample_record(), None)
    await store.close()


async def test_an_older_ledger_is_refused_until_it_is_upgraded(path: Path) -> None:
    run_sql(path, f"PRAGMA application_id = {APPLICATION_ID}")
    with pytest.raises(LedgerOutdatedError, match="schema version 0") as caught:
        await open_store(path)
    assert "payment-worker ledger init" in caught.value.fix
    initialise(path)
    assert number_of(path, "PRAGMA user_version") == NEWEST
    store = await open_store(path)
    await write(store, sample_record())
    await store.close()


def test_two_commands_at_once_create_one_ledger(path: Path) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        ends = [end.after for end in pool.map(lambda _turn: initialise(path), range(8))]
    assert ends == [NEWEST] * 8
    assert number_of(path, "PRAGMA user_version") == NEWEST


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(path: Path) -> None:
    """The file has the mark of ours but a table in the way of the first migration."""
    run_sql(path, f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE tombstones (x)")
    with pytest.raises(LedgerError):
        initialise(path)
    assert number_of(path, "PRAGMA user_version") == 0
    assert number_of(path, "SELECT count(*) FROM sqlite_schema") == 1


def test_a_ledger_in_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerReadOnlyError):
        initialise(tmp_path / "missing" / "ledger.sqlite")


# --- refusing ----------------------------------------------------------------------------------


async def test_a_missing_ledger_is_never_created_by_opening(path: Path) -> None:
    for absent in (path, path / "inside"):
        with pytest.raises(LedgerMissingError, match="there is no ledger at") as caught:
            await open_store(absent)
        assert "ledger init" in caught.value.fix
    assert list(path.parent.iterdir()) == []


def make_text(path: Path) -> None:
    path.write_text("not a database, but long enough to be one\n" * 100)


def make_damaged(path: Path) -> None:
    initialise(path)
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)  # the header alone is left
    path.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.touch(),
        lambda path: path.mkdir(),
        make_text,
        make_damaged,
        lambda path: run_sql(path, "CREATE TABLE recipes (title)"),
        lambda path: run_sql(path, "PRAGMA application_id = 7", "PRAGMA user_version = 1"),
    ],
    ids=["empty", "directory", "text", "damaged", "other tables", "other program"],
)
async def test_what_is_no_ledger_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(LedgerUnrecognisedError):
        await open_store(path)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), make_text, lambda path: run_sql(path, "CREATE TABLE recipes (t)")],
    ids=["directory", "text", "other tables"],
)
def test_what_is_no_ledger_is_not_turned_into_one(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(LedgerUnrecognisedError):
        initialise(path)


async def test_a_newer_ledger_is_refused_and_left_alone(path: Path) -> None:
    initialise(path)
    run_sql(path, f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(LedgerTooNewError, match=f"schema version {NEWEST + 1}"):
        await open_store(path)
    with pytest.raises(LedgerTooNewError):
        initialise(path)


async def test_another_users_ledger_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initialise(path)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(LedgerOwnerError, match=f"belongs to OS user {user}") as caught:
        await open_store(path)
    assert (caught.value.owner, caught.value.user) == (user, user + 1)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o400, 0o700), (0o600, 0o500)])
def test_a_ledger_that_cannot_be_written_is_refused(file_mode: int, folder_mode: int) -> None:
    """In a process without root's rights, for root may write anywhere."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        initialise(path)
        user = 65534 if os.geteuid() == 0 else os.geteuid()
        for place, mode in ((path, file_mode), (path.parent, folder_mode)):
            os.chown(place, user, -1)
            place.chmod(mode)
        ended = subprocess.run(  # noqa: S603 (our own module, our own arguments)
            [sys.executable, "-m", "tests.store_child", "open_as_other_rights", path, str(user)],
            capture_output=True,
            check=True,
            timeout=30,
            text=True,
        )
        path.parent.chmod(0o700)
    assert "LedgerReadOnlyError" in ended.stdout
    assert "cannot be written by this process" in ended.stdout


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_locked_ledger_is_refused_after_a_while(path: Path, lock: str) -> None:
    initialise(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute(lock)
        with pytest.raises(LedgerLockedError, match="locked by another program"):
            await open_store(path, busy_seconds=0.05)
    await (await open_store(path)).close()


async def test_a_ledger_open_to_others_is_made_private(path: Path) -> None:
    """Kubernetes opens the files of a volume to its group at each start."""
    initialise(path)
    first = await open_store(path)
    await write(first, sample_record())
    files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
    for file in files:
        file.chmod(0o664)
    second = await open_store(path)
    assert [mode_of(file) for file in files] == [0o600] * 3
    await first.close()
    await second.close()


async def test_every_refusal_is_one_sentence_with_its_fix(path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        await open_store(path)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


# --- durability --------------------------------------------------------------------------------


async def test_every_commit_waits_for_the_disk(path: Path) -> None:
    connections: list[sqlite3.Connection] = []

    def watched(path: Path, busy_seconds: float) -> sqlite3.Connection:
        connections.append(connect_writer(path, busy_seconds))
        return connections[0]

    initialise(path)
    run_sql(path, "PRAGMA journal_mode = DELETE")  # as a restored copy may be
    store = await SqliteStore.open(
        path, vault=Vault([KEY]), clock=FakeClock(), least_free=0, connect=watched
    )
    (journal,) = connections[0].execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connections[0].execute("PRAGMA synchronous").fetchone()
    assert (journal, synchronous) == ("wal", 2)
    await store.close()


# --- encryption --------------------------------------------------------------------------------


async def test_neither_link_nor_email_lies_on_the_disk(path: Path) -> None:
    """Looked for in the database, the log and the shared memory, before and after closing."""
    initialise(path)
    store = await open_store(path)
    call = Try(started_at=START, ended_at=START, outcome=Succeeded(link=LINK, http_status=200))
    attempt = AttemptEntry(
        operation_id=number(1),
        token=number(2),
        number=1,
        reference=None,
        tries=(call,),
        ended_at=START,
    )
    await write(store, replace(sample_record(), email=EMAIL))
    await write(
        store,
        replace(decided_record(), link=LINK, email=EMAIL),
        answers=(sample_answer(link=LINK),),
        attempts=(attempt,),
    )
    found = await store.find(number(1))
    assert found is not None
    assert found[0].link == LINK

    def everything() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))

    while_open = everything()
    await store.close()
    for content in (while_open, everything()):
        assert b"message-1" in content, "the search itself works"
        for secret in (LINK, EMAIL):
            assert secret.reveal().encode() not in content
        assert b"planted" not in content


async def test_the_key_is_noted_with_whatever_it_sealed(path: Path) -> None:
    """Also where a backup was put back under a running worker that had noted it before."""
    initialise(path)
    store = await open_store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def noted() -> list[str]:
            return [key_id for (key_id,) in other.execute("SELECT key_id FROM encryption_keys")]

        await write(store, sample_record(1))
        assert noted() == [], "nothing is sealed yet"
        await asyncio.gather(
            *(write(store, replace(sample_record(n), link=LINK)) for n in range(2, 9))
        )
        assert noted() == list(Vault([KEY]).key_ids)
        other.execute("DELETE FROM encryption_keys")
        await write(store, sample_record(9))
        assert noted() == []
        await write(store, replace(sample_record(10), email=EMAIL))
        assert noted() == list(Vault([KEY]).key_ids)
    await store.close()


async def test_a_key_the_ledger_needs_must_be_supplied(path: Path) -> None:
    initialise(path)
    store = await open_store(path)
    await write(store, replace(sample_record(), link=LINK))
    await store.close()
    other = generate_key()
    with pytest.raises(LedgerKeyMissingError) as caught:
        await open_store(path, other)
    assert caught.value.key_ids == Vault([KEY]).key_ids
    assert KEY.reveal() not in f"{caught.value} {caught.value.fix}"
    store = await open_store(path, other, KEY)
    found = await store.find(number(1))
    assert found is not None
    assert found[0].link == LINK
    await store.close()


async def test_a_key_that_sealed_nothing_may_go(path: Path) -> None:
    initialise(path)
    store = await open_store(path, generate_key())
    await write(store, sample_record())
    await store.close()
    await (await open_store(path, KEY)).close()


async def test_a_change_that_is_undone_names_no_key(path: Path) -> None:
    initialise(path)
    store = await open_store(path, generate_key())
    with_link = replace(sample_record(version=3), link=LINK)
    end = (await asyncio.gather(write(store, with_link), return_exceptions=True))[0]
    assert end is not None
    await store.close()
    await (await open_store(path, KEY)).close()


# --- housekeeping ------------------------------------------------------------------------------


async def test_expired_tombstones_are_purged_when_one_is_written(path: Path) -> None:
    initialise(path)
    clock = FakeClock()
    store = await SqliteStore.open(path, vault=Vault([KEY]), clock=clock, least_free=0)
    for n in range(3):
        until = clock.now() + timedelta(hours=24)
        tombstone = Tombstone(payment_id=number(n), origin=sample_record().origin, until=until)
        await write(store, tombstones=(tombstone,))
        clock.advance(13 * 3600)
    await store.close()
    assert number_of(path, "SELECT count(*) FROM tombstones") == 2
