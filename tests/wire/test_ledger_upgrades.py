"""A ledger of an older schema is brought to the newest one, and everything in it is found again."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import pytest

from tests.fakes_clock import START, FakeClock
from tests.postgres import PostgresServer
from tests.store_child import KEY
from tests.store_samples import decided_record, number, sample_answer, sample_record, write
from worker.adapters.encryption import Vault
from worker.adapters.ledgers import LedgerPlace, LedgerStore, initialise_ledger, open_ledger
from worker.adapters.store_migrations import Initialisation
from worker.adapters.store_postgres import schema as postgres_schema
from worker.adapters.store_postgres.sessions import SCHEMA, connect
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, answer_row
from worker.adapters.store_rows.history import ATTEMPT_COLUMNS, attempt_row
from worker.adapters.store_rows.records import RECORD_COLUMNS, record_row
from worker.adapters.store_rows.values import Row, Scalar
from worker.adapters.store_sqlite import schema as sqlite_schema
from worker.records import AttemptEntry, Record
from worker.rules import PostgresAddress
from worker.searches import FoundPayment, PaymentFilter

VAULT = Vault((KEY,))
PAYMENTS = 9_000
"""So many that an index in segments of 4,096 has three of them."""
CLIENTS = 7
FEW = 300
NEW = FEW + 1
BEFORE_SEGMENTS = 11
SEGMENTED = {
    "operations_clients",
    "operations_orders",
    "operations_messages",
    "attempts_references",
}
NEW_KEYS = {"operations_ids", "operations_entry_key", "attempts_pkey"}

Rows = dict[str, tuple[tuple[str, ...], list[tuple[Scalar, ...]]]]


def record_of(value: int) -> Record:
    """The payment with that number; the older one has the higher number, as ids tell nothing."""
    decided = decided_record(value)
    return replace(
        decided,
        facts=replace(decided.facts, id_client=str(value % CLIENTS), id_commande=str(value)),
        first_seen=START + timedelta(seconds=PAYMENTS - value),
    )


def attempts_of(value: int) -> list[AttemptEntry]:
    """Three of every tenth payment, one of the others."""
    return [
        AttemptEntry(
            operation_id=number(value),
            token=number(value + 1_000_000),
            number=place,
            reference=f"{value:028x}{place:04x}",
            tries=(),
            ended_at=START,
        )
        for place in range(1, 4 if value % 10 == 0 else 2)
    ]


def old_rows(count: int) -> Rows:
    """What a ledger of that version held: payments in an order that is not that of their ids.

    An attempt came too late for a payment that retention was just removing.
    """
    values = [1 + n * 1_001 % count for n in range(count)]
    late = (*attempt_row(attempts_of(count + 5)[0], VAULT), 1)
    attempts = [
        late,
        *(
            (*attempt_row(entry, VAULT), entry.number)
            for value in values
            for entry in attempts_of(value)
        ),
    ]
    return {
        "operations": (RECORD_COLUMNS, [record_row(record_of(value), VAULT) for value in values]),
        "answers": (ANSWER_COLUMNS, [answer_row(sample_answer(value), VAULT) for value in values]),
        "attempts": ((*ATTEMPT_COLUMNS, "position"), attempts),
    }


class OldLedger(Protocol):
    """Where an older ledger is made, and how its tables are reached past any store."""

    @property
    def place(self) -> LedgerPlace: ...

    async def fill(self, rows: Rows) -> None: ...

    async def read(self, query: str) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class OldFile:
    place: Path

    async def fill(self, rows: Rows) -> None:
        with closing(sqlite3.connect(self.place)) as connection:
            for table, (columns, values) in rows.items():
                places = ", ".join("?" * len(columns))
                connection.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",  # noqa: S608
                    values,
                )
            connection.commit()

    async def read(self, query: str) -> list[Row]:
        with closing(sqlite3.connect(self.place)) as connection:
            return connection.execute(query).fetchall()


@dataclass(frozen=True, slots=True)
class OldDatabase:
    place: PostgresAddress

    async def fill(self, rows: Rows) -> None:
        """In the order given: the server numbers attempts itself, over the whole table."""
        connection = await connect(self.place)
        try:
            for table, (columns, values) in rows.items():
                given = [name for name in columns if name != "position"]
                await connection.copy_records_to_table(
                    table,
                    schema_name=SCHEMA,
                    columns=given,
                    records=map(itemgetter(*map(columns.index, given)), values),
                )
        finally:
            await connection.close()

    async def read(self, query: str) -> list[Row]:
        connection = await connect(self.place)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def old(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[OldLedger]:
    if request.param == "sqlite":
        yield OldFile(tmp_path / "ledger.sqlite")
        return
    with postgres.database() as address:
        yield OldDatabase(address)


@asynccontextmanager
async def opened(old: OldLedger) -> AsyncIterator[LedgerStore]:
    store = await open_ledger(old.place, vault=VAULT, clock=FakeClock(START))
    try:
        yield store
    finally:
        await store.close()


async def made(old: OldLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ledger as a build before segments made it."""
    with monkeypatch.context() as patch:
        for schema in (sqlite_schema, postgres_schema):
            steps = schema.migrations()[:BEFORE_SEGMENTS]
            patch.setattr(schema, "migrations", lambda steps=steps: steps)
        assert (await initialise_ledger(old.place)).after == BEFORE_SEGMENTS


