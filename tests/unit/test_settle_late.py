"""A late answer changes one thing: the doubt that its own attempt left (payment rules I3)."""

from dataclasses import replace
from itertools import product
from uuid import UUID

from tests.rows import LINK, NOW, OTHER_TOKEN, TOKEN, Rows, closed, payment
from tests.unit.test_settle import OUTCOMES, ended
from worker.calls import NotSent, Succeeded, Unknown
from worker.codes import Code
from worker.lifecycle.decide import Reason
from worker.lifecycle.reopen import Reopened, reopen
from worker.lifecycle.settle import Evidence, Settled, settle
from worker.lifecycle.wishes import Decided
from worker.model import OperationClass
from worker.records import Change, Record, State
from worker.rules import Rules

RULES = Rules()
DOUBT = Reason(code=Code.OUTCOME_UNKNOWN)


def in_doubt(
    operation_class: OperationClass = OperationClass.NON_IDEMPOTENT, unknown: int = 1
) -> Rows:
    """Rows with one payment in doubt because of ``TOKEN``."""
    before = replace(payment(operation_class=operation_class), unknown_attempts=unknown)
    record, answer = closed(before, State.IN_DOUBT, reason=DOUBT)
    return Rows([record], answers=[answer])


def late(rows: Rows, name: str, token: UUID = TOKEN) -> Change[Settled]:
    """Settle an attempt on what it finds."""
    (record,) = rows.records.values()
    return settle(rows, ended(record, OUTCOMES[name], token=token), RULES, NOW)


def test_its_own_doubt_takes_a_definite_answer_and_nothing_else_does() -> None:
    for name, operation_class, unknown in product(OUTCOMES, OperationClass, (1, 2)):
        outcome = OUTCOMES[name]
        change = late(in_doubt(operation_class, unknown), name)
        is_definite = isinstance(outcome, Succeeded) or (
            not isinstance(outcome, Unknown) and unknown == 1
        )
        assert change.attempts[0].note == "late answer"
        if not is_definite:
            assert isinstance(change.result, Evidence), (name, unknown)
            assert (change.records, change.answers) == ((), ())
            continue
        assert isinstance(change.result, Decided), (name, unknown)
        (record,) = change.records
        is_success = isinstance(outcome, Succeeded)
        assert record.state is (State.SUCCEEDED if is_success else State.FAILED)
        assert record.sequence == change.answers[0].event.sequence == 2
        assert record.token is None
        assert change.answers[0].event.link == (LINK if is_success else None)


def test_an_attempt_whose_claim_is_anothers_changes_nothing() -> None:
    """Whatever the state: a known state is never replaced, an open one is another's business."""
    for state, name in product(State, OUTCOMES):
        before = (
            payment(state)
            if state.is_open
            else closed(
                payment(State.CALLING), state, reason=DOUBT if state is State.IN_DOUBT else None
            )[0]
        )
        change = late(Rows([before]), name, OTHER_TOKEN)
        assert isinstance(change.result, Evidence), (state, name)
        assert (change.records, change.answers) == ((), ())
        assert change.attempts[0].note == "too late, kept as evidence"
        assert change.attempts[0].token == OTHER_TOKEN


def test_an_attempt_that_was_given_back_changes_nothing() -> None:
    """Its token is gone from the row, in whatever state that is."""
    for state, name in product(set(State) - {State.CALLING, State.IN_DOUBT}, OUTCOMES):
        before = payment(state) if state.is_open else closed(payment(), state)[0]
        change = late(Rows([before]), name)
        assert isinstance(change.result, Evidence), (state, name)
        assert change.records == ()


def test_a_late_refusal_no_longer_bars_a_replay() -> None:
    rows = in_doubt()
    rows.write(late(rows, "misconfigured"))
    (record,) = rows.records.values()
    reopened = reopen(
        rows,
        record.operation_id,
        from_sequence=2,
        actor="operator",
        run="run-1",
        reason="fixed",
        rules=Rules(),
        now=NOW,
    )
    assert reopened.result == Reopened(3)


def test_a_late_answer_gives_an_event_of_its_own() -> None:
    rows = in_doubt()
    rows.write(late(rows, "succeeded"))
    assert len(rows.answers) == 2


def test_a_late_nothing_sent_says_so() -> None:
    change = late(in_doubt(), "not sent")
    assert isinstance(OUTCOMES["not sent"], NotSent)
    assert change.answers[0].event.code is Code.PROVIDER_UNAVAILABLE
    assert _only(change).cleared_attempts == 1


def _only(change: Change[Settled]) -> Record:
    (record,) = change.records
    return record
