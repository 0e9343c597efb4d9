"""The meaning of silence and of every HTTP status, row by row."""

from datetime import timedelta
from email.utils import format_datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider_examples import NOW, reply
from worker.calls import (
    Declined,
    Misconfigured,
    NoReply,
    NotApplied,
    NotSent,
    Outcome,
    Silence,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.model import OperationClass
from worker.outcomes import (
    clean_provider_code,
    name_of,
    of_silence,
    of_status,
    phase_of,
    retry_after_of,
)

E = OperationClass.NON_IDEMPOTENT
C = OperationClass.KEYED

MISCONFIGURED = {
    **dict.fromkeys([301, 307, 308], Code.PROVIDER_REDIRECT),
    **dict.fromkeys([401, 403, 407], Code.PROVIDER_CREDENTIALS),
    **dict.fromkeys([404, 405, 406, 410, 411, 413, 414, 415, 501, 505], Code.PROVIDER_ENDPOINT),
}
NOT_APPLIED = {
    408: Code.PROVIDER_UNAVAILABLE,
    421: Code.PROVIDER_UNAVAILABLE,
    425: Code.PROVIDER_UNAVAILABLE,
    429: Code.PROVIDER_RATE_LIMITED,
}


def expected(status: int, operation_class: OperationClass, wait: float | None) -> Outcome | None:
    """Payment rules R3, written a second time and in another form."""
    unknown = Unknown(http_status=status)
    if status // 100 == 2:
        return None
    if status in MISCONFIGURED:
        return Misconfigured(code=MISCONFIGURED[status], http_status=status)
    if status in NOT_APPLIED:
        return NotApplied(code=NOT_APPLIED[status], http_status=status, retry_after=wait)
    if status in {302, 303}:
        redirected = Misconfigured(code=Code.PROVIDER_REDIRECT, http_status=status)
        return unknown if operation_class is E else redirected
    if status == 503 and (wait is not None or operation_class is not E):
        code = Code.PROVIDER_UNAVAILABLE
        return NotApplied(code=code, http_status=503, retry_after=wait)
    if status // 100 == 4 and not (status == 409 and operation_class is C):
        code = Code.PROVIDER_REFUSED
        return Declined(code=code, provider_code=None, http_status=status, known=False)
    return unknown


@pytest.mark.parametrize("operation_class", OperationClass)
@pytest.mark.parametrize("wait", [None, 7.0])
def test_every_status_means_what_the_table_says(
    operation_class: OperationClass, wait: float | None
) -> None:
    headers = {} if wait is None else {"retry-after": "7"}
    for status in range(100, 600):
        outcome = of_status(reply(status=status, headers=headers), operation_class)
        assert outcome == expected(status, operation_class, wait), status


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_outside_the_protocol_is_unknown(status: int) -> None:
    assert of_status(reply(status=status), E) == Unknown(http_status=status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_final_status_carries_the_providers_code(status: int) -> None:
    outcome = of_status(reply(status=status), E, provider_code="X_1")
    assert isinstance(outcome, Declined | Misconfigured)
    assert outcome.provider_code == "X_1"


@pytest.mark.parametrize("garbage", ["soon", "", "-5", "1.5", "+3", "٣", "Fri, 99 Foo 2026"])
def test_a_503_whose_retry_after_is_garbage_counts_as_one_without(garbage: str) -> None:
    answer = reply(status=503, headers={"retry-after": garbage})
    assert of_status(answer, E) == Unknown(http_status=503)
    assert of_status(answer, C) == NotApplied(code=Code.PROVIDER_UNAVAILABLE, http_status=503)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("007", 7.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("1000000000", 3600.0),
        ("9" * 5000, 3600.0),
        ("0" * 5000 + "9", 9.0),
        ("Sat, 21 Nov 2026 20:15:03 GMT", 60.0),
        ("Saturday, 21-Nov-26 20:15:03 GMT", 60.0),
        ("Sat Nov 21 20:15:03 2026", 60.0),
        ("Sat, 21 Nov 2026 20:14:02 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(text: str, seconds: float) -> None:
    assert retry_after_of(reply(status=429, headers={"retry-after": text})) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ [+-]?\w*"))
def test_no_retry_after_ever_raises_or_leaves_the_hour(text: str) -> None:
    seconds = retry_after_of(reply(status=429, headers={"retry-after": text}))
    assert seconds is None or 0 <= seconds <= 3600


@given(st.integers(-10_000, 10_000))
def test_a_date_is_counted_from_the_receipt_of_the_answer(offset: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=offset), usegmt=True)
    seconds = retry_after_of(reply(status=429, headers={"retry-after": date}))
    assert seconds == min(max(offset, 0), 3600)


@pytest.mark.parametrize(("silence", "arrived"), list(product(Silence, [False, True])))
def test_silence_is_read_by_its_phase(silence: Silence, arrived: bool) -> None:  # noqa: FBT001 - a column of the table
    outcome = of_silence(NoReply(may_have_arrived=arrived, silence=silence))
    if arrived:
        assert outcome == Unknown()
    elif silence is Silence.CERTIFICATE:
        assert outcome == Misconfigured(code=Code.PROVIDER_TLS)
    else:
        assert outcome == NotSent(code=Code.PROVIDER_UNAVAILABLE)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("AUTH_001", "AUTH_001"),
        (" AUTH_001\n", "AUTH_001"),
        ("a.b:c-d", "a.b:c-d"),
        ("<b>X</b>", "bXb"),
        ("x" * 65, "x" * 64),
        ("é", None),
        ("", None),
        ("client@example.org", None),
        ("Jean Dupont is unknown", None),
        (1, "1"),
        (-1, "-1"),
        (10**64, None),
        (True, None),
        (1.5, None),
        (None, None),
        (["AUTH_001"], None),
    ],
)
def test_a_provider_code_is_kept_only_as_a_code(raw: object, cleaned: str | None) -> None:
    assert clean_provider_code(raw) == cleaned


@pytest.mark.parametrize(
    ("outcome", "name", "phase"),
    [
        (Succeeded(link=None, http_status=200), "succeeded", "answered"),
        (
            Declined(code=Code.DECLINED, provider_code=None, http_status=200, known=True),
            "declined",
            "answered",
        ),
        (NotApplied(code=Code.PROVIDER_UNAVAILABLE, http_status=408), "not_applied", "answered"),
        (NotSent(), "not_sent", "not_sent"),
        (Misconfigured(code=Code.PROVIDER_TLS), "misconfigured", "not_sent"),
        (
            Misconfigured(code=Code.PROVIDER_ENDPOINT, http_status=404),
            "misconfigured",
            "answered",
        ),
        (Unknown(), "unknown", "sent"),
        (Unknown(http_status=500), "unknown", "answered"),
    ],
)
def test_each_outcome_has_one_name_and_one_phase(outcome: Outcome, name: str, phase: str) -> None:
    assert (name_of(outcome), phase_of(outcome)) == (name, phase)


def test_an_integer_too_long_to_become_text_is_no_provider_code() -> None:
    assert clean_provider_code(10**5000) is None
