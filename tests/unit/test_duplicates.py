"""The same content under another key, and another content under the same key."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.core import initiation
from tests.provider_examples import LINK_ROUTE
from tests.rows import (
    ASKED,
    LINK,
    NOW,
    OTHER_TOKEN,
    Rows,
    claim_wish,
    closed,
    payment,
)
from worker.codes import Code
from worker.identity import operation_id_of, refusal_identity
from worker.lifecycle.claim import claim
from worker.lifecycle.decide import Reason
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, Won
from worker.model import Fingerprint
from worker.records import Answer, Change, Record, State
from worker.rules import Rules

RULES = Rules()
OWNER_ID = ASKED.envelope.operation_id
SECOND = replace(
    claim_wish(LINK_ROUTE, delivery=initiation("key-2", email="key-1@example.org")),
    token=OTHER_TOKEN,
)
DOUBT = Reason(code=Code.LINK_LOST)


def owned(
    state: State, *, reason: Reason | None = None, age: timedelta = timedelta(0)
) -> tuple[Rows, Record]:
    """Rows whose first payment owns the fingerprint."""
    link = LINK if state is State.SUCCEEDED else None
    record, answer = closed(payment(), state, reason=reason, link=link, at=NOW - age)
    return Rows([record], answers=[answer], owner=record.operation_id), record


def answer_of(change: Change[Claimed]) -> Answer:
    """The answer of a claim that decided."""
    assert isinstance(change.result, Decided)
    return change.result.answer


def claimed(rows: Rows, wish: Claim = SECOND, rules: Rules = RULES) -> Change[Claimed]:
    return claim(rows, wish, rules, NOW)


def test_the_samples_ask_for_the_same_thing_under_two_keys() -> None:
    assert SECOND.request.fingerprint == ASKED.request.fingerprint
    assert SECOND.envelope.operation_id != OWNER_ID


def test_a_duplicate_of_a_success_gets_its_link_under_its_own_id() -> None:
    rows, owner = owned(State.SUCCEEDED)
    change = claimed(rows)
    event = answer_of(change).event
    assert event.link == LINK
    assert event.duplicate_of == OWNER_ID
    assert event.payment_id == SECOND.envelope.operation_id
    assert event.event_id != owner.event_id
    assert (event.provider, event.provider_reference) == ("safedebit", owner.reference)
    assert event.attempts == 0
    assert answer_of(change).letter is None
    assert change.owner is None


@pytest.mark.parametrize(("seconds", "is_adopted"), [(900, True), (901, False)])
def test_the_window_of_a_success_closes_after_fifteen_minutes(
    seconds: int, is_adopted: object
) -> None:
    rows, _owner = owned(State.SUCCEEDED, age=timedelta(seconds=seconds))
    seen = replace(SECOND, envelope=replace(SECOND.envelope, first_seen=NOW))
    assert isinstance(claimed(rows, seen).result, Decided if is_adopted else Won)


def test_a_request_that_waited_on_the_ladder_meanwhile_is_still_a_duplicate() -> None:
    """Both waited for an account; the first was paid, the second came back half an hour later."""
    rows, _owner = owned(State.SUCCEEDED, age=timedelta(minutes=30))
    asked_before = replace(SECOND.envelope, first_seen=NOW - timedelta(minutes=50))
    change = claimed(rows, replace(SECOND, envelope=asked_before))
    assert answer_of(change).event.duplicate_of == OWNER_ID


def test_a_duplicate_of_a_doubt_is_in_doubt_without_end() -> None:
    rows, _owner = owned(State.IN_DOUBT, reason=DOUBT, age=timedelta(days=300))
    change = claimed(rows)
    answer = answer_of(change)
    assert (answer.event.code, answer.event.duplicate_of) == (Code.LINK_LOST, OWNER_ID)
    assert answer.letter is not None
    assert change.records[0].token is None


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.IN_DOUBT, State.CALLING])
def test_a_window_of_zero_switches_it_off(state: State) -> None:
    rows = (
        Rows([payment()], owner=OWNER_ID)
        if state.is_open
        else owned(state, reason=DOUBT if state is State.IN_DOUBT else None)[0]
    )
    change = claimed(rows, rules=replace(RULES, duplicate_window=timedelta(0)))
    assert isinstance(change.result, Won)


def test_a_duplicate_of_an_open_payment_waits_uncounted() -> None:
    rows = Rows([payment(State.RETRY_WAIT)], owner=OWNER_ID)
    expected = Held(until=NOW + timedelta(seconds=30), reason="its duplicate is open")
    assert claimed(rows) == Change(result=expected)


def test_a_duplicate_waits_no_longer_than_its_own_time() -> None:
    """Behind a reopened payment whose replay never came it would wait for ever."""
    rows = Rows([payment(State.RETRY_WAIT)], owner=OWNER_ID)
    late = replace(SECOND.envelope, not_after=NOW - timedelta(seconds=1))
    assert answer_of(claimed(rows, replace(SECOND, envelope=late))).event.code is (
        Code.REQUEST_EXPIRED
    )


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_failed_or_cancelled_payment_has_no_duplicates(state: State) -> None:
    reason = Reason(code=Code.DECLINED) if state is State.FAILED else None
    rows, _owner = owned(state, reason=reason)
    change = claimed(rows)
    assert isinstance(change.result, Won)
    assert change.owner == (SECOND.request.fingerprint, SECOND.envelope.operation_id)


def test_the_order_zero_identifies_nothing() -> None:
    rows, _owner = owned(State.SUCCEEDED)
    wish = replace(SECOND, request=replace(SECOND.request, id_commande="0"))
    change = claimed(rows, wish)
    assert isinstance(change.result, Won)
    assert change.owner is None


# --- superseded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "is_superseded"),
    [
        (State.CALLING, True),
        (State.RETRY_WAIT, True),
        (State.SUCCEEDED, True),
        (State.IN_DOUBT, True),
        (State.FAILED, False),
        (State.CANCELLED, False),
    ],
)
def test_a_replayed_payment_yields_to_another_that_was_or_may_be_paid(
    state: State, is_superseded: object
) -> None:
    """Of any age (contract section 2, Replay)."""
    age = timedelta(days=300)
    if state.is_open:
        rows = Rows([payment(state)], owner=OWNER_ID)
    else:
        rows, _owner = owned(state, reason=DOUBT if state is State.IN_DOUBT else None, age=age)
    replayed = replace(
        payment(State.RETRY_WAIT, sequence=2),
        operation_id=SECOND.envelope.operation_id,
        payment_id=SECOND.envelope.operation_id,
    )
    rows.records[replayed.operation_id] = replayed
    change = claimed(rows)
    if not is_superseded:
        assert isinstance(change.result, Won)
        return
    answer = answer_of(change)
    assert (answer.event.code, answer.letter) == (Code.SUPERSEDED, None)
    assert answer.event.sequence == 2


def test_a_replayed_duplicate_that_is_called_is_a_payment_of_its_own() -> None:
    """Else its basket item could never be cancelled: a duplicate has none."""
    rows, _owner = owned(State.FAILED, reason=Reason(code=Code.DECLINED))
    replayed = replace(
        payment(State.RETRY_WAIT, sequence=2, attempts=0),
        operation_id=SECOND.envelope.operation_id,
        payment_id=SECOND.envelope.operation_id,
        duplicate_of=OWNER_ID,
    )
    rows.records[replayed.operation_id] = replayed
    change = claimed(rows)
    assert isinstance(change.result, Won)
    assert change.records[0].duplicate_of is None


def test_a_payment_that_was_not_replayed_is_never_superseded() -> None:
    rows, _owner = owned(State.SUCCEEDED)
    waiting = replace(payment(State.RETRY_WAIT), operation_id=SECOND.envelope.operation_id)
    rows.records[waiting.operation_id] = waiting
    assert isinstance(claimed(rows).result, Won)


@pytest.mark.parametrize("window", [timedelta(0), timedelta(minutes=15)])
def test_a_replayed_request_without_a_row_yields_to_another_of_any_age(window: timedelta) -> None:
    """The broker gave it up undecided: its first sequence is replayed all the same."""
    rows, _owner = owned(State.SUCCEEDED, age=timedelta(days=300))
    replayed = replace(SECOND, envelope=replace(SECOND.envelope, replay_count=1))
    answer = answer_of(claimed(rows, replayed, replace(RULES, duplicate_window=window)))
    assert (answer.event.code, answer.letter) == (Code.SUPERSEDED, None)
    assert isinstance(claimed(rows, SECOND).result, Won)


# --- another content under the same key -------------------------------------------------------

OTHER = replace(
    claim_wish(LINK_ROUTE),
    request=replace(ASKED.request, fingerprint=Fingerprint("0" * 64)),
    token=OTHER_TOKEN,
)


@pytest.mark.parametrize("state", list(State))
def test_another_content_is_refused_under_an_id_of_its_own(state: State) -> None:
    first = payment(state) if state.is_open else closed(payment(), state)[0]
    rows = Rows([first])
    change = claimed(rows, OTHER)
    answer = answer_of(change)
    own = operation_id_of(refusal_identity(ASKED.envelope.identity, OTHER.request.fingerprint))
    assert (answer.event.payment_id, answer.event.conflicts_with) == (own, OWNER_ID)
    assert answer.event.code is Code.IDEMPOTENCY_MISMATCH
    assert answer.letter is not None
    assert change.owner is None
    rows.write(change)
    assert rows.records[OWNER_ID] == first


def test_the_same_other_content_gets_the_same_refusal_again() -> None:
    rows = Rows([payment()])
    first = claimed(rows, OTHER)
    rows.write(first)
    again = claimed(rows, OTHER)
    assert isinstance(again.result, Decided)
    assert again.result.repeated
    assert again.result.answer == answer_of(first)
    assert again.records == ()
