"""Several workers on one PostgreSQL ledger: whatever they do together could have come in turns."""

import asyncio
import random  # noqa: TID251 (seeded: a failure can be repeated)
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.fakes_clock import START
from tests.postgres import PostgresServer
from tests.store_child import KEY
from tests.store_samples import (
    DCP,
    decided_record,
    fingerprint,
    followed,
    number,
    sample_act,
    sample_answer,
    sample_record,
    until_true,
    write,
)
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore, initialise
from worker.adapters.store_postgres.sessions import connect
from worker.adapters.store_postgres.statements import INSERT_ATTEMPTS
from worker.adapters.store_rows.history import attempt_row
from worker.inventory import Stretch
from worker.lifecycle.contradiction import TOO_LATE
from worker.ports import View
from worker.records import AttemptEntry, AuditEntry, Change, Needs, State, Tombstone
from worker.rules import PostgresAddress

OpenStore = Callable[[], Awaitable[PostgresStore]]


@pytest.fixture
def address(postgres: PostgresServer) -> Iterator[PostgresAddress]:
    with postgres.database() as database:
        yield database


@pytest_asyncio.fixture
async def open_store(address: PostgresAddress) -> AsyncIterator[OpenStore]:
    stores: list[PostgresStore] = []
    await initialise(address)

    async def open_one() -> PostgresStore:
        vault = Vault([KEY])
        stores.append(await PostgresStore.open(address, vault=vault, clock=SystemClock()))
        return stores[-1]

    yield open_one
    await asyncio.gather(*(store.close() for store in stores))


async def claim(store: PostgresStore, which: int, asked_for: int) -> str:
    """As a claim: the first of a fingerprint wins, later keys of it are duplicates."""
    key, asked = number(which), fingerprint(asked_for)

    def apply(view: View) -> Change[str]:
        record = view.record(key)
        if record is not None:
            return Change(result="raised", records=(replace(record, version=record.version + 1),))
        owner = view.owner(asked)
        if owner is not None:
            note = AuditEntry(
                at=START,
                actor=str(owner.operation_id),
                action="duplicate",
                operation_id=key,
                detail="",
            )
            return Change(result="duplicate", audit=(note,))
        return Change(
            result="won", records=(replace(sample_record(which), item_id="1"),), owner=(asked, key)
        )

    return await store.transact(Needs((key,), asked), apply)


@pytest.mark.parametrize("seed", range(4))
async def test_a_key_and_a_fingerprint_are_won_once_however_many_workers_try(
    open_store: OpenStore, seed: int
) -> None:
    """Every key asks for one of three things; 600 claims by three workers at once."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    stores = [await open_store() for _ in range(3)]
    tries = [(chance.choice(stores), key, key % 3) for key in range(12) for _ in range(50)]
    chance.shuffle(tries)
    results = await asyncio.gather(*(claim(*each) for each in tries))
    ends = Counter((end, key) for (_, key, _), end in zip(tries, results, strict=True))
    winners = {key for end, key in ends if end == "won"}
    assert sorted(key % 3 for key in winners) == [0, 1, 2], "one winner for each fingerprint"
    for key in range(12):
        found = await stores[0].find(number(key))
        audit = await stores[0].audit(number(key))
        if key in winners:
            assert ends["won", key] == 1
            assert found is not None
            assert found[0].version == 1 + ends["raised", key] == 50
            assert audit == []
        else:
            (owner,) = (winner for winner in winners if winner % 3 == key % 3)
            assert found is None
            assert [entry.actor for entry in audit] == [str(number(owner))] * 50


async def test_of_a_cancellation_and_its_payment_one_sees_the_other(
    open_store: OpenStore,
) -> None:
    """Each looks for a row that is not there yet: neither could be locked by its row."""
    stores = [await open_store(), await open_store()]
    until = SystemClock().now().replace(year=2100)

    async def cancel(key: UUID) -> str:
        def apply(view: View) -> Change[str]:
            if view.record(key) is not None:
                return Change(result="met")
            grave = Tombstone(payment_id=key, origin=DCP, until=until)
            return Change(result="first", tombstones=(grave,))

        return await stores[0].transact(Needs((key,)), apply)

    async def initiate(value: int) -> str:
        key = number(value)

        def apply(view: View) -> Change[str]:
            if view.tombstone(key) is not None:
                return Change(result="met")
            return Change(result="first", records=(sample_record(value),))

        return await stores[1].transact(Needs((key,)), apply)

    for start in range(0, 400, 20):
        keys = range(start, start + 20)
        pairs = [(cancel(number(value)), initiate(value)) for value in keys]
        ends = await asyncio.gather(*(asyncio.gather(*pair) for pair in pairs))
        assert [sorted(pair) for pair in ends] == [["first", "met"]] * 20


async def test_the_owner_of_a_fingerprint_is_locked_though_nobody_declared_it(
    open_store: OpenStore,
) -> None:
    """Each of two payments fails if the owner of the other's fingerprint has not: only one may."""
    stores = [await open_store(), await open_store()]

    async def fail_unless_other_did(store: PostgresStore, own: int, other: int) -> bool:
        def apply(view: View) -> Change[bool]:
            owner, record = view.owner(fingerprint(other)), view.record(number(own))
            assert owner is not None
            assert record is not None
            if owner.state is State.FAILED:
                return Change(result=False)
            failed = replace(record, version=record.version + 1, state=State.FAILED)
            return Change(result=True, records=(failed,))

        return await store.transact(Needs((number(own),), fingerprint(other)), apply)

    for value in range(0, 60, 2):
        pair = (value, value + 1)
        for each in pair:
            await write(stores[0], sample_record(each), owner=(fingerprint(each), number(each)))
        ends = await asyncio.gather(
            fail_unless_other_did(stores[0], *pair), fail_unless_other_did(stores[1], *pair[::-1])
        )
        assert sorted(ends) == [False, True]


