"""Setting a letter aside: what is undone alone, once, and never what a worker still decides."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.core import initiation
from tests.rows import ASKED, NOW, Rows, closed, payment
from worker.codes import Code
from worker.contract.reading import read
from worker.lifecycle.aside import (
    AsideWish,
    BroughtBack,
    LeftAlone,
    SetAside,
    UnansweredInHand,
    bring_back,
    set_aside,
)
from worker.lifecycle.decide import Reason
from worker.model import Delivery, Source
from worker.records import Change, Restoration, State
from worker.rules import Rules

RULES = Rules()
KEY = ASKED.envelope.operation_id
WISH = AsideWish(operation_id=KEY, actor="anna", reason="paid by hand")
OUTAGE = Reason(code=Code.PROVIDER_UNAVAILABLE)
DOUBT = Reason(code=Code.OUTCOME_UNKNOWN)


def in_hand(delivery: Delivery | None = None) -> AsideWish:
    """The wish with a letter of the broker's own in hand."""
    letter = delivery or initiation()
    reading = read(letter)
    return AsideWish(
        operation_id=reading.envelope.operation_id,
        actor="anna",
        reason="paid by hand",
        unanswered=UnansweredInHand(reading=reading, delivery=letter),
    )


def failed(reason: Reason = OUTAGE, state: State = State.FAILED) -> Rows:
    record, answer = closed(payment(), state, reason=reason)
    return Rows([record], answers=[answer])


def applied(
    rows: Rows, wish: AsideWish = WISH, restoration: Restoration | None = None
) -> Change[SetAside | LeftAlone]:
    return set_aside(rows, wish, RULES, NOW, restoration)


@pytest.mark.parametrize(("reason", "state"), [(OUTAGE, State.FAILED), (DOUBT, State.IN_DOUBT)])
def test_an_undone_letter_is_set_aside_once_and_its_payment_stays(
    reason: Reason, state: State
) -> None:
    rows = failed(reason, state)
    first = applied(rows)
    assert isinstance(first.result, SetAside)
    assert (first.result.is_new, first.records) == (True, ())
    (answer,) = first.answers
    assert answer.letter_resolved
    (act,) = first.audit
    assert (act.actor, act.action, act.operation_id) == ("anna", "resolve", KEY)
    assert act.detail == f"sequence 1, {state} {reason.code}: paid by hand"
    rows.answers[answer.event.event_id] = answer
    again = applied(rows)
    assert isinstance(again.result, SetAside)
    assert (again.result.is_new, again.answers, again.audit) == (False, (), ())


@pytest.mark.parametrize("state", [State.CALLING, State.RETRY_WAIT])
@pytest.mark.parametrize("wish", [WISH, in_hand()], ids=["a letter", "one of the broker's"])
def test_what_is_open_a_worker_decides(state: State, wish: AsideWish) -> None:
    change = applied(Rows([payment(state)]), wish)
    assert isinstance(change.result, LeftAlone)
    assert "a worker decides it" in change.result.reason
    assert (change.records, change.answers, change.audit) == ((), (), ())


def test_what_went_well_or_left_no_letter_has_nothing_to_set_aside() -> None:
    for rows in (failed(Reason(code=Code.DECLINED)), Rows([])):
        assert isinstance(applied(rows).result, LeftAlone)


def test_a_letter_of_the_brokers_own_is_decided_with_its_event_still_to_be_sent() -> None:
    change = applied(Rows(), in_hand())
    assert isinstance(change.result, SetAside)
    (record,), (answer,) = change.records, change.answers
    assert (record.state, record.code, record.version) == (
        State.FAILED,
        Code.DELIVERY_LIMIT_REACHED,
        1,
    )
    assert (answer.event.sequence, answer.event.facts) == (1, ASKED.request.facts)
    assert (answer.event_confirmed, answer.letter_confirmed, answer.letter_resolved) == (
        False,
        True,
        True,
    )
    assert [act.action for act in change.audit] == ["resolve"]
    assert change.owner is None


