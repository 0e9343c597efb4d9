"""The log is copied into the file beside the commits, and begins anew; nothing waits or is lost."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from typing_extensions import override

from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.store_sqlite import initialise
from worker.adapters.store_sqlite.checkpoints import Checkpoints, Log, LogCopier
from worker.adapters.store_sqlite.files import LARGEST_LOG, size_of_log
from worker.adapters.store_sqlite.store import connect_reader, connect_writer, open_copier
from worker.adapters.store_sqlite.writer import GATHERING_TURNS, Writer
from worker.ports import StoreUnavailableError

ROWS = 200
"""Rows from one checkpoint to the next."""
PIECE = 20


class GatedConnection(sqlite3.Connection):
    """A connection that copies when its gate is open, and fails at the passes of ``faults``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, isolation_level=None, check_same_thread=False)
        self.gate = threading.Event()
        self.asked = 0
        self.faults: dict[int, sqlite3.Error] = {}

    @override
    def execute(self, statement: str, values: Sequence[object] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        if "wal_checkpoint" not in statement:
            return super().execute(statement, values)
        self.asked += 1
        if not self.gate.wait(20):
            raise TimeoutError
        if self.asked in self.faults:
            raise self.faults[self.asked]
        return super().execute(statement, values)


class Ledger:
    """A writer on a file of its own, that takes rows a piece at a time."""

    def __init__(self, path: Path, *, rows_between: int = ROWS) -> None:
        initialise(path)
        self.path = path
        self.written = 0
        self.copying = GatedConnection(path)
        self.writer = Writer(
            connect_writer(path, 5.0),
            copier=LogCopier(path, copying=self.copying, pinning=connect_reader(path, 5.0)),
            flush_seconds=60.0,
            busy_tries=1,
            rows_between=rows_between,
        )

    async def write(self, rows: int) -> None:
        """Write so many rows, in pieces, each durable before the next."""
        for _ in range(rows // PIECE):
            await self.writer.submit(partial(_insert, self.written), is_brief=True)
            self.written += PIECE

    async def write_until(self, condition: Callable[[], object]) -> None:
        """Write, and go on until the condition holds."""
        async with asyncio.timeout(20):
            await self.write(PIECE)
            while not condition():
                await self.write(PIECE)

    def beginnings(self) -> int:
        """How often the log has begun anew; its header counts."""
        with self.path.with_name(f"{self.path.name}-wal").open("rb") as log:
            return int.from_bytes(log.read(16)[12:], "big")

    def rows(self) -> int:
        """How many rows another connection sees."""
        with closing(connect_reader(self.path, 5.0)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM tombstones").fetchone()
        return int(count)


def _insert(first: int, connection: sqlite3.Connection) -> None:
    rows = [(number.to_bytes(16, "big"), "dcp", number) for number in range(first, first + PIECE)]
    connection.executemany("INSERT INTO tombstones VALUES (?, ?, ?)", rows)


def _fault(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as the disk says")
    error.sqlite_errorcode = code
    return error


async def _turns() -> None:
    """Let the loop come round for longer than the writer gathers."""
    for _ in range(2 * GATHERING_TURNS):
        await SystemClock().sleep(0)


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in the middle of a read."""
    with closing(connect_reader(path, 5.0)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM tombstones").fetchone()
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger that nobody has opened."""
    initialise(tmp_path / "ledger.sqlite")
    return tmp_path / "ledger.sqlite"


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.copying.gate.set()
    await opened.writer.close()


async def test_the_log_begins_anew_while_payments_go_on(ledger: Ledger) -> None:
    """Left alone it would grow with every payment for as long as the worker is busy."""
    ledger.copying.gate.set()
    await ledger.write_until(lambda: ledger.beginnings() >= 5)
    assert ledger.written >= 5 * ROWS
    assert ledger.rows() == ledger.written


async def test_nothing_is_copied_within_a_commit(tmp_path: Path) -> None:
    """The writer's own connection would do it by itself, and begin anew after a thousand pages."""
    ledger = Ledger(tmp_path / "ledger.sqlite", rows_between=1_000_000)
    await ledger.write(6_000)
    size = size_of_log(ledger.path)
    await ledger.writer.close()
    assert size > 1_200 * 4096


async def test_payments_do_not_wait_for_what_is_being_copied(ledger: Ledger) -> None:
    await ledger.write(ROWS)
    await until(lambda: ledger.copying.asked)
    await ledger.write(10 * ROWS)
    assert ledger.copying.asked == 1, "one at a time"
    ledger.copying.gate.set()
    await ledger.write_until(ledger.beginnings)


async def test_nothing_is_copied_before_there_is_enough(ledger: Ledger) -> None:
    await ledger.write(ROWS - PIECE)
    assert ledger.copying.asked == 0
    await ledger.write(PIECE)
    await until(lambda: ledger.copying.asked)


async def test_closing_again_waits_as_well(tmp_path: Path) -> None:
    """Whoever closed first may have been cancelled meanwhile."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.write(ROWS)
    await until(lambda: ledger.copying.asked)
    first = asyncio.create_task(ledger.writer.close())
    await SystemClock().sleep(0)
    first.cancel()
    await asyncio.wait({first})
    second = asyncio.create_task(ledger.writer.close())
    await _turns()
    assert not second.done()
    ledger.copying.gate.set()
    await second
    assert size_of_log(ledger.path) == 0
    assert ledger.rows() == ledger.written


async def test_closing_waits_for_what_is_being_copied(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.write(ROWS)
    await until(lambda: ledger.copying.asked)
    closing_writer = asyncio.create_task(ledger.writer.close())
    await _turns()
    assert not closing_writer.done()
    ledger.copying.gate.set()
    await closing_writer
    assert size_of_log(ledger.path) == 0
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        ledger.copying.execute("SELECT 1")
    await ledger.writer.close()  # again
    assert ledger.rows() == ledger.written


@pytest.mark.parametrize("passes", [(1, 2, 3), (2,)], ids=["beside payments", "the last"])
async def test_a_full_disk_is_tried_again(ledger: Ledger, passes: Sequence[int]) -> None:
    ledger.copying.faults = {each: _fault(sqlite3.SQLITE_FULL) for each in passes}
    ledger.copying.gate.set()
    await ledger.write_until(lambda: ledger.copying.asked >= max(passes))
    await ledger.write_until(ledger.beginnings)
    assert not ledger.writer.failed.is_set()
    assert ledger.rows() == ledger.written


async def test_a_disk_that_is_full_at_a_commit_is_told_at_once(ledger: Ledger) -> None:
    """Copying needs little room, and a log that is begun anew needs none."""
    await ledger.write(PIECE)

    def fail(_: sqlite3.Connection) -> None:
        raise _fault(sqlite3.SQLITE_FULL)

    with pytest.raises(StoreUnavailableError, match="full"):
        await ledger.writer.submit(fail, is_brief=True)
    await until(lambda: ledger.copying.asked)
    ledger.copying.gate.set()
    await ledger.write(PIECE)


@pytest.mark.parametrize("pass_", [1, 2], ids=["beside payments", "the last"])
async def test_a_checkpoint_the_disk_refused_ends_the_writer(ledger: Ledger, pass_: int) -> None:
    """What the file holds is not known then; the log still holds all of it for the next start."""
    ledger.copying.faults = {pass_: _fault(sqlite3.SQLITE_IOERR)}
    ledger.copying.gate.set()
    await ledger.write(ROWS)  # so few pages that the first pass leaves little
    async with asyncio.timeout(10):
        await ledger.writer.failed.wait()
    assert ledger.copying.asked == pass_
    with pytest.raises(StoreUnavailableError, match="must end"):
        await ledger.write(PIECE)
    assert ledger.rows() == ledger.written


async def test_a_reader_that_stays_keeps_the_log_and_harms_nothing(ledger: Ledger) -> None:
    ledger.copying.gate.set()
    await ledger.write(ROWS)
    with _reader(ledger.path) as reader:
        (seen,) = reader.execute("SELECT count(*) FROM tombstones").fetchone()
        before = ledger.beginnings()
        await ledger.write_until(lambda: ledger.copying.asked > 10)
        assert reader.execute("SELECT count(*) FROM tombstones").fetchone() == (seen,)
        assert ledger.beginnings() <= before + 1, "only where the reader reads the file alone"
    await ledger.write_until(lambda: ledger.beginnings() > before + 1)
    assert not ledger.writer.failed.is_set()
    assert ledger.rows() == ledger.written


async def test_another_process_that_copies_is_left_to_it(ledger: Ledger) -> None:
    """It holds the lock for checkpoints: SQLite says so in the answer, not by an error."""
    with closing(connect_writer(ledger.path, 30.0)) as other:
        with _reader(ledger.path):
            await ledger.write(ROWS - PIECE)
            truncate = partial(other.execute, "PRAGMA wal_checkpoint(TRUNCATE)")
            copying = asyncio.create_task(asyncio.to_thread(truncate))  # waits for the reader
            with closing(connect_writer(ledger.path, 5.0)) as probe:
                ask = "PRAGMA wal_checkpoint(PASSIVE)"
                await until(lambda: probe.execute(ask).fetchone() == (1, -1, -1))
            copier = open_copier(ledger.path, 5.0)
            log = copier.copy()
            copier.close()
        await copying
    assert (log.held, log.copied) == (-1, -1)


# --- SQLite's WAL-reset bug: nothing is copied while the log begins anew ------------------------


def test_a_log_that_is_being_copied_does_not_begin_anew(path: Path) -> None:
    with closing(connect_writer(path, 5.0)) as writing, closing(connect_writer(path, 5.0)) as copy:
        _insert(0, writing)

        class Hurried(sqlite3.Connection):
            @override
            def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
                if "wal_checkpoint" not in statement:
                    return super().execute(statement)
                _, all_of_it, _ = copy.execute(statement).fetchone()
                _insert(PIECE, writing)  # what would begin the log anew
                done = super().execute(statement)
                seen.append(all_of_it)
                return done

        seen: list[int] = []
        copying = sqlite3.connect(path, isolation_level=None, factory=Hurried)
        copier = LogCopier(path, copying=copying, pinning=connect_reader(path, 5.0))
        log = copier.copy()
        copier.close()
    assert log.held > seen[0] > 0, "appended to"
    assert log.copied == seen[0], "no further than the reader that pins it"


def test_a_log_that_is_in_the_file_already_is_not_copied(path: Path) -> None:
    with closing(connect_writer(path, 5.0)) as writing, closing(connect_writer(path, 5.0)) as copy:
        _insert(0, writing)
        copy.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

        class Hurried(sqlite3.Connection):
            @override
            def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
                if "wal_checkpoint" in statement:
                    _insert(PIECE, writing)  # begins the log anew
                return super().execute(statement)

        copying = sqlite3.connect(path, isolation_level=None, factory=Hurried)
        copier = LogCopier(path, copying=copying, pinning=connect_reader(path, 5.0))
        log = copier.copy()
        copier.close()
        (rows,) = writing.execute("SELECT count(*) FROM tombstones").fetchone()
    assert log.held > 0
    assert log.copied == 0
    assert rows == 2 * PIECE


# --- when one begins, and how far it goes -------------------------------------------------------


class PaperCopier(LogCopier):
    """A log on paper: each pass finds what stands next in ``logs``, the last one for ever."""

    def __init__(self, *logs: tuple[int, int]) -> None:
        self.logs = [Log(*each) for each in logs]
        self.passes = 0
        self.size = 0

    @property
    @override
    def is_large(self) -> bool:
        return self.size > LARGEST_LOG

    @override
    def copy(self) -> Log:
        self.passes += 1
        return self.logs[min(self.passes, len(self.logs)) - 1]

    @override
    def close(self) -> None:
        self.logs.clear()


class Course:
    """Checkpoints of a log on paper, one after another."""

    def __init__(self, copier: PaperCopier, seconds_between: float = 60.0) -> None:
        self.copier = copier
        self._told = asyncio.Event()
        self._checkpoints = Checkpoints(
            copier,
            rows_between=ROWS,
            seconds_between=seconds_between,
            ready=lambda _: self._told.set(),
            ended=lambda _: self._told.set(),
        )

    async def has_begun(self, rows_written: int, *, at_once: bool = False) -> bool:
        """Whether a checkpoint began with so many rows; it is carried out to its end then."""
        self._checkpoints.consider(rows_written, at_once=at_once)
        if not self._checkpoints.is_under_way:
            return False
        await self._until_told()
        if self._checkpoints.is_last_pass_due:
            self._checkpoints.finish()
            await self._until_told()
        return True

    async def close(self) -> None:
        await self._checkpoints.close()

    async def _until_told(self) -> None:
        async with asyncio.timeout(10):
            await self._told.wait()
        self._told.clear()


async def test_a_checkpoint_begins_with_enough_rows_since_the_last() -> None:
    course = Course(PaperCopier((10, 10)))
    begun = [await course.has_begun(rows) for rows in (0, ROWS - 1, ROWS, 2 * ROWS - 1, 2 * ROWS)]
    await course.close()
    assert begun == [False, False, True, False, True]


async def test_a_checkpoint_begins_on_a_full_disk_or_after_some_minutes_with_any_number() -> None:
    full = Course(PaperCopier((10, 10)))
    old = Course(PaperCopier((10, 10)), seconds_between=0.0)
    begun = [await full.has_begun(1, at_once=True), await old.has_begun(1)]
    await full.close()
    await old.close()
    assert begun == [True, True]


async def test_rows_are_counted_beyond_what_the_driver_can() -> None:
    """It counts in 32 bits, with a sign."""
    course = Course(PaperCopier((10, 10)))
    last, wrapped = 2**31 - 50, -(2**31) + ROWS
    begun = [await course.has_begun(rows) for rows in (last, last + 49, wrapped - 51, wrapped)]
    await course.close()
    assert begun == [True, False, False, True]


async def test_a_log_that_has_grown_is_tried_more_often() -> None:
    copier = PaperCopier((10, 10))
    course = Course(copier)
    copier.size = LARGEST_LOG + 1
    begun = [await course.has_begun(rows) for rows in (ROWS, ROWS + 24, ROWS + 25)]
    await course.close()
    assert begun == [True, False, True]


@pytest.mark.parametrize("log", [(4000, 1000), (-1, -1)], ids=["a reader", "another process"])
async def test_where_a_last_pass_would_not_help_nobody_waits_for_it(log: tuple[int, int]) -> None:
    """It is tried again soon."""
    course = Course(PaperCopier(log, (10, 10)))
    begun = [await course.has_begun(rows) for rows in (ROWS, ROWS + 24)]
    passes = course.copier.passes
    begun += [await course.has_begun(rows) for rows in (ROWS + 25, 2 * ROWS, 2 * ROWS + 25)]
    await course.close()
    assert passes == 1
    assert begun == [True, False, True, False, True]


async def test_a_large_log_that_a_killed_process_left_is_copied_with_the_first_commit() -> None:
    """Each that is killed before its time would otherwise only ever add to it."""
    copier = PaperCopier((10, 10))
    copier.size = LARGEST_LOG + 1
    course = Course(copier)
    begun = await course.has_begun(0)
    await course.close()
    assert begun


@pytest.mark.parametrize(
    ("logs", "passes", "is_ready"),
    [
        ([(80, 80)], 1, True),
        ([(4000, 3960), (4060, 4060)], 2, True),
        ([(4000, 4000), (4900, 4900), (5000, 5000)], 3, True),
        ([(1000 * each, 1000 * each) for each in range(1, 9)], 6, True),
        ([(4000, 3899)], 1, False),
        ([(4000, 4000), (5000, 4000)], 2, False),
        ([(4000, 0)], 1, False),
        ([(-1, -1)], 1, False),
    ],
    ids=[
        "little",
        "a commit while it began",
        "slower",
        "slow disk",
        "a reader",
        "a reader came",
        "in the file before",
        "another process",
    ],
)
def test_passes_go_on_while_they_help(
    logs: list[tuple[int, int]], passes: int, *, is_ready: bool
) -> None:
    copier = PaperCopier(*logs)
    assert copier.copy_most(lambda: True) is is_ready
    assert copier.passes == passes


def test_passes_end_when_the_ledger_is_closed() -> None:
    copier = PaperCopier((4000, 4000), (5000, 5000))
    assert not copier.copy_most(lambda: copier.passes < 1)
    assert copier.passes == 1


# --- connections --------------------------------------------------------------------------------


def test_no_connection_that_writes_copies_by_itself(path: Path) -> None:
    with closing(connect_writer(path, 5.0)) as connection:
        (pages,) = connection.execute("PRAGMA wal_autocheckpoint").fetchone()
        (size,) = connection.execute("PRAGMA journal_size_limit").fetchone()
    assert (pages, size) == (0, LARGEST_LOG)


def test_what_is_copied_is_synchronised_before_the_log_begins_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []

    def watched(path: Path, busy_seconds: float) -> sqlite3.Connection:
        opened.append(connect_writer(path, busy_seconds))
        opened[-1].execute("PRAGMA synchronous = OFF")  # as some builds begin
        return opened[-1]

    monkeypatch.setattr("worker.adapters.store_sqlite.store.connect_writer", watched)
    copier = open_copier(path, 5.0)
    assert opened[0].execute("PRAGMA synchronous").fetchone() == (2,)
    copier.close()
