"""A person's word on a doubt: what it decides, what it leaves alone, and that it is said once."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest

from tests.rows import LINK, NOW, TOKEN, Rows, closed, payment
from tests.unit.test_cancel import PAYMENT_ID
from tests.unit.test_cancel_rows import paid, wished
from tests.unit.test_settle import OUTCOMES
from tests.unit.test_settle_late import in_doubt, late
from worker.calls import Unknown
from worker.codes import Code
from worker.lifecycle.decide import Reason
from worker.lifecycle.duplicates import follow_owner
from worker.lifecycle.limits import may_be_applied
from worker.lifecycle.reopen import Reopened, reopen
from worker.lifecycle.ruling import (
    MayBeReplayed,
    NotRuled,
    Ruled,
    Ruling,
    RulingWish,
    Unlocked,
    Verdict,
    WasApplied,
    WasNotApplied,
    is_unlocked,
    rule,
)
from worker.lifecycle.settle import Evidence
from worker.lifecycle.wishes import Decided
from worker.model import OperationClass, Secret
from worker.records import Change, Event, Kind, Record, State, Status
from worker.rules import Rules

RULES = Rules()
APPLIED = WasApplied(link=LINK)
RULINGS: tuple[Ruling, ...] = (APPLIED, WasNotApplied(), MayBeReplayed())
OTHER_LINK = Secret("https://pay.example.org/paypage?n=2")


def ruled(
    rows: Rows, ruling: Ruling, *, at: timedelta = timedelta(0), of: UUID | None = None
) -> Change[Verdict]:
    """Rule on the first row there is, and write."""
    record = next(iter(rows.records.values())) if of is None else rows.records[of]
    wish = RulingWish(record=record, ruling=ruling, actor="o.perator", reason="seen at the bank")
    change = rule(rows, wish, RULES, NOW + at)
    rows.write(change)
    return change


def event_of(change: Change[Verdict]) -> Event:
    assert isinstance(change.result, Ruled)
    return change.result.answer.event


def why_not(change: Change[Verdict]) -> str:
    """Why nothing was ruled; then nothing is written either."""
    assert isinstance(change.result, NotRuled), change.result
    assert (change.records, change.answers, change.audit) == ((), (), ())
    return change.result.reason


# --- what it decides ---------------------------------------------------------------------------


def test_what_was_applied_succeeds_with_the_link_that_was_found() -> None:
    rows = in_doubt()
    change = ruled(rows, APPLIED)
    event = event_of(change)
    assert (event.status, event.sequence, event.link) == (Status.SUCCEEDED, 2, LINK)
    (record,) = change.records
    assert (record.state, record.token, record.link_published) == (State.SUCCEEDED, None, True)
    (act,) = change.audit
    assert (act.action, act.actor, act.facts.result) == ("settle", "o.perator", "succeeded")
    assert LINK.reveal() not in act.detail
    assert act.detail.endswith(": seen at the bank")
    assert "was in_doubt outcome_unknown" in act.detail


def test_a_basket_item_that_was_added_succeeds_as_that_item() -> None:
    event = event_of(ruled(in_doubt(), WasApplied(item_id="17")))
    assert (event.status, event.basket_item_id, event.link) == (Status.SUCCEEDED, "17", None)


def test_what_was_not_applied_fails_and_leaves_no_letter() -> None:
    """Contract section 4: of this code it is promised that nothing was applied."""
    rows = in_doubt()
    change = ruled(rows, WasNotApplied())
    event = event_of(change)
    assert (event.status, event.code, event.sequence) == (
        Status.FAILED,
        Code.PROVIDER_UNAVAILABLE,
        2,
    )
    assert change.answers[0].letter is None
    assert not may_be_applied(rows.records[event.payment_id])


def test_what_may_be_replayed_stays_in_doubt_until_it_is() -> None:
    rows = in_doubt()
    change = ruled(rows, MayBeReplayed())
    assert isinstance(change.result, Unlocked)
    assert change.answers == ()
    (record,) = change.records
    assert (record.state, record.sequence, record.token) == (State.IN_DOUBT, 1, TOKEN)
    assert is_unlocked(record)
    assert change.audit[0].action == "unlock"
    opened = reopen(
        rows,
        record.operation_id,
        from_sequence=1,
        actor="o.perator",
        run="run-1",
        reason="",
        rules=RULES,
        now=NOW,
    )
    assert opened.result == Reopened(2)


@pytest.mark.parametrize("ruling", RULINGS[:2], ids=["applied", "not applied"])
def test_an_unlocked_doubt_can_still_be_decided(ruling: Ruling) -> None:
    rows = in_doubt()
    ruled(rows, MayBeReplayed())
    assert event_of(ruled(rows, ruling)).sequence == 2


def test_a_lost_history_is_unlocked_by_a_person_and_by_nothing_else() -> None:
    record, answer = closed(payment(), State.IN_DOUBT, reason=Reason(code=Code.LEDGER_LOST))
    rows = Rows([record], answers=[answer])

    def again() -> object:
        return reopen(
            rows,
            record.operation_id,
            from_sequence=1,
            actor="o.perator",
            run="run-1",
            reason="",
            rules=RULES,
            now=NOW,
        ).result

    assert not isinstance(again(), Reopened)
    ruled(rows, MayBeReplayed())
    assert again() == Reopened(2)


def test_a_doubt_from_before_they_were_counted_is_unlocked_as_well() -> None:
    record, answer = closed(payment(), State.IN_DOUBT, reason=Reason(code=Code.LEDGER_LOST))
    rows = Rows([replace(record, unknown_attempts=0)], answers=[answer])
    ruled(rows, MayBeReplayed())
    assert all(is_unlocked(each) for each in rows.records.values())
    again = ruled(rows, MayBeReplayed())
    assert isinstance(again.result, Unlocked)
    assert not again.result.is_new


@pytest.mark.parametrize("is_late", [False, True])
def test_who_unlocks_what_was_applied_is_corrected_by_the_provider(is_late: bool) -> None:  # noqa: FBT001 - parametrised
    """The one reference of a keyed payment is used already: by its first attempt."""
    rows = in_doubt(OperationClass.KEYED)
    ruled(rows, MayBeReplayed())
    (unlocked,) = rows.records.values()
    called = replace(
        payment(operation_class=OperationClass.KEYED, attempts=2, sequence=2),
        unknown_attempts=unlocked.unknown_attempts,
        cleared_attempts=unlocked.cleared_attempts,
    )
    rows.records = {called.operation_id: called}
    if is_late:
        again = replace(called, unknown_attempts=called.unknown_attempts + 1)
        doubt, answer = closed(again, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
        rows = Rows([doubt], answers=[answer])
        assert isinstance(late(rows, "already used").result, Evidence)
        return
    (record,) = late(rows, "already used").records
    assert (record.state, record.code) == (State.IN_DOUBT, Code.LINK_LOST)
    assert not is_unlocked(record)


def test_every_doubt_counts_an_attempt_that_nobody_has_cleared() -> None:
    """Whatever was cleared before: else a new doubt would pass for one that was looked up."""
    for unknown, cleared in product(range(3), range(3)):
        before = replace(payment(), unknown_attempts=unknown, cleared_attempts=cleared)
        record, _ = closed(before, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
        assert may_be_applied(record)
        assert not is_unlocked(record)


# --- what it leaves alone ----------------------------------------------------------------------


@pytest.mark.parametrize("ruling", RULINGS, ids=["applied", "not applied", "may be replayed"])
@pytest.mark.parametrize("state", [State.CALLING, State.RETRY_WAIT, State.CANCELLED])
def test_only_a_doubt_is_ruled_on(state: State, ruling: Ruling) -> None:
    assert why_not(ruled(Rows([payment(state)]), ruling))


def test_an_operation_without_a_row_is_not_ruled_on() -> None:
    (record,) = in_doubt().records.values()
    wish = RulingWish(record=record, ruling=APPLIED, actor="o.perator", reason="")
    assert why_not(rule(Rows(), wish, RULES, NOW)) == "the ledger does not know it"


@pytest.mark.parametrize("ruling", RULINGS, ids=["applied", "not applied", "may be replayed"])
def test_saying_it_twice_is_saying_it_once(ruling: Ruling) -> None:
    rows = in_doubt()
    first = ruled(rows, ruling)
    again = ruled(rows, ruling)
    assert isinstance(again.result, Ruled | Unlocked)
    assert not again.result.is_new
    assert again.result.record == first.records[0]
    assert (again.records, again.answers, again.audit) == ((), (), ())


def test_another_word_than_the_first_changes_nothing() -> None:
    rows = in_doubt()
    ruled(rows, APPLIED)
    assert "succeeded" in why_not(ruled(rows, WasNotApplied()))
    assert "succeeded" in why_not(ruled(rows, WasApplied(link=OTHER_LINK)))
    assert "succeeded" in why_not(ruled(rows, MayBeReplayed()))
    rows = in_doubt()
    ruled(rows, WasNotApplied())
    assert "failed provider_unavailable" in why_not(ruled(rows, APPLIED))


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("ruling", RULINGS, ids=["applied", "not applied", "may be replayed"])
def test_of_a_person_and_a_late_answer_the_first_one_counts(ruling: Ruling, name: str) -> None:
    """Both see the same row; what comes second is kept as evidence or told."""
    rows = in_doubt()
    ruled(rows, ruling)
    before = next(iter(rows.records.values()))
    change = late(rows, name)
    if isinstance(ruling, MayBeReplayed):
        # Unlocked is not decided: what the provider says of it still counts.
        is_definite = not isinstance(OUTCOMES[name], Unknown)
        assert isinstance(change.result, Decided if is_definite else Evidence)
    else:
        assert isinstance(change.result, Evidence)
        assert change.records == ()
        assert next(iter(rows.records.values())) == before
    assert len(change.attempts) == 1
    rows = in_doubt()
    told = late(rows, name)
    rows.write(told)
    second = ruled(rows, ruling)
    if told.records and isinstance(second.result, Ruled):
        assert not second.result.is_new
    elif told.records:
        assert why_not(second)


@pytest.mark.parametrize("ruling", RULINGS, ids=["applied", "not applied", "may be replayed"])
def test_a_word_on_one_doubt_is_none_on_the_next(ruling: Ruling) -> None:
    """While one thought it over, another unlocked and replayed it, and that is in doubt anew."""
    rows = in_doubt()
    (seen,) = rows.records.values()
    called = replace(
        payment(attempts=2, sequence=2),
        version=seen.version + 3,
        unknown_attempts=seen.unknown_attempts + 1,
        cleared_attempts=seen.unknown_attempts,
    )
    record, answer = closed(called, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
    rows = Rows([record], answers=[answer])
    wish = RulingWish(record=seen, ruling=ruling, actor="o.perator", reason="seen at the bank")
    assert "look again" in why_not(rule(rows, wish, RULES, NOW))


def test_what_nobody_could_replay_any_more_is_not_unlocked() -> None:
    rows = in_doubt()
    assert "as failed" in why_not(ruled(rows, MayBeReplayed(), at=timedelta(days=2)))
    assert event_of(ruled(rows, WasNotApplied(), at=timedelta(days=2))).status is Status.FAILED


def test_what_nobody_could_read_can_only_be_given_up() -> None:
    before = replace(payment(), kind=Kind.REFUSAL)
    record, answer = closed(before, State.IN_DOUBT, reason=Reason(code=Code.LEDGER_LOST))
    rows = Rows([record], answers=[answer])
    assert why_not(ruled(rows, APPLIED))
    assert why_not(ruled(rows, MayBeReplayed()))
    assert event_of(ruled(rows, WasNotApplied())).status is Status.FAILED


# --- cancellations -----------------------------------------------------------------------------


def cancellation_in_doubt() -> Rows:
    """Rows with a paid basket item whose removal ended unknown."""
    rows = paid()
    wished(rows)
    asked = cancellation_of(rows)
    record, answer = closed(
        replace(asked, version=asked.version + 1),
        State.IN_DOUBT,
        reason=Reason(code=Code.OUTCOME_UNKNOWN),
    )
    rows.records[record.operation_id] = record
    rows.answers[answer.event.event_id] = answer
    return rows


def cancellation_of(rows: Rows) -> Record:
    return next(each for each in rows.records.values() if each.kind is Kind.CANCELLATION)


def test_a_removal_that_was_applied_cancels_the_payment_too() -> None:
    rows = cancellation_in_doubt()
    of = cancellation_of(rows).operation_id
    event = event_of(ruled(rows, WasApplied(), of=of))
    assert (event.status, event.sequence) == (Status.CANCELLED, 2)
    assert rows.records[PAYMENT_ID].state is State.CANCELLED
    assert rows.records[PAYMENT_ID].sequence == 2
    again = ruled(rows, WasApplied(), of=of)
    assert isinstance(again.result, Ruled)
    assert not again.result.is_new


def test_a_removal_that_was_not_applied_leaves_the_payment_as_it_is() -> None:
    rows = cancellation_in_doubt()
    event = event_of(ruled(rows, WasNotApplied(), of=cancellation_of(rows).operation_id))
    assert (event.status, event.code) == (Status.CANCEL_FAILED, Code.PROVIDER_UNAVAILABLE)
    assert (event.sequence, event.payment_status) == (1, State.SUCCEEDED)
    assert rows.records[PAYMENT_ID].state is State.SUCCEEDED


# --- duplicates of a doubt ---------------------------------------------------------------------

COPY = UUID(int=77, version=4)


def with_duplicate() -> tuple[Rows, UUID]:
    """A doubt and another request that was answered with it; the doubt's id."""
    rows = in_doubt()
    (owner,) = rows.records.values()
    before = replace(owner, operation_id=COPY, payment_id=COPY, duplicate_of=owner.operation_id)
    record, answer = closed(before, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
    rows.records[COPY] = record
    rows.answers[answer.event.event_id] = answer
    return rows, owner.operation_id


def followed(rows: Rows) -> Change[Decided | None]:
    change = follow_owner(rows, COPY, NOW)
    rows.write(change)
    return change


@pytest.mark.parametrize("ruling", RULINGS, ids=["applied", "not applied", "may be replayed"])
def test_a_duplicate_is_not_ruled_on_by_itself(ruling: Ruling) -> None:
    rows, owner = with_duplicate()
    assert str(owner) in why_not(ruled(rows, ruling, of=COPY))


def test_a_duplicate_waits_while_its_payment_is_in_doubt_or_open() -> None:
    rows, owner = with_duplicate()
    for state in (State.IN_DOUBT, State.RETRY_WAIT, State.CALLING):
        rows.records[owner] = replace(rows.records[owner], state=state)
        assert followed(rows) == Change(result=None)


@pytest.mark.parametrize(
    ("ruling", "status"), [(APPLIED, Status.SUCCEEDED), (WasNotApplied(), Status.FAILED)]
)
def test_a_duplicate_gets_what_its_payment_came_to(ruling: Ruling, status: Status) -> None:
    rows, owner = with_duplicate()
    theirs = event_of(ruled(rows, ruling, of=owner))
    change = followed(rows)
    assert isinstance(change.result, Decided)
    event = change.result.answer.event
    assert (event.status, event.payment_id, event.sequence) == (status, COPY, 2)
    assert (event.link, event.code, event.duplicate_of) == (theirs.link, theirs.code, owner)
    assert event.event_id != theirs.event_id
    assert change.result.answer.letter is None
    assert len(change.audit) == 1
    assert followed(rows) == Change(result=None), "once"


def test_a_duplicate_of_what_was_cancelled_meanwhile_fails_as_cancelled() -> None:
    rows, owner = with_duplicate()
    rows.records[owner] = replace(rows.records[owner], state=State.CANCELLED)
    change = followed(rows)
    assert isinstance(change.result, Decided)
    assert change.result.answer.event.code is Code.ALREADY_CANCELLED


def test_a_link_that_was_never_handed_out_is_not_handed_to_a_duplicate() -> None:
    rows, owner = with_duplicate()
    before = replace(rows.records[owner], state=State.SUCCEEDED, link=LINK, link_published=False)
    rows.records[owner] = before
    change = followed(rows)
    assert isinstance(change.result, Decided)
    assert change.result.answer.event.link is None
