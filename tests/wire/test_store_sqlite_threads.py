"""Where the SQLite ledger's statements run: what may wait never holds the event loop."""

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fakes_clock import START, FakeClock
from tests.store_child import KEY
from tests.store_samples import sample_record, write
from worker.adapters.encryption import Vault
from worker.adapters.store_errors import ConcurrentUpdateError
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.adapters.store_sqlite.store import connect_writer
from worker.ports import StoreUnavailableError, View
from worker.records import Change, Needs

LOOP, WRITER = "MainThread", "ledger-writer"


class TracedLedger:
    """A store, and which thread ran which statement."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self.ran: list[tuple[str, str]] = []
        initialise(self.path)

    def connect(self, path: Path, busy_seconds: float) -> sqlite3.Connection:
        connection = connect_writer(path, busy_seconds)
        connection.set_trace_callback(self.note)
        return connection

    def note(self, statement: str) -> None:
        self.ran.append((threading.current_thread().name, statement.split(maxsplit=1)[0]))

    async def open(self) -> SqliteStore:
        return await SqliteStore.open(
            self.path,
            vault=Vault([KEY]),
            clock=FakeClock(),
            least_free=0,
            busy_seconds=0.02,
            busy_tries=2,
            connect=self.connect,
        )


@pytest.fixture
def ledger(tmp_path: Path) -> TracedLedger:
    return TracedLedger(tmp_path)


@pytest_asyncio.fixture
async def store(ledger: TracedLedger) -> AsyncIterator[SqliteStore]:
    opened = await ledger.open()
    ledger.ran.clear()
    yield opened
    await opened.close()


async def test_a_payment_is_written_in_the_loop_and_committed_in_the_thread(
    ledger: TracedLedger, store: SqliteStore
) -> None:
    """Beside a busy loop every statement of another thread waits for the interpreter."""
    await write(store, sample_record())
    assert ledger.ran[0] == (LOOP, "BEGIN")
    assert (LOOP, "INSERT") in ledger.ran
    assert [each for each in ledger.ran if each[0] == WRITER] == [(WRITER, "COMMIT")]


async def test_a_search_of_the_ledger_never_runs_in_the_loop(
    ledger: TracedLedger, store: SqliteStore
) -> None:
    taken = await store.take_unpublished(
        untouched_since=START - timedelta(minutes=2), now=START, limit=100
    )
    assert not taken
    assert {thread for thread, _ in ledger.ran} == {WRITER}


async def test_another_programs_lock_is_waited_for_in_the_thread(
    ledger: TracedLedger, store: SqliteStore
) -> None:
    """The loop asks once and does not wait; SQLite's own waiting is the thread's."""
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked by another program"):
            await write(store, sample_record())
        other.execute("ROLLBACK")
    begun = [thread for thread, verb in ledger.ran if verb == "BEGIN"]
    assert begun == [LOOP, WRITER, WRITER]


async def test_a_change_that_fails_half_way_is_run_again_in_the_thread(
    ledger: TracedLedger, store: SqliteStore
) -> None:
    """What it wrote is undone; the others of its batch are written all the same."""
    await write(store, sample_record(1))

    def collide(_view: View) -> Change[None]:
        return Change(result=None, records=(sample_record(2), sample_record(1)))

    ledger.ran.clear()
    with pytest.raises(ConcurrentUpdateError, match="version 0"):
        await store.transact(Needs((sample_record(1).operation_id,)), collide)
    assert await store.find(sample_record(2).operation_id) is None
    assert (LOOP, "ROLLBACK") in ledger.ran
    assert (WRITER, "SAVEPOINT") in ledger.ran
    assert ledger.ran[-1] == (WRITER, "COMMIT")
