"""What a look-up may change: a doubt that the provider resolves, and nothing else whatever."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import LINK, NOW, TOKEN, Rows, closed, payment
from worker.calls import Declined
from worker.codes import Code
from worker.lifecycle.decide import Reason
from worker.lifecycle.reconcile import (
    MOST_REFERENCES,
    STEPS,
    Read,
    Reconciled,
    is_doubt_of,
    next_due,
    planned,
    reconcile,
    references_of,
)
from worker.lifecycle.settle import Evidence, Settlement, settle
from worker.look_ups import (
    Doubt,
    Finding,
    Listed,
    ListedOtherwise,
    LookUpPlan,
    LookUpReading,
    NotListed,
    PlanState,
    ReadFailed,
)
from worker.model import Cents, OperationClass, Secret
from worker.records import AttemptEntry, Change, Record, State, Status
from worker.rules import Rules

OLD, NEW = "a" * 32, "b" * 32
UNLISTED = Secret("https://elsewhere.example.net/p/1")
LATER = NOW + timedelta(minutes=1, seconds=7)

READINGS: dict[Finding, LookUpReading] = {
    Finding.FOUND: Listed(http_status=200, link=LINK),
    Finding.FOUND_WITHOUT_LINK: Listed(http_status=200, unlisted_link=UNLISTED),
    Finding.OTHER_AMOUNT: ListedOtherwise(http_status=200, amount=Cents(99)),
    Finding.NOT_FOUND: NotListed(http_status=200),
    Finding.FAILED: ReadFailed(reason="refused", http_status=401, provider_code="AUTH_002"),
}


def in_doubt(code: Code = Code.OUTCOME_UNKNOWN) -> Rows:
    """Rows with one payment in doubt since ``NOW``, after a re-send under another reference."""
    before = replace(payment(attempts=2), unknown_attempts=2, reference=NEW)
    record, answer = closed(before, State.IN_DOUBT, reason=Reason(code=code))
    return Rows([record], answers=[answer])


def plan_for(rows: Rows, *, sequence: int | None = None) -> LookUpPlan:
    (record,) = rows.records.values()
    doubt = Doubt(
        operation_id=record.operation_id,
        sequence=record.sequence if sequence is None else sequence,
        decided_at=NOW,
    )
    return replace(planned(doubt, "safedebit"), token=TOKEN)


def step(rows: Rows, *findings: Finding) -> Change[Reconciled]:
    """Conclude a step that read the newest reference first."""
    reads = [
        Read(reference, LATER, READINGS[finding])
        for reference, finding in zip((NEW, OLD), findings, strict=False)
    ]
    return reconcile(rows, plan_for(rows), reads, LATER)


def only(rows: Rows) -> Record:
    (record,) = rows.records.values()
    return record


# --- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "finding"), list(product(State, Finding)))
def test_of_every_state_only_a_doubt_is_changed_by_what_is_found(
    state: State, finding: Finding
) -> None:
    if state.is_open:
        rows = Rows([payment(state)])
    else:
        record, answer = closed(payment(), state, reason=Reason(code=Code.OUTCOME_UNKNOWN))
        rows = Rows([record], answers=[answer])
    change = step(rows, finding)
    changes = state is State.IN_DOUBT and finding in {Finding.FOUND, Finding.FOUND_WITHOUT_LINK}
    assert [bool(each) for each in (change.records, change.answers, change.audit)] == [changes] * 3
    assert [each.finding for each in change.look_ups] == [finding], "what was read is kept"
    assert change.look_up_plan == change.result.plan
    assert change.result.plan.token == TOKEN
    if state is not State.IN_DOUBT:
        assert change.result.finding is None
        assert change.result.plan.state is PlanState.ENDED
        assert change.result.plan.due_at is None


@pytest.mark.parametrize("finding", Finding)
def test_a_doubt_that_was_decided_anew_is_not_the_one_that_was_looked_up(finding: Finding) -> None:
    rows = in_doubt()
    plan = plan_for(rows, sequence=7)
    change = reconcile(rows, plan, [Read(NEW, LATER, READINGS[finding])], LATER)
    assert (change.records, change.answers) == ((), ())
    assert change.result.plan.state is PlanState.ENDED


def test_what_the_ledger_does_not_know_ends_its_plan() -> None:
    change = reconcile(Rows(), plan_for(in_doubt()), [], LATER)
    assert change.result.plan.state is PlanState.ENDED
    assert change.look_ups == ()


def test_the_answer_of_another_payment_is_not_looked_up_for_itself() -> None:
    rows = in_doubt()
    twin = replace(only(rows), duplicate_of=TOKEN)
    assert is_doubt_of(plan_for(rows), only(rows))
    assert not is_doubt_of(plan_for(rows), twin)
    assert not is_doubt_of(plan_for(rows), None)


# --- found -------------------------------------------------------------------------------------


def test_found_with_its_link_it_succeeded_under_the_reference_that_was_found() -> None:
    rows = in_doubt()
    change = step(rows, Finding.NOT_FOUND, Finding.FOUND)
    assert change.result.decided is not None
    (record,) = change.records
    event = change.answers[0].event
    assert (record.state, record.sequence, record.reference) == (State.SUCCEEDED, 2, OLD)
    assert (event.status, event.sequence, event.code) == (Status.SUCCEEDED, 2, None)
    assert (event.link, event.provider_reference) == (LINK, OLD)
    assert change.answers[0].letter is None, "the letter of the doubt is overtaken"
    assert not change.answers[0].event_confirmed
    assert record.link_published
    assert change.result.plan.state is PlanState.ENDED
    assert change.audit[0].actor == "worker"
    assert "succeeded, sequence 2" in change.audit[0].detail
    rows.write(change)


def test_of_two_links_the_one_of_the_newest_reference_goes_out() -> None:
    change = step(in_doubt(), Finding.FOUND, Finding.FOUND)
    assert change.records[0].reference == NEW
    assert [each.reference for each in change.look_ups] == [NEW, OLD]


def test_a_link_under_an_older_reference_is_better_than_none_under_the_newest() -> None:
    change = step(in_doubt(), Finding.FOUND_WITHOUT_LINK, Finding.FOUND)
    assert change.result.finding is Finding.FOUND
    assert change.records[0].reference == OLD


def test_found_without_a_usable_link_its_link_is_lost_and_a_person_is_asked() -> None:
    rows = in_doubt()
    change = step(rows, Finding.FOUND_WITHOUT_LINK)
    (record,) = change.records
    event, letter = change.answers[0].event, change.answers[0].letter
    assert (record.state, record.code, record.sequence) == (State.IN_DOUBT, Code.LINK_LOST, 2)
    assert (event.status, event.code, event.link) == (Status.IN_DOUBT, Code.LINK_LOST, None)
    assert letter is not None
    assert letter.code is Code.LINK_LOST
    assert not change.answers[0].letter_confirmed, "nor was that of the doubt"
    assert (record.link, record.link_published) == (UNLISTED, False)
    assert change.result.plan.state is PlanState.EXHAUSTED
    assert change.result.plan.sequence == 2, "the new doubt is not planned once more"
    rows.write(change)
    again = reconcile(rows, change.result.plan, [Read(NEW, LATER, READINGS[Finding.FOUND])], LATER)
    assert again.records[0].state is State.SUCCEEDED


@pytest.mark.parametrize("is_resolved", [False, True])
def test_the_letter_of_the_doubt_goes_on_as_that_of_the_lost_link(is_resolved: bool) -> None:  # noqa: FBT001 - parametrised
    """It lies in the queue, or where an operator has set it aside, with the request's only body."""
    rows = in_doubt()
    rows.answers = {
        event_id: replace(each, letter_confirmed=True, letter_resolved=is_resolved)
        for event_id, each in rows.answers.items()
    }
    (answer,) = step(rows, Finding.FOUND_WITHOUT_LINK).answers
    assert (answer.letter_confirmed, answer.letter_resolved) == (True, is_resolved)
    assert not answer.event_confirmed


