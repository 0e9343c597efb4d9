"""The ledger's bench fills with what the product writes, and finds that work does not grow.

Work is counted in steps of SQLite's own machine, not timed: a statement that looks at more rows
takes more of them, on a busy machine as on an idle one.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench.ledger_growth.__main__ import Stop, grow
from tests.bench.ledger_growth.filling import fill
from tests.bench.ledger_growth.measuring import pay
from tests.bench.ledger_growth.places import Database, File
from tests.bench.ledger_growth.stories import Library, operation_of, write_library
from tests.postgres import PostgresServer
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.adapters.store_sqlite.letters import SqliteLetters
from worker.adapters.store_sqlite.reader import Reader
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.store import connect_reader, connect_writer, open_copier
from worker.adapters.store_sqlite.writer import Writer
from worker.letters import EVERY_LETTER
from worker.records import Kind, State

FEW, MANY = 4_000, 20_000
WHOLE = 1_000
PAYMENTS, FEW_PAYMENTS = 50, 20

_clock = SystemClock()


@pytest.mark.parametrize("rows", [0, 2_000])
async def test_a_file_is_filled_and_measured(tmp_path: Path, rows: int) -> None:
    """Nothing asserted here is a time: the machine may be busy."""
    place = File(tmp_path / "ledger.sqlite3")
    stops = [stop async for stop in grow(place, steps=(rows,), payments=FEW_PAYMENTS)]
    assert [stop.ledger for stop in stops] == ["sqlite"]
    _judge(stops[0], rows)
    assert stops[0].written > 0


async def test_a_database_is_filled_and_measured_before_and_after_a_vacuum(
    postgres: PostgresServer,
) -> None:
    with postgres.database() as address:
        place = Database(postgres, address, is_alone=False)
        stops = [stop async for stop in grow(place, steps=(0, 2_000), payments=FEW_PAYMENTS)]
    assert [stop.ledger for stop in stops] == ["postgres", "postgres after VACUUM"] * 2
    for stop in stops:
        _judge(stop, stop.rows)
    assert stops[-1].size.stored > stops[0].size.stored


def _judge(stop: Stop, rows: int) -> None:
    assert stop.rows == rows
    assert len(stop.rates) == 3
    assert min(stop.rates) > 0
    assert all(0 < middle <= worst for middle, worst in stop.reads.by_name.values())
    assert (stop.reads.letters > 0) == (rows > 0)
    assert stop.told()


async def test_what_is_filled_in_is_read_back_as_the_product_wrote_it(tmp_path: Path) -> None:
    vault, path = Vault([generate_key()]), tmp_path / "ledger.sqlite3"
    library = await write_library(vault)
    initialise(path)
    await fill(path, library, range(WHOLE), until=_clock.now())
    store = await SqliteStore.open(path, vault=vault, clock=_clock)
    states: Counter[tuple[Kind, State]] = Counter()
    for number in range(WHOLE):
        history = await store.history(operation_of(number), events=())
        found = await store.find(operation_of(number))
        assert history is not None
        assert found is not None
        record, answer = found
        states[record.kind, record.state] += 1
        assert answer is not None
        assert (answer.operation_id, answer.event.payment_id) == (record.operation_id,) * 2
        assert answer.event_confirmed
        assert len(history.attempts) == record.attempts
    await store.close()
    assert states == {
        (Kind.INITIATION, State.SUCCEEDED): 950,
        (Kind.INITIATION, State.FAILED): 46,
        (Kind.REFUSAL, State.FAILED): 4,
    }


async def test_the_work_of_a_payment_and_of_a_look_does_not_grow_with_the_ledger(
    tmp_path: Path,
) -> None:
    vault = Vault([generate_key()])
    library = await write_library(vault)
    few = await _work(tmp_path / "few.sqlite3", library, vault, FEW)
    many = await _work(tmp_path / "many.sqlite3", library, vault, MANY)
    assert few["payments"] > PAYMENTS * 100, "else nothing was counted"
    grown = {name: (few[name], many[name]) for name in many if many[name] > few[name] * 1.1 + 20}
    assert grown == {}


async def _work(path: Path, library: Library, vault: Vault, rows: int) -> Counter[str]:
    """Steps of what the worker does all the time, in a ledger with so many payments."""
    steps: Counter[str] = Counter()
    doing = ["opening"]

    def counted(connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.set_progress_handler(lambda: steps.update(doing), 1)
        return connection

    initialise(path)
    await fill(path, library, range(rows), until=_clock.now())
    store = await SqliteStore.open(
        path, vault=vault, clock=_clock, connect=lambda *place: counted(connect_writer(*place))
    )
    doing[0] = "payments"
    await pay(store, numbers=range(PAYMENTS), at_once=1)
    await store.close()
    now = _clock.now()
    with closing(counted(connect_reader(path, 5.0))) as connection:
        writer = Writer(
            connect_writer(path, 5.0),
            copier=open_copier(path, 5.0),
            flush_seconds=1.0,
            busy_tries=1,
        )
        reading = ReadingThread(connection, check=writer.check)
        reader = Reader(reading, vault)
        doing[0] = "find"
        assert await reader.find(operation_of(7)) is not None
        doing[0] = "expired claims"
        assert await reader.expired_claims(expired_before=now, limit=100) == []
        doing[0] = "overdue waits"
        assert await reader.overdue_waits(due_before=now, limit=100) == []
        doing[0] = "metrics"
        assert (await reader.standing()).oldest_open is None
        doing[0] = "the first dead letter"
        letters = SqliteLetters(writer, reading)
        first = await letters.page(
            after=None, limit=1, now=now, first_seen_before=now, wanted=EVERY_LETTER
        )
        assert len(first) == 1
        doing[0] = "closing"
        await reading.close()
        await writer.close()
    return Counter({name: count for name, count in steps.items() if name != "opening"})
