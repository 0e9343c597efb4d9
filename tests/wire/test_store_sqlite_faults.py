"""A full disk, a lock, a lost file, a failing disk: what the ledger does about each."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fakes_clock import FakeClock
from tests.store_child import KEY
from tests.store_samples import (
    decided_record,
    event_number,
    number,
    sample_answer,
    sample_record,
    until_true,
    write,
)
from worker.adapters.encryption import Vault
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.adapters.store_sqlite.room import LEAST_FREE, LOOK_AGAIN
from worker.adapters.store_sqlite.store import connect_writer
from worker.ports import StoreUnavailableError


class WatchedLedger:
    """A store and the very connection it writes with, so that a test can narrow its disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self.clock = FakeClock()
        self.connection: sqlite3.Connection | None = None
        initialise(self.path)

    def connect(self, path: Path, busy_seconds: float) -> sqlite3.Connection:
        self.connection = connect_writer(path, busy_seconds)
        return self.connection

    async def open(self, *, least_free: int = 0, busy_tries: int = 3) -> SqliteStore:
        return await SqliteStore.open(
            self.path,
            vault=Vault([KEY]),
            clock=self.clock,
            least_free=least_free,
            flush_seconds=0.02,
            busy_seconds=0.02,
            busy_tries=busy_tries,
            connect=self.connect,
        )

    def limit_pages(self, pages: int) -> None:
        """Let the file hold this many pages more, and SQLite report a full disk beyond."""
        assert self.connection is not None
        (used,) = self.connection.execute("PRAGMA page_count").fetchone()
        self.connection.execute(f"PRAGMA max_page_count = {used + pages}")


@pytest.fixture
def ledger(tmp_path: Path) -> WatchedLedger:
    return WatchedLedger(tmp_path)


@pytest_asyncio.fixture
async def store(ledger: WatchedLedger) -> AsyncIterator[SqliteStore]:
    opened = await ledger.open()
    yield opened
    await opened.close()


# --- a full disk -------------------------------------------------------------------------------


async def test_a_full_disk_refuses_the_batch_and_nothing_else(
    ledger: WatchedLedger, store: SqliteStore
) -> None:
    await write(store, sample_record(0))
    ledger.limit_pages(2)
    ends = await asyncio.gather(
        *(write(store, sample_record(n)) for n in range(1, 200)), return_exceptions=True
    )
    refused = [end for end in ends if isinstance(end, StoreUnavailableError)]
    assert refused, "the limit was reached"
    assert "disk is full" in str(refused[0])
    for n, end in enumerate(ends, start=1):
        found = await store.find(number(n))
        assert (found is None) == isinstance(end, StoreUnavailableError)
    assert await store.find(number(0)) == (sample_record(0), None)
    assert not store.failed.is_set()

    ledger.limit_pages(1000)
    missing = [n for n, end in enumerate(ends, start=1) if end is not None]
    await asyncio.gather(*(write(store, sample_record(n)) for n in missing))
    assert await store.find(number(missing[0])) == (sample_record(missing[0]), None)


async def test_marks_outlive_a_refused_batch(ledger: WatchedLedger, store: SqliteStore) -> None:
    await write(store, sample_record(0))
    await write(store, decided_record(0), answers=(sample_answer(0),))
    ledger.limit_pages(0)
    store.mark_confirmed(event_number(0), event=True, letter=False)
    ends = await asyncio.gather(
        *(write(store, sample_record(n)) for n in range(1, 100)), return_exceptions=True
    )
    assert any(isinstance(end, StoreUnavailableError) for end in ends)

    async def is_marked() -> bool:
        found = await store.find(number(0))
        return found is not None and found[1] is not None and found[1].event_confirmed

    await until_true(is_marked)


async def test_there_is_no_room_below_the_limit(ledger: WatchedLedger) -> None:
    plenty = await ledger.open(least_free=1)
    assert await plenty.has_room()
    await plenty.close()
    starved = await ledger.open(least_free=2**62)
    assert not await starved.has_room()
    await write(starved, sample_record())  # what is under way is still settled
    await starved.close()
    assert LEAST_FREE == 200 * 1024 * 1024


