"""Records and answers for tests: plain ones to vary, and arbitrary ones with every field."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from hypothesis import strategies as st

from tests.fakes_clock import START
from worker.acts import ChainCheck
from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Succeeded,
    Try,
    Unknown,
)
from worker.codes import Code
from worker.letters import UnansweredLetter
from worker.look_ups import Finding, LookUp, LookUpPlan, PlanState
from worker.model import (
    Cents,
    EmailMark,
    Facts,
    Fault,
    Fingerprint,
    Identity,
    Operation,
    OperationClass,
    Origin,
    PaymentTarget,
    PaymentType,
    RunMode,
    Secret,
)
from worker.ports import Store
from worker.records import (
    ActFacts,
    Answer,
    AttemptEntry,
    AuditEntry,
    Change,
    Event,
    Kind,
    Letter,
    Needs,
    Record,
    Restoration,
    State,
    Status,
    Tombstone,
)

DCP = Origin("dcp")
LINK = Secret("https://pay.example.test/p/planted-link")
EMAIL = Secret("planted.person@example.test")


def number(value: int) -> UUID:
    """A readable id."""
    return UUID(int=value, version=4)


def sample_record(value: int = 1, *, version: int = 1, state: State = State.CALLING) -> Record:
    """A payment being called, its lease running; vary it with ``replace``."""
    return Record(
        operation_id=number(value),
        kind=Kind.INITIATION,
        payment_id=number(value),
        identity=Identity(f"dcp\x1fkey-{value}"),
        fingerprint=fingerprint(value),
        origin=DCP,
        facts=Facts(
            payment_target=PaymentTarget.LABANQUEPOSTALE,
            payment_run_mode=RunMode.TEST,
            payment_type=PaymentType.SEPA,
            type_paiement=PaymentType.SEPA,
            id_origin="DCP",
            id_societe="1",
            id_client="2263",
            id_commande="40017",
            amount=Cents(1250),
        ),
        state=state,
        sequence=1,
        version=version,
        first_seen=START,
        created_at=START,
        updated_at=START,
        message_id=f"message-{value}",
        account="safedebit",
        operation=Operation.GET_LINK_PAYMENT,
        operation_class=OperationClass.NON_IDEMPOTENT,
        live=False,
        reference=f"{value:032x}",
        attempts=1,
        token=number(value + 1_000_000),
        lease_until=START + timedelta(seconds=180),
    )


def fingerprint(value: int) -> Fingerprint:
    """Some SHA-256."""
    return Fingerprint(f"{value:064x}")


def decided_record(value: int = 1, *, version: int = 2, state: State = State.SUCCEEDED) -> Record:
    """The record of ``sample_record`` once ``sample_answer`` has been decided."""
    sequence = version - 1
    return replace(
        sample_record(value, version=version, state=state),
        sequence=sequence,
        lease_until=None,
        decided_at=START + timedelta(seconds=sequence),
        event_id=event_number(value, sequence),
    )


def event_number(value: int, sequence: int = 1) -> UUID:
    """The event id of an operation's decision."""
    return uuid5(number(value), str(sequence))


def sample_answer(
    value: int = 1,
    *,
    sequence: int = 1,
    occurred_at: datetime | None = None,
    letter: Letter | None = None,
    link: Secret | None = None,
) -> Answer:
    """The answer that ``decided_record`` names; with a letter it is a failure."""
    return Answer(
        operation_id=number(value),
        event=Event(
            event_id=event_number(value, sequence),
            status=Status.SUCCEEDED if letter is None else Status.FAILED,
            occurred_at=occurred_at or START + timedelta(seconds=sequence),
            origin=DCP,
            payment_id=number(value),
            request_id=f"message-{value}",
            sequence=sequence,
            facts=sample_record(value).facts,
            attempts=1,
            link=link,
            code=None if letter is None else letter.code,
        ),
        letter=letter,
        correlation_id=f"message-{value}",
    )


def sample_letter(failed_at: datetime = START) -> Letter:
    """A letter of a provider that stayed away."""
    return Letter(code=Code.PROVIDER_UNAVAILABLE, detail="no attempt is left", failed_at=failed_at)


