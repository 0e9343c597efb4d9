"""What a delivery may do about its payment: every row it may find, against ordered rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from itertools import product

import pytest

from tests.core import initiation
from tests.provider_examples import LINK_ROUTE
from tests.rows import (
    ASKED,
    LINK,
    NOW,
    OTHER_TOKEN,
    Rows,
    claim_wish,
    closed,
    payment,
    reading,
)
from worker.codes import Code
from worker.lifecycle.claim import claim
from worker.lifecycle.decide import Reason
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, Kept, Won
from worker.model import (
    Envelope,
    Fingerprint,
    OperationClass,
    PaymentRequest,
    Refusal,
    Route,
    Source,
)
from worker.records import Change, Record, State, Tombstone
from worker.rules import Rules

RULES = Rules()
PAYMENTS = {state: payment(state) for state in State}
OTHER = reading(initiation("key-2"))
DOUBT = Reason(code=Code.OUTCOME_UNKNOWN)
REFUSAL = Refusal(code=Code.COMPANY_NOT_CONFIGURED)
OLD = timedelta(hours=25)
WISH = claim_wish(LINK_ROUTE, token=OTHER_TOKEN)
ANOTHER_CONTENT = Fingerprint("0" * 64)


@dataclass(frozen=True)
class Case:
    """One combination of what may be true of a delivery and of the ledger."""

    operation_class: OperationClass = OperationClass.ORPHAN_SAFE
    plan: str = "route"  # route, other account, refusal
    has_permit: bool = True
    source: str = "request"  # request, ladder copy, copy of an attempt
    is_expired: bool = False
    delivery_count: int = 0
    order: str = "40017"
    owner: State | None = None
    has_tombstone: bool = False
    content: str = "same"  # same, other, erased
    unknown: int = 0
    is_replayed: bool = False
    attempts: int = 1

    @property
    def owner_is_open(self) -> bool:
        return self.order != "0" and self.owner is not None and self.owner.is_open

    @property
    def owner_in_the_way(self) -> bool:
        """Open, in doubt or succeeded (contract section 2, Replay)."""
        return self.owner_is_open or (
            self.order != "0" and self.owner in {State.IN_DOUBT, State.SUCCEEDED}
        )


Rule = tuple[Callable[[Case], bool], str]


def first_that_holds(rules: Sequence[Rule], case: Case) -> str:
    """Outcome of the first rule whose condition holds."""
    return next(outcome for holds, outcome in rules if holds(case))


def doubtful(case: Case) -> bool:
    return case.unknown > 0


# Contract sections 2 and 3, payment rules I1, I2, I6, I10, in the order they apply.
NO_ROW: Sequence[Rule] = (
    (
        lambda case: (
            case.source == "copy of an attempt"
            and (case.plan == "refusal" or case.operation_class.value in "DE")
        ),
        "in_doubt ledger_lost",
    ),
    (
        # Nobody knows how the forgotten attempt ended, so nothing may be reported as failed.
        lambda case: case.source == "copy of an attempt" and case.delivery_count >= 100,
        "in_doubt outcome_unknown",
    ),
    (lambda case: case.delivery_count >= 100, "failed delivery_limit_reached"),
    (lambda case: case.has_tombstone, "cancelled"),
    (lambda case: case.owner_is_open and not case.is_expired, "held"),
    (lambda case: case.order != "0" and case.owner is State.SUCCEEDED, "succeeded duplicate"),
    (
        lambda case: case.order != "0" and case.owner is State.IN_DOUBT,
        "in_doubt outcome_unknown duplicate",
    ),
    (
        lambda case: case.source == "copy of an attempt" and case.is_expired,
        "in_doubt outcome_unknown",
    ),
    (lambda case: case.is_expired, "failed request_expired"),
    (lambda case: case.plan == "refusal", "failed company_not_configured"),
    (lambda case: not case.has_permit, "held"),
    (lambda _case: True, "won"),
)

DUE: Sequence[Rule] = (
    (lambda case: case.content == "other", "mismatch"),
    (lambda case: case.is_expired and not doubtful(case), "failed request_expired"),
    (lambda case: case.is_expired, "in_doubt outcome_unknown"),
    (
        lambda case: case.is_replayed and case.owner_in_the_way and not doubtful(case),
        "failed superseded",
    ),
    (lambda case: case.is_replayed and case.owner_in_the_way, "in_doubt outcome_unknown"),
    (lambda case: case.plan != "route", "kept"),
    (lambda case: not case.has_permit, "held"),
    (lambda _case: True, "won"),
)

# The expired attempt counts as unknown: E never goes on, D once, the others while the ladder lasts.
LEASE_EXPIRED: Sequence[Rule] = (
    (lambda case: case.content == "other", "mismatch"),
    (lambda case: case.operation_class.value == "E", "in_doubt outcome_unknown"),
    (
        lambda case: case.operation_class.value == "D" and doubtful(case),
        "in_doubt outcome_unknown",
    ),
    (lambda case: case.attempts > 6, "in_doubt outcome_unknown"),
    (lambda case: case.is_expired, "in_doubt outcome_unknown"),
    (lambda case: case.is_replayed and case.owner_in_the_way, "in_doubt outcome_unknown"),
    (lambda case: case.plan != "route", "kept"),
    (lambda case: not case.has_permit, "held"),
    (lambda _case: True, "won"),
)


def plan_of(case: Case) -> Route | Refusal:
    match case.plan:
        case "refusal":
            return REFUSAL
        case "other account":
            account = replace(LINK_ROUTE.account, name="another")
            return replace(LINK_ROUTE, account=account, operation_class=case.operation_class)
        case _:
            return replace(LINK_ROUTE, operation_class=case.operation_class)


def wish_of(case: Case) -> Claim:
    """The claim of a delivery in that case."""
    wish = replace(WISH, plan=plan_of(case), may_call=case.has_permit)
    request: PaymentRequest = replace(wish.request, id_commande=case.order)
    if case.content == "other":
        request = replace(request, fingerprint=ANOTHER_CONTENT)
    envelope: Envelope = replace(
        wish.envelope,
        first_seen=NOW - OLD if case.is_expired else NOW,
        source=Source.REQUESTS if case.source == "request" else Source.LADDER,
        attempts=1 if case.source == "copy of an attempt" else 0,
    )
    delivery = replace(wish.delivery, delivery_count=case.delivery_count)
    return replace(wish, request=request, envelope=envelope, delivery=delivery)


@cache
def owner_of(state: State | None) -> tuple[Record, ...]:
    """Another payment with the same content, that owns the fingerprint."""
    if state is None:
        return ()
    other = replace(payment(State.CALLING, asked=OTHER), fingerprint=ASKED.request.fingerprint)
    if state.is_open:
        return (replace(other, state=state),)
    reason = DOUBT if state is State.IN_DOUBT else None
    link = LINK if state is State.SUCCEEDED else None
    return (closed(other, state, reason=reason, link=link)[0],)


def row_of(case: Case, state: State) -> Record:
    """The payment's own row."""
    record = PAYMENTS[state]
    return replace(
        record,
        operation_class=case.operation_class,
        attempts=case.attempts,
        facts=replace(record.facts, id_commande=case.order),
        fingerprint=None if case.content == "erased" else record.fingerprint,
        sequence=2 if case.is_replayed else 1,
        first_seen=NOW - OLD if case.is_expired else NOW,
        unknown_attempts=case.unknown,
    )


