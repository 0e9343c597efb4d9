"""The history of one operation in order, and without a secret."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests import store_samples as some
from tests.fakes_clock import START
from tests.store_samples import (
    EMAIL,
    LINK,
    decided_record,
    number,
    sample_answer,
    sample_letter,
)
from worker.calls import Declined, NotSent, Outcome, Succeeded, Try, Unknown
from worker.codes import Code
from worker.look_ups import Finding, LookUp
from worker.model import Cents, Secret
from worker.operators.timeline import Happening, timeline_of
from worker.records import Answer, AttemptEntry, AuditEntry, History, Record

SECOND = timedelta(seconds=1)


def attempt(place: int, *outcomes: Outcome, at: int) -> AttemptEntry:
    """Each try takes half a second and the next one starts half a second later."""
    start = START + at * SECOND
    return AttemptEntry(
        operation_id=number(1),
        token=number(2),
        number=place,
        reference="f" * 32,
        tries=tuple(
            Try(started_at=start + n * SECOND, ended_at=start + (n + 0.5) * SECOND, outcome=each)
            for n, each in enumerate(outcomes)
        ),
        ended_at=start + len(outcomes) * SECOND,
    )


def replayed() -> History:
    """Refused after an attempt of two tries, reopened by a person, then paid."""
    first = sample_answer(letter=sample_letter(START + 3 * SECOND))
    second = sample_answer(sequence=2)
    return History(
        record=replace(
            decided_record(1, version=3), message_id="m.durand@example.test", email=EMAIL, link=LINK
        ),
        answers=(
            replace(first, event=replace(first.event, occurred_at=START + 3 * SECOND)),
            replace(second, event=replace(second.event, occurred_at=START + 9 * SECOND)),
        ),
        attempts=(
            attempt(
                1,
                NotSent(),
                Declined(
                    code=Code.PROVIDER_REFUSED,
                    provider_code="INT_9",
                    http_status=200,
                    known=False,
                ),
                at=1,
            ),
            attempt(2, Succeeded(link=LINK, http_status=200), at=7),
        ),
        audit=(
            AuditEntry(
                at=START + 5 * SECOND,
                actor="o.perator",
                action="reopen",
                operation_id=number(1),
                detail="run R-1",
            ),
        ),
    )


def test_what_happened_stands_in_order_with_what_belongs_to_it() -> None:
    moments = timeline_of(replayed())
    assert [(moment.what, moment.at - START) for moment in moments] == [
        (Happening.RECEIVED, 0 * SECOND),
        (Happening.CALLED, SECOND),
        (Happening.CALLED, 2 * SECOND),
        (Happening.ATTEMPT_ENDED, 3 * SECOND),
        (Happening.DECIDED, 3 * SECOND),
        (Happening.DEAD_LETTERED, 3 * SECOND),
        (Happening.ACTED_ON, 5 * SECOND),
        (Happening.CALLED, 7 * SECOND),
        (Happening.ATTEMPT_ENDED, 8 * SECOND),
        (Happening.DECIDED, 9 * SECOND),
    ]
    assert moments[0].facts == {"kind": "initiation", "origin": "dcp"}
    assert moments[2].facts == {
        "attempt": 1,
        "outcome": "declined",
        "milliseconds": 500,
        "code": "provider_refused",
        "http_status": 200,
        "provider_code": "INT_9",
    }
    assert moments[5].facts == {
        "sequence": 1,
        "code": "provider_unavailable",
        "detail": "no attempt is left",
        "published": False,
    }
    assert moments[6].facts["actor"] == "o.perator"


def test_what_was_read_at_the_provider_stands_among_the_rest() -> None:
    read = LookUp(
        operation_id=number(1),
        sequence=1,
        step=2,
        at=START + 4 * SECOND,
        reference="f" * 32,
        finding=Finding.OTHER_AMOUNT,
        amount=Cents(1260),
        http_status=200,
    )
    moments = timeline_of(replace(replayed(), look_ups=(read,)))
    (place,) = (n for n, each in enumerate(moments) if each.what is Happening.LOOKED_UP)
    assert moments[place - 1].what is Happening.DEAD_LETTERED
    assert moments[place].facts == {
        "sequence": 1,
        "step": 2,
        "finding": "other_amount",
        "reference": "f" * 32,
        "amount_cents": 1260,
        "http_status": 200,
    }


def test_a_name_of_the_producer_is_shown_when_it_is_a_guid_alone() -> None:
    history = replayed()
    name = str(number(9))
    known = replace(history, record=replace(history.record, message_id=name))
    assert timeline_of(known)[0].facts["message_id"] == name


@given(
    record=some.records,
    outcomes=st.lists(some.outcomes, max_size=3),
    answers=st.lists(some.answers, max_size=3),
)
def test_no_history_whatever_shows_a_secret(
    record: Record, outcomes: list[Outcome], answers: list[Answer]
) -> None:
    planted = Secret("planted-secret")
    history = History(
        record=replace(record, link=planted, email=planted),
        answers=tuple(replace(each, event=replace(each.event, link=planted)) for each in answers),
        attempts=(
            attempt(1, *outcomes, Unknown(link=planted), at=0),
            attempt(2, Succeeded(link=planted, http_status=200), at=9),
        ),
        audit=(),
    )
    moments = timeline_of(history)
    assert len(moments) >= 5 + len(outcomes) + len(answers)
    assert "planted-secret" not in str(moments)
