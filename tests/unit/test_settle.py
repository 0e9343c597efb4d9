"""What every outcome means for every class, however often and however late it was tried."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest

from tests.rows import LINK, NOW, TOKEN, Rows, payment
from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.lifecycle.settle import Evidence, Settled, Settlement, settle
from worker.lifecycle.wishes import Decided, Waiting
from worker.model import OperationClass, Secret
from worker.records import Change, Record, State
from worker.rules import Rules

RULES = Rules()
D = OperationClass.ORPHAN_SAFE

OUTCOMES: dict[str, Outcome] = {
    "succeeded": Succeeded(link=LINK, http_status=200),
    "declined": Declined(code=Code.DECLINED, provider_code="NOK_001", http_status=200, known=True),
    "refused, code known": Declined(
        code=Code.PROVIDER_REFUSED, provider_code="X_1", http_status=200, known=True
    ),
    "refused, code not known": Declined(
        code=Code.PROVIDER_REFUSED, provider_code="X_2", http_status=422, known=False
    ),
    "already used": Declined(
        code=Code.REFERENCE_ALREADY_USED, provider_code="EXIST_005", http_status=200, known=True
    ),
    "misconfigured": Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401),
    "not sent": NotSent(),
    "not applied": NotApplied(code=Code.PROVIDER_UNAVAILABLE, http_status=503),
    "rate limited": NotApplied(code=Code.PROVIDER_RATE_LIMITED, http_status=429, retry_after=90.0),
    "unknown": Unknown(http_status=502),
    "unlisted link": Unknown(http_status=200, never_resend=True, link=Secret("https://x.example")),
}

# Payment rules R3 and R4. "wait" while attempts and time last, else what follows the slash;
# the last column is for a payment that an earlier attempt may have had applied. A bare "doubt"
# is in_doubt outcome_unknown.
TABLE = """
outcome                 | class | nothing in doubt before            | in doubt before
succeeded               | ABCDE | succeeded                          | succeeded
declined                | CD    | failed declined                    | failed declined
declined                | ABE   | failed declined                    | doubt
refused, code known     | CD    | failed provider_refused            | failed provider_refused
refused, code known     | ABE   | failed provider_refused            | doubt
refused, code not known | CD    | failed provider_refused            | failed provider_refused
refused, code not known | ABE   | failed provider_refused            | doubt
already used            | C     | failed reference_already_used      | in_doubt link_lost
already used            | D     | failed reference_already_used      | failed reference_already_used
already used            | ABE   | failed reference_already_used      | doubt
misconfigured           | ABCDE | failed provider_credentials        | doubt
not sent                | ABCDE | wait / failed provider_unavailable | wait / doubt
not applied             | ABCDE | wait / failed provider_unavailable | wait / doubt
rate limited            | ABCDE | wait / failed provider_rate_limited | wait / doubt
unknown                 | ABC   | wait / doubt                       | wait / doubt
unknown                 | D     | wait / doubt                       | doubt
unknown                 | E     | doubt                              | doubt
unlisted link           | ABCDE | doubt                              | doubt
"""

# Seconds of the ladder after the first, second, ... attempt; nothing after the seventh.
STEPS = (5, 30, 120, 600, 3600, 3600)
NO_LETTER = {"succeeded", "declined", "refused, code known"}


@dataclass(frozen=True)
class Row:
    """One line of the table for one class."""

    sure: str
    doubtful: str


def _rows() -> Iterator[tuple[tuple[str, OperationClass], Row]]:
    for line in TABLE.strip().splitlines()[1:]:
        name, classes, sure, doubtful = (cell.strip() for cell in line.split("|"))
        for letter in classes:
            yield (name, OperationClass(letter)), Row(_full(sure), _full(doubtful))


def _full(cell: str) -> str:
    return cell.replace("doubt", "in_doubt outcome_unknown") if cell.endswith("doubt") else cell


EXPECTED = dict(_rows())
NEAR = timedelta(hours=24) - timedelta(seconds=3)
CASES = list(product(OUTCOMES, OperationClass, range(1, 9), range(3), (timedelta(0), NEAR)))


def ended(record: Record, outcome: Outcome, *, token: UUID = TOKEN) -> Settlement:
    """The end of an attempt."""
    return Settlement(
        operation_id=record.operation_id,
        payment_id=record.payment_id,
        token=token,
        outcome=outcome,
        tries=(),
    )


def settled(record: Record, outcome: Outcome) -> Change[Settled]:
    """Settle the attempt that holds the claim."""
    return settle(Rows([record]), ended(record, outcome), RULES, NOW)


def told(change: Change[Settled]) -> str:
    """A settlement in the words of the table."""
    result = change.result
    if isinstance(result, Waiting):
        return f"wait {result.step.seconds}"
    assert isinstance(result, Decided)
    return " ".join(filter(None, (result.record.state.value, result.answer.event.code)))


def foretold(
    name: str, operation_class: OperationClass, attempts: int, unknown: int, age: timedelta
) -> str:
    """What the table says."""
    row = EXPECTED[name, operation_class]
    cell = row.doubtful if unknown else row.sure
    if not cell.startswith("wait"):
        return cell
    if attempts > len(STEPS) or age == NEAR:
        return cell.split(" / ")[1]
    seconds = STEPS[attempts - 1]
    if name == "rate limited":
        seconds = max(seconds, 120)  # 90 seconds asked for: the smallest step that covers them
    if name == "unknown" and operation_class is D:
        seconds = 30  # the one re-send goes through this step
    return f"wait {seconds}"


def test_every_outcome_of_every_class_ends_as_the_table_says() -> None:
    assert len(EXPECTED) == len(OUTCOMES) * 5
    for name, operation_class, attempts, unknown, age in CASES:
        record = replace(
            payment(operation_class=operation_class, attempts=attempts, first_seen=NOW - age),
            unknown_attempts=unknown,
        )
        expected = foretold(name, operation_class, attempts, unknown, age)
        change = settled(record, OUTCOMES[name])
        assert told(change) == expected, (name, operation_class, attempts, unknown, age)
        _check_rows(change, record, name, expected)


def _check_rows(change: Change[Settled], before: Record, name: str, expected: str) -> None:
    """What is written beside the outcome, whatever it is."""
    (after,) = change.records
    (entry,) = change.attempts
    assert after.version == before.version + 1
    assert after.sequence == before.sequence
    assert after.attempts == before.attempts
    assert after.lease_until is None
    assert (entry.token, entry.number, entry.note) == (TOKEN, before.attempts, None)
    is_unknown = isinstance(OUTCOMES[name], Unknown)
    assert after.unknown_attempts == before.unknown_attempts + is_unknown
    if expected.startswith("wait"):
        seconds = int(expected.split()[1])
        assert change.answers == ()
        assert (after.state, after.token) == (State.RETRY_WAIT, None)
        assert after.next_attempt_at == NOW + timedelta(seconds=seconds)
        return
    (answer,) = change.answers
    assert answer.event.event_id == after.event_id
    assert (answer.event.sequence, answer.event.attempts) == (before.sequence, before.attempts)
    assert (answer.letter is None) == (name in NO_LETTER and not expected.startswith("in_doubt"))
    assert answer.event.link == (LINK if name == "succeeded" else None)
    assert after.link_published == (name == "succeeded")
    assert after.next_attempt_at is None
    # Only the attempt that left a doubt may end it.
    assert after.token == (TOKEN if is_unknown else None)


def test_a_link_on_an_unlisted_host_is_kept_and_never_published() -> None:
    change = settled(payment(), OUTCOMES["unlisted link"])
    assert change.records[0].link == Secret("https://x.example")
    assert change.answers[0].event.link is None
    assert not change.records[0].link_published


def test_a_reopened_payment_climbs_its_ladder_anew() -> None:
    record = replace(payment(attempts=8), opened_attempts=7, sequence=2)
    assert told(settled(record, NotSent())) == "wait 5"


def test_a_doubt_that_a_reopening_cleared_bars_nothing() -> None:
    record = replace(payment(attempts=3), unknown_attempts=2, cleared_attempts=2)
    assert told(settled(record, OUTCOMES["misconfigured"])) == "failed provider_credentials"
    assert told(settled(record, Unknown())) == "wait 30"


def test_settling_twice_is_evidence_and_changes_nothing() -> None:
    """A commit whose answer was lost is settled again; the second finds its token gone."""
    for name, operation_class, unknown in product(OUTCOMES, OperationClass, (0, 1)):
        rows = Rows([replace(payment(operation_class=operation_class), unknown_attempts=unknown)])
        record = next(iter(rows.records.values()))
        end = ended(record, OUTCOMES[name])
        rows.write(settle(rows, end, RULES, NOW))
        again = settle(rows, end, RULES, NOW)
        assert isinstance(again.result, Evidence), (name, operation_class, unknown)
        assert (again.records, again.answers) == ((), ())


def test_an_operation_without_a_row_cannot_be_settled() -> None:
    with pytest.raises(LookupError):
        settle(Rows(), ended(payment(), NotSent()), RULES, NOW)
