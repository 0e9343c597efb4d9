"""A ledger that is lost, or older than the copies it meets: every row, every copy, every class."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest

from tests.core import CANCEL, cancellation, initiation
from tests.provider_examples import LINK_ROUTE, REMOVAL_ROUTE
from tests.rows import ASKED, EMAIL, LINK, NOW, OTHER_TOKEN, Rows, claim_wish, closed, payment
from worker.codes import Code
from worker.contract.reading import read
from worker.lifecycle.cancel import CancelWish, claim_cancellation
from worker.lifecycle.claim import claim
from worker.lifecycle.decide import Reason
from worker.lifecycle.lost import knows_more
from worker.lifecycle.refuse import refuse
from worker.lifecycle.restore import restore
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, Won
from worker.model import Cancellation, OperationClass, Refusal, Route, Source, Unreadable
from worker.records import Change, Kind, Record, Restoration, State, Status
from worker.rules import Rules

RULES = Rules()
BELIEVED = (Source.LADDER, Source.REPLAY)
REPEATABLE = (OperationClass.READ, OperationClass.IDEMPOTENT, OperationClass.KEYED)
NEVER_AGAIN = (OperationClass.ORPHAN_SAFE, OperationClass.NON_IDEMPOTENT)
DECIDED = (State.SUCCEEDED, State.FAILED, State.IN_DOUBT, State.CANCELLED)
REASONS = {
    State.FAILED: Reason(code=Code.DECLINED),
    State.IN_DOUBT: Reason(code=Code.OUTCOME_UNKNOWN),
}
RESTORED_AT = NOW - timedelta(hours=1)
RESTORATION = Restoration(
    known_until=NOW - timedelta(days=1), restored_at=RESTORED_AT, actor="o.perator"
)
REFUSAL = Refusal(code=Code.COMPANY_NOT_CONFIGURED)


def wish(source: Source, *, attempts: int, sequence: int, operation_class: OperationClass) -> Claim:
    """The claim of a delivery that carries these numbers."""
    plan = replace(LINK_ROUTE, operation_class=operation_class)
    plain = claim_wish(plan, token=OTHER_TOKEN)
    envelope = replace(plain.envelope, source=source, attempts=attempts, sequence=sequence)
    return replace(plain, envelope=envelope)


def rows_in(state: State, operation_class: OperationClass | None, *, attempts: int = 2) -> Rows:
    """A ledger whose payment is in that state, at sequence 2."""
    row = payment(
        state if state.is_open else State.CALLING,
        operation_class=operation_class,
        attempts=attempts,
        sequence=2,
    )
    row = replace(row, peak_attempts=attempts)
    if state.is_open:
        return Rows([row])
    link = LINK if state is State.SUCCEEDED else None
    record, answer = closed(row, state, reason=REASONS.get(state), link=link)
    return Rows([record], answers=[answer])


def row_of(rows: Rows) -> Record:
    return rows.records[ASKED.envelope.operation_id]


# --- a row that knows less ---------------------------------------------------------------------

NUMBERS = [(attempts, sequence) for attempts in (1, 2, 3) for sequence in (1, 2, 3, 4)]


@pytest.mark.parametrize("state", list(State))
def test_a_copy_that_knows_more_than_its_row_is_never_sent_where_it_could_pay_twice(
    state: State,
) -> None:
    """Everything else is decided as if the copy's numbers had been the row's all along."""
    for source, (attempts, sequence), operation_class in product(Source, NUMBERS, OperationClass):
        rows = rows_in(state, operation_class)
        before = row_of(rows)
        asked = wish(source, attempts=attempts, sequence=sequence, operation_class=operation_class)
        change = claim(rows, asked, RULES, NOW)
        is_older = source in BELIEVED and (attempts > 2 or sequence > 2)
        case = (source, attempts, sequence, operation_class)
        if state in {State.SUCCEEDED, State.CANCELLED} or not is_older:
            plain = claim(
                rows_in(state, operation_class),
                wish(Source.REQUESTS, attempts=0, sequence=1, operation_class=operation_class),
                RULES,
                NOW,
            )
            assert change == plain, case
        elif operation_class in NEVER_AGAIN:
            check_lost(change, before, attempts=attempts, sequence=sequence)
        else:
            check_goes_on(change, before, attempts=attempts, sequence=sequence)


def check_lost(change: Change[Claimed], before: Record, *, attempts: int, sequence: int) -> None:
    """In doubt, at numbers that no later decision falls behind."""
    (record,), (answer,), (act,) = change.records, change.answers, change.audit
    assert (record.state, record.code) == (State.IN_DOUBT, Code.LEDGER_LOST)
    assert record.version == before.version + 1
    assert record.token is None, "no late answer may end a doubt that it did not leave"
    assert record.attempts == record.peak_attempts == max(before.attempts, attempts)
    assert record.unknown_attempts == before.unknown_attempts + 1
    least = before.sequence if before.state.is_open else before.sequence + 1
    assert record.sequence == answer.event.sequence == max(sequence, least)
    assert answer.event.event_id != before.event_id
    assert answer.letter is not None
    assert change.owner == (record.fingerprint, record.operation_id)
    assert (act.actor, act.action) == ("worker", "ledger_lost")
    again = replace(ASKED.envelope, source=Source.REPLAY, attempts=attempts, sequence=sequence)
    assert not knows_more(again, record), "the same copy proves nothing twice"


def check_goes_on(change: Change[Claimed], before: Record, *, attempts: int, sequence: int) -> None:
    """Waited for where somebody may be calling, else called again at the copy's numbers."""
    known = max(before.attempts, attempts)
    if before.state is State.CALLING:
        assert isinstance(change.result, Held)
        assert change.records == ()
        assert (change.result.attempts, change.result.sequence) == (known, max(2, sequence))
        return
    assert isinstance(change.result, Won)
    (record,) = change.records
    assert record.version == before.version + 1
    assert record.attempts == known + 1
    assert record.unknown_attempts == before.unknown_attempts + 1
    least = before.sequence if before.state.is_open else before.sequence + 1
    assert record.sequence == max(sequence, least)


