"""One answer as a row, with the dead letter owed beside it."""

from datetime import datetime
from uuid import UUID

from worker.adapters.encryption import Sealer, Vault
from worker.adapters.store_rows.values import (
    Row,
    Scalar,
    from_micros,
    open_or_none,
    seal_or_none,
    to_micros,
)
from worker.codes import Code
from worker.contract.events import from_stored, to_stored
from worker.records import Answer, Letter

ANSWER_COLUMNS = (
    "event_id",
    "operation_id",
    "sequence",
    "occurred_at",
    "event",
    "link",
    "letter_code",
    "letter_detail",
    "letter_failed_at",
    "correlation_id",
    "traceparent",
    "event_confirmed",
    "letter_confirmed",
    "resends",
    "letter_resolved",
)


def in_order(answer: Answer) -> tuple[int, datetime]:
    """Where an answer stands among those of one operation."""
    return answer.event.sequence, answer.event.occurred_at


def answer_row(answer: Answer, sealer: Sealer) -> tuple[Scalar, ...]:
    """Values in the order of ``ANSWER_COLUMNS``; the link leaves the event's text."""
    event, letter = answer.event, answer.letter
    return (
        event.event_id.bytes,
        answer.operation_id.bytes,
        event.sequence,
        to_micros(event.occurred_at),
        to_stored(event),
        seal_or_none(event.link, sealer),
        None if letter is None else letter.code.value,
        None if letter is None else letter.detail,
        None if letter is None else to_micros(letter.failed_at),
        answer.correlation_id,
        answer.traceparent,
        int(answer.event_confirmed),
        int(answer.letter_confirmed),
        answer.resends,
        int(answer.letter_resolved),
    )


def read_answer(row: Row, vault: Vault) -> Answer:
    """The answer of a row in the order of ``ANSWER_COLUMNS``."""
    (
        _event_id,
        operation_id,
        _sequence,
        _occurred_at,
        event,
        link,
        letter_code,
        letter_detail,
        letter_failed_at,
        correlation_id,
        traceparent,
        event_confirmed,
        letter_confirmed,
        resends,
        letter_resolved,
    ) = row
    return Answer(
        operation_id=UUID(bytes=operation_id),
        event=from_stored(event, open_or_none(link, vault)),
        letter=None
        if letter_code is None
        else Letter(
            code=Code(letter_code),
            detail=letter_detail,
            failed_at=from_micros(letter_failed_at),
        ),
        correlation_id=correlation_id,
        traceparent=traceparent,
        event_confirmed=bool(event_confirmed),
        letter_confirmed=bool(letter_confirmed),
        resends=resends,
        letter_resolved=bool(letter_resolved),
    )
