"""What a cancellation leaves behind: waits, tombstones, its own answer and its payment's."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.rows import EMAIL, NOW, OTHER_TOKEN, Rows, closed, payment
from tests.unit.test_cancel import BASKET, CANCELLATION_ID, PAYMENT_ID, REASONS, WISH
from worker.calls import Declined, Misconfigured, NotSent, Outcome, Succeeded, Unknown
from worker.codes import Code
from worker.lifecycle.cancel import CancelClaimed, CancelWish, claim_cancellation
from worker.lifecycle.reopen import Reopened, reopen
from worker.lifecycle.settle import Evidence, Settled, Settlement, settle
from worker.lifecycle.wishes import Decided, Held, Waiting, Won
from worker.model import OperationClass, Origin, Step
from worker.records import Change, Event, Kind, State, Status
from worker.rules import Rules

RULES = Rules()
REMOVED = Succeeded(link=None, http_status=200)


def paid() -> Rows:
    """Rows with a basket payment that succeeded as item 12."""
    before = replace(payment(operation_class=BASKET), account="combo", email=EMAIL)
    record, answer = closed(before, State.SUCCEEDED, item_id="12")
    return Rows([record], answers=[answer])


def wished(rows: Rows, wish: CancelWish = WISH, *, at: timedelta = timedelta(0)) -> CancelClaimed:
    """Claim and write."""
    change = claim_cancellation(rows, wish, RULES, NOW + at)
    rows.write(change)
    return change.result


def ended(rows: Rows, outcome: Outcome, *, wish: CancelWish = WISH) -> Settled:
    """Settle the removal and write."""
    end = Settlement(
        operation_id=wish.envelope.operation_id,
        payment_id=PAYMENT_ID,
        token=wish.token,
        outcome=outcome,
        tries=(),
    )
    change = settle(rows, end, RULES, NOW)
    rows.write(change)
    return change.result


def event_of(result: object) -> Event:
    assert isinstance(result, Decided)
    return result.answer.event


def another(wish: CancelWish = WISH) -> CancelWish:
    """A second cancellation of the same payment, under a key of its own."""
    envelope = replace(wish.envelope, operation_id=OTHER_TOKEN)
    return replace(wish, envelope=envelope, token=OTHER_TOKEN)


# --- waiting for a payment nobody knows --------------------------------------------------------


def test_an_unknown_payment_is_waited_for_three_times_and_then_leaves_a_tombstone() -> None:
    rows = Rows()
    steps = []
    at = timedelta(0)
    for _ in range(3):
        result = wished(rows, at=at)
        assert isinstance(result, Waiting)
        steps.append(result.step)
        at += timedelta(seconds=result.step.seconds)
    assert steps == [Step.SECONDS_5, Step.SECONDS_30, Step.MINUTES_2]
    assert event_of(wished(rows, at=at)).code is Code.PAYMENT_UNKNOWN
    tombstone = rows.tombstones[PAYMENT_ID]
    assert tombstone.until == NOW + at + timedelta(hours=24)
    assert tombstone.origin == WISH.request.origin


def test_a_wait_that_is_not_over_is_held() -> None:
    rows = Rows()
    wished(rows)
    result = wished(rows)
    assert isinstance(result, Held)
    assert result.until == NOW + timedelta(seconds=5)


def test_a_payment_that_appears_meanwhile_is_cancelled() -> None:
    rows = Rows()
    wished(rows)
    waiting = payment(State.RETRY_WAIT)
    rows.records[PAYMENT_ID] = waiting
    event = event_of(wished(rows, at=timedelta(seconds=5)))
    assert event.status is Status.CANCELLED


# --- what an answer says -----------------------------------------------------------------------


def test_a_waiting_payment_is_cancelled_under_the_sequence_it_has_not_answered_yet() -> None:
    rows = Rows([payment(State.RETRY_WAIT, sequence=2)])
    event = event_of(wished(rows))
    assert (event.status, event.sequence) == (Status.CANCELLED, 2)
    assert event.payment_status is State.CANCELLED
    after = rows.records[PAYMENT_ID]
    assert (after.state, after.next_attempt_at) == (State.CANCELLED, None)


def test_a_removed_item_is_one_answer_for_the_payment_and_its_cancellation() -> None:
    rows = paid()
    won = wished(rows)
    assert isinstance(won, Won)
    assert won.payment == rows.records[PAYMENT_ID]
    event = event_of(ended(rows, REMOVED))
    assert (event.status, event.sequence) == (Status.CANCELLED, 2)
    assert (event.basket_item_id, event.payment_id) == ("12", PAYMENT_ID)
    assert event.facts.id_commande == "40017"
    after = rows.records[PAYMENT_ID]
    assert (after.state, after.sequence, after.email) == (State.CANCELLED, 2, None)
    answer = rows.answer(PAYMENT_ID)
    assert answer is not None
    assert answer.event == event
    assert answer.letter is None


@pytest.mark.parametrize(
    ("outcome", "status", "code", "has_letter"),
    [
        (
            Declined(code=Code.PROVIDER_REFUSED, provider_code=None, http_status=400, known=False),
            Status.CANCEL_FAILED,
            Code.PROVIDER_REFUSED,
            True,
        ),
        (
            Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401),
            Status.CANCEL_FAILED,
            Code.PROVIDER_CREDENTIALS,
            True,
        ),
        (
            Unknown(http_status=502, never_resend=True),
            Status.CANCEL_IN_DOUBT,
            Code.OUTCOME_UNKNOWN,
            True,
        ),
    ],
)
def test_a_removal_that_did_not_work_keeps_the_payment_and_tells_its_state(
    outcome: Outcome, status: Status, code: Code, has_letter: object
) -> None:
    rows = paid()
    before = rows.records[PAYMENT_ID]
    wished(rows)
    event = event_of(ended(rows, outcome))
    assert (event.status, event.code, event.sequence) == (status, code, 1)
    assert event.payment_status is State.SUCCEEDED
    assert rows.records[PAYMENT_ID] == before
    answer = rows.answer(CANCELLATION_ID)
    assert answer is not None
    assert (answer.letter is not None) == has_letter


def test_a_removal_that_was_not_sent_is_tried_again() -> None:
    rows = paid()
    wished(rows)
    result = ended(rows, NotSent())
    assert isinstance(result, Waiting)
    assert result.step is Step.SECONDS_5


def test_two_cancellations_of_one_item_are_one_cancelled_and_one_already() -> None:
    rows = paid()
    wished(rows)
    wished(rows, another())
    assert event_of(ended(rows, REMOVED)).status is Status.CANCELLED
    late = event_of(ended(rows, REMOVED, wish=another()))
    assert (late.status, late.code) == (Status.CANCEL_FAILED, Code.ALREADY_CANCELLED)
    assert late.sequence == 2


def test_a_refusal_under_a_delivery_limit_tells_nothing_of_another_origins_payment() -> None:
    rows = paid()
    wish = replace(
        WISH,
        request=replace(WISH.request, origin=Origin("web")),
        delivery=replace(WISH.delivery, delivery_count=100),
    )
    event = event_of(wished(rows, wish))
    assert (event.sequence, event.payment_status) == (0, None)


@pytest.mark.parametrize(("account", "live"), [("another", False), ("combo", True)])
def test_an_item_is_never_removed_at_another_account_than_its_own(
    account: str,
    live: bool,  # noqa: FBT001 - a row's field
) -> None:
    """The payment may have been paid between the look-up and the claim."""
    rows = paid()
    rows.records[PAYMENT_ID] = replace(rows.records[PAYMENT_ID], account=account, live=live)
    result = wished(rows)
    assert isinstance(result, Held)
    assert result.reason == "payment moved"


# --- its own claim -----------------------------------------------------------------------------


def test_its_own_token_is_success_after_a_commit_whose_answer_was_lost() -> None:
    rows = paid()
    first = wished(rows)
    assert wished(rows) == first


def test_a_live_lease_holds_everybody_off() -> None:
    rows = paid()
    won = wished(rows)
    assert isinstance(won, Won)
    result = wished(rows, replace(WISH, token=OTHER_TOKEN))
    assert isinstance(result, Held)
    assert (result.until, result.reason) == (won.lease_until, "being called")


def test_an_expired_removal_is_sent_again_because_its_class_allows_it() -> None:
    rows = paid()
    wished(rows)
    later = timedelta(seconds=RULES.lease_seconds)
    change = claim_cancellation(rows, replace(WISH, token=OTHER_TOKEN), RULES, NOW + later)
    assert isinstance(change.result, Won)
    assert change.result.record.unknown_attempts == 1
    assert change.attempts[0].note == "the claim expired"


def test_an_expired_removal_of_a_careful_class_is_in_doubt() -> None:
    rows = paid()
    wished(rows)
    claimed = rows.records[CANCELLATION_ID]
    rows.records[CANCELLATION_ID] = replace(claimed, operation_class=OperationClass.NON_IDEMPOTENT)
    later = timedelta(seconds=RULES.lease_seconds)
    event = event_of(wished(rows, replace(WISH, token=OTHER_TOKEN), at=later))
    assert (event.status, event.payment_status) == (Status.CANCEL_IN_DOUBT, State.SUCCEEDED)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.IN_DOUBT, State.CANCELLED])
def test_a_decided_cancellation_repeats_its_answer(state: State) -> None:
    own = replace(payment(), operation_id=CANCELLATION_ID, kind=Kind.CANCELLATION)
    if state is State.CANCELLED:
        own = replace(own, kind=Kind.REFUSAL)
        state = State.FAILED
    record, answer = closed(own, state, reason=REASONS.get(state))
    change = claim_cancellation(Rows([record], answers=[answer]), WISH, RULES, NOW)
    assert change == Change(result=Decided(answer, record, repeated=True))


def test_one_key_for_two_payments_is_refused() -> None:
    rows = Rows()
    wished(rows)
    other = replace(WISH, request=replace(WISH.request, payment_id=OTHER_TOKEN))
    event = event_of(wished(rows, other))
    assert (event.code, event.conflicts_with) == (Code.IDEMPOTENCY_MISMATCH, CANCELLATION_ID)
    change = claim_cancellation(rows, other, RULES, NOW)
    assert event_of(change.result) == event
    assert change.records == ()


# --- afterwards --------------------------------------------------------------------------------


def test_a_late_removal_ends_the_doubt_it_left() -> None:
    rows = paid()
    wished(rows)
    doubt = event_of(ended(rows, Unknown(never_resend=True)))
    late = event_of(ended(rows, REMOVED))
    assert (late.status, late.sequence) == (Status.CANCELLED, 2)
    assert late.event_id != doubt.event_id


def test_a_late_refusal_ends_the_doubt_and_the_payment_stands() -> None:
    rows = paid()
    wished(rows)
    ended(rows, Unknown(never_resend=True))
    late = event_of(ended(rows, Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)))
    assert (late.status, late.payment_status) == (Status.CANCEL_FAILED, State.SUCCEEDED)
    assert isinstance(ended(rows, REMOVED), Evidence)


def test_a_replayed_cancellation_that_fails_again_is_another_answer() -> None:
    """Its payment's sequence does not move, so the event id must come from its own."""
    rows = paid()
    wished(rows)
    fault = Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401)
    first = event_of(ended(rows, fault))
    reopened = reopen(
        rows,
        CANCELLATION_ID,
        from_sequence=1,
        actor="ops",
        run="r",
        reason="fixed",
        rules=Rules(),
        now=NOW,
    )
    assert reopened.result == Reopened(2)
    rows.write(reopened)
    assert isinstance(wished(rows), Won)
    second = event_of(ended(rows, fault))
    assert first.event_id != second.event_id
    assert (first.sequence, second.sequence) == (1, 1)
    assert event_of(rows_answer(rows)) == second


def rows_answer(rows: Rows) -> Decided:
    answer = rows.answer(CANCELLATION_ID)
    assert answer is not None
    return Decided(answer, rows.records[CANCELLATION_ID], repeated=True)