async def test_a_row_that_changed_behind_the_locks_is_not_overwritten(
    postgres: PostgresServer, address: PostgresAddress, open_store: OpenStore
) -> None:
    """The version is the last fence: whoever got round the locks, the change is decided anew."""
    store = await open_store()
    await write(store, sample_record())
    seen: list[int] = []

    def apply(view: View) -> Change[None]:
        record = view.record(number(1))
        assert record is not None
        seen.append(record.version)
        if len(seen) == 1:
            postgres.psql(
                "UPDATE payment_worker.operations SET version = 7, item_id = 'late'",
                database=address.database,
            )
        return Change(result=None, records=(replace(record, version=record.version + 1),))

    await store.transact(Needs((number(1),)), apply)
    assert seen == [1, 7]
    found = await store.find(number(1))
    assert found is not None
    assert (found[0].version, found[0].item_id) == (8, "late")


async def test_each_open_store_has_a_row_of_its_own_until_it_closes(
    postgres: PostgresServer, address: PostgresAddress, open_store: OpenStore
) -> None:
    async def rows() -> list[int]:
        found = await postgres.ask(
            address.database, "SELECT batch FROM payment_worker.writers ORDER BY batch"
        )
        return [batch for (batch,) in found]

    first, second = await open_store(), await open_store()
    assert await rows() == [0, 0]
    await write(first, sample_record())
    await first.ping()
    assert await rows() == [0, 2]
    assert first.commits == 2
    await first.close()
    assert await rows() == [0]
    await second.close()
    assert await rows() == []


async def test_a_store_whose_row_was_removed_takes_another(
    postgres: PostgresServer, address: PostgresAddress, open_store: OpenStore
) -> None:
    """A database that was restored from a copy does not know the stores of today."""
    store = await open_store()
    for value in range(3):
        await write(store, sample_record(value))
    postgres.psql("DELETE FROM payment_worker.writers", database=address.database)
    for value in range(3, 6):
        await write(store, sample_record(value))
    for value in range(6):
        assert await store.find(number(value)) == (sample_record(value), None)


async def test_rows_of_stores_that_never_closed_are_forgotten_in_time(
    postgres: PostgresServer, address: PostgresAddress, open_store: OpenStore
) -> None:
    old = "INSERT INTO payment_worker.writers (batch, seen_at) VALUES"
    await initialise(address)
    postgres.psql(
        f"{old} (7, now() - interval '31 days'), (8, now() - interval '29 days')",
        database=address.database,
    )
    await open_store()
    batches = "SELECT batch FROM payment_worker.writers ORDER BY batch"
    assert postgres.psql(batches, database=address.database).split() == ["0", "8"]


