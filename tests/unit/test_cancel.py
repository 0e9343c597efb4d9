"""A cancellation against every payment it may name, and every state of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product

from tests.core import cancellation
from tests.provider_examples import REMOVAL_ROUTE
from tests.rows import EMAIL, NOW, OTHER_TOKEN, TOKEN, Rows, closed, payment
from worker.codes import Code
from worker.contract.reading import read
from worker.lifecycle.cancel import CancelClaimed, CancelWish, claim_cancellation
from worker.lifecycle.decide import Reason
from worker.lifecycle.wishes import Decided, Held, Waiting, Won
from worker.model import Cancellation, OperationClass, Origin, Refusal, Route
from worker.records import Change, Kind, Record, State
from worker.rules import Rules

RULES = Rules()
DELIVERY = cancellation()
PAYMENT_ID = payment().operation_id
BASKET = OperationClass.NON_IDEMPOTENT
OLD = timedelta(hours=25)
REASONS = {
    State.FAILED: Reason(code=Code.DECLINED),
    State.IN_DOUBT: Reason(code=Code.OUTCOME_UNKNOWN),
}


def asked() -> Cancellation:
    found = read(DELIVERY)
    assert isinstance(found, Cancellation)
    return found


ASKED = asked()
CANCELLATION_ID = ASKED.envelope.operation_id
WISH = CancelWish(
    envelope=ASKED.envelope,
    request=ASKED.request,
    plan=REMOVAL_ROUTE,
    token=TOKEN,
    may_call=True,
    delivery=DELIVERY,
)


@dataclass(frozen=True)
class Case:
    """What may be true of a payment and of the cancellation that names it."""

    state: State | None = State.SUCCEEDED
    has_item: bool = True
    has_email: bool = True
    is_duplicate: bool = False
    is_own_origin: bool = True
    is_payment: bool = True
    plan: str = "route"  # route, refusal, none
    has_permit: bool = True
    is_expired: bool = False
    delivery_count: int = 0
    waits: int | None = None  # None: the cancellation has no row yet


Rule = tuple[Callable[[Case], bool], str]


def _is_unknown(case: Case) -> bool:
    return case.state is None or not case.is_payment


# Contract section 2, Cancel, in the order that applies.
RULE_BOOK: Sequence[Rule] = (
    (lambda case: case.waits is None and case.delivery_count >= 100, "delivery_limit_reached"),
    (lambda case: case.is_expired, "request_expired"),
    (lambda case: _is_unknown(case) and (case.waits or 0) < 3, "waits"),
    (_is_unknown, "payment_unknown"),
    (lambda case: not case.is_own_origin, "payment_unknown"),
    (lambda case: case.state is State.CALLING, "held"),
    (lambda case: case.state is State.RETRY_WAIT, "cancelled"),
    (lambda case: case.state is State.CANCELLED, "already_cancelled"),
    (lambda case: case.state is not State.SUCCEEDED, "not_cancellable"),
    (
        lambda case: not case.has_item or not case.has_email or case.is_duplicate,
        "not_cancellable",
    ),
    (lambda case: case.plan == "none", "held"),
    (lambda case: case.plan == "refusal", "mode_not_allowed"),
    (lambda case: not case.has_permit, "held"),
    (lambda _case: True, "won"),
)


def payment_of(case: Case) -> Record | None:
    """The payment the cancellation names."""
    if case.state is None:
        return None
    record = replace(
        PAYMENTS[case.state],
        account="combo",
        kind=Kind.INITIATION if case.is_payment else Kind.REFUSAL,
        duplicate_of=OTHER_TOKEN if case.is_duplicate else None,
        email=EMAIL if case.has_email else None,
    )
    if case.state is State.SUCCEEDED:
        record = replace(record, item_id="12" if case.has_item else None)
    return record if case.is_own_origin else replace(record, origin=Origin("web"))


PAYMENTS = {
    state: payment(state, operation_class=BASKET, sequence=3)
    if state.is_open
    else closed(payment(operation_class=BASKET, sequence=3), state, reason=REASONS.get(state))[0]
    for state in State
}


def own_row(case: Case) -> Record | None:
    """The cancellation's row, waiting and due."""
    if case.waits is None:
        return None
    return replace(
        payment(State.RETRY_WAIT, attempts=0),
        operation_id=CANCELLATION_ID,
        kind=Kind.CANCELLATION,
        identity=ASKED.envelope.identity,
        fingerprint=None,
        payment_id=PAYMENT_ID,
        first_seen=NOW - OLD if case.is_expired else NOW,
        waits=case.waits,
        account=None,
        operation=None,
        operation_class=None,
    )


def wish_of(case: Case) -> CancelWish:
    plans: dict[str, Route | Refusal | None] = {
        "route": REMOVAL_ROUTE,
        "refusal": Refusal(code=Code.MODE_NOT_ALLOWED),
        "none": None,
    }
    return replace(
        WISH,
        plan=plans[case.plan],
        may_call=case.has_permit,
        envelope=replace(WISH.envelope, first_seen=NOW - OLD if case.is_expired else NOW),
        delivery=replace(DELIVERY, delivery_count=case.delivery_count),
    )


def rows_of(case: Case) -> Rows:
    return Rows([row for row in (payment_of(case), own_row(case)) if row is not None])


def told(change: Change[CancelClaimed]) -> str:
    """A cancellation's result in the words of the rules."""
    match change.result:
        case Won():
            return "won"
        case Held():
            return "held"
        case Waiting():
            return "waits"
        case Decided():
            event = change.result.answer.event
            return str(event.code or event.status)


BOOLEANS = (False, True)


def test_a_cancellation_follows_its_rules_whatever_it_names() -> None:
    cases = [
        Case(*values)
        for values in product(
            (None, *State),
            BOOLEANS,
            BOOLEANS,
            BOOLEANS,
            BOOLEANS,
            BOOLEANS,
            ("route", "refusal", "none"),
            BOOLEANS,
            BOOLEANS,
            (0, 100),
            (None, 0, 1, 3),
        )
        if not (values[0] is not State.SUCCEEDED and (values[1] or values[2] or values[3]))
    ]
    for case in cases:
        rows = rows_of(case)
        change = claim_cancellation(rows, wish_of(case), RULES, NOW)
        expected = next(outcome for holds, outcome in RULE_BOOK if holds(case))
        assert told(change) == expected, case
        _check_writes(change, case, expected)


def _check_writes(change: Change[CancelClaimed], case: Case, expected: str) -> None:
    """Only a successful cancellation touches the payment; only the last wait leaves a tombstone."""
    by_id = {record.operation_id: record for record in change.records}
    assert (PAYMENT_ID in by_id) == (expected == "cancelled")
    assert (CANCELLATION_ID in by_id) == (expected != "held")
    is_last_wait = expected == "payment_unknown" and (case.state is None or not case.is_payment)
    assert (change.tombstones != ()) == is_last_wait
    if isinstance(change.result, Decided):
        event = change.result.answer.event
        is_seen = case.state is not None and case.is_payment and case.is_own_origin
        assert (event.payment_status is not None) == is_seen
        assert event.sequence == (3 if is_seen else 0)
