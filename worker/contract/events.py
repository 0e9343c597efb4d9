"""An answer as it leaves: the event's body, its properties and CloudEvents headers.

Binary mode of CloudEvents 1.0 over AMQP 0-9-1: the body is bare flat JSON, so that a subscriber
reads it as its own type; the attributes stand in headers ``cloudEvents_*`` as text, and the body
repeats what identifies the event. Source: contract section 3.
"""

import json
import re
from types import MappingProxyType
from typing import Final

from worker.codes import MEANINGS, Code, category_of, is_retryable
from worker.contract import headers
from worker.contract.stored import from_stored, to_stored
from worker.contract.times import time_text
from worker.identity import request_id_of
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery
from worker.records import Answer, Event, Status

__all__ = [
    "DATA_SCHEMA",
    "EVENT_VERSION",
    "correlation_of",
    "event_body",
    "from_stored",
    "result_message",
    "to_stored",
]

EVENT_VERSION: Final = "1.0"
DATA_SCHEMA: Final = f"urn:payment-worker:schema:payment-result:{EVENT_VERSION}"
CURRENCY: Final = "EUR"

LONGEST_TRACEPARENT: Final = 256
"""Characters of a ``traceparent`` that is passed on: version 00 has 55 (W3C Trace Context 3.2).

Headers and properties share one frame, and a frame that is too large closes the connection under
every publish in flight (measured on 3.10.8): a request that filled its own frame must not do that.
"""

PROVIDER_CODE_LENGTH = 64
"""Longest provider code that is passed on: payment rules E2."""

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NOT_IN_PROVIDER_CODE = re.compile(r"[^A-Za-z0-9_.:-]")

_POSITIVE = frozenset({Status.SUCCEEDED, Status.CANCELLED})
_ABOUT_A_CANCELLATION = frozenset({Status.CANCELLED, Status.CANCEL_FAILED, Status.CANCEL_IN_DOUBT})
_IN_DOUBT = frozenset({Status.IN_DOUBT, Status.CANCEL_IN_DOUBT})


def event_body(event: Event) -> bytes:
    """Render an event as UTF-8 JSON, fields in the contract's order, ``null`` where empty.

    This is the one place that reveals a link. ``email`` and ``commentaire`` are never in an
    event; ``payment_status`` only in those about a cancellation.
    """
    facts = event.facts
    code = _code(event)
    body: dict[str, object] = {
        "event_id": str(event.event_id),
        "event_type": event.status.event_type,
        "event_version": EVENT_VERSION,
        "occurred_at": time_text(event.occurred_at),
        "payment_id": str(event.payment_id),
        "request_id": event.request_id,
        "sequence": event.sequence,
        "result": event.status in _POSITIVE,
        "link": event.link.reveal() if event.link is not None else None,
        "code": code,
        "error": None if event.status in _POSITIVE or code is None else _error(event, code),
        "provider": event.provider,
        "provider_reference": event.provider_reference,
        "basket_item_id": event.basket_item_id,
        "payment_target": facts.payment_target,
        "payment_run_mode": facts.payment_run_mode,
        "livemode": event.livemode,
        "payment_type": facts.payment_type,
        "type_paiement": facts.type_paiement,
        "id_origin": facts.id_origin,
        "id_societe": facts.id_societe,
        "id_client": facts.id_client,
        "id_commande": facts.id_commande,
        "amount": str(facts.amount) if facts.amount is not None else None,
        "currency": CURRENCY,
        "attempts": event.attempts,
        "duplicate_of": str(event.duplicate_of) if event.duplicate_of is not None else None,
        "conflicts_with": str(event.conflicts_with) if event.conflicts_with is not None else None,
    }
    if event.status in _ABOUT_A_CANCELLATION:
        body["payment_status"] = event.payment_status
    text = _JSON.encode(body)
    # A message_id may hold bytes that were no UTF-8; no answer is lost over one.
    return text.encode("utf-8", "replace")


def result_message(
    answer: Answer, *, correlation_id: str | None, traceparent: str | None, source: str
) -> OutgoingMessage:
    """Build the message that publishes an answer; a repeat differs in correlation only.

    ``correlation_id`` and ``traceparent`` are those of the delivery being answered, ``None``
    without one: then the request's that led to the decision are used. ``source`` is the
    CloudEvents source, ``/payment-worker/<deployment>``.
    """
    event = answer.event
    event_id = str(event.event_id)
    attributes: dict[str, str | int] = {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": event_id,
        "cloudEvents_source": source,
        "cloudEvents_type": event.status.event_type,
        "cloudEvents_time": time_text(event.occurred_at),
        "cloudEvents_subject": str(event.payment_id),
        "cloudEvents_dataschema": DATA_SCHEMA,
    }
    trace = traceparent or answer.traceparent
    if trace is not None and len(trace) <= LONGEST_TRACEPARENT:
        attributes[headers.TRACEPARENT] = trace
    if answer.resends and not answer.event_confirmed:
        attributes[headers.RESEND] = answer.resends
    return OutgoingMessage(
        exchange=Exchange.RESULTS,
        routing_key=f"payment.result.{event.origin}.{event.status}",
        body=event_body(event),
        message_id=event_id,
        correlation_id=correlation_id or answer.correlation_id or event.request_id,
        type=event.status.event_type,
        timestamp=event.occurred_at,
        headers=MappingProxyType(attributes),
    )


def correlation_of(delivery: Delivery) -> str | None:
    """Return what an answer to this message correlates to: its correlation id, else its id."""
    return delivery.correlation_id or request_id_of(delivery)


def _code(event: Event) -> Code | None:
    if event.status in _POSITIVE or event.code not in {None, Code.LINK_ERASED}:
        return event.code
    # A failure without a reason is our own defect; it must not promise that a retry is safe.
    return Code.OUTCOME_UNKNOWN if event.status in _IN_DOUBT else Code.INTERNAL_ERROR


def _error(event: Event, code: Code) -> dict[str, object]:
    meaning = MEANINGS[code]
    return {
        "category": category_of(code),
        "code": code,
        "retryable": is_retryable(code),
        "provider_code": _shown_provider_code(event.provider_code),
        "http_status": event.http_status,
        "message": {"fr": meaning.fr, "en": meaning.en},
        "fields": [
            {"field": fault.field, "code": fault.code, "message": fault.message}
            for fault in event.faults
        ],
    }


def _shown_provider_code(code: str | None) -> str | None:
    return _NOT_IN_PROVIDER_CODE.sub("", code or "")[:PROVIDER_CODE_LENGTH] or None
