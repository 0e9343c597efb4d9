"""Whether a replay can help: foreseen by the rules that the reopening and the claim go by."""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from tests.fakes_clock import START
from tests.rows import Rows
from tests.store_samples import decided_record
from worker.codes import Category, Code
from worker.letters import Advice, LetterCase, LetterTally, Verdict
from worker.lifecycle.limits import may_be_applied
from worker.lifecycle.prospects import ADVICE, groups_of, prospect_of, verdict_of
from worker.lifecycle.reopen import Reopened, reopen
from worker.model import OperationClass
from worker.records import Kind, State
from worker.rules import Rules

SECOND = timedelta(seconds=1)
OUTAGE = LetterCase(
    code=Code.PROVIDER_UNAVAILABLE,
    kind=Kind.INITIATION,
    state=State.FAILED,
    operation_class=OperationClass.ORPHAN_SAFE,
    link_published=False,
    may_be_applied=False,
    is_expired=False,
    names_order=True,
    is_superseded=False,
)
DOUBT = replace(
    OUTAGE,
    code=Code.OUTCOME_UNKNOWN,
    state=State.IN_DOUBT,
    operation_class=OperationClass.NON_IDEMPOTENT,
    may_be_applied=True,
)
UNANSWERED = replace(OUTAGE, code=None, state=None, operation_class=None)


def test_every_code_has_its_advice() -> None:
    assert set(ADVICE) == set(Code)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (OUTAGE, Verdict.SAFE),
        (replace(OUTAGE, code=Code.PROVIDER_CREDENTIALS), Verdict.SAFE),
        (replace(OUTAGE, is_expired=True), Verdict.HOPELESS),
        (replace(OUTAGE, is_superseded=True), Verdict.HOPELESS),
        (replace(DOUBT, is_superseded=True), Verdict.UNKNOWN),
        (replace(OUTAGE, code=Code.REQUEST_EXPIRED), Verdict.HOPELESS),
        (replace(OUTAGE, code=Code.INVALID_AMOUNT), Verdict.NEEDS_EDIT),
        (replace(OUTAGE, code=Code.CUSTOMER_UNKNOWN), Verdict.NEEDS_EDIT),
        (replace(OUTAGE, code=Code.CUSTOMER_UNKNOWN, is_edited=True), Verdict.SAFE),
        (replace(OUTAGE, code=Code.INVALID_AMOUNT, is_edited=True), Verdict.NEEDS_EDIT),
        (replace(OUTAGE, code=Code.INVALID_MESSAGE, kind=Kind.REFUSAL), Verdict.NEEDS_EDIT),
        (replace(OUTAGE, code=Code.IDEMPOTENCY_MISMATCH, kind=Kind.REFUSAL), Verdict.HOPELESS),
        (replace(OUTAGE, code=Code.REFERENCE_ALREADY_USED), Verdict.UNKNOWN),
        (replace(OUTAGE, names_order=False), Verdict.UNKNOWN),
        (replace(OUTAGE, names_order=False, kind=Kind.CANCELLATION), Verdict.SAFE),
        (UNANSWERED, Verdict.SAFE),
        (replace(UNANSWERED, state=State.RETRY_WAIT), Verdict.SAFE),
        (replace(UNANSWERED, state=State.SUCCEEDED, is_expired=True), Verdict.ALREADY_DONE),
        (replace(UNANSWERED, kind=Kind.REFUSAL, names_order=False), Verdict.SAFE),
        (replace(UNANSWERED, names_order=False), Verdict.UNKNOWN),
        (replace(UNANSWERED, is_expired=True), Verdict.HOPELESS),
        (replace(UNANSWERED, is_superseded=True), Verdict.HOPELESS),
        (DOUBT, Verdict.UNKNOWN),
        (replace(DOUBT, may_be_applied=False), Verdict.SAFE),
        (replace(DOUBT, may_be_applied=False, code=Code.LEDGER_LOST), Verdict.SAFE),
        (replace(DOUBT, may_be_applied=False, is_expired=True), Verdict.HOPELESS),
        (replace(DOUBT, is_expired=True), Verdict.UNKNOWN),
        (replace(DOUBT, operation_class=OperationClass.ORPHAN_SAFE), Verdict.SAFE),
        (
            replace(DOUBT, operation_class=OperationClass.ORPHAN_SAFE, link_published=True),
            Verdict.UNKNOWN,
        ),
        (replace(DOUBT, operation_class=OperationClass.KEYED), Verdict.UNKNOWN),
        (
            replace(DOUBT, operation_class=OperationClass.ORPHAN_SAFE, code=Code.LEDGER_LOST),
            Verdict.UNKNOWN,
        ),
    ],
)
def test_a_verdict_follows_from_the_code_the_state_and_the_class(
    case: LetterCase, verdict: Verdict
) -> None:
    assert verdict_of(case) is verdict


