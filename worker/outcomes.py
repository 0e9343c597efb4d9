"""What one call to a provider amounts to, as far as silence or the HTTP status alone tell it.

The phase decides first: before the request was handed to the socket everything may be tried
again; after it only a complete and understood answer is a result. The numbers are the rows of
payment rules R1 to R3; whatever is not in them is ``Unknown``, never a failure.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import assert_never

from worker.calls import (
    Declined,
    HttpReply,
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

LONGEST_RETRY_AFTER = 3600.0
"""Seconds a provider may ask us to wait: one hour, the longest step of the ladder."""

LONGEST_PROVIDER_CODE = 64
"""Characters of a provider's own code that we keep: payment rules E2."""

_PERMANENT_REDIRECTS = frozenset({301, 307, 308})
_OTHER_REDIRECTS = frozenset({302, 303})
_CREDENTIALS = frozenset({401, 403, 407})
_ENDPOINT = frozenset({404, 405, 406, 410, 411, 413, 414, 415, 501, 505})
_NOT_RECEIVED = frozenset({408, 421, 425})

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_FREE_TEXT = re.compile(r"[\s@]")
_NOT_CODE = re.compile(r"[^A-Za-z0-9_.:-]", re.ASCII)


def of_silence(no_reply: NoReply) -> Outcome:
    """Return what an initiation without a complete answer amounts to: rules R1 and R2."""
    if no_reply.may_have_arrived:
        return Unknown()
    if no_reply.silence is Silence.CERTIFICATE:
        return Misconfigured(code=Code.PROVIDER_TLS)
    return NotSent()


def of_status(
    reply: HttpReply, operation_class: OperationClass, *, provider_code: str | None = None
) -> Outcome | None:
    """Return what the HTTP status alone says, ``None`` for 2xx: there the body decides.

    ``provider_code`` is the provider's own code, already cleaned; a status that decides by
    itself only carries it along. Source: payment rules R3.
    """
    status = reply.status
    if 200 <= status <= 299:  # noqa: PLR2004 - the class of success, RFC 9110 section 15.3
        return None
    outcome = _of_redirect(status, operation_class)
    if outcome is None and status in _CREDENTIALS:
        outcome = Misconfigured(
            code=Code.PROVIDER_CREDENTIALS, http_status=status, provider_code=provider_code
        )
    if outcome is None and status in _ENDPOINT:
        outcome = Misconfigured(
            code=Code.PROVIDER_ENDPOINT, http_status=status, provider_code=provider_code
        )
    if outcome is None:
        outcome = _of_postponement(reply, operation_class)
    if outcome is None and _is_refusal(status, operation_class):
        outcome = Declined(
            code=Code.PROVIDER_REFUSED,
            provider_code=provider_code,
            http_status=status,
            known=False,
        )
    return outcome or Unknown(http_status=status)


def retry_after_of(reply: HttpReply) -> float | None:
    """Seconds the provider asks us to wait, 0 to 3600; ``None`` when absent or unreadable.

    RFC 9110 section 10.2.3: digits, or a date, which is counted from ``received_at``.
    """
    text = reply.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        # int() refuses more than 4 300 digits, so a long number is capped by its length.
        digits = text.lstrip("0")
        is_long = len(digits) > len(str(int(LONGEST_RETRY_AFTER)))
        return LONGEST_RETRY_AFTER if is_long else min(float(digits or "0"), LONGEST_RETRY_AFTER)
    until = _http_date(text)
    if until is None:
        return None
    return min(max((until - reply.received_at).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def clean_provider_code(raw: object) -> str | None:
    """Return a provider's own code as it may be stored and published; ``None`` if it is none.

    Only ``[A-Za-z0-9_.:-]`` stays, at most 64 characters. What holds white space or an ``@`` is
    a sentence or an address, not a code, and may name a person: nothing of it is kept.
    """
    if isinstance(raw, int) and not isinstance(raw, bool):
        # An integer beyond 4 300 digits cannot even become text; no code has that many.
        raw = str(raw) if abs(raw) < 10**LONGEST_PROVIDER_CODE else None
    if not isinstance(raw, str):
        return None
    text = raw.strip()
    if _FREE_TEXT.search(text):
        return None
    return _NOT_CODE.sub("", text)[:LONGEST_PROVIDER_CODE] or None


def name_of(outcome: Outcome) -> str:
    """One stable word for histories, log lines and metrics."""
    match outcome:
        case Succeeded():
            return "succeeded"
        case Declined():
            return "declined"
        case NotApplied():
            return "not_applied"
        case NotSent():
            return "not_sent"
        case Misconfigured():
            return "misconfigured"
        case Unknown():
            return "unknown"
        case other:
            assert_never(other)


def phase_of(outcome: Outcome) -> str:
    """How far the call got: ``not_sent``, ``sent`` (no complete answer) or ``answered``."""
    match outcome:
        case NotSent():
            return "not_sent"
        case Misconfigured(http_status=None):
            return "not_sent"
        case Unknown(http_status=None):
            return "sent"
        case Succeeded() | Declined() | NotApplied() | Misconfigured() | Unknown():
            return "answered"
        case other:
            assert_never(other)


def _of_redirect(status: int, operation_class: OperationClass) -> Outcome | None:
    """Nothing is ever followed: 307 and 308 would carry body and credentials elsewhere."""
    if status in _OTHER_REDIRECTS and operation_class is OperationClass.NON_IDEMPOTENT:
        # 303 is a normal "done, look there" (RFC 9110 section 15.4.4), so it may be applied.
        return Unknown(http_status=status)
    if status in _PERMANENT_REDIRECTS | _OTHER_REDIRECTS:
        return Misconfigured(code=Code.PROVIDER_REDIRECT, http_status=status)
    return None


def _of_postponement(reply: HttpReply, operation_class: OperationClass) -> Outcome | None:
    """Answers by which a server says that it did not act, and perhaps when to come back."""
    status = reply.status
    wait = retry_after_of(reply)
    # Some proxies answer 503 when the upstream was reset after sending: for class E only a
    # server that names a time to come back is believed.
    is_postponed = wait is not None or operation_class is not OperationClass.NON_IDEMPOTENT
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        code = Code.PROVIDER_RATE_LIMITED
    elif status in _NOT_RECEIVED or (status == HTTPStatus.SERVICE_UNAVAILABLE and is_postponed):
        code = Code.PROVIDER_UNAVAILABLE
    else:
        return None
    return NotApplied(code=code, http_status=status, retry_after=wait)


def _is_refusal(status: int, operation_class: OperationClass) -> bool:
    if status == HTTPStatus.CONFLICT and operation_class is OperationClass.KEYED:
        # The first request with this key may still run: wait and repeat the same key (R3).
        # Unknown does that for class C, and ends in doubt if it never gets another answer.
        return False
    return 400 <= status <= 499  # noqa: PLR2004 - the class of client errors, RFC 9110 15.5


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        # The asctime form names no zone; RFC 9110 section 5.6.7 reads every form as UTC.
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
