"""What is sealed under which key, and sealing it anew: on SQLite and on PostgreSQL."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from tests.fakes_clock import START, FakeClock
from tests.postgres import PostgresServer
from tests.store_samples import EMAIL, LINK, decided_record, number, sample_answer, write
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.ledgers import LedgerPlace, SealedStore, initialise_ledger, open_ledger
from worker.adapters.store_errors import LedgerKeyMissingError
from worker.calls import Succeeded, Try
from worker.inventory import SealPlace
from worker.ledger import Ledger
from worker.operators.keys import KeyUse, look_at_keys, seal_again
from worker.operators.retention import RETENTION
from worker.operators.walks import QueueLockedError, holding
from worker.records import AttemptEntry
from worker.rules import Rules

OLD, NEW = generate_key(), generate_key()
(OLD_ID,), (NEW_ID,) = Vault([OLD]).key_ids, Vault([NEW]).key_ids
ROTATING = Vault([NEW, OLD])


@contextmanager
def sqlite_place(_request: pytest.FixtureRequest) -> Iterator[LedgerPlace]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "ledger.sqlite"


@contextmanager
def postgres_place(request: pytest.FixtureRequest) -> Iterator[LedgerPlace]:
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as address:
        yield address


MakePlace = Callable[[pytest.FixtureRequest], AbstractContextManager[LedgerPlace]]


class Desk:
    """Opens the same ledger with other keys, one process after the other."""

    def __init__(self, place: LedgerPlace) -> None:
        self.place = place
        self.clock = FakeClock()
        self._stores: list[SealedStore] = []

    async def open(self, vault: Vault) -> SealedStore:
        store = await open_ledger(self.place, vault=vault, clock=self.clock, least_free_mib=0)
        self._stores.append(store)
        return store

    def ledger(self, store: SealedStore) -> Ledger:
        return Ledger(store=store, rules=Rules(), clock=self.clock)

    async def pay(self, store: SealedStore, *numbers: int, is_stored: bool = True) -> None:
        """Payments with a link in three places, and an e-mail, or only the mark of one."""
        for n in numbers:
            record = replace(
                decided_record(n, version=1),
                link=LINK,
                email=EMAIL if is_stored else None,
                email_mark=store.email_marks(EMAIL)[0],
            )
            outcome = Succeeded(link=LINK, http_status=200)
            entry = AttemptEntry(
                operation_id=number(n),
                token=number(9),
                number=1,
                reference=None,
                tries=(Try(started_at=START, ended_at=START, outcome=outcome),) * 2,
                ended_at=START,
            )
            answer = sample_answer(n, sequence=0, link=LINK)
            await write(store, record, answers=(answer,), attempts=(entry,))

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest_asyncio.fixture(params=[sqlite_place, postgres_place], ids=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    make: MakePlace = request.param
    with make(request) as place:
        await initialise_ledger(place)
        desk = Desk(place)
        yield desk
        await desk.close()


def use(key_id: str, values: int, marks: int, *, is_first: bool = False) -> KeyUse:
    return KeyUse(key_id=key_id, is_first=is_first, values=values, marks=marks)


async def test_a_key_is_replaced_and_then_the_old_one_is_not_needed(desk: Desk) -> None:
    old = await desk.open(Vault([OLD]))
    await desk.pay(old, 1, 2)
    store = await desk.open(ROTATING)
    await desk.pay(store, 3)
    keys = ROTATING.key_ids
    assert await look_at_keys(store.seals, keys, clock=desk.clock) == [
        use(NEW_ID, 5, 1, is_first=True),
        use(OLD_ID, 10, 2),
    ]
    with pytest.raises(LedgerKeyMissingError):
        await desk.open(Vault([NEW]))
    done = await seal_again(desk.ledger(store), store.seals, keys, actor="anna")
    assert (done.renewed, done.unused) == (6, (OLD_ID,))
    assert list(done.keys) == [use(NEW_ID, 15, 3, is_first=True), use(OLD_ID, 0, 0)]
    alone = await desk.open(Vault([NEW]))
    for n in (1, 2, 3):
        found = await alone.find(number(n))
        assert found is not None
        record, answer = found
        assert (record.link, record.email) == (LINK, EMAIL)
        assert record.email_mark == Vault([NEW]).email_marks(EMAIL)[0]
        assert answer is not None
        assert answer.event.link == LINK
        history = await alone.history(number(n), events=[])
        assert history is not None
        assert [getattr(call.outcome, "link", None) for call in history.attempts[0].tries] == (
            [LINK, LINK]
        )
    again = await seal_again(desk.ledger(store), store.seals, keys, actor="anna")
    assert again.renewed == 0


async def test_a_mark_whose_email_was_never_stored_keeps_its_key(desk: Desk) -> None:
    old = await desk.open(Vault([OLD]))
    await desk.pay(old, 1, is_stored=False)
    store = await desk.open(ROTATING)
    done = await seal_again(desk.ledger(store), store.seals, ROTATING.key_ids, actor="anna")
    assert list(done.keys) == [use(NEW_ID, 4, 0, is_first=True), use(OLD_ID, 0, 1)]
    assert done.unused == (OLD_ID,)
    alone = await desk.open(Vault([NEW]))
    found = await alone.find(number(1))
    assert found is not None
    assert found[0].email_mark == Vault([OLD]).email_marks(EMAIL)[0]


async def test_pages_miss_nothing_and_go_from_table_to_table(desk: Desk) -> None:
    old = await desk.open(Vault([OLD]))
    await desk.pay(old, 1, 2, 3)
    store = await desk.open(ROTATING)
    after: SealPlace | None = None
    pages, values = 0, Counter[str]()
    while True:
        page = await store.seals.walk(after, limit=2, is_dry=True)
        values.update(page.values)
        assert page.renewed == 0
        pages, after = pages + 1, page.after
        if after is None:
            break
    assert pages == 6
    assert values == {OLD_ID: 15}


async def test_sealing_anew_and_erasing_never_run_at_once(desk: Desk) -> None:
    store = await desk.open(ROTATING)
    ledger = desk.ledger(store)
    async with holding(ledger, RETENTION, actor="worker", purpose="maintain"):
        with pytest.raises(QueueLockedError):
            await seal_again(ledger, store.seals, ROTATING.key_ids, actor="anna")


async def test_an_older_row_gets_the_mark_of_its_email_under_the_same_key(desk: Desk) -> None:
    """Rows of an earlier release have none."""
    store = await desk.open(Vault([OLD]))
    await write(store, replace(decided_record(1, version=1), email=EMAIL))
    done = await seal_again(desk.ledger(store), store.seals, (OLD_ID,), actor="anna")
    assert (done.renewed, list(done.keys)) == (1, [use(OLD_ID, 1, 1, is_first=True)])
    found = await store.find(number(1))
    assert found is not None
    assert found[0].email_mark == store.email_marks(EMAIL)[0]