def test_of_what_was_decided_meanwhile_the_brokers_letter_is_only_seen_to() -> None:
    change = applied(failed(), in_hand())
    assert isinstance(change.result, SetAside)
    assert (change.records, change.answers, len(change.audit)) == ((), (), 1)


def test_another_request_under_a_decided_ones_key_is_left_to_a_worker() -> None:
    """Its producer is owed an answer of its own, which only the claim can give (section 3)."""
    change = applied(failed(), in_hand(initiation(id_commande="77")))
    assert isinstance(change.result, LeftAlone)
    assert "another request" in change.result.reason
    assert (change.records, change.answers, change.audit) == ((), (), ())


def test_a_cancellation_the_broker_gave_up_tells_its_own_payments_state() -> None:
    body = json.dumps({"payment_id": str(KEY)}).encode()
    cancel = replace(initiation("key-c"), routing_key="payment.cancel.dcp", body=body)
    change = applied(failed(), in_hand(cancel))
    (answer,) = change.answers
    assert (answer.event.status, answer.event.payment_status) == ("cancel_failed", State.FAILED)
    stranger = applied(failed(), in_hand(replace(cancel, routing_key="payment.cancel.web")))
    assert stranger.answers[0].event.payment_status is None


def test_a_body_nobody_can_read_is_decided_too() -> None:
    change = applied(Rows(), in_hand(replace(initiation(), body=b"{")))
    (record,) = change.records
    assert (record.kind, record.code) == ("refusal", Code.DELIVERY_LIMIT_REACHED)


def test_what_may_have_been_called_is_not_given_up_as_failed() -> None:
    """A copy that knows of attempts, and a request handed out before a restored backup."""
    envelope = replace(ASKED.envelope, attempts=1, source=Source.REPLAY)
    copy = UnansweredInHand(reading=replace(ASKED, envelope=envelope), delivery=initiation())
    assert isinstance(applied(Rows(), replace(WISH, unanswered=copy)).result, LeftAlone)
    restoration = Restoration(known_until=NOW - timedelta(hours=1), restored_at=NOW, actor="anna")
    assert isinstance(applied(Rows(), in_hand(), restoration).result, LeftAlone)
    # What stands on a letter that went round is when a walk found it.
    found = replace(ASKED.envelope, first_seen=NOW, source=Source.REPLAY)
    rotated = UnansweredInHand(reading=replace(ASKED, envelope=found), delivery=initiation())
    aside = replace(WISH, unanswered=rotated)
    assert isinstance(applied(Rows(), aside, restoration).result, LeftAlone)
    later = replace(initiation(), timestamp=NOW + timedelta(seconds=1))
    assert isinstance(applied(Rows(), in_hand(later), restoration).result, SetAside)


def test_what_was_set_aside_is_brought_back_once() -> None:
    rows = failed()
    aside = applied(rows)
    rows.answers[aside.answers[0].event.event_id] = aside.answers[0]
    change = bring_back(rows, KEY, actor="anna", reason="not paid", now=NOW)
    assert change.result == BroughtBack(is_new=True)
    assert [answer.letter_resolved for answer in change.answers] == [False]
    assert [act.action for act in change.audit] == ["restore"]
    rows.answers[change.answers[0].event.event_id] = change.answers[0]
    again = bring_back(rows, KEY, actor="anna", reason="not paid", now=NOW)
    assert (again.result, again.answers, again.audit) == (BroughtBack(is_new=False), (), ())


def test_nothing_is_brought_back_that_needs_nobody() -> None:
    record, answer = closed(payment(), State.SUCCEEDED)
    for rows in (Rows(), Rows([payment()]), Rows([record], answers=[answer])):
        change = bring_back(rows, KEY, actor="anna", reason="why not", now=NOW)
        assert isinstance(change.result, LeftAlone)
        assert change.audit == ()