def test_a_link_that_was_kept_for_the_operator_stays_kept() -> None:
    rows = in_doubt()
    rows.records = {each.operation_id: replace(each, link=LINK) for each in rows.records.values()}
    read = Read(NEW, LATER, Listed(http_status=200))
    (record,) = reconcile(rows, plan_for(rows), [read], LATER).records
    assert (record.link, record.link_published) == (LINK, False)


def test_of_a_link_known_to_be_lost_a_second_look_says_nothing_new() -> None:
    change = step(in_doubt(Code.LINK_LOST), Finding.FOUND_WITHOUT_LINK)
    assert (change.records, change.answers) == ((), ())
    assert change.result.plan.state is PlanState.EXHAUSTED


def test_a_refusal_that_comes_late_does_not_undo_what_the_provider_lists() -> None:
    rows = in_doubt()
    rows.write(step(rows, Finding.FOUND_WITHOUT_LINK))
    refused = Declined(code=Code.DECLINED, provider_code=None, http_status=200, known=True)
    end = Settlement(
        operation_id=only(rows).operation_id,
        payment_id=only(rows).payment_id,
        token=TOKEN,
        outcome=refused,
        tries=(),
    )
    assert isinstance(settle(rows, end, Rules(), LATER).result, Evidence)


# --- a break -----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", Finding)
def test_one_other_amount_outweighs_whatever_else_is_found(other: Finding) -> None:
    for findings in ((Finding.OTHER_AMOUNT, other), (other, Finding.OTHER_AMOUNT)):
        change = step(in_doubt(), *findings)
        assert change.result.finding is Finding.OTHER_AMOUNT
        assert (change.records, change.answers, change.audit) == ((), (), ())
        assert change.result.plan.state is PlanState.BREAK
        assert change.result.plan.due_at is None, "it waits for a person, not for another read"
        assert Cents(99) in {each.amount for each in change.look_ups}


# --- nothing new -------------------------------------------------------------------------------


