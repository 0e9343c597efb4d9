"""Copies keep what identifies a message and carry nothing the broker or a stranger wrote."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.builders import MESSAGE_ID, NOON, PAYMENT_ID, make_delivery, make_envelope, make_event
from worker.codes import Code
from worker.contract.copies import (
    LetterHeadersError,
    dead_letter,
    ladder_copy,
    replay_copy,
    rotated_copy,
    unclaimed_copy,
)
from worker.contract.events import result_message
from worker.contract.reading import read, read_broker_letter
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Source, Step
from worker.records import Answer, Letter

FOREIGN: dict[str, str | int] = {
    "x-death": "payments.work",
    "x-first-death-queue": "payments.work",
    "x-last-death-reason": "rejected",
    "x-delivery-count": 20,
    "x-acquired-count": 21,
    "CC": "payment.initiate.web",
    "BCC": "x",
    "user_id": "erp",
    "Error": "{}",
    "origin-exchange": "forged",
    "identity": "forged",
}
PRODUCERS: dict[str, str | int] = {
    "idempotency-key": "K-1",
    "not-after": "2026-11-22T00:00:00Z",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "a=b",
}
LETTER = Letter(
    code=Code.PROVIDER_REFUSED,
    detail="EXIST_009",
    failed_at=datetime(2026, 11, 21, 13, tzinfo=UTC),
)


def received(**headers: str | int) -> Delivery:
    delivery = make_delivery(
        b'{"any": "bytes"}',
        correlation_id="order-1",
        headers=FOREIGN | PRODUCERS | headers,
    )
    return replace(delivery, type="payment_initiate", timestamp=NOON, reply_to="mq:tmp:1")


def as_delivered(message: OutgoingMessage, source: Source) -> Delivery:
    """The copy as the broker brings it back, with what brokers add on the way."""
    return Delivery(
        body=message.body,
        source=source,
        routing_key="work",
        exchange=f"payments.{message.exchange}",
        received_at=NOON,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        type=message.type,
        timestamp=message.timestamp,
        headers={**message.headers, "x-death": "[]", "x-delivery-count": 3},
    )


def letter_of(delivery: Delivery) -> OutgoingMessage:
    return dead_letter(
        delivery, make_envelope(), LETTER, worker_version="1.2.3", attempts=2, sequence=3
    )


def all_copies() -> dict[str, OutgoingMessage]:
    dead = as_delivered(letter_of(received()), Source.ELSEWHERE)
    return {
        "ladder": ladder_copy(
            received(), make_envelope(), step=Step.MINUTES_2, attempts=2, reason="permit"
        ),
        "dead": letter_of(received()),
        "replay": replay_copy(
            dead, sequence=4, replay_count=1, replay_run="run-1", replayed_by="someone"
        ),
        "rotated": rotated_copy(dead),
    }


@pytest.mark.parametrize("name", ["ladder", "dead", "replay", "rotated"])
def test_every_copy_keeps_the_message_and_strips_what_is_not_ours(name: str) -> None:
    copy = all_copies()[name]
    assert copy.body == b'{"any": "bytes"}'
    assert copy.message_id == MESSAGE_ID
    assert copy.correlation_id == "order-1"
    assert copy.type == "payment_initiate"
    assert copy.timestamp == NOON
    assert PRODUCERS.items() <= copy.headers.items()
    assert not any(header.startswith("x-") for header in copy.headers)
    assert not {"CC", "BCC", "user_id", "Error"} & set(copy.headers)
    assert copy.headers["identity"] == make_envelope().identity
    assert copy.headers["payment-id"] == str(PAYMENT_ID)
    assert copy.headers["first-seen"] == "2026-11-21T12:00:00.123456Z"
    assert copy.headers["origin-routing-key"] == "payment.initiate.dcp"
    assert copy.headers["origin-exchange"] == "payments.requests"


def test_a_ladder_copy_goes_to_its_step_and_says_how_often_it_was_tried() -> None:
    copy = all_copies()["ladder"]
    assert (copy.exchange, copy.routing_key) == (Exchange.RETRY, "2m")
    assert copy.headers["attempts"] == 2
    assert copy.headers["sequence"] == 1
    assert copy.headers["replay-count"] == 0
    assert copy.headers["retry-reason"] == "permit"


def test_a_ladder_copy_comes_back_as_the_same_message() -> None:
    first = make_delivery(headers=PRODUCERS)
    envelope = read(first).envelope
    copy = ladder_copy(first, envelope, step=Step.SECONDS_5, attempts=1, reason="try")
    back = read(as_delivered(copy, Source.LADDER)).envelope
    assert back == replace(envelope, attempts=1, source=Source.LADDER)


def test_a_message_without_an_id_keeps_its_identity_on_its_way() -> None:
    first = make_delivery(message_id=None)
    envelope = read(first).envelope
    copy = ladder_copy(first, envelope, step=Step.SECONDS_5, attempts=0, reason="wait")
    assert copy.message_id == str(envelope.operation_id)
    back = read(as_delivered(copy, Source.LADDER)).envelope
    assert (back.identity, back.operation_id) == (envelope.identity, envelope.operation_id)


def test_a_dead_letter_says_what_happened() -> None:
    copy = all_copies()["dead"]
    assert (copy.exchange, copy.routing_key) == (Exchange.DEAD_LETTER, "dead")
    told = {
        "error-code": "provider_refused",
        "error-category": "declined",
        "error-detail": "EXIST_009",
        "failed-at": "2026-11-21T13:00:00.000Z",
        "worker-version": "1.2.3",
        "replay-count": 0,
        "attempts": 2,
        "sequence": 3,
    }
    assert told.items() <= copy.headers.items()


def test_a_dead_letter_of_a_ladder_copy_still_names_the_first_exchange() -> None:
    on_the_ladder = as_delivered(all_copies()["ladder"], Source.LADDER)
    assert letter_of(on_the_ladder).headers["origin-exchange"] == "payments.requests"


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("refused for client@example.org today", "refused for *** today"),
        ("see https://pay.example.org/paypage?SDESSID=1", "see ***"),
        ("two\nlines\x1b[0m", "two lines [0m"),
        ("x" * 300, "x" * 256),
    ],
)
def test_the_detail_of_a_dead_letter_is_short_and_says_nothing_personal(
    detail: str, shown: str
) -> None:
    letter = replace(LETTER, detail=detail)
    copy = dead_letter(received(), make_envelope(), letter, worker_version="1", attempts=0)
    assert copy.headers["error-detail"] == shown
    assert copy.headers["sequence"] == 1


def test_a_replay_starts_again_under_the_same_identity() -> None:
    copy = all_copies()["replay"]
    assert (copy.exchange, copy.routing_key) == (Exchange.REPLAY, "work")
    told = {
        "sequence": 4,
        "attempts": 2,
        "replay-count": 1,
        "replay-run": "run-1",
        "replay-of": f"{PAYMENT_ID}:3",
        "replayed-by": "someone",
    }
    assert told.items() <= copy.headers.items()
    assert "error-code" not in copy.headers
    envelope = read(as_delivered(copy, Source.REPLAY)).envelope
    assert (envelope.operation_id, envelope.sequence, envelope.replay_count) == (PAYMENT_ID, 4, 1)


def test_a_rotated_letter_is_the_same_letter() -> None:
    copies = all_copies()
    assert copies["rotated"] == copies["dead"]


def test_a_letter_of_the_broker_needs_its_envelope_found_first() -> None:
    letter = replace(
        make_delivery(headers={"x-death": "[]"}), routing_key="dead", source=Source.ELSEWHERE
    )
    with pytest.raises(LetterHeadersError):
        replay_copy(letter, sequence=2, replay_count=1, replay_run="r", replayed_by="s")
    envelope = read_broker_letter(letter, origin_routing_key="payment.initiate.dcp").envelope
    replayed = replay_copy(
        letter, sequence=1, replay_count=1, replay_run="r", replayed_by="s", envelope=envelope
    )
    rotated = rotated_copy(letter, envelope=envelope)
    assert replayed.headers["payment-id"] == rotated.headers["payment-id"] == str(PAYMENT_ID)
    assert "error-code" not in rotated.headers


def test_a_letter_nothing_is_known_of_keeps_one_id_however_often_it_is_rotated() -> None:
    letter = make_delivery(message_id=None, source=Source.ELSEWHERE, headers={"attempts": 3})
    once = rotated_copy(letter)
    assert once.headers == {"attempts": 3}
    twice = rotated_copy(as_delivered(once, Source.ELSEWHERE))
    assert once.message_id
    assert twice == once


def test_a_header_too_large_for_a_second_frame_is_cut() -> None:
    """Properties and headers share one frame; a copy that does not fit is never published."""
    copy = letter_of(received(**{"tracestate": "x" * 100_000, "idempotency-key": "a\udcff"}))
    assert copy.headers["tracestate"] == "x" * 1024
    assert copy.headers["idempotency-key"] == "a?"


def test_an_event_nobody_is_bound_for_keeps_all_but_its_address() -> None:
    answer = Answer(
        operation_id=PAYMENT_ID, event=make_event(), letter=None, correlation_id="order-1"
    )
    event = result_message(answer, correlation_id=None, traceparent=None, source="/s")
    copy = unclaimed_copy(event)
    assert (copy.exchange, copy.routing_key) == (Exchange.DEAD_LETTER, "unclaimed")
    assert replace(copy, exchange=event.exchange, routing_key=event.routing_key) == event
