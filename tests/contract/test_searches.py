"""What every store must do when it is asked for payments: one suite, on all three of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.test_store import LEDGERS, NAMES, MakeLedger
from tests.fakes_clock import START
from tests.fakes_payment_index import found_of
from tests.postgres import PostgresServer
from tests.store_samples import decided_record, number, sample_answer, sample_record, write
from worker.adapters.store_postgres import initialise as initialise_postgres
from worker.adapters.store_postgres.searches import statement_of as postgres_search
from worker.adapters.store_postgres.sessions import connect
from worker.adapters.store_sqlite import initialise
from worker.adapters.store_sqlite.searches import statement_of as sqlite_search
from worker.adapters.store_sqlite.store import connect_reader
from worker.model import EmailMark, Facts, Origin, Secret
from worker.ports import Store
from worker.records import AttemptEntry, Kind, Record, State
from worker.searches import EVERY_PAYMENT, FoundPayment, PaymentFilter, Place

MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    make: MakeLedger = request.param
    with make(request) as on_trial:
        yield await on_trial.open()
        await on_trial.close()


async def found_by(
    store: Store,
    wanted: PaymentFilter = EVERY_PAYMENT,
    *,
    after: Place | None = None,
    limit: int = 100,
    newest_first: bool = True,
) -> list[FoundPayment]:
    return list(
        await store.payments.search(wanted, after=after, limit=limit, newest_first=newest_first)
    )


async def ids_by(store: Store, wanted: PaymentFilter) -> set[UUID]:
    return {each.operation_id for each in await found_by(store, wanted)}


def asked(value: int, *, minutes: int = 0, **facts: str) -> Record:
    """A payment first seen so many minutes later."""
    record = sample_record(value)
    return replace(
        record,
        first_seen=START + minutes * MINUTE,
        facts=replace(record.facts, **facts),  # type: ignore[arg-type] # the texts among them
    )


async def test_the_newest_comes_first_and_the_oldest_when_asked(store: Store) -> None:
    for value, minutes in ((1, 5), (2, 9), (3, 5)):
        await write(store, asked(value, minutes=minutes))
    newest = [each.operation_id for each in await found_by(store)]
    assert newest == [number(2), number(3), number(1)]
    oldest = await found_by(store, newest_first=False)
    assert [each.operation_id for each in oldest] == newest[::-1]


async def test_pages_hold_each_once_although_others_come_meanwhile(store: Store) -> None:
    for value in range(1, 8):
        await write(store, asked(value, minutes=value))
    first = await found_by(store, limit=3)
    await write(store, asked(9, minutes=9))
    second = await found_by(store, after=first[-1].place, limit=3)
    third = await found_by(store, after=second[-1].place, limit=3)
    seen = [each.operation_id for each in (*first, *second, *third)]
    assert seen == [number(value) for value in range(7, 0, -1)]


async def test_each_thing_that_is_asked_for_must_hold(store: Store) -> None:
    await write(store, asked(1, id_commande="40017", id_client="2263", id_societe="1"))
    await write(store, asked(2, id_commande="40017", id_client="9", id_societe="2"))
    await write(store, replace(asked(3, id_commande="0"), origin=Origin("web"), account="other"))
    assert await ids_by(store, PaymentFilter(order="40017")) == {number(1), number(2)}
    assert await ids_by(store, PaymentFilter(order="0")) == {number(3)}
    assert await ids_by(store, PaymentFilter(order="40017", client="9")) == {number(2)}
    assert await ids_by(store, PaymentFilter(company="2")) == {number(2)}
    assert await ids_by(store, PaymentFilter(origin=Origin("web"))) == {number(3)}
    assert await ids_by(store, PaymentFilter(account="other")) == {number(3)}
    assert await ids_by(store, PaymentFilter(message_id="message-2")) == {number(2)}
    assert await ids_by(store, PaymentFilter(message_id="message-2", client="1")) == set()
    assert await ids_by(store, PaymentFilter(states=frozenset())) == set()


async def test_a_period_has_its_first_moment_and_not_its_last(store: Store) -> None:
    for value in (1, 2, 3):
        await write(store, asked(value, minutes=value))
    wanted = PaymentFilter(since=START + MINUTE, until=START + 3 * MINUTE)
    assert await ids_by(store, wanted) == {number(1), number(2)}


@pytest.mark.parametrize("state", State)
async def test_a_state_is_found_by_itself_and_among_others(store: Store, state: State) -> None:
    values = dict(zip(State, range(1, 9), strict=False))
    for each, value in values.items():
        await write(store, sample_record(value, state=each))
    assert await ids_by(store, PaymentFilter(states=frozenset({state}))) == {number(values[state])}
    both = PaymentFilter(states=frozenset({state, State.FAILED}), order="40017")
    assert await ids_by(store, both) == {number(values[state]), number(values[State.FAILED])}


async def test_a_reference_is_found_of_any_attempt_and_of_the_one_under_way(store: Store) -> None:
    earlier = AttemptEntry(
        operation_id=number(1),
        token=number(7),
        number=1,
        reference="a" * 32,
        tries=(),
        ended_at=START,
    )
    await write(store, sample_record(1), attempts=(earlier,))
    assert await ids_by(store, PaymentFilter(reference="a" * 32)) == {number(1)}
    assert await ids_by(store, PaymentFilter(reference=f"{1:032x}")) == {number(1)}
    assert await ids_by(store, PaymentFilter(reference="b" * 32)) == set()


async def test_a_payment_is_found_with_its_cancellations_and_its_duplicates(store: Store) -> None:
    await write(store, sample_record(1))
    await write(store, replace(sample_record(2), kind=Kind.CANCELLATION, payment_id=number(1)))
    await write(store, replace(sample_record(3), duplicate_of=number(1)))
    await write(store, sample_record(4))
    found = await ids_by(store, PaymentFilter(payment_id=number(1)))
    assert found == {number(1), number(2), number(3)}
    assert await ids_by(store, PaymentFilter(payment_id=number(4))) == {number(4)}


async def test_what_is_found_is_told_without_its_secrets(store: Store) -> None:
    record = replace(decided_record(version=1), duplicate_of=number(9))
    await write(store, record, answers=(sample_answer(sequence=0),))
    (found,) = await found_by(store)
    assert found == found_of(record)


async def test_a_duplicate_in_doubt_is_owed_what_its_payment_came_to(store: Store) -> None:
    """Only while it is in doubt, and not before its payment is decided."""
    in_doubt = replace(sample_record(1, state=State.IN_DOUBT), duplicate_of=number(5))
    settled = replace(sample_record(2, state=State.SUCCEEDED), duplicate_of=number(5))
    waiting = replace(sample_record(3, state=State.IN_DOUBT), duplicate_of=number(6))
    orphan = replace(sample_record(4, state=State.IN_DOUBT), duplicate_of=number(99))
    for record in (
        in_doubt,
        settled,
        waiting,
        orphan,
        sample_record(5, state=State.SUCCEEDED),
        sample_record(6, state=State.IN_DOUBT),
    ):
        await write(store, record)
    assert list(await store.adopted_doubts(limit=10)) == [number(1)]
    assert list(await store.adopted_doubts(limit=0)) == []


texts = st.sampled_from(["0", "1", "é", "40017"])
filters = st.builds(
    PaymentFilter,
    order=st.none() | texts,
    client=st.none() | texts,
    company=st.none() | texts,
    payment_id=st.none() | st.integers(1, 6).map(number),
    message_id=st.none() | st.integers(1, 6).map(lambda value: f"message-{value}"),
    states=st.none() | st.frozensets(st.sampled_from(State)),
    since=st.none() | st.integers(0, 6).map(lambda minutes: START + minutes * MINUTE),
    until=st.none() | st.integers(0, 6).map(lambda minutes: START + minutes * MINUTE),
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wanted=filters, newest_first=st.booleans(), limit=st.integers(1, 4))
async def test_every_store_finds_what_the_filter_says(
    many: Store, wanted: PaymentFilter, limit: int, *, newest_first: bool
) -> None:
    """Page after page, the same as picked by hand."""
    everything = await found_by(many, newest_first=newest_first)
    expected = [each for each in everything if is_meant(each, wanted)]
    found: list[FoundPayment] = []
    while page := await found_by(
        many,
        wanted,
        after=found[-1].place if found else None,
        limit=limit,
        newest_first=newest_first,
    ):
        found += page
    assert found == expected


@pytest_asyncio.fixture
async def many(store: Store) -> Store:
    for value, (order, state) in enumerate(
        zip(["0", "1", "é", "40017", "1", "0"], State, strict=True), start=1
    ):
        record = asked(value, minutes=value, id_commande=order, id_client=order[::-1])
        await write(store, replace(record, state=state))
    return store


def is_meant(found: FoundPayment, wanted: PaymentFilter) -> bool:
    facts: Facts = found.facts
    name = f"message-{found.operation_id.int & 0xFF}"
    return (
        wanted.order in {None, facts.id_commande}
        and wanted.client in {None, facts.id_client}
        and wanted.company in {None, facts.id_societe}
        and wanted.payment_id in {None, found.operation_id}
        and wanted.message_id in {None, name}
        and (wanted.states is None or found.state in wanted.states)
        and (wanted.since is None or found.first_seen >= wanted.since)
        and (wanted.until is None or found.first_seen < wanted.until)
    )


NAMED = {
    "email": PaymentFilter(email_marks=(EmailMark(b"a"), EmailMark(b"b"))),
    "order": PaymentFilter(order="40017"),
    "client": PaymentFilter(client="2263"),
    "client of a time": PaymentFilter(client="2263", since=START, until=START + MINUTE),
    "client in doubt": PaymentFilter(client="2263", states=frozenset({State.IN_DOUBT})),
    "client and order": PaymentFilter(client="2263", order="40017"),
    "client and reference": PaymentFilter(client="2263", reference="a" * 32),
    "message": PaymentFilter(message_id="message-1"),
    "reference": PaymentFilter(reference="a" * 32),
    "payment": PaymentFilter(payment_id=number(1)),
    "time": PaymentFilter(since=START, until=START + MINUTE),
    "everything": EVERY_PAYMENT,
    "doubt": PaymentFilter(states=frozenset({State.IN_DOUBT})),
    "order in doubt": PaymentFilter(order="40017", states=frozenset({State.IN_DOUBT})),
}


IN_SEGMENTS = "COVERING INDEX operations_{} (<expr>=? AND {}=?"
BY_ORDER = IN_SEGMENTS.format("orders", "id_commande")
BY_CLIENT = IN_SEGMENTS.format("clients", "id_client")

SERVED = {
    "email": "operations_personal",
    "order": BY_ORDER,
    "client": BY_CLIENT,
    "client of a time": f"{BY_CLIENT} AND first_seen>? AND first_seen<?)",
    "client in doubt": BY_CLIENT,
    "client and order": BY_ORDER,
    "client and reference": "attempts_references (<expr>=? AND reference=?)",
    "message": IN_SEGMENTS.format("messages", "message_id"),
    "reference": "attempts_references (<expr>=? AND reference=?)",
    "payment": "operations_cancellations (payment_id=?)",
    "time": "operations_received (first_seen>? AND first_seen<?)",
    "everything": "operations_received",
    "doubt": "operations_doubts",
    "order in doubt": BY_ORDER,
}
SEGMENTED = {
    "order": ("operations_orders", "id_commande ="),
    "client": ("operations_clients", "id_client ="),
    "client in doubt": ("operations_clients", "id_client ="),
    "client and order": ("operations_orders", "id_commande ="),
    "client and reference": ("attempts_references", "reference ="),
    "message": ("operations_messages", "message_id ="),
    "reference": ("attempts_references", "reference ="),
    "order in doubt": ("operations_orders", "id_commande ="),
}
WALKED = {
    "email": {"SCAN operations USING INDEX operations_personal"},
    "everything": {"SCAN operations USING INDEX operations_received"},
    "doubt": {"SCAN operations USING INDEX operations_doubts"},
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("newest_first", [True, False])
def test_no_search_reads_the_whole_file(name: str, tmp_path: Path, *, newest_first: bool) -> None:
    """An index serves each, with what it is asked; what is listed by time alone is not sorted."""
    initialise(tmp_path / "ledger.sqlite")
    connection = connect_reader(tmp_path / "ledger.sqlite", 1.0)
    statement, values = sqlite_search(NAMED[name], after=None, limit=5, newest_first=newest_first)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    connection.close()
    assert any(SERVED[name] in step for step in plan), plan
    walks = {step for step in plan if step.startswith("SCAN") and "operations_leases" not in step}
    walks -= {"SCAN CONSTANT ROW", "SCAN counted", "SCAN segments"}  # the numbers of the segments
    assert walks <= WALKED.get(name, set()), plan
    if name in {"time", "everything"}:
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


MANY_ROWS = """
INSERT INTO operations (
  operation_id, kind, payment_id, identity, origin, id_client, id_commande, message_id, state,
  sequence, version, first_seen, created_at, updated_at, attempts, peak_attempts, unknown_attempts,
  cleared_attempts, opened_attempts, waits, link_published
) SELECT
  sha256(n::text::bytea), 'initiation', sha256(n::text::bytea), n::text, 'dcp', (n % 999)::text,
  n::text, 'message-' || n, 'succeeded', 1, 1, n, n, n, 1, 1, 0, 0, 0, 0, 0