@pytest.mark.parametrize("plan", [REFUSAL, LINK_ROUTE])
@pytest.mark.parametrize("operation_class", [None, *REPEATABLE])
def test_what_the_plan_does_not_promise_the_row_cannot(
    plan: Route | Refusal, operation_class: OperationClass | None
) -> None:
    """The forgotten attempt was made under settings nobody remembers: the careful answer holds."""
    rows = rows_in(State.RETRY_WAIT, operation_class)
    asked = wish(Source.LADDER, attempts=3, sequence=2, operation_class=OperationClass.KEYED)
    change = claim(rows, replace(asked, plan=plan), RULES, NOW)
    assert isinstance(change.result, Decided)
    assert change.result.record.code is Code.LEDGER_LOST


def test_an_edited_copy_that_knows_more_is_about_this_payment_all_the_same() -> None:
    """Its content differs from the row's because an operator corrected it after the backup."""
    rows = rows_in(State.FAILED, OperationClass.NON_IDEMPOTENT)
    asked = wish(
        Source.REPLAY, attempts=2, sequence=3, operation_class=OperationClass.NON_IDEMPOTENT
    )
    edited = replace(asked, request=claim_wish(LINK_ROUTE, delivery=initiation("key-2")).request)
    change = claim(rows, edited, RULES, NOW)
    assert [record.code for record in change.records] == [Code.LEDGER_LOST]


def test_a_kept_link_of_a_doubt_stays_for_the_operator() -> None:
    row = replace(payment(), peak_attempts=1)
    doubtful, answer = closed(row, State.IN_DOUBT, reason=REASONS[State.IN_DOUBT])
    rows = Rows([replace(doubtful, link=LINK)], answers=[answer])
    asked = wish(Source.REPLAY, attempts=1, sequence=2, operation_class=OperationClass.ORPHAN_SAFE)
    change = claim(rows, asked, RULES, NOW)
    (record,), (told,) = change.records, change.answers
    assert (record.link, record.link_published, told.event.link) == (LINK, False, None)


# --- no row at all -----------------------------------------------------------------------------

TIMES = (None, RESTORED_AT, RESTORED_AT + timedelta(seconds=1))


