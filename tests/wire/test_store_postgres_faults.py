"""A lost answer, line or server, a value that is refused: what the ledger does about each."""

import asyncio
import itertools
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import asyncpg
import pytest
import pytest_asyncio

from tests.commit_thief import CommitThief, Theft, thief_before
from tests.fakes_clock import START
from tests.postgres import PostgresServer, private_server
from tests.proxy import Proxy, proxy_to
from tests.store_child import KEY
from tests.store_samples import (
    LINK,
    decided_record,
    event_number,
    number,
    sample_answer,
    sample_record,
    until_true,
    write,
)
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore, committer, initialise, sessions
from worker.adapters.store_postgres import store as postgres_store
from worker.model import Cents
from worker.ports import StoreUnavailableError, View
from worker.records import AuditEntry, Change, Needs, Record
from worker.rules import PostgresAddress

STEP = Needs((number(1),))


@pytest_asyncio.fixture
async def address(postgres: PostgresServer) -> AsyncIterator[PostgresAddress]:
    with postgres.database() as database:
        await initialise(database)
        yield database


@asynccontextmanager
async def opened(address: PostgresAddress) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(
        address, vault=Vault([KEY]), clock=SystemClock(), flush_seconds=0.02
    )
    try:
        yield store
    finally:
        await store.close()


@pytest_asyncio.fixture
async def store(address: PostgresAddress) -> AsyncIterator[PostgresStore]:
    async with opened(address) as one:
        yield one


@pytest_asyncio.fixture
async def thief(postgres: PostgresServer) -> AsyncIterator[CommitThief]:
    async with thief_before(postgres.port) as one:
        yield one


