"""Only what was not applied, or cannot hurt, may be opened again, each decision by one run."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest

from tests.rows import LINK, NOW, TOKEN, Rows, closed, payment
from worker.codes import Code
from worker.lifecycle.decide import Reason
from worker.lifecycle.reopen import NotReopened, Reopened, reopen
from worker.model import Facts, OperationClass
from worker.records import Change, Kind, Record, State
from worker.rules import Rules

RULES = Rules()
OTHER = UUID(int=99, version=4)


def opened(
    record: Record | Rows, *, run: str = "run-1", from_sequence: int = 1
) -> Change[Reopened | NotReopened]:
    """Reopen the first row there is."""
    rows = record if isinstance(record, Rows) else Rows([record])
    return reopen(
        rows,
        next(iter(rows.records)),
        from_sequence=from_sequence,
        actor="ops",
        run=run,
        reason="fixed",
        rules=RULES,
        now=NOW,
    )


def row(
    state: State,
    operation_class: OperationClass | None,
    *,
    code: Code | None = None,
    unknown: int = 0,
    cleared: int = 0,
    is_handed_out: bool = False,
) -> Record:
    """A row as a decision leaves it."""
    return replace(
        payment(state, operation_class=operation_class, attempts=2),
        code=code,
        unknown_attempts=unknown,
        cleared_attempts=cleared,
        link_published=is_handed_out,
        next_attempt_at=None,
    )


def may_be_reopened(record: Record) -> bool:
    """Contract section 2, Replay: no attempt applied or possibly so, apart from an orphan.

    A doubt is sure once somebody has cleared all it counts.
    """
    is_doubt = record.state is State.IN_DOUBT
    is_sure = record.unknown_attempts == record.cleared_attempts
    is_sure = is_sure and (not is_doubt or record.unknown_attempts > 0)
    if record.kind is Kind.REFUSAL or (record.code is Code.LEDGER_LOST and not is_sure):
        return False
    if record.state not in {State.FAILED, State.IN_DOUBT}:
        return False
    harmless = {OperationClass.READ, OperationClass.IDEMPOTENT}
    is_orphan = record.operation_class is OperationClass.ORPHAN_SAFE and not record.link_published
    return is_sure or record.operation_class in harmless or is_orphan


def test_every_state_class_and_code_is_opened_or_barred() -> None:
    classes: list[OperationClass | None] = [None, *OperationClass]
    counts = ((0, 0), (1, 0), (1, 1))
    for state, each, code, (unknown, cleared), out, kind in product(
        State, classes, (None, *Code), counts, (False, True), Kind
    ):
        record = replace(
            row(state, each, code=code, unknown=unknown, cleared=cleared, is_handed_out=out),
            kind=kind,
        )
        change = opened(record)
        if may_be_reopened(record):
            assert change.result == Reopened(2), record
            (after,) = change.records
            assert (after.state, after.sequence) == (State.RETRY_WAIT, 2)
            assert after.version == record.version + 1
            assert len(change.audit) == 1
        else:
            assert isinstance(change.result, NotReopened), record
            assert (change.records, change.audit) == ((), ())


def test_a_reopened_payment_forgets_its_answer_and_remembers_its_attempts() -> None:
    before = replace(
        row(State.IN_DOUBT, OperationClass.ORPHAN_SAFE, code=Code.OUTCOME_UNKNOWN, unknown=2),
        link=LINK,
        token=TOKEN,
        decided_at=NOW,
        event_id=TOKEN,
    )
    (after,) = opened(before).records
    assert (after.token, after.code, after.link, after.event_id) == (None, None, None, None)
    assert (after.attempts, after.opened_attempts) == (2, 2)
    assert (after.unknown_attempts, after.cleared_attempts) == (2, 2)
    assert after.next_attempt_at == NOW
    assert (after.account, after.operation_class) == (before.account, before.operation_class)


# --- one decision, one run -----------------------------------------------------------------


def test_a_run_that_asks_again_before_any_attempt_gets_the_same_answer() -> None:
    """A replay that crashed between this write and its publish is simply resumed."""
    rows = Rows([row(State.FAILED, OperationClass.NON_IDEMPOTENT, code=Code.PROVIDER_TLS)])
    first = opened(rows)
    rows.write(first)
    again = opened(rows)
    assert first.result == again.result == Reopened(2)
    assert (again.records, again.audit) == ((), ())


def standing(state: State, *, sequence: int, tried: bool, by: str | None) -> Record:
    """A row that some run has opened, or nobody, and that was tried since, or not."""
    return replace(
        row(state, OperationClass.READ, code=None if state.is_open else Code.PROVIDER_TLS),
        sequence=sequence,
        attempts=3,
        opened_attempts=2 if tried or state is State.CALLING else 3,
        reopened_by=by,
    )


def expected(record: Record, *, tried: bool) -> str | None:
    """What the table says to run-1, which set out to replay the decision of sequence 2.

    ``None``: it gets the opening, its own again or a new one.
    """
    by, state, sequence = record.reopened_by, record.state, record.sequence
    is_untried = state is State.RETRY_WAIT and not tried
    if by == "run-1" and sequence > 2:
        return None if is_untried else "this run has put it back to work already"
    if is_untried and by is not None:
        return f"already in run {by}"
    if is_untried and sequence == 3:
        return None  # opened before there were runs: the first to ask takes it over
    if is_untried:
        return f"the ledger knows it as retry_wait, sequence {sequence}"
    if sequence != 2 and state.is_open and by is not None:
        return f"already in run {by}"
    if sequence != 2:
        return f"the ledger knows it as {state}, sequence {sequence}"
    if state.is_open:
        return f"it is open ({state})"
    return f"it is decided: {state}" if state in {State.SUCCEEDED, State.CANCELLED} else None


def test_every_state_sequence_and_run_is_opened_once_or_told_why_not() -> None:
    for state, sequence, tried, by in product(
        State, (2, 3, 4), (False, True), (None, "run-1", "run-0")
    ):
        record = standing(state, sequence=sequence, tried=tried, by=by)
        change = opened(record, from_sequence=2)
        why = expected(record, tried=tried)
        if why is not None:
            assert change == Change(result=NotReopened(why)), record
            continue
        assert change.result == Reopened(sequence if state.is_open else 3), record
        if change.records:
            (after,) = change.records
            assert (after.reopened_by, after.sequence) == ("run-1", 3)
        else:
            assert by == "run-1"


def test_of_two_runs_that_replay_one_decision_the_second_is_told_of_the_first() -> None:
    rows = Rows([row(State.FAILED, OperationClass.NON_IDEMPOTENT, code=Code.PROVIDER_TLS)])
    rows.write(opened(rows, run="run-1"))
    assert opened(rows, run="run-2").result == NotReopened("already in run run-1")


def test_a_decision_that_failed_anew_is_another_one_and_another_runs_affair() -> None:
    rows = Rows([row(State.FAILED, OperationClass.NON_IDEMPOTENT, code=Code.PROVIDER_TLS)])
    rows.write(opened(rows, run="run-1"))
    (record,) = rows.records.values()
    failed = replace(record, state=State.FAILED, attempts=3, version=record.version + 1)
    rows.write(Change(result=None, records=(failed,)))
    assert isinstance(opened(rows, run="run-1").result, NotReopened)
    assert isinstance(opened(rows, run="run-2").result, NotReopened)
    assert opened(rows, run="run-2", from_sequence=2).result == Reopened(3)


def test_what_a_person_has_set_aside_stays_so_until_it_is_restored() -> None:
    """It may have been paid by hand since the run was planned."""
    record, answer = closed(payment(), State.FAILED, reason=Reason(code=Code.PROVIDER_UNAVAILABLE))
    aside = replace(answer, letter_resolved=True)
    change = opened(Rows([record], answers=[aside]))
    assert change.result == NotReopened("its letter was set aside: restore it first")
    assert (change.records, change.audit) == ((), ())
    assert opened(Rows([record], answers=[answer])).result == Reopened(2)


def test_a_payment_waiting_for_its_first_attempt_needs_no_reopening() -> None:
    record = payment(State.RETRY_WAIT, attempts=0)
    assert opened(record).result == NotReopened("it is waiting for its first attempt")


def test_what_the_ledger_does_not_know_cannot_be_reopened() -> None:
    change = reopen(
        Rows(),
        TOKEN,
        from_sequence=1,
        actor="ops",
        run="run-1",
        reason="fixed",
        rules=RULES,
        now=NOW,
    )
    assert change == Change(result=NotReopened("the ledger does not know it"))


# --- what a replay could not help --------------------------------------------------------------


def test_what_is_too_late_for_any_attempt_stays_as_it_is() -> None:
    record = row(State.FAILED, OperationClass.KEYED, code=Code.PROVIDER_TLS)
    too_old = replace(record, first_seen=NOW - RULES.max_age - timedelta(seconds=1))
    too_late = replace(record, not_after=NOW - timedelta(seconds=1))
    for each in (too_old, too_late):
        change = opened(each)
        assert isinstance(change.result, NotReopened)
        assert "its time is over" in change.result.reason
        assert change.records == ()
    assert opened(replace(record, not_after=NOW)).result == Reopened(2)


@pytest.mark.parametrize("state", State)
def test_what_another_payment_of_the_same_content_has_overtaken_stays_as_it_is(
    state: State,
) -> None:
    record = row(State.FAILED, OperationClass.KEYED, code=Code.PROVIDER_TLS)
    owner = replace(row(state, OperationClass.KEYED), operation_id=OTHER)
    result = opened(Rows([record, owner], owner=OTHER)).result
    if state in {State.FAILED, State.CANCELLED}:
        assert result == Reopened(2)
    else:
        assert result == NotReopened(f"superseded: another payment of the same content is {state}")
    assert opened(Rows([record], owner=record.operation_id)).result == Reopened(2)


def test_an_order_that_means_none_supersedes_nothing() -> None:
    record = row(State.FAILED, OperationClass.KEYED, code=Code.PROVIDER_TLS)
    without = replace(record, facts=Facts(id_commande="0"))
    owner = replace(row(State.SUCCEEDED, OperationClass.KEYED), operation_id=OTHER)
    assert opened(Rows([without, owner], owner=OTHER)).result == Reopened(2)


@pytest.mark.parametrize("state", [State.FAILED, State.IN_DOUBT])
def test_the_audit_tells_who_what_and_why(state: State) -> None:
    record = row(state, OperationClass.ORPHAN_SAFE, code=Code.PROVIDER_UNAVAILABLE)
    (entry,) = opened(record).audit
    assert (entry.actor, entry.action, entry.at) == ("ops", "reopen", NOW)
    assert entry.operation_id == record.operation_id
    assert entry.detail == f"run run-1, sequence 2, was {state} provider_unavailable: fixed"
