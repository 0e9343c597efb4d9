"""Copies of a message that the worker or an operator publishes: ladder, dead letter, replay.

A copy keeps the body, the ``message_id`` and the correlation, and says in headers who it is. Its
headers are an allow-list: the broker's own (``x-death``, ``x-delivery-count``, ...) would make a
replayed message look like a cycle and vanish (measured on 3.10.8), ``CC`` would route it to
other keys, and a ``user_id`` is only its own user's to send. Source: contract sections 2 and 4.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from worker.codes import category_of
from worker.contract import headers
from worker.contract.deaths import last_death
from worker.contract.envelope import envelope_headers, envelope_on, message_id_for
from worker.contract.times import time_text
from worker.identity import digest_of
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Envelope, Step
from worker.records import Letter

DEAD_KEY: Final = "dead"
UNCLAIMED_KEY: Final = "unclaimed"
REPLAY_KEY: Final = "work"
PARKING_KEY: Final = "parking"

_LONGEST_HEADER = 1024
_LONGEST_DETAIL = 256
_PERSONAL = re.compile(r"\S+@\S+|\b[A-Za-z][A-Za-z0-9+.-]*://\S+")


class LetterHeadersError(ValueError):
    """A letter whose own headers are missing or garbled, as on one the broker made."""


def ladder_copy(
    delivery: Delivery, envelope: Envelope, *, step: Step, attempts: int, reason: str
) -> OutgoingMessage:
    """Build the copy that comes back after ``step``; ``reason`` is a code for people."""
    own = {
        **envelope_headers(
            envelope,
            sequence=envelope.sequence,
            attempts=attempts,
            replay_count=envelope.replay_count,
        ),
        headers.ORIGIN_EXCHANGE: _origin_exchange(delivery, is_ours=delivery.source.is_believed),
        headers.RETRY_REASON: _without_personal_data(reason),
    }
    return _copy(delivery, envelope, Exchange.RETRY, step.value, own)


def dead_letter(
    delivery: Delivery,
    envelope: Envelope,
    letter: Letter,
    *,
    worker_version: str,
    attempts: int,
    sequence: int | None = None,
) -> OutgoingMessage:
    """Build the dead letter of a request; ``sequence`` is the decision's, else the envelope's.

    For a refusal ``envelope`` is the refusal's own, so that letter and event carry one id.
    """
    own = {
        **envelope_headers(
            envelope,
            sequence=envelope.sequence if sequence is None else sequence,
            attempts=attempts,
            replay_count=envelope.replay_count,
        ),
        headers.ERROR_CODE: letter.code.value,
        headers.ERROR_CATEGORY: category_of(letter.code).value,
        headers.ERROR_DETAIL: _without_personal_data(letter.detail),
        headers.FAILED_AT: time_text(letter.failed_at),
        headers.ORIGIN_EXCHANGE: _origin_exchange(delivery, is_ours=delivery.source.is_believed),
        headers.WORKER_VERSION: worker_version,
    }
    return _copy(delivery, envelope, Exchange.DEAD_LETTER, DEAD_KEY, own)


def replay_copy(
    letter: Delivery,
    *,
    sequence: int,
    replay_count: int,
    replay_run: str,
    replayed_by: str,
    envelope: Envelope | None = None,
) -> OutgoingMessage:
    """Build the copy that puts a dead letter back to work, after its payment was reopened.

    ``envelope`` is for a letter the broker made, which says nothing of itself. Raises
    ``LetterHeadersError`` when there is neither that nor readable headers.
    """
    known = envelope or envelope_on(letter)
    if known is None:
        raise LetterHeadersError(letter.message_id)
    own = {
        **envelope_headers(
            known, sequence=sequence, attempts=known.attempts, replay_count=replay_count
        ),
        headers.ORIGIN_EXCHANGE: _origin_exchange(letter, is_ours=True),
        headers.REPLAY_RUN: replay_run,
        headers.REPLAY_OF: f"{known.operation_id}:{known.sequence}",
        headers.REPLAYED_BY: replayed_by,
    }
    return _copy(letter, known, Exchange.REPLAY, REPLAY_KEY, own)


def rotated_copy(letter: Delivery, *, envelope: Envelope | None = None) -> OutgoingMessage:
    """Build the same letter again, for the end of the dead-letter queue.

    A letter the broker made says nothing of itself once ``x-death`` is stripped: give it the
    envelope that ``read_broker_letter`` finds. Headers of ours on such a one are its producer's
    and are not kept, so it has no ``error-code``, which is how an unanswered letter is known; when
    and why the broker gave it up stands where a decided letter has its failure.
    """
    own = _given_up(letter)
    if envelope is None:
        own |= _kept(letter, (*headers.LETTER_HEADERS, *headers.REPLAY_HEADERS))
    known = envelope or envelope_on(letter)
    if known is None:
        own |= _kept(letter, headers.ENVELOPE_HEADERS)
    else:
        own |= envelope_headers(
            known,
            sequence=known.sequence,
            attempts=known.attempts,
            replay_count=known.replay_count,
        )
    return _copy(letter, known, Exchange.DEAD_LETTER, DEAD_KEY, own)


def parked(letter: OutgoingMessage) -> OutgoingMessage:
    """Send a letter to the parking queue instead; all but its address is the same."""
    return replace(letter, exchange=Exchange.REPLAY, routing_key=PARKING_KEY)


def _given_up(letter: Delivery) -> dict[str, str | int]:
    death = last_death(letter)
    own: dict[str, str | int] = {}
    if death.at is not None:
        own[headers.FAILED_AT] = time_text(death.at)
    if death.cause is not None:
        own[headers.ERROR_DETAIL] = death.cause
    return own


def unclaimed_copy(message: OutgoingMessage) -> OutgoingMessage:
    """Build the copy of an event that no queue is bound for; all but its address is the same."""
    return replace(message, exchange=Exchange.DEAD_LETTER, routing_key=UNCLAIMED_KEY)


def kept_event(event: Delivery) -> OutgoingMessage:
    """Build the same unclaimed event again, for the end of its queue: nothing of it changes."""
    names = tuple(name for name in event.headers if name.startswith(headers.CLOUD_EVENTS_PREFIX))
    return OutgoingMessage(
        exchange=Exchange.DEAD_LETTER,
        routing_key=UNCLAIMED_KEY,
        body=event.body,
        message_id=event.message_id or digest_of(event.body)[:32],
        correlation_id=event.correlation_id,
        type=event.type,
        timestamp=event.timestamp,
        headers=MappingProxyType(
            _kept(event, (*names, headers.TRACEPARENT, headers.TRACESTATE, headers.RESEND))
        ),
    )


def _copy(
    delivery: Delivery,
    envelope: Envelope | None,
    exchange: Exchange,
    routing_key: str,
    own: Mapping[str, str | int],
) -> OutgoingMessage:
    if envelope is None:
        # Without any id the client library would invent a random one at each rotation.
        message_id = delivery.message_id or digest_of(delivery.body)[:32]
    else:
        message_id = message_id_for(delivery, envelope.operation_id)
    return OutgoingMessage(
        exchange=exchange,
        routing_key=routing_key,
        body=delivery.body,
        message_id=message_id,
        correlation_id=delivery.correlation_id,
        type=delivery.type,
        timestamp=delivery.timestamp,
        headers=MappingProxyType({**_kept(delivery, headers.PRODUCER_HEADERS), **own}),
    )


def _kept(delivery: Delivery, names: tuple[str, ...]) -> dict[str, str | int]:
    """Keep allowed headers, cut to what fits a frame and can be written as UTF-8.

    Properties and headers travel in one frame; a request that filled it would not fit again
    with ours beside it, and its copy could never be published.
    """
    kept: dict[str, str | int] = {}
    for name in names:
        value = delivery.headers.get(name)
        if isinstance(value, str):
            kept[name] = value[:_LONGEST_HEADER].encode("utf-8", "replace").decode()
        elif value is not None:
            kept[name] = value
    return kept


def _origin_exchange(delivery: Delivery, *, is_ours: bool) -> str:
    """Name the exchange of the first receipt; only a copy of ours remembers it."""
    remembered = delivery.header(headers.ORIGIN_EXCHANGE) if is_ours else None
    return remembered or delivery.exchange


def _without_personal_data(text: str) -> str:
    """Blank e-mails and addresses in a text of ours: the net below the rule that has none."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return _PERSONAL.sub("***", visible)[:_LONGEST_DETAIL]