@pytest.mark.parametrize("operation_class", list(OperationClass))
def test_without_a_row_a_copy_or_a_redelivery_after_a_restoration_is_suspect(
    operation_class: OperationClass,
) -> None:
    in_force = (RESTORATION, replace(RESTORATION, restored_at=NOW - timedelta(hours=25)), None)
    for source, attempts, sequence, redelivered, count, begun, restoration in product(
        Source, (0, 1), (1, 2), (False, True), (0, 1), TIMES, in_force
    ):
        plain = wish(source, attempts=attempts, sequence=sequence, operation_class=operation_class)
        delivery = replace(
            plain.delivery, redelivered=redelivered, delivery_count=count, timestamp=begun
        )
        envelope = replace(plain.envelope, first_seen=begun or RESTORED_AT)
        asked = replace(plain, delivery=delivery, envelope=envelope)
        change = claim(Rows(), asked, RULES, NOW, restoration)
        proves = source in BELIEVED and (attempts > 0 or sequence > 1)
        suspect = (
            restoration is RESTORATION
            and (redelivered or count > 0)
            and (begun is None or begun <= RESTORED_AT)
        )
        (record,) = change.records
        case = (source, attempts, sequence, redelivered, count, begun, restoration)
        if operation_class in NEVER_AGAIN and (proves or suspect):
            assert (record.state, record.code) == (State.IN_DOUBT, Code.LEDGER_LOST), case
            assert change.owner == (record.fingerprint, record.operation_id)
        else:
            assert isinstance(change.result, Won), case
            assert record.unknown_attempts == int(proves)
            assert record.attempts == (attempts if proves else 0) + 1


def test_a_producers_time_is_no_proof_for_a_copy_and_ours_none_for_a_request() -> None:
    """On a copy the time property is still the producer's; on a request we saw it just now."""
    late = NOW - timedelta(minutes=1)
    for source, first_seen, timestamp in (
        (Source.LADDER, RESTORED_AT, late),
        (Source.REQUESTS, late, RESTORED_AT),
    ):
        plain = wish(source, attempts=0, sequence=1, operation_class=OperationClass.NON_IDEMPOTENT)
        asked = replace(
            plain,
            envelope=replace(plain.envelope, first_seen=first_seen),
            delivery=replace(plain.delivery, redelivered=True, timestamp=timestamp),
        )
        change = claim(Rows(), asked, RULES, NOW, RESTORATION)
        assert [record.code for record in change.records] == [Code.LEDGER_LOST]


# --- cancellations and what cannot be read ------------------------------------------------------


def cancel_wish(
    source: Source, *, attempts: int, operation_class: OperationClass, redelivered: bool = False
) -> CancelWish:
    delivery = replace(cancellation(), redelivered=redelivered)
    asked = read(delivery)
    assert isinstance(asked, Cancellation)
    return CancelWish(
        envelope=replace(asked.envelope, source=source, attempts=attempts),
        request=asked.request,
        plan=replace(REMOVAL_ROUTE, operation_class=operation_class),
        token=OTHER_TOKEN,
        may_call=True,
        delivery=delivery,
    )


def paid() -> Rows:
    """A ledger with a basket item that may be removed."""
    row = replace(payment(operation_class=OperationClass.NON_IDEMPOTENT), account="combo")
    record, answer = closed(row, State.SUCCEEDED, item_id="12")
    return Rows([replace(record, email=EMAIL)], answers=[answer])


@pytest.mark.parametrize("operation_class", list(OperationClass))
@pytest.mark.parametrize("has_row", [False, True])
def test_a_removal_nobody_remembers_is_repeated_only_where_it_may_be(
    operation_class: OperationClass, has_row: object
) -> None:
    rows = paid()
    asked = cancel_wish(Source.LADDER, attempts=2, operation_class=operation_class)
    if has_row:
        first = claim_cancellation(
            rows, replace(asked, envelope=replace(asked.envelope, attempts=0)), RULES, NOW
        )
        rows.write(first)
        waiting = replace(
            rows.records[asked.envelope.operation_id],
            state=State.RETRY_WAIT,
            token=None,
            next_attempt_at=NOW,
        )
        rows.records[waiting.operation_id] = waiting
    change = claim_cancellation(rows, asked, RULES, NOW)
    (record,) = change.records
    if operation_class in REPEATABLE:
        assert isinstance(change.result, Won)
        assert (record.attempts, record.unknown_attempts) == (3, 1)
    else:
        (answer,) = change.answers
        assert (record.code, record.attempts) == (Code.LEDGER_LOST, 2)
        assert answer.event.status is Status.CANCEL_IN_DOUBT
        assert answer.event.payment_status is State.SUCCEEDED