FROM generate_series(1, 20000) AS n;

INSERT INTO attempts (entry, operation_id, token, number, reference, tries, ended_at)
  SELECT entry, operation_id, operation_id, 1, md5(identity), '[]', first_seen FROM operations;

ANALYZE;
"""
"""A planner without rows finds everything equally good."""


async def test_no_search_reads_the_whole_table(postgres: PostgresServer) -> None:
    """An index serves each: forbidden to read whole tables, the planner finds another way."""
    with postgres.database() as address:
        await initialise_postgres(address)
        connection = await connect(address)
        try:
            await connection.execute(MANY_ROWS)
            await connection.execute("SET enable_seqscan = off")
            for name, wanted in NAMED.items():
                statement, values = postgres_search(wanted, after=None, limit=5, newest_first=True)
                plan = [row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values)]
                assert not [step for step in plan if "Seq Scan" in step], plan
                if name in SEGMENTED:
                    index, condition = SEGMENTED[name]
                    assert any(f"using {index} on" in step for step in plan), "\n".join(plan)
                    within = [step for step in plan if "Index Cond: (((entry >> 12) = " in step]
                    assert any(condition in step for step in within), "\n".join(plan)
        finally:
            await connection.close()


async def test_an_email_finds_its_payments_however_it_is_written_until_it_is_erased(
    store: Store,
) -> None:
    for n, email in enumerate(("Jo@example.org", "jo@example.org", "ann@example.org"), start=1):
        mark = store.email_marks(Secret(email))[0]
        await write(store, replace(sample_record(n), email_mark=mark))
    wanted = PaymentFilter(email_marks=store.email_marks(Secret(" JO@EXAMPLE.ORG ")))
    assert {found.operation_id for found in await found_by(store, wanted)} == {number(1), number(2)}
    assert [each.operation_id for each in await found_by(store, replace(wanted, order="0"))] == []