async def test_the_disk_is_looked_at_every_ten_seconds(
    ledger: WatchedLedger, store: SqliteStore
) -> None:
    assert await store.has_room()
    folder = ledger.path.parent
    away = folder.with_name("away")
    folder.rename(away)
    ledger.clock.advance(LOOK_AGAIN - 0.001)
    assert await store.has_room(), "the last look still counts"
    ledger.clock.advance(0.001)
    with pytest.raises(StoreUnavailableError, match="disk cannot be seen"):
        await store.has_room()
    away.rename(folder)
    assert await store.has_room()


# --- a lock ------------------------------------------------------------------------------------


async def test_a_lock_held_too_long_is_an_error_and_passes(
    ledger: WatchedLedger, store: SqliteStore
) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked by another program"):
            await write(store, sample_record())
        with pytest.raises(StoreUnavailableError, match="locked by another program"):
            await store.ping()
        assert await store.find(number(1)) is None, "reading goes on"
        other.execute("ROLLBACK")
    assert not store.failed.is_set()
    await write(store, sample_record())
    await store.ping()


async def test_a_short_lock_is_waited_for(ledger: WatchedLedger, store: SqliteStore) -> None:
    other = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(write(store, sample_record()))
    release = threading.Timer(0.03, other.execute, ["ROLLBACK"])
    release.start()
    await writing
    release.join()
    other.close()
    assert await store.find(number(1)) == (sample_record(), None)


async def test_a_claim_withdrawn_while_it_waits_for_a_lock_is_not_made(
    ledger: WatchedLedger,
) -> None:
    """Its worker has stopped; made later, it would belong to nobody."""
    store = await ledger.open(busy_tries=1000)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        withdrawn = asyncio.ensure_future(write(store, sample_record(1)))
        kept = asyncio.ensure_future(write(store, sample_record(2)))
        await asyncio.wait({withdrawn, kept}, timeout=0.05)
        withdrawn.cancel()
        await asyncio.wait({withdrawn})
        other.execute("ROLLBACK")
    await kept
    assert await store.find(number(1)) is None
    await store.close()


async def test_a_ledger_that_is_closed_waits_for_a_lock_no_second_time(
    ledger: WatchedLedger,
) -> None:
    store = await ledger.open(busy_tries=100_000)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(write(store, sample_record()))
        await asyncio.wait({writing}, timeout=0.05)
        await store.close()
        with pytest.raises(StoreUnavailableError, match="locked by another program"):
            await writing


# --- a lost file -------------------------------------------------------------------------------


async def test_a_deleted_or_replaced_ledger_is_noticed(
    ledger: WatchedLedger, store: SqliteStore
) -> None:
    """SQLite would go on writing into a file that nobody can find any more."""
    aside = ledger.path.with_name("aside.sqlite")
    ledger.path.rename(aside)
    with pytest.raises(StoreUnavailableError, match="deleted or replaced"):
        await store.ping()
    ledger.path.write_bytes(aside.read_bytes())
    with pytest.raises(StoreUnavailableError, match="deleted or replaced"):
        await store.ping()
    aside.replace(ledger.path)
    await store.ping()


# --- a failing disk ----------------------------------------------------------------------------


def test_an_io_error_at_commit_ends_the_store(ledger: WatchedLedger) -> None:
    """Nobody knows what reached the disk, so nothing is believed any more by this process."""
    ended = subprocess.run(  # noqa: S603 (our own module, our own arguments)
        [sys.executable, "-m", "tests.store_child", "fail_at_commit", ledger.path],
        capture_output=True,
        check=False,
        timeout=30,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == ["StoreUnavailableError"] * 5


async def test_another_process_goes_on_where_one_failed(ledger: WatchedLedger) -> None:
    test_an_io_error_at_commit_ends_the_store(ledger)
    store = await ledger.open()
    assert await store.find(number(1)) == (sample_record(1), None)
    assert await store.find(number(2)) is None
    await write(store, sample_record(2))
    await store.close()


async def test_a_store_whose_loop_has_ended_ends_too(ledger: WatchedLedger) -> None:
    """A process that forgot to close, or crashed out of its loop, must not hang or complain."""

    def forget() -> SqliteStore:
        async def scenario() -> SqliteStore:
            store = await ledger.open()
            await write(store, sample_record(7))
            await asyncio.wait({asyncio.ensure_future(write(store, sample_record(8)))}, timeout=0)
            return store

        return asyncio.run(scenario())

    forgotten = await asyncio.to_thread(forget)
    store = await ledger.open()

    async def is_written() -> bool:
        return await store.find(number(7)) is not None

    await until_true(is_written)
    await store.close()
    await forgotten.close()