@pytest.mark.parametrize("operation_class", list(OperationClass))
def test_a_redelivered_removal_after_a_restoration_is_suspect(
    operation_class: OperationClass,
) -> None:
    asked = cancel_wish(
        Source.REQUESTS, attempts=0, operation_class=operation_class, redelivered=True
    )
    change = claim_cancellation(paid(), asked, RULES, NOW, RESTORATION)
    assert isinstance(change.result, Won) == (operation_class in REPEATABLE)
    assert isinstance(claim_cancellation(paid(), asked, RULES, NOW).result, Won)


def unreadable(*, attempts: int, routing_key: str) -> Unreadable:
    """A copy of ours that another version, or somebody's hand, has made unreadable."""
    envelope = replace(ASKED.envelope, source=Source.LADDER, attempts=attempts)
    return Unreadable(
        envelope=envelope,
        code=Code.INVALID_MESSAGE,
        faults=(),
        origin=ASKED.request.origin,
        facts=ASKED.request.facts,
        is_cancellation=routing_key == CANCEL,
    )


@pytest.mark.parametrize("routing_key", [CANCEL, "payment.initiate.dcp"])
@pytest.mark.parametrize("attempts", [0, 1])
def test_an_unreadable_copy_of_an_attempt_without_a_row_is_in_doubt(
    attempts: int, routing_key: str
) -> None:
    message = unreadable(attempts=attempts, routing_key=routing_key)
    change = refuse(Rows(), message, initiation(), NOW)
    (record,), (answer,) = change.records, change.answers
    is_cancellation = routing_key == CANCEL
    if attempts:
        assert record.code is Code.LEDGER_LOST
        expected = Status.CANCEL_IN_DOUBT if is_cancellation else Status.IN_DOUBT
    else:
        assert record.code is Code.INVALID_MESSAGE
        expected = Status.CANCEL_FAILED if is_cancellation else Status.FAILED
    assert answer.event.status is expected


@pytest.mark.parametrize("state", list(State))
def test_an_unreadable_copy_that_knows_more_than_its_row_decides_no_failure(state: State) -> None:
    rows = rows_in(state, OperationClass.KEYED)
    change = refuse(rows, unreadable(attempts=3, routing_key=""), initiation(), NOW)
    assert isinstance(change.result, Decided)
    if state in {State.SUCCEEDED, State.CANCELLED}:
        assert change.result.repeated
    else:
        assert [record.code for record in change.records] == [Code.LEDGER_LOST]


# --- a restoration -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("operation_class", [*OperationClass, None])
@pytest.mark.parametrize("written", [RESTORED_AT, RESTORED_AT + timedelta(seconds=1)])
def test_a_restoration_doubts_what_is_open_and_must_not_be_called_twice(
    state: State, operation_class: OperationClass | None, written: datetime
) -> None:
    rows = rows_in(state, operation_class)
    before = replace(row_of(rows), updated_at=written)
    rows.records[before.operation_id] = before
    change = restore(rows, [before.operation_id], RESTORATION, NOW, is_new=True)
    assert change.restoration == RESTORATION
    affected = state.is_open and operation_class not in REPEATABLE and written == RESTORED_AT
    assert change.result.doubted == len(change.records) == len(change.answers) == int(affected)
    *acts, said = change.audit
    assert (said.action, said.actor) == ("ledger_restored", "o.perator")
    assert [act.actor for act in acts] == ["o.perator"] * affected
    if affected:
        (record,) = change.records
        assert (record.state, record.code) == (State.IN_DOUBT, Code.LEDGER_LOST)
        assert record.unknown_attempts == before.unknown_attempts + 1
        rows.write(change)
        again = restore(rows, [before.operation_id], RESTORATION, NOW, is_new=False)
        assert (again.records, again.restoration) == ((), None)


def test_an_open_cancellation_in_doubt_tells_of_its_payment() -> None:
    rows = paid()
    asked = cancel_wish(Source.REQUESTS, attempts=0, operation_class=OperationClass.NON_IDEMPOTENT)
    rows.write(claim_cancellation(rows, asked, RULES, RESTORED_AT))
    change = restore(rows, [asked.envelope.operation_id], RESTORATION, NOW, is_new=True)
    (record,), (answer,) = change.records, change.answers
    assert (record.kind, answer.event.payment_status) == (Kind.CANCELLATION, State.SUCCEEDED)


def test_what_vanished_meanwhile_is_passed_over() -> None:
    change = restore(Rows(), [ASKED.envelope.operation_id], RESTORATION, NOW, is_new=True)
    assert change.result.doubted == 0
