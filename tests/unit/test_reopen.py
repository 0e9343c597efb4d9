"""Only what was not applied, or cannot hurt, may be opened again, and each time once."""

from dataclasses import replace
from itertools import product

import pytest

from tests.rows import LINK, NOW, TOKEN, Rows, payment
from worker.codes import Code
from worker.lifecycle.reopen import NotReopened, Reopened, reopen
from worker.model import OperationClass
from worker.records import Change, Kind, Record, State


def opened(record: Record) -> Change[Reopened | NotReopened]:
    """Reopen the one row there is."""
    return reopen(
        Rows([record]), record.operation_id, actor="ops", run="run-1", reason="fixed", now=NOW
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
    """Contract section 2, Replay: no attempt applied or possibly so, apart from an orphan."""
    if record.kind is Kind.REFUSAL or record.code is Code.LEDGER_LOST:
        return False
    if record.state not in {State.FAILED, State.IN_DOUBT}:
        return False
    is_sure = record.state is State.FAILED and record.unknown_attempts == record.cleared_attempts
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


def test_reopening_twice_is_reopening_once() -> None:
    """A replay that crashed between this write and its publish is simply run again."""
    rows = Rows([row(State.FAILED, OperationClass.NON_IDEMPOTENT, code=Code.PROVIDER_TLS)])
    (operation_id,) = rows.records
    first = reopen(rows, operation_id, actor="ops", run="run-1", reason="fixed", now=NOW)
    rows.write(first)
    again = reopen(rows, operation_id, actor="ops", run="run-2", reason="fixed", now=NOW)
    assert first.result == again.result == Reopened(2)
    assert (again.records, again.audit) == ((), ())


def test_a_payment_waiting_for_its_first_attempt_needs_no_reopening() -> None:
    record = payment(State.RETRY_WAIT, attempts=0)
    assert opened(record).result == NotReopened("it is waiting for its first attempt")


def test_what_the_ledger_does_not_know_cannot_be_reopened() -> None:
    change = reopen(Rows(), TOKEN, actor="ops", run="run-1", reason="fixed", now=NOW)
    assert change == Change(result=NotReopened("the ledger does not know it"))


@pytest.mark.parametrize("state", [State.FAILED, State.IN_DOUBT])
def test_the_audit_tells_who_what_and_why(state: State) -> None:
    record = row(state, OperationClass.ORPHAN_SAFE, code=Code.PROVIDER_UNAVAILABLE)
    (entry,) = opened(record).audit
    assert (entry.actor, entry.action, entry.at) == ("ops", "reopen", NOW)
    assert entry.operation_id == record.operation_id
    assert entry.detail == f"run run-1, sequence 2, was {state} provider_unavailable: fixed"
