"""Claims that end without an outcome: expired, given back, or met by an unreadable copy."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from tests.core import CANCEL, initiation
from tests.rows import NOW, OTHER_TOKEN, TOKEN, Rows, closed, payment
from worker.codes import Code
from worker.contract.reading import read
from worker.lifecycle.decide import Reason
from worker.lifecycle.expire import expire_claim, release_claim
from worker.lifecycle.refuse import refuse
from worker.lifecycle.wishes import Decided, Held
from worker.model import Delivery, OperationClass, Source, Unreadable
from worker.records import Change, Kind, Record, State, Status

TWO_HOURS = timedelta(hours=2)
PAYMENT_ID = payment().operation_id


def expired(record: Record) -> Change[Decided | None]:
    """Sweep one row up."""
    return expire_claim(Rows([record]), record.operation_id, NOW - TWO_HOURS, NOW)


# --- the sweeper's ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation_class", list(OperationClass))
def test_an_abandoned_claim_becomes_in_doubt_whatever_its_class(
    operation_class: OperationClass,
) -> None:
    lease = NOW - TWO_HOURS - timedelta(microseconds=1)
    record = replace(payment(operation_class=operation_class), lease_until=lease)
    change = expired(record)
    (after,) = change.records
    (answer,) = change.answers
    assert (after.state, after.code) == (State.IN_DOUBT, Code.OUTCOME_UNKNOWN)
    assert after.token == TOKEN, "its own late answer may still end the doubt"
    assert after.unknown_attempts == 1
    assert answer.letter is not None
    assert change.attempts[0].note == "the claim expired"


def test_a_claim_that_is_not_that_old_is_left_alone() -> None:
    record = replace(payment(), lease_until=NOW - TWO_HOURS)
    assert expired(record) == Change(result=None)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CALLING])
def test_only_a_claim_can_expire(state: State) -> None:
    record = replace(payment(), state=state, lease_until=NOW - TWO_HOURS * 2)
    assert expired(record) == Change(result=None)


def test_nothing_expires_where_nothing_is() -> None:
    assert expire_claim(Rows(), PAYMENT_ID, NOW, NOW) == Change(result=None)
    assert expired(replace(payment(), lease_until=None)) == Change(result=None)


def test_an_abandoned_cancellation_tells_its_payments_sequence_and_state() -> None:
    about, _answer = closed(payment(sequence=4), State.SUCCEEDED, item_id="12")
    cancellation = replace(
        payment(),
        operation_id=TOKEN,
        kind=Kind.CANCELLATION,
        lease_until=NOW - TWO_HOURS * 2,
    )
    change = expire_claim(Rows([about, cancellation]), TOKEN, NOW - TWO_HOURS, NOW)
    event = change.answers[0].event
    assert event.status is Status.CANCEL_IN_DOUBT
    assert (event.sequence, event.payment_status) == (4, State.SUCCEEDED)


# --- given back -------------------------------------------------------------------------------


def test_a_claim_given_back_was_no_attempt() -> None:
    record = payment(attempts=3)
    until = NOW + timedelta(seconds=40)
    change = release_claim(Rows([record]), record.operation_id, TOKEN, until, NOW)
    (after,) = change.records
    assert change.result == after
    assert (after.state, after.attempts, after.token) == (State.RETRY_WAIT, 2, None)
    assert (after.lease_until, after.next_attempt_at) == (None, until)
    assert after.unknown_attempts == record.unknown_attempts


def test_only_ones_own_live_claim_can_be_given_back() -> None:
    for state, token in product(State, (TOKEN, OTHER_TOKEN)):
        record = replace(payment(), state=state)
        change = release_claim(Rows([record]), record.operation_id, token, NOW, NOW)
        is_own = state is State.CALLING and token == TOKEN
        assert (change.result is not None) == is_own
        assert (change.records != ()) == is_own
    assert release_claim(Rows(), PAYMENT_ID, TOKEN, NOW, NOW) == Change(result=None)


# --- unreadable -------------------------------------------------------------------------------


def unreadable(delivery: Delivery) -> Unreadable:
    found = read(delivery)
    assert isinstance(found, Unreadable)
    return found


BROKEN = replace(initiation(), body=b"{")
COPY = replace(
    BROKEN,
    source=Source.REPLAY,
    headers={
        "identity": payment().identity,
        "payment-id": str(PAYMENT_ID),
        "sequence": 2,
        "attempts": 1,
        "first-seen": NOW.isoformat(),
        "origin-routing-key": "payment.initiate.dcp",
    },
)


def refused(rows: Rows, delivery: Delivery = BROKEN) -> Change[Decided | Held]:
    return refuse(rows, unreadable(delivery), delivery, NOW)


def test_an_unreadable_message_is_decided_under_an_id_of_its_own() -> None:
    rows = Rows([payment()])
    change = refused(rows)
    (record,) = change.records
    (answer,) = change.answers
    assert record.kind is Kind.REFUSAL
    assert record.operation_id != PAYMENT_ID
    assert record.fingerprint is None
    assert (answer.event.code, answer.event.status) == (Code.INVALID_MESSAGE, Status.FAILED)
    assert answer.letter is not None
    rows.write(change)
    again = refused(rows)
    assert again.result == Decided(answer, record, repeated=True)
    assert again.records == ()


def test_an_unreadable_cancellation_is_a_cancellation_that_failed() -> None:
    change = refused(Rows(), replace(BROKEN, routing_key=CANCEL))
    assert change.answers[0].event.status is Status.CANCEL_FAILED


def test_an_unreadable_message_delivered_a_hundred_times_says_so() -> None:
    change = refused(Rows(), replace(BROKEN, delivery_count=100))
    assert change.answers[0].event.code is Code.DELIVERY_LIMIT_REACHED


@pytest.mark.parametrize("unknown", [0, 1])
def test_an_unreadable_copy_of_a_waiting_payment_decides_it(unknown: int) -> None:
    """An operator may have edited the body; nobody else would ever answer."""
    record = replace(payment(State.RETRY_WAIT, sequence=2), unknown_attempts=unknown)
    change = refused(Rows([record]), COPY)
    (after,) = change.records
    assert after.operation_id == PAYMENT_ID
    assert after.code is (Code.OUTCOME_UNKNOWN if unknown else Code.INVALID_MESSAGE)
    assert after.state is (State.IN_DOUBT if unknown else State.FAILED)


def test_an_unreadable_copy_of_a_payment_being_called_waits() -> None:
    record = payment(sequence=2)
    assert record.lease_until is not None
    expected = Held(until=record.lease_until, reason="being called", attempts=1, sequence=2)
    assert refused(Rows([record]), COPY) == Change(result=expected)


def test_an_unreadable_copy_of_an_expired_claim_leaves_a_doubt() -> None:
    change = refused(Rows([replace(payment(sequence=2), lease_until=NOW)]), COPY)
    assert change.records[0].state is State.IN_DOUBT
    assert change.records[0].token == TOKEN
    assert change.attempts[0].note == "the claim expired"


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.IN_DOUBT, State.CANCELLED])
def test_an_unreadable_copy_of_a_decided_payment_repeats_its_answer(state: State) -> None:
    reason = Reason(code=Code.DECLINED) if state is State.FAILED else None
    record, answer = closed(payment(sequence=2), state, reason=reason)
    change = refused(Rows([record], answers=[answer]), COPY)
    assert change == Change(result=Decided(answer, record, repeated=True))
