"""What a claim finds and leaves: leases, due times, references, tombstones, audit."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.core import basket, initiation
from tests.provider_examples import BASKET_ROUTE, LINK_ROUTE
from tests.rows import (
    ASKED,
    DECIDED_STATES,
    LINK,
    NOW,
    OTHER_TOKEN,
    Rows,
    claim_wish,
    closed,
    payment,
)
from worker.codes import Code
from worker.identity import payment_reference
from worker.lifecycle.claim import claim
from worker.lifecycle.decide import Reason
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, Kept, Won
from worker.model import Fault, OperationClass, Origin, Refusal, Route, Source
from worker.records import Change, Kind, Record, State, Tombstone
from worker.rules import Rules

RULES = Rules()
PAYMENT_ID = ASKED.envelope.operation_id
FIRST = claim_wish(LINK_ROUTE)
SECOND = replace(FIRST, token=OTHER_TOKEN)
REASONS = {
    State.FAILED: Reason(code=Code.DECLINED),
    State.IN_DOUBT: Reason(code=Code.OUTCOME_UNKNOWN),
}


def claimed(rows: Rows, wish: Claim = SECOND) -> Change[Claimed]:
    """Claim at the samples' time."""
    return claim(rows, wish, RULES, NOW)


def won(rows: Rows, wish: Claim = SECOND) -> Record:
    """Claim, write, and return the row, which must have been won."""
    change = claimed(rows, wish)
    assert isinstance(change.result, Won)
    rows.write(change)
    return change.result.record


def decision(change: Change[Claimed]) -> tuple[State, Code | None]:
    """State and code that a claim decided."""
    assert isinstance(change.result, Decided)
    return change.result.record.state, change.result.answer.event.code


# --- leases and due times ----------------------------------------------------------------------


def test_a_live_lease_holds_everybody_off() -> None:
    record = payment(State.CALLING)
    change = claimed(Rows([record]))
    assert record.lease_until is not None
    expected = Held(until=record.lease_until, reason="being called", attempts=1, sequence=1)
    assert change == Change(result=expected)


def test_a_lease_ends_at_its_very_moment() -> None:
    record = replace(payment(State.CALLING), lease_until=NOW)
    assert won(Rows([record])).attempts == 2


def test_its_own_token_is_success_after_a_commit_whose_answer_was_lost() -> None:
    rows = Rows()
    first = claimed(rows, FIRST)
    rows.write(first)
    again = claimed(rows, FIRST)
    assert again.result == first.result
    assert again.records == ()


@pytest.mark.parametrize(("early", "is_won"), [(0, True), (1, True), (1.001, False), (30, False)])
def test_a_copy_is_due_a_second_early_and_no_earlier(early: float, is_won: object) -> None:
    due = NOW + timedelta(seconds=early)
    record = replace(payment(State.RETRY_WAIT), next_attempt_at=due)
    change = claimed(Rows([record]))
    if is_won:
        assert isinstance(change.result, Won)
    else:
        expected = Held(until=due, reason="not due", attempts=1, sequence=1)
        assert change == Change(result=expected)


@pytest.mark.parametrize("state", DECIDED_STATES)
@pytest.mark.parametrize("plan", [LINK_ROUTE, Refusal(code=Code.MODE_NOT_ALLOWED)])
def test_a_decided_payment_repeats_what_is_stored_and_writes_nothing(
    state: State, plan: Route | Refusal
) -> None:
    """In doubt, too: it is left by a late answer, a look-up or a person, never by a delivery."""
    record, answer = closed(payment(), state, reason=REASONS.get(state), link=LINK)
    change = claimed(Rows([record], answers=[answer]), replace(SECOND, plan=plan))
    assert change == Change(result=Decided(answer, record, repeated=True))


def test_a_decided_row_without_its_answer_is_a_fault_of_ours() -> None:
    record, _answer = closed(payment(), State.SUCCEEDED, link=LINK)
    with pytest.raises(LookupError):
        claimed(Rows([record]))


def test_a_refusal_met_under_its_own_id_repeats_itself() -> None:
    refusal = replace(payment(), kind=Kind.REFUSAL)
    record, answer = closed(refusal, State.FAILED, reason=REASONS[State.FAILED])
    change = claimed(Rows([record], answers=[answer]))
    assert change == Change(result=Decided(answer, record, repeated=True))


# --- what an attempt is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation_class", "unknown", "number"),
    [
        (OperationClass.ORPHAN_SAFE, 0, 0),
        (OperationClass.ORPHAN_SAFE, 1, 1),
        (OperationClass.IDEMPOTENT, 2, 2),
        (OperationClass.KEYED, 0, 0),
        (OperationClass.KEYED, 3, 0),
    ],
)
def test_the_reference_counts_unknown_attempts_except_under_a_key(
    operation_class: OperationClass, unknown: int, number: int
) -> None:
    record = replace(
        payment(State.RETRY_WAIT, operation_class=operation_class, attempts=unknown + 1),
        unknown_attempts=unknown,
    )
    plan = replace(LINK_ROUTE, operation_class=operation_class)
    after = won(Rows([record]), replace(SECOND, plan=plan))
    assert after.reference == payment_reference(PAYMENT_ID, number)


def test_an_expired_claim_gives_the_next_attempt_another_reference() -> None:
    record = replace(payment(State.CALLING), lease_until=NOW)
    assert won(Rows([record])).reference == payment_reference(PAYMENT_ID, 1)


