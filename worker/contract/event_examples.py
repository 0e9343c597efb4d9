"""Golden events, one for each thing a subscriber must be able to handle."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from worker.codes import Code
from worker.contract.events import event_body, result_message
from worker.contract.faults import FaultCode, fault
from worker.identity import event_id_of
from worker.model import Cents, Facts, Origin, PaymentTarget, PaymentType, RunMode, Secret
from worker.records import Answer, Event, State, Status

_PAYMENT: Final = UUID("5b1f0b3c-6a52-5d0f-8c11-0e2f6a7f9c10")
_OTHER_PAYMENT: Final = UUID("c3a1f4de-90b7-5a5e-9d0b-4b7e3f1d2a60")
_CANCELLATION: Final = UUID("8f2d6c7b-1f0a-5b3c-a6d4-93e5b0c1d2f3")
_TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

_ORDER: Final = Facts(
    payment_target=PaymentTarget.LABANQUEPOSTALE,
    payment_run_mode=RunMode.TEST,
    payment_type=PaymentType.SEPA,
    type_paiement=PaymentType.SEPA,
    id_origin="dcp",
    id_societe="1",
    id_client="2263",
    id_commande="40017",
    amount=Cents(1250),
)


def _event(status: Status, operation_id: UUID = _PAYMENT, sequence: int = 1) -> Event:
    return Event(
        event_id=event_id_of(operation_id, status, sequence),
        status=status,
        occurred_at=datetime(2026, 11, 21, 20, 14, 3, 123000, tzinfo=UTC),
        origin=Origin("dcp"),
        payment_id=_PAYMENT,
        request_id="0b9bd9d7-2f3c-4f0e-9a39-3f6f3ac53cf5",
        sequence=sequence,
        facts=_ORDER,
        attempts=1,
        provider="safedebit",
        provider_reference="1f0c8a52d5e64f0f9f6f2f5f8f6a1b3c",
        livemode=False,
    )


_SUCCEEDED: Final = replace(
    _event(Status.SUCCEEDED), link=Secret("https://pay.example.org/paypage?SDESSID=example")
)
_UNREADABLE: Final = replace(
    _event(Status.FAILED),
    payment_id=_OTHER_PAYMENT,
    event_id=event_id_of(_OTHER_PAYMENT, Status.FAILED, 1),
    facts=replace(_ORDER, amount=None),
    attempts=0,
    code=Code.INVALID_AMOUNT,
    faults=(fault("amount", FaultCode.NOT_CENTS),),
    provider=None,
    provider_reference=None,
    livemode=None,
)

EVENTS: Final[Mapping[str, Event]] = {
    "succeeded": _SUCCEEDED,
    "succeeded_link_erased": replace(_SUCCEEDED, link=None, code=Code.LINK_ERASED),
    "succeeded_duplicate": replace(
        _SUCCEEDED,
        payment_id=_OTHER_PAYMENT,
        event_id=event_id_of(_OTHER_PAYMENT, Status.SUCCEEDED, 1),
        duplicate_of=_PAYMENT,
        attempts=0,
    ),
    "succeeded_basket": replace(
        _event(Status.SUCCEEDED),
        facts=replace(_ORDER, payment_target=PaymentTarget.MILLIET),
        provider="portal",
        basket_item_id="12",
    ),
    "failed_request": _UNREADABLE,
    "failed_declined": replace(
        _event(Status.FAILED), code=Code.DECLINED, provider_code="NOK_001", http_status=200
    ),
    "failed_transient": replace(
        _event(Status.FAILED), code=Code.PROVIDER_UNAVAILABLE, http_status=503, attempts=7
    ),
    "failed_key_reused": replace(
        _UNREADABLE,
        code=Code.IDEMPOTENCY_MISMATCH,
        faults=(),
        facts=_ORDER,
        conflicts_with=_PAYMENT,
    ),
    "in_doubt": replace(_event(Status.IN_DOUBT), code=Code.OUTCOME_UNKNOWN),
    "cancelled": replace(
        _event(Status.CANCELLED, _CANCELLATION, 2), payment_status=State.CANCELLED
    ),
    "cancel_failed": replace(
        _event(Status.CANCEL_FAILED, _CANCELLATION),
        code=Code.NOT_CANCELLABLE,
        payment_status=State.SUCCEEDED,
    ),
    "cancel_in_doubt": replace(
        _event(Status.CANCEL_IN_DOUBT, _CANCELLATION),
        code=Code.OUTCOME_UNKNOWN,
        payment_status=State.SUCCEEDED,
    ),
}


def event_example(event: Event) -> dict[str, Any]:
    """Return the body of an event as a subscriber decodes it."""
    body: dict[str, Any] = json.loads(event_body(event))
    return body


def _headers_example() -> dict[str, object]:
    answer = Answer(
        operation_id=_PAYMENT, event=_SUCCEEDED, letter=None, correlation_id="order-40017"
    )
    message = result_message(
        answer,
        correlation_id=None,
        traceparent=_TRACEPARENT,
        source="/payment-worker/production",
    )
    return {
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "content_type": "application/json",
        "delivery_mode": 2,
        "type": message.type,
        "timestamp": int(_SUCCEEDED.occurred_at.timestamp()),
        "headers": dict(message.headers),
    }


HEADERS_EXAMPLE: Final = _headers_example()