def rows_of(case: Case, record: Record | None = None) -> Rows:
    owner = owner_of(case.owner)
    tombstones = []
    if case.has_tombstone:
        tombstones.append(
            Tombstone(
                payment_id=ASKED.envelope.operation_id,
                origin=ASKED.request.origin,
                until=NOW + timedelta(hours=1),
            )
        )
    return Rows(
        [*owner, *([record] if record else [])],
        owner=owner[0].operation_id if owner else None,
        tombstones=tombstones,
    )


def told(change: Change[Claimed]) -> str:
    """A claim's result in the words of the rules."""
    result = change.result
    match result:
        case Won():
            return "won"
        case Held():
            return "held"
        case Kept():
            return "kept"
        case Decided():
            event = result.answer.event
            if event.conflicts_with is not None:
                return "mismatch"
            duplicate = "duplicate" if event.duplicate_of is not None else None
            return " ".join(filter(None, (result.record.state.value, event.code, duplicate)))


def check_writes(change: Change[Claimed], before: Record | None, case: Case) -> None:
    """What is written is what was told, and no more."""
    result = change.result
    if isinstance(result, Held | Kept):
        assert (change.records, change.answers, change.attempts) == ((), (), ())
        assert change.owner is None
        return
    (record,) = change.records
    if isinstance(result, Won):
        assert change.answers == ()
        assert record == result.record
        assert (record.state, record.token) == (State.CALLING, OTHER_TOKEN)
        assert record.lease_until == NOW + timedelta(seconds=RULES.lease_seconds)
        known = before.attempts if before else int(case.source == "copy of an attempt")
        assert record.attempts == record.peak_attempts == known + 1
        owned = case.order != "0" and record.fingerprint is not None
        assert (change.owner is not None) == owned
    else:
        assert change.answers[0].event.event_id == record.event_id
        is_lost = record.code is Code.LEDGER_LOST
        assert (change.owner is not None) == (is_lost and case.order != "0")
        assert len(change.audit) == is_lost
    if record.operation_id == ASKED.envelope.operation_id:
        assert record.version == (before.version if before else 0) + 1