@pytest_asyncio.fixture
async def line(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with proxy_to(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after a second instead of ten, with the limits nested as ever."""
    monkeypatch.setattr(committer, "TRY_SECONDS", 1.0)
    monkeypatch.setattr(committer, "BATCH_SECONDS", 1.5)
    monkeypatch.setattr(committer, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(sessions, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(postgres_store, "LOOK_AGAIN", 0.0)
    monkeypatch.setitem(sessions._SETTINGS, "lock_timeout", "700ms")  # noqa: SLF001
    monkeypatch.setitem(sessions._SETTINGS, "idle_in_transaction_session_timeout", "500ms")  # noqa: SLF001


async def step_up(store: PostgresStore, tag: str) -> None:
    """Raise the record's version, and leave a trace: done twice, it would leave two."""

    def apply(view: View) -> Change[None]:
        record = view.record(number(1))
        assert record is not None
        trace = AuditEntry(
            at=START, actor="test", action="step", operation_id=number(1), detail=tag
        )
        risen = replace(record, version=record.version + 1)
        return Change(result=None, records=(risen,), audit=(trace,))

    await store.transact(STEP, apply)


async def traces(store: PostgresStore) -> list[str]:
    return [entry.detail for entry in await store.audit(number(1))]


async def version(store: PostgresStore) -> int:
    found = await store.find(number(1))
    assert found is not None
    return found[0].version


# --- a lost answer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thefts",
    [
        [Theft.OF_THE_ANSWER],
        [Theft.OF_THE_COMMIT],
        [Theft.OF_THE_ANSWER, Theft.OF_THE_ANSWER],
        [Theft.OF_THE_COMMIT, Theft.OF_THE_ANSWER, Theft.OF_THE_COMMIT],
    ],
    ids=["answer", "commit", "two answers", "both in turns"],
)
async def test_a_commit_whose_answer_was_lost_happens_once(
    address: PostgresAddress, thief: CommitThief, thefts: list[Theft]
) -> None:
    async with opened(replace(address, port=thief.port)) as store:
        await write(store, sample_record())
        thief.thefts += thefts
        await asyncio.gather(*(step_up(store, f"{n}") for n in range(5)))
        assert thief.stolen == len(thefts) or await drained(store, thief)
        assert sorted(set(await traces(store))) == sorted(await traces(store))
        assert await version(store) == 1 + len(await traces(store))
        assert set(await traces(store)) >= {f"{n}" for n in range(5)}


async def drained(store: PostgresStore, thief: CommitThief) -> bool:
    """Let the remaining thefts happen, one batch each."""
    for n in itertools.count(5):
        if not thief.thefts:
            return True
        await step_up(store, f"{n}")
    raise AssertionError


async def test_a_commit_still_under_way_is_waited_for(
    address: PostgresAddress, thief: CommitThief
) -> None:
    """The worker is on a new line while its old commit waits: it must not run ahead of it."""
    async with opened(replace(address, port=thief.port)) as store:
        await write(store, sample_record())
        thief.thefts.append(Theft.OF_BOTH)
        step = asyncio.ensure_future(step_up(store, "only"))
        await until(lambda: thief.stolen)
        asyncio.get_running_loop().call_later(0.5, thief.let_go.set)
        await step
        assert await traces(store) == ["only"]
        assert await version(store) == 2


@pytest.mark.usefixtures("impatience")
async def test_a_commit_that_arrives_late_finds_its_transaction_gone(
    address: PostgresAddress, thief: CommitThief
) -> None:
    """The server ends a transaction that stands still, and with it the locks it holds."""
    async with opened(replace(address, port=thief.port)) as store:
        await write(store, sample_record())
        thief.thefts.append(Theft.OF_BOTH)
        await step_up(store, "only")
        thief.let_go.set()
        await step_up(store, "next")
        assert await traces(store) == ["only", "next"]


async def test_unpublished_answers_are_taken_once_though_the_answer_was_lost(
    address: PostgresAddress, thief: CommitThief
) -> None:
    async with opened(replace(address, port=thief.port)) as store:
        await write(store, sample_record())
        await write(store, decided_record(), answers=(sample_answer(),))
        thief.thefts.append(Theft.OF_THE_ANSWER)
        now = START.replace(hour=23)
        taken = await store.take_unpublished(untouched_since=now, now=now, limit=9)
        assert taken == [sample_answer()]


# --- a lost line -------------------------------------------------------------------------------


async def test_terminated_sessions_lose_nothing_and_repeat_nothing(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    await write(store, sample_record())
    steps = [asyncio.ensure_future(step_up(store, f"{n}")) for n in range(5)]
    for turn in range(8):
        await postgres.terminate_backends(address.database)
        steps += [asyncio.ensure_future(step_up(store, f"{turn}.{n}")) for n in range(20)]
        await steps[turn]
    await asyncio.gather(*steps)
    assert len(await traces(store)) == len(set(await traces(store))) == len(steps)
    assert await version(store) == 1 + len(steps)


async def test_reads_come_back_on_a_new_line(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    await write(store, sample_record())
    for _ in range(3):
        assert await store.find(number(1)) == (sample_record(), None)
        await postgres.terminate_backends(address.database)


@pytest.mark.usefixtures("impatience")
async def test_a_black_hole_is_an_absence_and_ends_with_it(
    address: PostgresAddress, line: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.adapters.store_postgres.reader.READ_SECONDS", 0.5)
    async with opened(replace(address, port=line.port)) as store:
        await write(store, sample_record())
        await store.find(number(1))
        line.go_dark()
        questions: list[Callable[[], Awaitable[object]]] = [
            lambda: step_up(store, "dark"),
            store.ping,
            lambda: store.find(number(1)),
        ]
        for question in questions:
            with pytest.raises(StoreUnavailableError):
                await question()
        line.light_up()
        line.cut()

        async def is_back() -> bool:
            try:
                await store.ping()
            except StoreUnavailableError:
                return False
            return True

        await until_true(is_back)
        await step_up(store, "light")
        assert (await traces(store))[-1] == "light"
        assert not store.failed.is_set()


async def test_no_transaction_is_left_open_by_callers_who_leave(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    await write(store, sample_record())
    leaving = [asyncio.ensure_future(step_up(store, f"{n}")) for n in range(20)]
    leaving += [asyncio.ensure_future(store.find(number(1))) for _ in range(20)]  # type: ignore[arg-type]  # only cancelled
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await store.ping()
    assert await version(store) == 1 + len(await traces(store)), "each is whole, or withdrawn"
    idle = await postgres.ask(
        address.database,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = $1 AND usename = $2 AND state LIKE 'idle in transaction%'",
        address.database,
        address.user,
    )
    assert idle[0][0] == 0


async def test_a_frozen_worker_holds_nobody_up_and_overwrites_nothing_when_it_thaws(
    address: PostgresAddress, store: PostgresStore
) -> None:
    """It stops with every lock in its hands; the server takes them away after a while."""
    await write(store, sample_record())
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.postgres_child", stdin=PIPE, stdout=PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert address.password is not None
    place = {
        "host": address.host,
        "port": address.port,
        "database": address.database,
        "user": address.user,
        "password": address.password.reveal(),
    }
    try:
        child.stdin.write(json.dumps(place).encode() + b"\n")
        assert await child.stdout.readline() == b'"frozen"\n'
        await step_up(store, "meanwhile")
        child.send_signal(signal.SIGCONT)
        assert json.loads(await child.stdout.readline()) == [1, 2], "it looked again"
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert await traces(store) == ["meanwhile", "frozen"]
    assert await version(store) == 3


# --- a lost server -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server of this module's own, which may be stopped, killed and frozen."""
    with private_server() as server:
        yield server


@dataclass
class Load:
    """Steps up without end; knows which were promised and which may or may not have happened."""

    store: PostgresStore
    promised: set[str]
    open: set[str]

    async def run(self, name: str, stop: asyncio.Event) -> None:
        for n in itertools.count():
            if stop.is_set():
                return
            tag = f"{name}.{n}"
            try:
                await step_up(self.store, tag)
            except StoreUnavailableError:
                self.open.add(tag)
                await self._until_usable()
            else:
                self.promised.add(tag)

    async def _until_usable(self) -> None:
        while True:
            with suppress(StoreUnavailableError):
                await self.store.ping()
                return
            await SystemClock().sleep(0.1)


@pytest.mark.parametrize("end", ["restart", "crash"])
async def test_a_server_that_ends_under_load_keeps_every_promise(
    mortal: PostgresServer, end: str
) -> None:
    """What was promised is there once; what was not is there once or not at all."""
    address = mortal.new_database()
    await initialise(address)
    async with opened(address) as store:
        await write(store, sample_record())
        load = Load(store, set(), set())
        stop = asyncio.Event()
        running = [asyncio.ensure_future(load.run(f"{n}", stop)) for n in range(20)]
        await until(lambda: len(load.promised) > 100)
        await asyncio.to_thread(mortal.stop if end == "restart" else mortal.kill)
        before = len(load.promised)
        await asyncio.to_thread(mortal.start)
        await until(lambda: len(load.promised) > before + 100)
        stop.set()
        await asyncio.gather(*running)
        done = await traces(store)
        assert len(done) == len(set(done))
        assert load.promised <= set(done) <= load.promised | load.open
        assert await version(store) == 1 + len(done)


@pytest.mark.usefixtures("impatience")
async def test_without_a_server_everything_is_refused_until_it_is_back(
    mortal: PostgresServer,
) -> None:
    address = mortal.new_database()
    await initialise(address)
    async with opened(address) as store:
        await write(store, sample_record())
        await write(store, decided_record(), answers=(sample_answer(),))
        await asyncio.to_thread(mortal.stop)
        store.mark_confirmed(event_number(1), event=True, letter=True)
        questions: list[Callable[[], Awaitable[object]]] = [
            lambda: step_up(store, "away"),
            store.ping,
            lambda: store.find(number(1)),
            lambda: store.take_unpublished(untouched_since=START, now=START, limit=1),
            lambda: store.letters.page(after=None, limit=1, now=START, first_seen_before=START),
            store.standing,
            store.has_room,
        ]
        for question in questions:
            with pytest.raises(StoreUnavailableError):
                await question()
        await asyncio.to_thread(mortal.start)
        await store.ping()
        assert await store.has_room()

        async def is_marked() -> bool:
            found = await store.find(number(1))
            return found is not None and found[1] is not None and found[1].event_confirmed

        await until_true(is_marked)


@pytest.mark.usefixtures("impatience")
async def test_a_frozen_server_is_an_absence_and_thaws(mortal: PostgresServer) -> None:
    address = mortal.new_database()
    await initialise(address)
    async with opened(address) as store:
        await write(store, sample_record())
        mortal.signal_all(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailableError):
                await step_up(store, "frozen")
        finally:
            mortal.signal_all(signal.SIGCONT)

        async def is_back() -> bool:
            with suppress(StoreUnavailableError):
                await step_up(store, "thawed")
                return True
            return False

        await until_true(is_back)
        done = await traces(store)
        assert len(done) == len(set(done)) == await version(store) - 1


async def test_a_ledger_replaced_under_a_running_worker_is_noticed(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    """What it knows of payments would be looked for in a ledger that never saw them."""
    await write(store, sample_record())
    postgres.psql("DROP SCHEMA payment_worker CASCADE", database=address.database)
    await initialise(address)
    await postgres.terminate_backends(address.database)
    with pytest.raises(StoreUnavailableError, match="replaced by another one"):
        await store.find(number(1))


async def test_the_key_is_noted_again_by_every_connection(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    """Behind a new one may stand a backup of this very ledger, taken before the key was used."""
    await write(store, replace(sample_record(1), link=LINK))
    postgres.psql("DELETE FROM payment_worker.encryption_keys", database=address.database)
    await postgres.terminate_backends(address.database)
    await write(store, replace(sample_record(2), link=LINK))
    noted = postgres.psql(
        "SELECT key_id FROM payment_worker.encryption_keys", database=address.database
    )
    assert noted.split() == list(Vault([KEY]).key_ids)


async def test_a_store_whose_server_is_gone_closes_all_the_same(mortal: PostgresServer) -> None:
    address = mortal.new_database()
    await initialise(address)
    async with opened(address) as store:
        await store.ping()
        await asyncio.to_thread(mortal.stop)
        await store.close()
    await asyncio.to_thread(mortal.start)


# --- what the server says ----------------------------------------------------------------------


def complain(server: PostgresServer, address: PostgresAddress, state: str, times: int) -> None:
    """Let the next inserts of an operation fail with that SQLSTATE; a sequence counts for all."""
    server.psql(
        f"""
        DROP TRIGGER IF EXISTS complain ON payment_worker.operations;
        DROP SEQUENCE IF EXISTS complaints;
        CREATE SEQUENCE complaints;
        GRANT USAGE ON SEQUENCE complaints TO {address.user};
        CREATE OR REPLACE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('public.complaints') <= {times} THEN
            RAISE EXCEPTION 'planted' USING ERRCODE = '{state}';
          END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER complain BEFORE INSERT ON payment_worker.operations
          FOR EACH STATEMENT EXECUTE FUNCTION complain();
        """,
        database=address.database,
    )


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialisation", "deadlock"])
async def test_a_batch_that_met_another_is_run_anew(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore, state: str
) -> None:
    complain(postgres, address, state, 5)
    await asyncio.gather(*(write(store, sample_record(n)) for n in range(9)))
    assert [await store.find(number(n)) for n in range(9)] == [
        (sample_record(n), None) for n in range(9)
    ]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("53100", "the server's disk is full"),
        ("53300", "the server has no free connection"),
        ("53200", "OutOfMemoryError"),
        ("57014", "QueryCanceledError"),
        ("58030", "IoError|PostgresIOError"),
        ("25006", "a copy that cannot be written"),
        ("XX001", "DataCorruptedError"),
    ],
)
async def test_a_server_in_need_refuses_the_batch_and_no_more(
    postgres: PostgresServer,
    address: PostgresAddress,
    store: PostgresStore,
    state: str,
    reason: str,
) -> None:
    complain(postgres, address, state, 1)
    ends = await asyncio.gather(
        *(write(store, sample_record(n)) for n in range(5)), return_exceptions=True
    )
    assert {type(end) for end in ends} == {StoreUnavailableError}
    with pytest.raises(StoreUnavailableError, match=reason):
        raise ends[0] or AssertionError
    assert await store.find(number(1)) is None
    await write(store, sample_record())
    assert not store.failed.is_set()


async def test_a_claim_withdrawn_while_it_waits_for_a_lock_is_not_made(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    """Its worker has stopped; made later, it would belong to nobody and end in doubt."""
    other = await asyncpg.connect(
        host=postgres.administrator.host,
        port=postgres.port,
        user="postgres",
        database=address.database,
    )

    async def claim(n: int) -> None:
        change = Change(result=None, records=(sample_record(n),))
        await store.transact(Needs((number(n),)), lambda _view: change)

    async def somebody_waits() -> bool:
        return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    try:
        async with other.transaction():
            await other.execute("LOCK TABLE payment_worker.operations IN ACCESS EXCLUSIVE MODE")
            withdrawn, kept = (asyncio.ensure_future(claim(n)) for n in (1, 2))
            await until_true(somebody_waits)
            withdrawn.cancel()
            await asyncio.wait({withdrawn})
    finally:
        await other.close()
    await kept
    assert await store.find(number(1)) is None
    assert await store.find(number(2)) is not None


@pytest.mark.usefixtures("impatience")
async def test_a_lock_held_too_long_is_an_absence_and_passes(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    other = await asyncpg.connect(
        host=postgres.administrator.host,
        port=postgres.port,
        user="postgres",
        database=address.database,
    )
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE payment_worker.operations IN EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailableError, match="locked by another program"):
                await write(store, sample_record())
            assert await store.find(number(1)) is None, "reading goes on"
    finally:
        await other.close()
    await write(store, sample_record())


async def test_a_dropped_table_or_right_is_an_absence(
    postgres: PostgresServer, address: PostgresAddress, store: PostgresStore
) -> None:
    table = "payment_worker.operations"
    database = address.database
    postgres.psql(f"REVOKE INSERT ON {table} FROM {address.user}", database=database)
    with pytest.raises(StoreUnavailableError, match="42501"):
        await write(store, sample_record())
    postgres.psql(f"ALTER TABLE {table} RENAME TO away", database=database)
    with pytest.raises(StoreUnavailableError, match="42P01"):
        await store.find(number(1))


# --- a value that cannot be stored -------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        replace(sample_record(2), message_id="nothing\x00after"),
        replace(sample_record(2), message_id="half \ud800"),
        replace(sample_record(2), facts=replace(sample_record().facts, amount=Cents(2**70))),
    ],
    ids=["a NUL", "half a character", "a number too large"],
)
async def test_a_value_the_server_refuses_harms_its_own_caller_alone(
    store: PostgresStore, bad: Record
) -> None:
    await write(store, sample_record(9))
    await write(store, decided_record(9), answers=(sample_answer(9),))
    store.mark_confirmed(event_number(9), event=True, letter=False)
    ends = await asyncio.gather(
        write(store, sample_record(1)),
        write(store, bad),
        write(store, sample_record(3)),
        return_exceptions=True,
    )
    assert [end is None for end in ends] == [True, False, True]
    assert not isinstance(ends[1], StoreUnavailableError)
    assert await store.find(number(1)) == (sample_record(1), None)
    assert await store.find(number(2)) is None
    assert await store.find(number(3)) == (sample_record(3), None)
    nine = await store.find(number(9))
    assert nine is not None
    assert nine[1] is not None
    assert nine[1].event_confirmed