def test_a_first_claim_keeps_what_the_answer_will_need() -> None:
    delivery = initiation(correlation_id="c-1", headers={"traceparent": "00-1-2-01"})
    record = won(Rows(), claim_wish(LINK_ROUTE, delivery=delivery))
    assert (record.version, record.sequence, record.attempts) == (1, 1, 1)
    assert (record.message_id, record.correlation_id) == ("key-1", "c-1")
    assert record.traceparent == "00-1-2-01"
    assert (record.account, record.live) == ("safedebit", False)


def test_the_e_mail_is_kept_for_a_basket_only() -> None:
    """A removal is signed for the user the item was added for; a link never needs it again."""
    item = won(Rows(), claim_wish(BASKET_ROUTE, delivery=basket()))
    assert item.email is not None
    assert item.email.reveal() == "key-1@example.org"
    assert won(Rows(), FIRST).email is None


def test_a_given_back_claim_binds_no_account() -> None:
    """Nothing was sent there, so the settings of today decide."""
    record = payment(State.RETRY_WAIT, attempts=0)
    account = replace(LINK_ROUTE.account, name="another")
    after = won(Rows([record]), replace(SECOND, plan=replace(LINK_ROUTE, account=account)))
    assert after.account == "another"


def test_an_account_that_was_kept_is_told_once_and_then_used() -> None:
    """A refusal of the account that the settings of today name is not the payment's own."""
    rows = Rows([payment(State.RETRY_WAIT)])
    kept = Kept("safedebit", OperationClass.ORPHAN_SAFE)
    refusal = Refusal(code=Code.COMPANY_NOT_CONFIGURED)
    assert claimed(rows, replace(SECOND, plan=refusal)) == Change(result=kept)
    assert won(rows, replace(SECOND, kept=kept)).account == "safedebit"


def test_a_refusal_of_the_kept_account_itself_decides() -> None:
    kept = Kept("safedebit", OperationClass.ORPHAN_SAFE)
    refusal = Refusal(code=Code.COMPANY_NOT_CONFIGURED)
    change = claimed(Rows([payment(State.RETRY_WAIT)]), replace(SECOND, plan=refusal, kept=kept))
    assert decision(change) == (State.FAILED, Code.COMPANY_NOT_CONFIGURED)


def test_a_forced_live_use_is_audited_with_each_claim() -> None:
    rows = Rows()
    change = claimed(rows, replace(FIRST, is_forced=True))
    (entry,) = change.audit
    assert (entry.action, entry.operation_id) == ("force_live", PAYMENT_ID)
    assert entry.detail == "attempt 1 at account safedebit"
    assert claimed(Rows(), FIRST).audit == ()


# --- births --------------------------------------------------------------------------------------


TOMBSTONE = Tombstone(
    payment_id=PAYMENT_ID, origin=ASKED.request.origin, until=NOW + timedelta(seconds=1)
)


def test_a_tombstone_decides_its_payment_without_a_call() -> None:
    change = claimed(Rows(tombstones=[TOMBSTONE]), FIRST)
    assert decision(change) == (State.CANCELLED, None)
    assert change.answers[0].letter is None


@pytest.mark.parametrize(
    "tombstone", [replace(TOMBSTONE, until=NOW), replace(TOMBSTONE, origin=Origin("web"))]
)
def test_a_tombstone_of_yesterday_or_of_another_origin_is_none(tombstone: Tombstone) -> None:
    assert won(Rows(tombstones=[tombstone]), FIRST).attempts == 1


@pytest.mark.parametrize("seconds", [0, 1])
def test_no_attempt_starts_past_not_after(seconds: int) -> None:
    not_after = NOW - timedelta(seconds=seconds)
    wish = replace(FIRST, envelope=replace(FIRST.envelope, not_after=not_after))
    change = claimed(Rows(), wish)
    if seconds:
        assert decision(change) == (State.FAILED, Code.REQUEST_EXPIRED)
    else:
        assert isinstance(change.result, Won)


def test_the_time_given_first_counts_not_the_copys() -> None:
    record = replace(payment(State.RETRY_WAIT), not_after=NOW - timedelta(seconds=1))
    assert decision(claimed(Rows([record]))) == (State.FAILED, Code.REQUEST_EXPIRED)


def test_a_refused_first_receipt_says_what_is_wrong() -> None:
    fault = Fault("id_societe", "company_unknown", "This company has no settings here.")
    refusal = Refusal(code=Code.COMPANY_NOT_CONFIGURED, faults=(fault,), live=True)
    change = claimed(Rows(), replace(FIRST, plan=refusal))
    (answer,) = change.answers
    assert answer.event.faults == (fault,)
    assert answer.event.livemode is True
    assert answer.letter is not None
    assert answer.letter.detail == "id_societe: company_unknown"


def test_a_copy_that_knows_of_an_attempt_outlives_the_delivery_limit() -> None:
    """Given up as delivered too often, it could be replayed and applied twice."""
    envelope = replace(FIRST.envelope, source=Source.REPLAY, attempts=1)
    delivery = replace(FIRST.delivery, delivery_count=100)
    change = claimed(Rows(), replace(FIRST, envelope=envelope, delivery=delivery))
    assert decision(change) == (State.IN_DOUBT, Code.LEDGER_LOST)


def test_a_keyed_copy_without_its_row_remembers_that_an_attempt_is_unknown() -> None:
    """It may be asked again under its key, but "already used" then means that it landed (I10)."""
    assert isinstance(FIRST.plan, Route)
    keyed = replace(FIRST.plan, operation_class=OperationClass.KEYED)
    envelope = replace(FIRST.envelope, source=Source.LADDER, attempts=1)
    change = claimed(Rows(), replace(FIRST, plan=keyed, envelope=envelope))
    assert isinstance(change.result, Won)
    assert change.result.record.unknown_attempts == 1