def test_every_verdict_has_a_reason_that_tells_it_from_the_others() -> None:
    """Over every code, kind and state: one sentence is never the reason of two verdicts."""
    told: dict[str, set[Verdict]] = {}
    for code, kind, state, late, order in product(
        (None, *Code), Kind, (None, State.FAILED, State.IN_DOUBT), (False, True), (False, True)
    ):
        case = replace(OUTAGE, code=code, kind=kind, state=state, is_expired=late)
        prospect = prospect_of(replace(case, names_order=order))
        assert prospect.reason.endswith(".")
        told.setdefault(prospect.reason, set()).add(prospect.verdict)
    assert {len(verdicts) for verdicts in told.values()} == {1}
    assert {verdict for verdicts in told.values() for verdict in verdicts} == set(Verdict)


def test_what_is_called_safe_the_ledger_reopens_and_what_may_be_applied_it_does_not() -> None:
    """Every code, kind, state, class and history: the foresight never promises too much."""
    promised = 0
    for code, kind, state, operation_class, published, unknown in product(
        Code,
        Kind,
        (State.FAILED, State.IN_DOUBT),
        (None, *OperationClass),
        (False, True),
        ((0, 0), (1, 0), (1, 1)),
    ):
        record = replace(
            decided_record(state=state),
            code=code,
            kind=kind,
            operation_class=operation_class,
            link_published=published,
            unknown_attempts=unknown[0],
            cleared_attempts=unknown[1],
        )
        case = LetterCase(
            code=code,
            kind=kind,
            state=state,
            operation_class=operation_class,
            link_published=published,
            may_be_applied=may_be_applied(record),
            is_expired=False,
            names_order=True,
            is_superseded=False,
        )
        change = reopen(
            Rows([record]),
            record.operation_id,
            from_sequence=record.sequence,
            actor="o.perator",
            run="R-1",
            reason="",
            rules=Rules(),
            now=START,
        )
        is_reopened = isinstance(change.result, Reopened)
        if verdict_of(case) is Verdict.SAFE:
            promised += 1
            assert is_reopened, case
        elif not is_reopened and kind is not Kind.REFUSAL:
            assert verdict_of(case) is Verdict.UNKNOWN, case
    assert promised


def test_every_verdict_comes_with_sentences_of_its_own() -> None:
    """Every case there can be: a plan's reason never fits another verdict, and holds no value."""
    reasons: dict[str, set[Verdict]] = {}
    flags = (False, True)
    for (
        code,
        kind,
        state,
        operation_class,
        published,
        applied,
        expired,
        named,
        superseded,
    ) in product((None, *Code), Kind, (None, *State), (None, *OperationClass), *([flags] * 5)):
        case = LetterCase(
            code=code,
            kind=kind,
            state=state,
            operation_class=operation_class,
            link_published=published,
            may_be_applied=applied,
            is_expired=expired,
            names_order=named,
            is_superseded=superseded,
        )
        prospect = prospect_of(case)
        assert prospect.verdict is verdict_of(case)
        reasons.setdefault(prospect.reason, set()).add(prospect.verdict)
    assert all(len(verdicts) == 1 for verdicts in reasons.values())
    assert all(reason.endswith(".") and not re.search(r"[\d@]", reason) for reason in reasons)
    assert set.union(*reasons.values()) == set(Verdict)


def test_letters_are_grouped_by_code_unanswered_ones_first_then_the_largest_group() -> None:
    tallies = [
        tally(DOUBT, count=2, at=5),
        tally(OUTAGE, count=3, at=1, confirmed=2),
        tally(UNANSWERED, count=1, at=2),
        tally(replace(OUTAGE, is_expired=True), count=4, at=9, confirmed=4),
    ]
    unanswered, outage, doubt = groups_of(tallies)
    assert (unanswered.code, unanswered.category, unanswered.count) == (None, None, 1)
    assert (outage.code, outage.category) == (Code.PROVIDER_UNAVAILABLE, Category.TRANSIENT)
    assert (outage.count, outage.confirmed, outage.advice) == (7, 6, Advice.AFTER_OUTAGE)
    assert (outage.first, outage.last) == (START + SECOND, START + 10 * SECOND)
    assert outage.verdicts == {
        **dict.fromkeys(Verdict, 0),
        Verdict.SAFE: 3,
        Verdict.HOPELESS: 4,
    }
    assert (doubt.code, doubt.count, doubt.verdicts[Verdict.UNKNOWN]) == (
        Code.OUTCOME_UNKNOWN,
        2,
        2,
    )


def test_no_letters_make_no_group() -> None:
    assert groups_of([]) == ()


def tally(case: LetterCase, *, count: int, at: int, confirmed: int = 0) -> LetterTally:
    first = START + at * SECOND
    return LetterTally(
        case=case, count=count, confirmed=confirmed, first=first, last=first + SECOND
    )