async def test_no_batch_reads_a_table_from_end_to_end(
    postgres: PostgresServer, address: PostgresAddress, open_store: OpenStore
) -> None:
    """Though its statements were planned while there was next to nothing in the tables."""
    store = await open_store()
    for start in range(0, 400, 40):
        keys = range(start, start + 40)
        await asyncio.gather(*(claim(store, key, key) for key in keys))
        await asyncio.gather(*(claim(store, key, key) for key in keys))
    await store.close()  # the server has counted what a session did when that has ended

    def scans() -> list[str]:
        counted = (
            "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables"
            " WHERE relname IN ('operations', 'fingerprints')"
        )
        return postgres.psql(counted, database=address.database).split()

    await until(lambda: all(int(each.split("|")[1]) > 0 for each in scans()))
    assert [each.split("|")[0] for each in scans()] == ["0", "0"]


async def test_a_batch_never_holds_more_locks_than_its_share(open_store: OpenStore) -> None:
    """The server's table of locks is shared by all workers."""
    store = await open_store()
    keys = [number(value) for value in range(2000)]

    def look(_view: View) -> Change[None]:
        return Change(result=None)

    works = [store.transact(Needs(tuple(keys[n : n + 100])), look) for n in range(0, 2000, 100)]
    before = store.commits
    await asyncio.gather(*works)
    assert store.commits - before >= 10


async def test_the_acts_of_three_workers_are_one_chain(
    open_store: OpenStore, address: PostgresAddress
) -> None:
    """Also those that a version wrote which knows of no chain: the next act takes them in."""
    stores = [await open_store() for _ in range(3)]

    async def act_often(store: PostgresStore) -> None:
        for _ in range(30):
            await write(store, audit=(sample_act(1), sample_act(None)))

    await asyncio.gather(*(act_often(store) for store in stores))
    older = await connect(address)
    try:
        for which in range(5):
            await older.execute(
                "INSERT INTO audit (at, actor, action, detail) VALUES ($1, 'root', 'x', 'y')", which
            )
    finally:
        older.terminate()
    check = await followed(stores[0])
    assert (check.broken, check.count, check.without_place) == (None, 180, 5)
    await asyncio.gather(*(act_often(store) for store in stores))
    check = await followed(stores[0])
    assert (check.broken, check.count, check.without_place) == (None, 365, 0)


# --- what comes too late while retention is at it ------------------------------------------------


def late(which: int) -> AttemptEntry:
    return AttemptEntry(
        operation_id=number(which),
        token=number(9),
        number=1,
        reference=None,
        tries=(),
        ended_at=START,
        note=TOO_LATE,
    )


async def paid_and_bare(store: PostgresStore) -> None:
    """A payment that retention may remove: decided, its answer sent, no trace of a person."""
    record = replace(decided_record(version=1), sequence=1, fingerprint=None)
    answer = replace(sample_answer(), event_confirmed=True)
    await write(store, replace(record, event_id=answer.event.event_id), answers=(answer,))


async def test_retention_passes_over_a_payment_while_an_attempt_of_it_is_written(
    open_store: OpenStore, address: PostgresAddress
) -> None:
    """Or the attempt would be left behind, with whatever links it has."""
    store = await open_store()
    await paid_and_bare(store)
    old = Stretch(before=START + timedelta(days=400), after=None, limit=9)
    other = await connect(address)
    try:
        await other.execute("BEGIN")
        row = attempt_row(late(1), Vault([KEY]))
        await other.execute(INSERT_ATTEMPTS, *([value] for value in row))
        assert (await store.retention.remove_operations(old)).erased == 0
        await other.execute("COMMIT")
        assert (await store.retention.remove_operations(old)).erased == 1
        assert await other.fetchval("SELECT count(*) FROM attempts") == 0
    finally:
        await other.close()


async def test_an_attempt_of_a_payment_that_is_just_being_removed_goes_with_it(
    open_store: OpenStore, address: PostgresAddress
) -> None:
    store = await open_store()
    await paid_and_bare(store)
    other = await connect(address)
    watcher = await connect(address)

    async def is_waited_for() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(await watcher.fetchval(f"{waiting} AND datname = current_database()"))

    try:
        await other.execute("BEGIN")
        await other.execute("DELETE FROM operations")
        writing = asyncio.ensure_future(write(store, attempts=(late(1),)))
        await until_true(is_waited_for)
        await other.execute("COMMIT")
        await writing
        assert await other.fetchval("SELECT count(*) FROM attempts") == 0
    finally:
        await other.close()
        await watcher.close()