def sample_unanswered(n: int = 1, *, failed_at: datetime = START) -> UnansweredLetter:
    """A letter of a request that the broker gave up, about what ``sample_record`` is about."""
    record = sample_record(n)
    return UnansweredLetter(
        operation_id=record.operation_id,
        kind=record.kind,
        payment_id=record.payment_id,
        sequence=1,
        origin=record.origin,
        fingerprint=record.fingerprint,
        facts=record.facts,
        first_seen=START,
        not_after=None,
        failed_at=failed_at,
        cause="delivery_limit",
        found_at=START,
    )


def sample_act(which: int | None = 1) -> AuditEntry:
    operation_id = None if which is None else number(which)
    return AuditEntry(
        at=START, actor="o.perator", action="reopen", operation_id=operation_id, detail="run 7"
    )


async def followed(store: Store) -> ChainCheck:
    """Every act of a ledger, held against the chain."""
    check, after = ChainCheck(), 0
    while page := await store.acts.page(after=after, limit=100):
        for kept in page:
            check.follow(kept)
        after = page[-1].row
    return check


async def write(
    store: Store,
    *records: Record,
    answers: tuple[Answer, ...] = (),
    attempts: tuple[AttemptEntry, ...] = (),
    owner: tuple[Fingerprint, UUID] | None = None,
    disowned: tuple[Fingerprint, UUID] | None = None,
    tombstones: tuple[Tombstone, ...] = (),
    audit: tuple[AuditEntry, ...] = (),
    restoration: Restoration | None = None,
) -> None:
    """Write rows as one change."""
    change = Change(
        result=None,
        records=records,
        answers=answers,
        attempts=attempts,
        owner=owner,
        disowned=disowned,
        tombstones=tombstones,
        audit=audit,
        restoration=restoration,
    )
    await store.transact(Needs(()), lambda _view: change)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again: each question gives the store a turn."""
    async with asyncio.timeout(10):
        while not await condition():
            pass


# --- arbitrary ones ----------------------------------------------------------------------------

uuids = st.uuids()
times = st.integers(min_value=0, max_value=10**16).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
# NUL and lone surrogates are refused at the door; everything else must survive.
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
)
secrets = st.builds(Secret, texts)
origins = texts.map(Origin)
counts = st.integers(min_value=0, max_value=2**31)
fingerprints = st.binary(min_size=32, max_size=32).map(lambda raw: Fingerprint(raw.hex()))
codes = st.sampled_from(sorted(set(Code) - {Code.LINK_ERASED}))
maybe_text = st.none() | texts
maybe_time = st.none() | times
maybe_id = st.none() | uuids

facts = st.builds(
    Facts,
    payment_target=st.none() | st.sampled_from(PaymentTarget),
    payment_run_mode=st.none() | st.sampled_from(RunMode),
    payment_type=st.none() | st.sampled_from(PaymentType),
    type_paiement=st.none() | st.sampled_from(PaymentType),
    id_origin=maybe_text,
    id_societe=maybe_text,
    id_client=maybe_text,
    id_commande=maybe_text,
    amount=st.none() | st.integers(min_value=1, max_value=10**12).map(Cents),
)

records = st.builds(
    Record,
    operation_id=uuids,
    kind=st.sampled_from(Kind),
    payment_id=uuids,
    identity=texts.map(Identity),
    fingerprint=st.none() | fingerprints,
    origin=origins,
    facts=facts,
    state=st.sampled_from(State),
    sequence=counts,
    version=st.just(1),
    first_seen=times,
    created_at=times,
    updated_at=times,
    not_after=maybe_time,
    message_id=maybe_text,
    correlation_id=maybe_text,
    traceparent=maybe_text,
    account=maybe_text,
    operation=st.none() | st.sampled_from(Operation),
    operation_class=st.none() | st.sampled_from(OperationClass),
    live=st.none() | st.booleans(),
    reference=maybe_text,
    attempts=counts,
    peak_attempts=counts,
    unknown_attempts=counts,
    cleared_attempts=counts,
    opened_attempts=counts,
    waits=counts,
    token=maybe_id,
    lease_until=maybe_time,
    next_attempt_at=maybe_time,
    decided_at=maybe_time,
    event_id=maybe_id,
    code=st.none() | codes,
    link=st.none() | secrets,
    link_published=st.booleans(),
    item_id=maybe_text,
    email=st.none() | secrets,
    duplicate_of=maybe_id,
    reopened_by=maybe_text,
    email_mark=st.none() | st.binary(min_size=20, max_size=20).map(EmailMark),
)

statuses = st.integers(min_value=100, max_value=599)
outcomes = st.one_of(
    st.builds(
        Succeeded,
        link=st.none() | secrets,
        item_id=maybe_text,
        http_status=statuses,
        link_dropped=st.booleans(),
    ),
    st.builds(
        Declined,
        code=codes,
        provider_code=maybe_text,
        http_status=statuses,
        known=st.booleans(),
    ),
    st.builds(
        NotApplied,
        code=codes,
        http_status=statuses,
        retry_after=st.none() | st.floats(min_value=0, max_value=3600),
    ),
    st.builds(NotSent, code=codes),
    st.builds(
        Misconfigured,
        code=codes,
        http_status=st.none() | statuses,
        provider_code=maybe_text,
    ),
    st.builds(
        Unknown,
        http_status=st.none() | statuses,
        code=codes,
        never_resend=st.booleans(),
        link=st.none() | secrets,
    ),
)
tries = st.builds(Try, started_at=times, ended_at=times, outcome=outcomes)
attempts = st.builds(
    AttemptEntry,
    operation_id=uuids,
    token=uuids,
    number=counts,
    reference=maybe_text,
    tries=st.lists(tries, max_size=3).map(tuple),
    ended_at=times,
    note=maybe_text,
)

events = st.builds(
    Event,
    event_id=uuids,
    status=st.sampled_from(Status),
    occurred_at=times,
    origin=origins,
    payment_id=uuids,
    request_id=maybe_text,
    sequence=counts,
    facts=facts,
    attempts=counts,
    link=st.none() | secrets,
    code=st.none() | codes,
    provider_code=maybe_text,
    http_status=st.none() | statuses,
    faults=st.lists(st.builds(Fault, texts, texts, texts), max_size=2).map(tuple),
    provider=maybe_text,
    provider_reference=maybe_text,
    basket_item_id=maybe_text,
    livemode=st.none() | st.booleans(),
    duplicate_of=maybe_id,
    conflicts_with=maybe_id,
    payment_status=st.none() | st.sampled_from(State),
)
letters = st.builds(Letter, code=codes, detail=texts, failed_at=times)
answers = st.builds(
    Answer,
    operation_id=uuids,
    event=events,
    letter=st.none() | letters,
    correlation_id=maybe_text,
    traceparent=maybe_text,
    event_confirmed=st.booleans(),
    letter_confirmed=st.booleans(),
    resends=counts,
    letter_resolved=st.booleans(),
)
look_ups = st.builds(
    LookUp,
    operation_id=uuids,
    sequence=counts,
    step=counts,
    at=times,
    reference=texts,
    finding=st.sampled_from(Finding),
    amount=st.none() | st.integers(min_value=1, max_value=10**12).map(Cents),
    reason=maybe_text,
    http_status=st.none() | statuses,
    provider_code=maybe_text,
)
look_up_plans = st.builds(
    LookUpPlan,
    operation_id=uuids,
    account=texts,
    sequence=counts,
    steps=counts,
    state=st.sampled_from(PlanState),
    due_at=maybe_time,
    token=maybe_id,
    lease_until=maybe_time,
)
tombstones = st.builds(Tombstone, payment_id=uuids, origin=origins, until=times)
act_facts = st.builds(
    ActFacts,
    account=maybe_text,
    run=maybe_text,
    plan_sha256=maybe_text,
    approved_by=maybe_text,
    result=maybe_text,
    count=st.none() | counts,
    cents=st.none() | counts,
)
audit_entries = st.builds(
    AuditEntry,
    at=times,
    actor=texts,
    action=texts,
    operation_id=maybe_id,
    detail=texts,
    is_denied=st.booleans(),
    facts=act_facts,
)