async def upgraded(old: OldLedger, monkeypatch: pytest.MonkeyPatch, *, count: int) -> None:
    """Bring a ledger with so many payments to the newest schema."""
    await made(old, monkeypatch)
    await old.fill(old_rows(count))
    newest = sqlite_schema.migrations()[-1].version
    done = await initialise_ledger(old.place)
    assert done == Initialisation(before=BEFORE_SEGMENTS, after=newest)


async def everything(store: LedgerStore, wanted: PaymentFilter) -> list[FoundPayment]:
    """All that a search finds, newest first, page by page."""
    found: list[FoundPayment] = []
    while True:
        after = (found[-1].first_seen, found[-1].operation_id) if found else None
        page = await store.payments.search(wanted, after=after, limit=100, newest_first=True)
        found += page
        if not page:
            return found


async def test_an_older_ledger_keeps_every_row_and_finds_it(
    old: OldLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgraded(old, monkeypatch, count=PAYMENTS)
    ((attempts,),) = await old.read("SELECT count(*) FROM attempts")
    assert attempts == sum(len(attempts_of(value)) for value in range(1, PAYMENTS + 1))
    async with opened(old) as store:
        for value in range(1, PAYMENTS + 1, 150):
            answer = sample_answer(value)
            history = await store.history(number(value), events=[answer.event.event_id])
            assert history is not None
            assert history.record == record_of(value)
            assert history.answers == (answer,)
            assert list(history.attempts) == attempts_of(value)
        for client in range(CLIENTS):
            found = await everything(store, PaymentFilter(client=str(client)))
            mine = [value for value in range(1, PAYMENTS + 1) if value % CLIENTS == client]
            assert [each.operation_id for each in found] == [number(value) for value in mine]
        for value in (1, 4_096, 4_097, PAYMENTS):
            record = record_of(value)
            for wanted in (
                PaymentFilter(order=str(value)),
                PaymentFilter(message_id=record.message_id),
                PaymentFilter(client=str(value % CLIENTS), order=str(value)),
                PaymentFilter(
                    client=str(value % CLIENTS),
                    since=record.first_seen,
                    until=record.first_seen + timedelta(seconds=1),
                ),
                *(PaymentFilter(reference=entry.reference) for entry in attempts_of(value)),
            ):
                found = await everything(store, wanted)
                assert [each.operation_id for each in found] == [number(value)], wanted


async def test_history_goes_on_behind_what_an_older_ledger_held(
    old: OldLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgraded(old, monkeypatch, count=FEW)
    late = replace(attempts_of(20)[0], number=4, note="late answer", reference="f" * 32)
    async with opened(old) as store:
        await write(store, attempts=(late,))
        await write(store, sample_record(NEW), attempts=tuple(attempts_of(NEW)))
    async with opened(old) as store:
        for value, attempts in (
            (20, [*attempts_of(20), late]),
            (NEW, attempts_of(NEW)),
        ):
            history = await store.history(number(value), events=[])
            assert history is not None
            assert list(history.attempts) == attempts
        found = await everything(store, PaymentFilter(reference=late.reference))
        assert [each.operation_id for each in found] == [number(20)]


def marked(columns: tuple[str, ...], kinds: Mapping[str, str]) -> tuple[Scalar, ...]:
    """A row with another value in every column: bytes, texts and numbers by its kind."""
    values: dict[str, Callable[[int], Scalar]] = {
        "BLOB": lambda place: bytes([place] * 16),
        "TEXT": "text {}".format,
        "INTEGER": lambda place: 1_000 + place,
    }
    return tuple(values[kinds[name]](place) for place, name in enumerate(columns))


async def test_an_older_ledger_keeps_what_stands_in_every_column(
    old: OldLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(old, monkeypatch)
    model = old if isinstance(old, OldFile) else OldFile(tmp_path / "model.sqlite")
    if model is not old:
        await made(model, monkeypatch)
    rows: Rows = {}
    for table in ("operations", "attempts"):
        described = await model.read(f"PRAGMA table_info({table})")
        kinds = {str(name): str(kind) for _, name, kind, *_ in described}
        rows[table] = (tuple(kinds), [marked(tuple(kinds), kinds)])
    (own,) = rows["operations"][1]
    columns, (attempt,) = rows["attempts"]
    operation_id = own[rows["operations"][0].index("operation_id")]
    place = columns.index("operation_id")
    rows["attempts"] = (columns, [(*attempt[:place], operation_id, *attempt[place + 1 :])])
    await old.fill(rows)
    kept = {
        table: f"SELECT {', '.join(name for name in names if name != 'position')} FROM {table}"  # noqa: S608
        for table, (names, _) in rows.items()
    }
    before = {table: await old.read(query) for table, query in kept.items()}
    indexes = await indexes_of(old)
    await initialise_ledger(old.place)
    assert {table: await old.read(query) for table, query in kept.items()} == before
    assert all(None not in row for found in before.values() for row in found)
    for name, definition in (await indexes_of(old)).items():
        if name not in SEGMENTED | NEW_KEYS:
            assert definition == indexes.pop(name)
    assert set(indexes) <= SEGMENTED | NEW_KEYS | {"sqlite_autoindex_operations_1"}
    assert set(await indexes_of(old)) >= SEGMENTED


async def indexes_of(old: OldLedger) -> dict[str, str | None]:
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'index'"
    if isinstance(old, OldDatabase):
        query = f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{SCHEMA}'"  # noqa: S608
    return {
        str(name): None if definition is None else " ".join(str(definition).split())
        for name, definition in await old.read(query)
    }


async def test_a_file_that_was_tidied_up_still_knows_which_attempt_is_whose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VACUUM numbers rows anew where nobody has given them a number."""
    old = OldFile(tmp_path / "ledger.sqlite")
    await upgraded(old, monkeypatch, count=FEW)
    with closing(sqlite3.connect(old.place, isolation_level=None)) as connection:
        connection.execute("DELETE FROM attempts WHERE entry % 2 = 1")
        connection.execute("DELETE FROM operations WHERE entry % 2 = 1")
        connection.execute("VACUUM")
    left = {raw for (raw,) in await old.read("SELECT operation_id FROM operations")}
    kept = [value for value in range(1, FEW + 1) if number(value).bytes in left]
    assert len(kept) == FEW // 2
    async with opened(old) as store:
        for value in kept[::10]:
            history = await store.history(number(value), events=[])
            assert history is not None
            assert list(history.attempts) == attempts_of(value)


async def test_a_number_is_never_given_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what somebody left behind of the newest payment would be the next one's."""
    old = OldFile(tmp_path / "ledger.sqlite")
    await upgraded(old, monkeypatch, count=FEW)
    with closing(sqlite3.connect(old.place, isolation_level=None)) as connection:
        connection.execute("DELETE FROM operations WHERE entry = ?", (FEW,))
    async with opened(old) as store:
        await write(store, sample_record(NEW))
        history = await store.history(number(NEW), events=[])
    assert history is not None
    assert history.attempts == ()
    assert await old.read("SELECT max(entry) FROM operations") == [(FEW + 1,)]