@pytest.mark.parametrize("finding", [Finding.NOT_FOUND, Finding.FAILED])
def test_not_found_and_not_readable_change_nothing_and_the_next_step_comes(
    finding: Finding,
) -> None:
    change = step(in_doubt(), finding)
    assert (change.records, change.answers, change.audit) == ((), (), ())
    assert change.result.finding is finding
    assert change.result.plan.steps == 1
    assert change.result.plan.state is PlanState.PLANNED
    assert change.result.plan.due_at == NOW + timedelta(minutes=5)


def test_not_found_twice_proves_nothing_either() -> None:
    rows = in_doubt()
    first = step(rows, Finding.NOT_FOUND)
    read = Read(NEW, LATER, READINGS[Finding.NOT_FOUND])
    plan = replace(first.result.plan, token=TOKEN)
    change = reconcile(rows, plan, [read], LATER + timedelta(hours=1))
    assert (change.records, change.answers) == ((), ())
    assert [each.step for each in change.look_ups] == [2]


def test_evidence_keeps_codes_and_numbers_and_no_text() -> None:
    (kept,) = step(in_doubt(), Finding.FAILED).look_ups
    assert (kept.reason, kept.http_status, kept.provider_code) == ("refused", 401, "AUTH_002")
    assert (kept.sequence, kept.step, kept.at, kept.reference) == (1, 1, LATER, NEW)
    assert "example" not in repr(step(in_doubt(), *READINGS).look_ups)


# --- the schedule ------------------------------------------------------------------------------


def test_the_schedule_is_that_of_the_rules() -> None:
    """A minute, 5, 15, an hour, 6, 24, then daily to day 7."""
    hours = [each / timedelta(hours=1) for each in STEPS]
    assert hours == [1 / 60, 5 / 60, 0.25, 1, 6, 24, 48, 72, 96, 120, 144, 168]


def test_after_the_last_step_it_waits_for_a_person() -> None:
    rows = in_doubt()
    at, reads = NOW, 0
    plan = plan_for(rows)
    while plan.due_at is not None:
        at = plan.due_at
        reads += 1
        read = Read(NEW, at, READINGS[Finding.NOT_FOUND])
        plan = replace(reconcile(rows, plan, [read], at).result.plan, token=TOKEN)
    assert (reads, at - NOW) == (len(STEPS), timedelta(days=7))
    assert (plan.state, plan.steps) == (PlanState.EXHAUSTED, len(STEPS))


def test_an_old_doubt_is_looked_up_once_and_at_once() -> None:
    doubt = Doubt(operation_id=TOKEN, sequence=1, decided_at=NOW - timedelta(days=30))
    plan = planned(doubt, "safedebit")
    assert plan.due_at is not None
    assert plan.due_at < NOW
    assert next_due(doubt.decided_at, NOW) is None


@given(seconds=st.floats(min_value=0, max_value=10 * 86400))
def test_the_next_step_is_always_ahead_and_the_first_of_those(seconds: float) -> None:
    now = NOW + timedelta(seconds=seconds)
    due = next_due(NOW, now)
    passed = [NOW + each for each in STEPS if NOW + each <= now]
    assert due is None or due > now
    assert (due is None) == (len(passed) == len(STEPS))
    assert due is None or STEPS.index(due - NOW) == len(passed)


@given(
    findings=st.lists(st.sampled_from(Finding), max_size=4),
    code=st.sampled_from([Code.OUTCOME_UNKNOWN, Code.LINK_LOST, Code.LEDGER_LOST]),
)
def test_whatever_is_read_a_doubt_ends_only_in_success(findings: list[Finding], code: Code) -> None:
    rows = in_doubt(code)
    reads = [Read(f"{n:032x}", LATER, READINGS[each]) for n, each in enumerate(findings)]
    change = reconcile(rows, plan_for(rows), reads, LATER)
    rows.write(change)
    is_break = Finding.OTHER_AMOUNT in findings
    is_paid = Finding.FOUND in findings and not is_break
    assert (only(rows).state is State.SUCCEEDED) == is_paid
    assert only(rows).state in {State.SUCCEEDED, State.IN_DOUBT}
    assert len(change.look_ups) == len(findings)
    assert only(rows).attempts == 2, "a look-up is no attempt"


# --- references --------------------------------------------------------------------------------


def attempt_under(reference: str | None, place: int) -> AttemptEntry:
    return AttemptEntry(
        operation_id=TOKEN,
        token=TOKEN,
        number=place,
        reference=reference,
        tries=(),
        ended_at=NOW,
    )


def test_every_reference_it_was_sent_under_is_looked_up_once_the_newest_first() -> None:
    attempts = [attempt_under(each, n) for n, each in enumerate((OLD, OLD, None, NEW), 1)]
    record = only(in_doubt())
    assert references_of(record, attempts) == (NEW, OLD)
    assert references_of(replace(record, reference=None), ()) == ()
    many = [attempt_under(f"{n:032x}", n) for n in range(20)]
    assert len(references_of(record, many)) == MOST_REFERENCES


def test_a_class_that_keeps_its_reference_has_one_to_look_up() -> None:
    before = replace(payment(operation_class=OperationClass.KEYED, attempts=3), reference=OLD)
    attempts = [attempt_under(OLD, n) for n in range(1, 4)]
    assert references_of(before, attempts) == (OLD,)
