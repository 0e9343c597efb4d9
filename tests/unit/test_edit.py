"""Whose e-mail may be changed: only where nothing was applied, and each change once."""

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest

from tests.core import initiation
from tests.fakes_clock import START
from tests.rows import NOW, Rows, payment
from worker.codes import Code
from worker.contract.reading import read
from worker.lifecycle.edit import Edited, EditWish, NotEdited, bar_to_edit, edit_email
from worker.model import Cents, Fingerprint, Initiation, OperationClass, PaymentRequest, Secret
from worker.records import Change, Kind, Record, State


def asked(**changes: object) -> PaymentRequest:
    reading = read(initiation(**changes))  # type: ignore[arg-type]  # fields of the body alone
    assert isinstance(reading, Initiation)
    return reading.request


BEFORE = asked()
AFTER = asked(email="new@example.org")


def failed() -> Record:
    """A payment that was refused before anything was applied."""
    record = payment(State.FAILED, operation_class=OperationClass.NON_IDEMPOTENT, attempts=1)
    return replace(
        record,
        code=Code.CUSTOMER_UNKNOWN,
        facts=BEFORE.facts,
        fingerprint=BEFORE.fingerprint,
        unknown_attempts=0,
        link_published=False,
        item_id=None,
        email=None,
    )


def wish(before: PaymentRequest = BEFORE, after: PaymentRequest = AFTER) -> EditWish:
    record = failed()
    return EditWish(
        operation_id=record.operation_id,
        sequence=record.sequence,
        before=before,
        after=after,
        actor="anna",
        reason="customer called",
    )


def edited(record: Record, each: EditWish | None = None) -> Change[Edited | NotEdited]:
    return edit_email(Rows([record]), each or wish(), NOW)


def test_the_fingerprint_changes_and_the_audit_tells_of_it_without_the_address() -> None:
    record = failed()
    change = edited(record)
    assert change.result == Edited(record.sequence)
    (row,) = change.records
    assert row == replace(
        record, version=record.version + 1, updated_at=NOW, fingerprint=AFTER.fingerprint
    )
    assert change.disowned == (BEFORE.fingerprint, record.operation_id)
    (entry,) = change.audit
    assert (entry.actor, entry.action, entry.operation_id) == ("anna", "edit", row.operation_id)
    assert entry.detail == "e-mail changed, sequence 1: customer called"
    assert "@" not in repr(change)


def test_an_email_that_is_kept_for_a_later_cancellation_changes_with_it() -> None:
    record = replace(failed(), email=BEFORE.email)
    (row,) = edited(record).records
    assert row.email == AFTER.email


def test_doing_it_twice_is_doing_it_once() -> None:
    (row,) = edited(failed()).records
    again = edited(row)
    assert again == Change(result=Edited(row.sequence, repeated=True))


def test_an_edit_that_was_cut_off_may_be_followed_by_another() -> None:
    """The letter still has the first e-mail, the ledger the second: only the e-mail differs."""
    (row,) = edited(failed()).records
    third = asked(email="third@example.org")
    change = edited(row, wish(after=third))
    assert [each.fingerprint for each in change.records] == [third.fingerprint]
    back = edited(row, wish(after=BEFORE))
    assert [each.fingerprint for each in back.records] == [BEFORE.fingerprint]


def test_capitals_alone_are_an_edit_too() -> None:
    """They are not part of the fingerprint, and reach the provider as they are written."""
    louder = replace(BEFORE, email=Secret(BEFORE.email.reveal().upper()))
    record = replace(failed(), email=BEFORE.email)
    change = edited(record, wish(after=louder))
    assert [each.email for each in change.records] == [louder.email]
    assert len(change.audit) == 1


@pytest.mark.parametrize(
    "other",
    [
        asked(email="new@example.org", amount="1251"),
        asked(email="new@example.org", payment_run_mode="LIVE"),
        asked(email="new@example.org", id_client="7"),
        asked(email="new@example.org", id_commande="7"),
    ],
    ids=["amount", "mode", "customer", "order"],
)
def test_money_parties_and_mode_are_locked(other: PaymentRequest) -> None:
    change = edited(failed(), wish(after=other))
    assert isinstance(change.result, NotEdited)
    assert not change.records
    assert not change.audit


def test_a_letter_of_another_decision_is_not_edited() -> None:
    change = edited(replace(failed(), sequence=2))
    assert change.result == NotEdited("its letter is of another decision")


@pytest.mark.parametrize("state", [each for each in State if each is not State.CANCELLED])
def test_another_payment_of_the_new_content_bars_the_edit_unless_it_failed(state: State) -> None:
    record = failed()
    other = replace(
        record,
        operation_id=UUID(int=99, version=4),
        state=state,
        fingerprint=AFTER.fingerprint,
    )
    rows = Rows([record, other], owner=other.operation_id)
    result = edit_email(rows, wish(), NOW).result
    assert isinstance(result, Edited if state is State.FAILED else NotEdited)
    moved_on = replace(other, fingerprint=Fingerprint("0" * 64))
    since = Rows([record, moved_on], owner=other.operation_id)
    assert isinstance(edit_email(since, wish(), NOW).result, Edited)


def test_only_a_failed_payment_of_which_nothing_may_be_applied_is_edited() -> None:
    allowed = 0
    for state, kind, code, unknown, cleared, is_handed_out, operation_class in product(
        State,
        Kind,
        (None, *Code),
        (0, 1),
        (0, 1),
        (False, True),
        (None, *OperationClass),
    ):
        record = replace(
            failed(),
            state=state,
            kind=kind,
            code=code,
            unknown_attempts=unknown,
            cleared_attempts=min(cleared, unknown),
            link_published=is_handed_out,
            operation_class=operation_class,
        )
        may = (
            state is State.FAILED
            and kind is Kind.INITIATION
            and code is not Code.LEDGER_LOST
            and not unknown
            and not is_handed_out
        )
        assert (bar_to_edit(record) is None) == may, record
        assert isinstance(edited(record).result, Edited) == may
        allowed += may
    assert allowed


def test_what_the_ledger_does_not_know_or_has_erased_is_not_edited() -> None:
    assert edit_email(Rows(), wish(), START).result == NotEdited("the ledger does not know it")
    assert isinstance(edited(replace(failed(), fingerprint=None)).result, NotEdited)


def test_an_amount_that_the_ledger_could_not_read_is_no_match() -> None:
    facts = replace(BEFORE.facts, amount=Cents(1))
    assert isinstance(edited(replace(failed(), facts=facts)).result, NotEdited)