BOOLEANS = (False, True)


def test_a_first_receipt_follows_its_rules() -> None:
    cases = [
        Case(*values)
        for values in product(
            OperationClass,
            ("route", "refusal"),
            BOOLEANS,
            ("request", "ladder copy", "copy of an attempt"),
            BOOLEANS,
            (0, 100),
            ("40017", "0"),
            (None, *State),
            BOOLEANS,
        )
    ]
    for case in cases:
        change = claim(rows_of(case), wish_of(case), RULES, NOW)
        assert told(change) == first_that_holds(NO_ROW, case), case
        check_writes(change, None, case)


@pytest.mark.parametrize("state", [State.RETRY_WAIT, State.CALLING])
def test_a_row_that_may_be_called_follows_its_rules(state: State) -> None:
    """A waiting one that is due, and a called one whose lease has expired."""
    rules = DUE if state is State.RETRY_WAIT else LEASE_EXPIRED
    for (
        operation_class,
        plan,
        permit,
        expired,
        order,
        owner,
        content,
        unknown,
        replayed,
        attempts,
    ) in product(
        OperationClass,
        ("route", "other account", "refusal"),
        BOOLEANS,
        BOOLEANS,
        ("40017", "0"),
        (None, State.RETRY_WAIT, State.SUCCEEDED, State.IN_DOUBT, State.FAILED),
        ("same", "other", "erased"),
        (0, 1),
        BOOLEANS,
        (1, 7),
    ):
        case = Case(
            operation_class=operation_class,
            plan=plan,
            has_permit=permit,
            is_expired=expired,
            order=order,
            owner=owner,
            content=content,
            unknown=unknown,
            is_replayed=replayed,
            attempts=attempts,
        )
        record = replace(row_of(case, state), lease_until=NOW if state is State.CALLING else None)
        change = claim(rows_of(case, record), wish_of(case), RULES, NOW)
        expected = first_that_holds(rules, case)
        assert told(change) == expected, case
        check_writes(change, record, case)
        has_entry = state is State.CALLING and expected not in {"mismatch", "kept", "held"}
        assert [entry.note for entry in change.attempts] == ["the claim expired"] * has_entry
